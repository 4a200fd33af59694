/**
 * The survey of one volume: one pass over the FAT for what is in use, one walk over the directory
 * tree, every chain followed once.
 *
 * Salvageable files keep their chains. Their blocks are left out unless they were asked for, as
 * far as nothing else has them; blocks in use by nothing at all are kept, and reported. Chains are
 * followed only as far as the first block that another object has, in batches sorted by first
 * block: all together cost one step for each block and a few passes over the FAT.
 */
import { ExtentSet, ExtentSetBuilder } from "../../device/extents.ts";
import { throwIfAborted } from "../../errors.ts";
import { Bitmap } from "../bitmap.ts";
import { safeName } from "../names.ts";
import type { SurveyOptions, VolumeProblem } from "../volume.ts";
import { scanAllocation } from "./allocation.ts";
import { layOut } from "./layout.ts";
import { NEXT_END, NEXT_SUBALLOCATED } from "./fat-copy.ts";
import { isFaultOfCopy, u32 } from "./fields.ts";
import { chooseName, faultOfNames, readNameRecords } from "./names.ts";
import type { NameRecords } from "./names.ts";
import { kindOfNode, LINK_BYTES_MAX } from "./node.ts";
import type { RecordFile } from "./record-file.ts";
import { DOS, isDirectory, MAC, ROOT_RECORD, TYPE } from "./records.ts";
import type { NetwareStore } from "./store.ts";

/** Chains that are checked together. */
const BATCH_CHAINS = 64 * 1024;
/** Deepest path in a message. */
const PATH_DEPTH_MAX = 100;

export interface StoreSurvey {
  /** In blocks of the volume. */
  readonly used: ExtentSet;
  readonly control: ExtentSet;
  /** Bytes of the device that are control too: what symbolic links say. */
  readonly controlBytes: readonly (readonly [offsetBytes: number, lengthBytes: number])[];
  readonly allocatedBlocks: number;
  readonly files: number;
  readonly directories: number;
}

export interface ProblemSink {
  add(problem: VolumeProblem): void;
}

/** Throws what the device throws, and "aborted". */
export async function surveyStore(
  store: NetwareStore,
  problems: ProblemSink,
  options: SurveyOptions,
): Promise<StoreSurvey> {
  return new Survey(store, problems, options).run();
}

interface ChainToCheck {
  readonly record: number;
  readonly firstBlock: number;
  readonly sizeBytes: number;
  readonly isLink: boolean;
  readonly isFork: boolean;
}

class Survey {
  readonly #store: NetwareStore;
  readonly #problems: ProblemSink;
  readonly #options: SurveyOptions;
  /** Blocks that the volume's structures and files have. */
  readonly #live: Bitmap;
  #batch: ChainToCheck[] = [];
  #control = ExtentSet.empty;
  readonly #linkBytes: [number, number][] = [];
  #files = 0;
  #directories = 0;

  constructor(store: NetwareStore, problems: ProblemSink, options: SurveyOptions) {
    this.#store = store;
    this.#problems = problems;
    this.#options = options;
    this.#live = new Bitmap(store.source.map.blockCount);
  }

