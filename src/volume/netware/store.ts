/** One NetWare volume, opened: its FAT, its directories, its bins, and what was wrong with them. */
import type { VolumeProblem } from "../volume.ts";
import type { BlockDevice } from "../../device/block-device.ts";
import { FoundOnce } from "../../device/found-once.ts";
import { ReelError } from "../../errors.ts";
import type { CodePage } from "../code-pages.ts";
import { DirectoryTree } from "./directory-tree.ts";
import { Fat } from "./fat.ts";
import { u32 } from "./fields.ts";
import { RecordFile } from "./record-file.ts";
import { kindOf, RECORD_BYTES, ROOT, ROOT_RECORD, TYPE } from "./records.ts";
import { Suballocation } from "./suballocation.ts";
import { makeSource } from "./block-source.ts";
import type { BlockSource } from "./block-source.ts";
import type { VolumeShape } from "./volume-table.ts";

/** How names and times are shown. */
export interface Reading {
  readonly codePage: CodePage;
  readonly timeZoneMinutes: number;
}

export class NetwareStore {
  readonly source: BlockSource;
  readonly shape: VolumeShape;
  readonly fat: Fat;
  readonly directory: RecordFile;
  /** Ends of long names, OS/2 attributes; undefined: the volume has none. */
  readonly extended: RecordFile | undefined;
  readonly suballocation: Suballocation;
  readonly volumeFlags: number;
  readonly reading: Reading;
  readonly #tree = new FoundOnce(async () => DirectoryTree.read(this.directory));

  private constructor(parts: Omit<NetwareStore, "tree" | "problems" | "deviceName">) {
    this.source = parts.source;
    this.shape = parts.shape;
    this.fat = parts.fat;
    this.directory = parts.directory;
    this.extended = parts.extended;
    this.suballocation = parts.suballocation;
    this.volumeFlags = parts.volumeFlags;
    this.reading = parts.reading;
  }

  /** Throws "damaged" when there is no FAT, directory or root to be found, "unsupported" when segments are missing, and what the device throws. */
  static async open(
    device: BlockDevice,
    shape: VolumeShape,
    reading: Reading,
  ): Promise<NetwareStore> {
    const { parameters, map } = shape;
    const name = `volume ${parameters.name} on ${device.name}`;
    if (shape.fault !== undefined) {
      throw new ReelError("unsupported", `cannot read ${name}: ${shape.fault}`);
    }
    const source = makeSource({ device, map, parameters, name }, shape.otherMaps);
    const fat = await Fat.open(source);
    const directory = await RecordFile.open(source, fat, {
      what: "directory",
      firstBlock: parameters.firstDirectory,
      secondBlock: parameters.secondDirectory,
      judge: countOdd,
    });
    const root = await directory.record(ROOT_RECORD);
    if (root === undefined || u32(root, TYPE.offset) !== TYPE.root) {
      const problem =
        directory.problems[0]?.message ?? "it does not begin with the record of the root";
      throw new ReelError("damaged", `cannot read the directory of ${name}: ${problem}`);
    }
    return new NetwareStore({
      source,
      shape,
      fat,
      directory,
      extended: await openExtended(source, fat, root),
      suballocation: await Suballocation.open(source, fat, directory),
      volumeFlags: root.getUint8(ROOT.flags),
      reading,
    });
  }

  /** Met so far, on opening and in the blocks of directories read since. */
  get problems(): readonly VolumeProblem[] {
    return [
      ...this.source.fallbacks.values(),
      ...this.fat.problems,
      ...this.directory.problems,
      ...(this.extended?.problems ?? []),
      ...this.suballocation.problems,
    ];
  }

  /** Throws what reading the directory throws. */
  async tree(): Promise<DirectoryTree> {
    return this.#tree.get();
  }
}

async function openExtended(
  source: BlockSource,
  fat: Fat,
  root: DataView,
): Promise<RecordFile | undefined> {
  const firstBlock = u32(root, ROOT.extended);
  const secondBlock = u32(root, ROOT.extendedCopy);
  // 0 is none; so is, by its nature, a pointer beyond the volume.
  const { blockCount } = source.map;
  if (firstBlock === 0 || firstBlock >= blockCount || secondBlock >= blockCount) return undefined;
  return RecordFile.open(source, fat, {
    what: "extended directory",
    firstBlock,
    secondBlock: secondBlock === 0 ? firstBlock : secondBlock,
    judge: () => 0,
  });
}

/** Records of a directory block that make no sense. */
function countOdd(block: DataView, firstRecord: number, recordCount: number): number {
  let odd = 0;
  for (let at = 0; at < block.byteLength; at += RECORD_BYTES) {
    const number = firstRecord + at / RECORD_BYTES;
    const isRoot = u32(block, at) === TYPE.root;
    const isOdd =
      number === ROOT_RECORD ? !isRoot : kindOf(block, at, number, recordCount) === "odd";
    if (isOdd) odd++;
  }
  return odd;
}
