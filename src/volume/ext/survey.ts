/**
 * The survey: the bitmaps for what is in use, then one walk over the tree, nearest to the root
 * first, for what must be read to walk it again. Inodes of a directory are looked at in slices,
 * and the blocks of trees and attributes that a slice needs are read together.
 */
import { ExtentSet } from "../../device/extents.ts";
import { isReelError, ReelError, throwIfAborted } from "../../errors.ts";
import { safeName } from "../names.ts";
import type { SurveyOptions, VolumeProblem, VolumeSurvey } from "../volume.ts";
import { scanAllocation } from "./allocation.ts";
import type { Allocation } from "./allocation.ts";
import { valueInodesOf } from "./attributes.ts";
import { BlockCollector } from "./block-collector.ts";
import { mapBlocks, treeRootOf } from "./block-map.ts";
import type { BlockRuns } from "./block-runs.ts";
import { loadDirectory } from "./directory.ts";
import type { DirectoryEntries } from "./directory.ts";
import { DirectoryPlaces } from "./directory-places.ts";
import { descriptorBlock, descriptorBlockCount } from "./group-table.ts";
import { INODE_FLAG } from "./inode.ts";
import type { Inode } from "./inode.ts";
import { isFastLink } from "./links.ts";
import { SparseBitmap } from "./sparse-bitmap.ts";
import type { ExtStore } from "./store.ts";
import { groupStart, ROOT_INODE, SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET } from "./superblock.ts";

const PROBLEMS_MAX = 1000;
/** Inodes whose trees and attributes are read together; they fit in the cache of blocks. */
const SLICE_INODES = 1024;
const DIRECTORY_TYPE = 2;
/** Inodes that are looked at before other work gets a turn. */
const INODES_PER_TURN = 2048;

/** Surveys a volume. `problems` are those met on opening. Throws what the device throws. */
export async function surveyExt(
  store: ExtStore,
  problems: readonly VolumeProblem[],
  options: SurveyOptions,
): Promise<VolumeSurvey> {
  return new ExtSurvey(store, problems, options).run();
}

interface WaitingDirectory {
  readonly number: number;
  /** "" for the root. */
  readonly path: string;
}

class ExtSurvey {
  readonly #store: ExtStore;
  readonly #options: SurveyOptions;
  readonly #problems: VolumeProblem[];
  #moreProblems = 0;
  readonly #places = new DirectoryPlaces();
  readonly #control = new BlockCollector();
  /** Blocks that files have and the bitmaps have not. */
  readonly #missing = new BlockCollector();
  readonly #seenInodes = new SparseBitmap();
  readonly #treeBlocks = new SparseBitmap();
  readonly #attributeBlocks = new SparseBitmap();
  #used = ExtentSet.empty;
  #waiting: WaitingDirectory[] = [{ number: ROOT_INODE, path: "" }];
  #next: WaitingDirectory[] = [];
  #files = 0;
  #directories = 0;
  #untilTurn = INODES_PER_TURN;

  constructor(store: ExtStore, problems: readonly VolumeProblem[], options: SurveyOptions) {
    this.#store = store;
    this.#problems = [...problems];
    this.#options = options;
  }

  async run(): Promise<VolumeSurvey> {
    const report = ({ where, message }: VolumeProblem) => {
      this.#report(where, message);
    };
    const { signal } = this.#options;
    const allocation = await scanAllocation(this.#store, report, signal);
    this.#used = allocation.used;
    this.#addNoted();
    this.#addFixed();
    await this.#addInodeTables();
    while (this.#waiting.length > 0) {
      for (const directory of this.#waiting) await this.#visit(directory);
      this.#waiting = this.#next;
      this.#next = [];
    }
    return this.#finish(allocation);
  }

  #finish({ used, clustersUsed }: Allocation): VolumeSurvey {
    const end = this.#store.blocks.blocksOnDevice;
    const control = this.#control.build(end);
    const more = this.#moreProblems;
    if (more > 0) this.#problems.push({ where: "volume", message: `${more} more problems` });
    return {
      used: used.union(this.#missing.build(end)).union(control),
      control,
      clustersUsed,
      files: this.#files,
      directories: this.#directories,
      problems: this.#problems,
    };
  }

  /** Superblock, descriptors, the block of multiple-mount protection, what a replay needs. */
  #addFixed(): void {
    const { superblock, groups, journal } = this.#store;
    const { blockSizeBytes, groupNumber, mmpBlock } = superblock;
    if (journal !== undefined) {
      this.#addTree(journal.treeBlocks);
      for (const [start, count] of journal.replay.controlBlocks) this.#control.add(start, count);
    }
    // From byte 0 on: whoever recognises volumes looks there first.
    this.#control.add(0, Math.ceil((SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES) / blockSizeBytes));
    if (groupNumber !== 0) this.#control.add(groupStart(superblock, groupNumber), 1);
    const descriptorBlocks = descriptorBlockCount(superblock, groups.count);
    for (let number = 0; number < descriptorBlocks; number++) {
      this.#control.add(descriptorBlock(superblock, number), 1);
    }
    for (const block of groups.copyBlocks) this.#control.add(block, 1);
    if (mmpBlock > 0 && mmpBlock < superblock.blockCount) this.#control.add(mmpBlock, 1);
  }

  /** Blocks that fast commits gave to files, although these may be damaged or out of reach. */
  #addNoted(): void {
    const { blocks, changes } = this.#store;
    const end = blocks.blocksOnDevice;
    for (const [start, count] of changes?.blocks() ?? []) {
      if (start < end) this.#missing.add(start, Math.min(count, end - start));
    }
  }