  async run(): Promise<StoreSurvey> {
    const { fat } = this.#store;
    const { allocated, copiesAgree, problems } = await scanAllocation(fat, this.#options.signal);
    const second = await fat.second();
    this.#claim(fat.first.blocks);
    this.#claim(second?.blocks);
    this.#addControl(fat.first.blocks);
    if (!copiesAgree) this.#addControl(second?.blocks);
    await this.#takeRecordFile(this.#store.directory, "directory");
    if (this.#store.extended !== undefined) {
      await this.#takeRecordFile(this.#store.extended, "extended directory");
    }
    await this.#takeBins();
    await this.#walk();
    await this.#checkBatch();
    for (const problem of [...this.#store.problems, ...problems]) this.#problems.add(problem);
    const live = this.#live.toExtents();
    const dead = (await this.#deletedBlocks()).subtract(live);
    this.#reportLost(allocated.subtract(live).subtract(dead).total);
    const isKept = this.#options.includeDeleted === true;
    const kept = isKept ? allocated : allocated.subtract(dead);
    return {
      used: kept.union(this.#control),
      control: this.#control,
      controlBytes: this.#linkBytes,
      allocatedBlocks: allocated.total,
      files: this.#files,
      directories: this.#directories,
    };
  }

  #claim(blocks: Uint32Array | undefined): void {
    for (const block of blocks ?? []) this.#live.set(block);
  }

  #addControl(blocks: Uint32Array | undefined): void {
    if (blocks === undefined) return;
    const builder = new ExtentSetBuilder();
    for (const block of blocks.slice().sort()) builder.add(block, 1);
    this.#control = this.#control.union(builder.build());
  }

  /** A directory: its copies are structure, the second must be read only where they differ. */
  async #takeRecordFile(file: RecordFile, what: string): Promise<void> {
    const second = await file.secondBlocks();
    this.#claim(file.blocks);
    this.#claim(second);
    this.#addControl(file.blocks);
    const difference = await this.#compareCopies(file, second);
    if (difference === undefined) return;
    this.#addControl(second);
    this.#problems.add({ where: `${what}, second copy`, message: difference });
  }

  async #compareCopies(file: RecordFile, second: Uint32Array): Promise<string | undefined> {
    const { blocks } = file;
    if (second.length === 0) return "there is no second copy";
    if (second.length !== blocks.length) {
      return `has ${second.length} blocks, the first has ${blocks.length}`;
    }
    const { blockBytes } = this.#store.source.map;
    const step = Math.max(1, Math.floor((256 * 1024) / blockBytes));
    for (let at = 0; at < blocks.length; at += step) {
      throwIfAborted(this.#options.signal, `surveying ${this.#store.source.name}`);
      const count = Math.min(step, blocks.length - at);
      const [a, b] = [new Uint8Array(count * blockBytes), new Uint8Array(count * blockBytes)];
      try {
        await file.readRaw(blocks.subarray(at, at + count), a);
        await file.readRaw(second.subarray(at, at + count), b);
      } catch (error) {
        if (!isFaultOfCopy(error)) throw error;
        return error.message;
      }
      const differing = a.findIndex((byte, index) => byte !== b[index]);
      if (differing < 0) continue;
      return `differs from the first in block ${second[at + Math.floor(differing / blockBytes)] ?? 0}`;
    }
    return undefined;
  }

  async #takeBins(): Promise<void> {
    const { suballocation, fat } = this.#store;
    for (const bin of suballocation.bins) {
      const first = suballocation.firstBlockOf(bin);
      const chain = await fat.chain(first, { recordBlocksMax: 0, claims: this.#live });
      if (chain.fault === undefined) continue;
      this.#problems.add({ where: `suballocation bin ${bin}`, message: chain.fault });
    }
  }

  /** All directories from the root down. */
  async #walk(): Promise<void> {
    const { directory, source } = this.#store;
    const tree = await this.#store.tree();
    const waiting = [ROOT_RECORD];
    for (let parent = waiting.pop(); parent !== undefined; parent = waiting.pop()) {
      throwIfAborted(this.#options.signal, `surveying ${source.name}`);
      for (const child of tree.childrenOf(parent)) {
        const dos = directory.recordHere(child) ?? (await directory.record(child));
        if (dos === undefined) continue;
        const records = await readNameRecords(directory, child, dos);
        if (kindOfNode(records) === "directory") {
          this.#directories++;
          waiting.push(child);
        } else {
          this.#files++;
        }
        await this.#addEntry(child, records);
        if (this.#batch.length >= BATCH_CHAINS) await this.#checkBatch();
      }
      this.#options.progress?.({ phase: "surveying", done: this.#files, unit: "files" });
    }
    const lost = tree.nodeCount - this.#files - this.#directories;
    if (lost > 0) {
      const what = lost === 1 ? "1 entry is" : `${lost} entries are`;
      this.#problems.add({
        where: "directory",
        message: `${what} in no directory that can be reached`,
      });
    }
  }

  async #addEntry(record: number, records: NameRecords): Promise<void> {
    const { dos, mac } = records;
    const fault = await faultOfNames(records, this.#store.extended);
    if (fault !== undefined) await this.#report(record, fault);
    const kind = kindOfNode(records);
    if (kind !== "directory") {
      this.#batch.push({
        record,
        firstBlock: u32(dos, DOS.firstBlock),
        sizeBytes: u32(dos, DOS.size),
        isLink: kind === "symlink",
        isFork: false,
      });
    }
    const forkBytes = mac === undefined ? 0 : u32(mac, MAC.forkSize);
    if (mac === undefined || forkBytes === 0) return;
    const firstBlock = u32(mac, MAC.forkBlock);
    this.#batch.push({ record, firstBlock, sizeBytes: forkBytes, isLink: false, isFork: true });
  }

  async #checkBatch(): Promise<void> {
    const batch = this.#batch.sort((a, b) => a.firstBlock - b.firstBlock);
    this.#batch = [];
    for (const each of batch) {
      const fault = await this.#faultOf(each);
      if (fault === undefined) continue;
      await this.#report(each.record, each.isFork ? `its resource fork: ${fault}` : fault);
    }
  }

  /** Claims a chain's blocks; tells what is wrong with it. */
  async #faultOf(each: ChainToCheck): Promise<string | undefined> {
    const { fat, source, suballocation } = this.#store;
    const { firstBlock, sizeBytes } = each;
    if (firstBlock === NEXT_END) return undefined;
    // Some writers leave 0 in files without contents.
    if (firstBlock === 0)
      return sizeBytes === 0 ? undefined : `it has ${sizeBytes} bytes but no first block`;
    const chain = await fat.chain(firstBlock, {
      recordBlocksMax: 0,
      claims: this.#live,
    });
    if (each.isLink) await this.#takeLink(each);
    if (chain.fault !== undefined) return chain.fault;
    if (chain.firstFault !== undefined)
      return `in FAT ${fat.first.copyNumber}, ${chain.firstFault}; the other copy is used`;
    const tail = chain.tail ?? (firstBlock >= NEXT_SUBALLOCATED ? firstBlock : undefined);
    if (tail === undefined) return undefined;
    const tailBytes = sizeBytes - chain.endBlock * source.map.blockBytes;
    const wanted = Math.min(tailBytes, suballocation.lengthOf(tail));
    return suballocation.locate(tail, wanted, () => undefined);
  }

  /** A link is read when a tree is walked: what it says is structure. */
  async #takeLink({ firstBlock, sizeBytes }: ChainToCheck): Promise<void> {
    if (sizeBytes > LINK_BYTES_MAX) return;
    const found = await layOut(this.#store, firstBlock, sizeBytes);
    if ("fault" in found) return;
    const { deviceOffsets, lengths } = found.layout;
    deviceOffsets.forEach((offset, run) => this.#linkBytes.push([offset, lengths[run] ?? 0]));
  }

  async #deletedBlocks(): Promise<ExtentSet> {
    const { directory, fat, source } = this.#store;
    const dead = new Bitmap(source.map.blockCount);
    for (const number of (await this.#store.tree()).deleted) {
      const dos = directory.recordHere(number) ?? (await directory.record(number));
      if (dos === undefined) continue;
      const first = u32(dos, DOS.firstBlock);
      if (isDirectory(dos, 0) || first === 0) continue;
      await fat.chain(first, { recordBlocksMax: 0, claims: dead });
    }
    return dead.toExtents();
  }

  #reportLost(blocks: number): void {
    if (blocks === 0) return;
    const what = blocks === 1 ? "1 block is" : `${blocks} blocks are`;
    this.#problems.add({ where: "FAT", message: `${what} in use by no file or directory` });
  }

  async #report(record: number, message: string): Promise<void> {
    this.#problems.add({ where: await this.#pathOf(record), message });
  }

  async #pathOf(record: number): Promise<string> {
    const { directory, reading, extended } = this.#store;
    const names: string[] = [];
    let number = record;
    for (let depth = 0; number !== ROOT_RECORD && depth < PATH_DEPTH_MAX; depth++) {
      const dos = await directory.record(number);
      if (dos === undefined) break;
      const records = await readNameRecords(directory, number, dos);
      names.push(safeName((await chooseName(records, reading.codePage, extended)).name));
      number = u32(dos, TYPE.offset);
    }
    return `/${names.reverse().join("/")}`;
  }
}