  /** Inode tables as far as they are in use, and the bitmaps that say how far that is. */
  async #addInodeTables(): Promise<void> {
    const { groups, inodes, blocks } = this.#store;
    for (let group = 0; group < groups.count; group++) {
      if (!groups.isKnown(group)) continue;
      if (inodes.needsBitmap(group)) {
        const bitmap = groups.inodeBitmap(group);
        if (blocks.faultOf(bitmap, 1) === undefined) this.#control.add(bitmap, 1);
        throwIfAborted(this.#options.signal, `surveying ${this.#store.device.name}`);
      }
      const [start, count] = await inodes.blocksInUse(group);
      this.#control.add(start, count);
    }
  }

  async #visit({ number, path }: WaitingDirectory): Promise<void> {
    const { signal, progress } = this.#options;
    throwIfAborted(signal, `surveying ${this.#store.device.name}`);
    const where = path === "" ? "/" : path;
    const inode = await this.#tolerate(where, async () => this.#store.inodes.get(number));
    if (inode === undefined) return;
    if (number === ROOT_INODE) {
      if (inode.kind !== "directory") {
        this.#report(where, "the root is no directory");
        return;
      }
      await this.#addAttributes(inode, where);
    }
    const contents = await loadDirectory(this.#store.blocks, inode, this.#claim);
    const { entries, runs, treeBlocks, fault, remark } = contents;
    if (fault !== undefined) this.#report(where, `damaged directory: ${fault}`);
    if (remark !== undefined) this.#report(where, remark);
    this.#addTree(treeBlocks);
    this.#addRuns(runs, this.#control);
    await this.#visitEntries(number, path, entries);
    progress?.({ phase: "surveying", done: this.#files, unit: "files" });
  }

  async #visitEntries(parent: number, path: string, entries: DirectoryEntries): Promise<void> {
    const isInPlace = this.#places.list(parent);
    const order: { inode: Inode; index: number }[] = [];
    const flush = async () => {
      await this.#prefetch(order.map(({ inode }) => inode));
      for (const { inode, index } of order) {
        const name = safeName(entries.names[index] ?? "");
        await this.#visitNode(inode, path, name, isInPlace);
      }
      order.length = 0;
    };
    for (let from = 0; from < entries.numbers.length; from += SLICE_INODES) {
      await this.#store.inodes.getMany(
        entries.numbers.slice(from, from + SLICE_INODES),
        (offset, inode) => {
          const index = from + offset;
          if (inode instanceof ReelError) this.#addLost(path, entries, index, inode.message);
          else order.push({ inode, index });
        },
      );
      order.sort((a, b) => a.index - b.index);
      await flush();
    }
  }

  /** A name whose inode cannot be read. */
  #addLost(path: string, entries: DirectoryEntries, index: number, message: string): void {
    if (entries.types[index] === DIRECTORY_TYPE) this.#directories++;
    else this.#files++;
    this.#report(`${path}/${safeName(entries.names[index] ?? "")}`, message);
  }

  async #visitNode(
    inode: Inode,
    path: string,
    name: string,
    isInPlace: (child: number) => boolean,
  ): Promise<void> {
    if (--this.#untilTurn === 0) {
      this.#untilTurn = INODES_PER_TURN;
      await new Promise(setImmediate);
      throwIfAborted(this.#options.signal, `surveying ${this.#store.device.name}`);
    }
    const { number } = inode;
    if (inode.kind === "directory") {
      if (!isInPlace(number)) {
        const message = `leads to inode ${number}, a directory that has another place`;
        this.#report(`${path}/${name}`, message);
        return;
      }
      this.#directories++;
      this.#next.push({ number, path: `${path}/${name}` });
    }
    if (!this.#seenInodes.add(number)) return;
    this.#addInodeBlock(inode);
    if (inode.kind !== "directory") {
      this.#files++;
      await this.#addContents(inode, path, name);
    }
    const inodeHasAttributes = inode.attributeBlock !== 0 || inode.extraBytes > 0;
    if (inodeHasAttributes) await this.#addAttributes(inode, `${path}/${name}`);
  }

  /** An inode behind those that its group's descriptor has as in use. */
  #addInodeBlock({ number, deviceOffset }: Inode): void {
    if (!this.#store.inodes.isBehindUse(number)) return;
    this.#control.add(Math.floor(deviceOffset / this.#store.blocks.blockSizeBytes), 1);
  }

  async #addContents(inode: Inode, path: string, name: string): Promise<void> {
    const isLink = inode.kind === "symlink";
    if (!isLink && inode.kind !== "file") return;
    if (inode.hasFlag(INODE_FLAG.inlineData) || (isLink && isFastLink(inode))) return;
    const map = await this.#tolerate(`${path}/${name}`, async () =>
      mapBlocks(this.#store.blocks, inode, this.#claim),
    );
    if (map === undefined) return;
    this.#addTree(map.treeBlocks);
    this.#addRuns(map.runs, isLink ? this.#control : undefined);
  }

  async #addAttributes(inode: Inode, where: string): Promise<void> {
    const block = inode.attributeBlock;
    if (block !== 0 && this.#store.blocks.faultOf(block, 1) === undefined) {
      // One block serves many inodes; what is in it is looked at once.
      if (!this.#attributeBlocks.add(block) && inode.extraBytes === 0) return;
      this.#control.add(block, 1);
    }
    const numbers = await this.#tolerate(where, async () =>
      valueInodesOf(this.#store.blocks, inode),
    );
    for (const number of numbers ?? []) {
      if (!this.#seenInodes.add(number)) continue;
      await this.#tolerate(where, async () => {
        const holder = await this.#store.inodes.get(number);
        this.#addInodeBlock(holder);
        const { runs, treeBlocks } = await mapBlocks(this.#store.blocks, holder, this.#claim);
        this.#addTree(treeBlocks);
        this.#addRuns(runs, this.#control);
      });
    }
  }

  async #prefetch(inodes: readonly Inode[]): Promise<void> {
    const wanted: number[] = [];
    for (const inode of inodes) {
      const hasTree =
        !inode.hasFlag(INODE_FLAG.inlineData) &&
        (inode.kind === "file" || inode.kind === "directory");
      if (hasTree) wanted.push(treeRootOf(inode));
      wanted.push(inode.attributeBlock);
    }
    await this.#store.blocks.prefetch(Float64Array.from(wanted.filter((block) => block !== 0)));
  }

  readonly #claim = (block: number): boolean => this.#treeBlocks.add(block);

  #addTree(blocks: readonly number[]): void {
    for (const block of blocks) this.#control.add(block, 1);
  }

  #addRuns(runs: BlockRuns, control: BlockCollector | undefined): void {
    for (let i = 0; i < runs.length; i++) {
      const start = runs.physicalAt(i);
      const count = runs.countAt(i);
      control?.add(start, count);
      const at = this.#used.indexFrom(start);
      const isUsed =
        this.#used.startAt(at) <= start &&
        this.#used.startAt(at) + this.#used.countAt(at) >= start + count;
      if (!isUsed) this.#missing.add(start, count);
    }
  }

  /** The result, or undefined where the object is damaged, which is reported. */
  async #tolerate<T>(where: string, work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      const isTheirs = isReelError(error) && SURVIVED.includes(error.code);
      if (!isTheirs) throw error;
      this.#report(where, error.message);
      return undefined;
    }
  }

  #report(where: string, message: string): void {
    if (this.#problems.length < PROBLEMS_MAX) this.#problems.push({ where, message });
    else this.#moreProblems++;
  }
}

const SURVIVED = ["damaged", "io", "unsupported", "not-found"];
