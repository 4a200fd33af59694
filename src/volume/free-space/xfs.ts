/**
 * Free blocks of an XFS volume, as xfs_db lists them.
 *
 * The free extents of each allocation group are in a B+tree. A change of it may be in the log and not
 * yet in the tree, so the log must be clean (xfs_logprint says so). Of each group the headers count
 * the blocks of that tree, and the superblock those of all groups: both sums must be met exactly. The
 * few blocks that a group keeps ready for its own trees (its free list) are kept.
 *
 * Source of the layouts: "XFS Algorithms & Data Structures", the superblock and the AG free space
 * block; all fields are big-endian.
 */
import type { BlockDevice } from "../../device/block-device.ts";
import { type ExtentSet, ExtentSetBuilder } from "../../device/extents.ts";
import { ReelError, throwIfAborted } from "../../errors.ts";
import type { RunOptions } from "../../progress.ts";
import type { AskTool } from "./free-space.ts";
import { readToolLines } from "./tool-lines.ts";

const SUPERBLOCK_BYTES = 512;
const SUPERBLOCK = {
  blockSize: 4,
  blocks: 8,
  logStart: 48,
  groupBlocks: 84,
  groupCount: 88,
  logBlocks: 96,
  version: 100,
  sectorSize: 102,
  beingMade: 126,
  freeBlocks: 144,
  incompatible: 216,
} as const;
const VERSION_MASK = 0x0f;
const VERSION_WITH_FEATURES = 5;
const NEEDS_REPAIR = 0x10;

/** The second sector of each group; of its own the first block of the group has four. */
const GROUP_HEADER = { magic: 0, number: 8, blocks: 12, listed: 48, free: 52, treeBlocks: 60 };
const GROUP_HEADER_MAGIC = "XAGF";
const GROUP_HEADER_SECTORS = 4;
const GROUP_HEADER_BYTES = 64;
const GROUPS_MAX = 1 << 16;
const EXTENTS_MAX = 1 << 24;
/** Group headers that are read at once. */
const READS_UNDER_WAY = 64;

interface Superblock {
  readonly blockBytes: number;
  readonly blocks: number;
  readonly groupBlocks: number;
  readonly groupCount: number;
  readonly sectorBytes: number;
  readonly freeBlocks: number;
  /** Where the log is, in blocks of the volume. */
  readonly logStart: number;
  readonly logBlocks: number;
}

interface Group {
  readonly blocks: number;
  /** Blocks on the free list, which xfs_db lists first. */
  readonly listed: number;
  /** Blocks of the tree of free extents. */
  readonly free: number;
  /** Blocks that the trees of the group take up, which the superblock counts as free. */
  readonly treeBlocks: number;
}

export const askXfs: AskTool = async (device, path, options) => {
  const head = await readHead(device);
  const superblock = parseSuperblock(head, device.sizeBytes);
  if (typeof superblock === "string") return { doubt: superblock };
  const log = await readLogState(path, options);
  if (log !== "CLEAN") return { doubt: "it was not cleanly unmounted: its log must be replayed" };
  const groups = await readGroups(device, superblock, options);
  const list = new FreeList(superblock, groups);
  options.progress?.({ phase: "asking xfs_db what is free", done: 0 });
  await readToolLines({
    ...{ command: "xfs_db", args: ["-r", "-c", "freesp -d", path], signal: options.signal },
    onLine: (line) => list.line(line),
  });
  const free = list.finish();
  if (!(await readHead(device)).equals(head)) return { doubt: "it was changed meanwhile" };
  return { free, tool: "xfs_db" };
};

async function readHead(device: BlockDevice): Promise<Buffer> {
  const head = Buffer.alloc(SUPERBLOCK_BYTES);
  await device.read(0, head);
  return head;
}

/** The superblock, or why it does not do. */
function parseSuperblock(head: Buffer, deviceBytes: number): Superblock | string {
  const version = head.readUInt16BE(SUPERBLOCK.version) & VERSION_MASK;
  const hasFeatures = version === VERSION_WITH_FEATURES;
  if (hasFeatures && (head.readUInt32BE(SUPERBLOCK.incompatible) & NEEDS_REPAIR) !== 0) {
    return "it is marked as needing repair";
  }
  if (head.readUInt8(SUPERBLOCK.beingMade) !== 0) return "it was never made to the end";
  const blockBytes = head.readUInt32BE(SUPERBLOCK.blockSize);
  const groupBlocks = head.readUInt32BE(SUPERBLOCK.groupBlocks);
  const groupCount = head.readUInt32BE(SUPERBLOCK.groupCount);
  const sectorBytes = head.readUInt16BE(SUPERBLOCK.sectorSize);
  const blocks = Number(head.readBigUInt64BE(SUPERBLOCK.blocks));
  const isPlausible =
    isPowerOfTwo(blockBytes, 512, 65536) &&
    isPowerOfTwo(sectorBytes, 512, 32768) &&
    groupCount > 0 &&
    groupCount <= GROUPS_MAX &&
    blocks * blockBytes <= deviceBytes &&
    blocks > (groupCount - 1) * groupBlocks &&
    blocks <= groupCount * groupBlocks;
  if (!isPlausible) return "its superblock makes no sense";
  const logAt = head.readBigUInt64BE(SUPERBLOCK.logStart);
  if (logAt === 0n) return "its log is on another device";
  // A block is addressed by its group and its place in it; the place has as many bits as it needs.
  const placeBits = BigInt(Math.ceil(Math.log2(groupBlocks)));
  const logGroup = Number(logAt >> placeBits);
  const logStart = logGroup * groupBlocks + Number(BigInt.asUintN(Number(placeBits), logAt));
  return {
    ...{ blockBytes, blocks, groupBlocks, groupCount, sectorBytes, logStart },
    logBlocks: head.readUInt32BE(SUPERBLOCK.logBlocks),
    freeBlocks: Number(head.readBigUInt64BE(SUPERBLOCK.freeBlocks)),
  };
}

function isPowerOfTwo(value: number, min: number, max: number): boolean {
  return value >= min && value <= max && Number.isInteger(Math.log2(value));
}

/** What xfs_logprint calls the state of the log: CLEAN or DIRTY. */
async function readLogState(path: string, { signal }: RunOptions): Promise<string | undefined> {
  let state: string | undefined;
  await readToolLines({
    ...{ command: "xfs_logprint", args: ["-t", path], signal },
    onLine: (line) => {
      state ??= /\blog tail: \d+ head: \d+ state: <(\w+)>/.exec(line)?.[1];
      // Of a log that is not clean it would go on to print everything.
      return state !== undefined && state !== "CLEAN";
    },
  });
  return state;
}

async function readGroups(
  device: BlockDevice,
  superblock: Superblock,
  { signal }: RunOptions,
): Promise<Group[]> {
  const groups: Group[] = [];
  for (let from = 0; from < superblock.groupCount; from += READS_UNDER_WAY) {
    throwIfAborted(signal, `reading ${device.name}`);
    const count = Math.min(READS_UNDER_WAY, superblock.groupCount - from);
    const numbers = Array.from({ length: count }, (_, index) => from + index);
    const read = numbers.map(async (number) => readGroup(device, superblock, number));
    const settled = await Promise.allSettled(read);
    for (const each of settled) {
      if (each.status === "rejected") throw each.reason;
      groups.push(each.value);
    }
  }
  return groups;
}

async function readGroup(
  device: BlockDevice,
  { blockBytes, blocks, groupBlocks, sectorBytes }: Superblock,
  number: number,
): Promise<Group> {
  const header = Buffer.alloc(GROUP_HEADER_BYTES);
  const start = number * groupBlocks;
  await device.read(start * blockBytes + sectorBytes, header);
  const group = {
    blocks: header.readUInt32BE(GROUP_HEADER.blocks),
    listed: header.readUInt32BE(GROUP_HEADER.listed),
    free: header.readUInt32BE(GROUP_HEADER.free),
    treeBlocks: header.readUInt32BE(GROUP_HEADER.treeBlocks),
  };
  const isSound =
    header.toString("latin1", 0, GROUP_HEADER_MAGIC.length) === GROUP_HEADER_MAGIC &&
    header.readUInt32BE(GROUP_HEADER.number) === number &&
    group.blocks === Math.min(groupBlocks, blocks - start);
  if (!isSound) throw disagreement(`the header of allocation group ${number} makes no sense`);
  return group;
}

/**
 * Takes the list of xfs_db: after a heading a line for each free extent with its group, its first
 * block there and its blocks; of each group the blocks of the free list first, then the tree in
 * rising order. A histogram follows, under a heading of its own.
 */
class FreeList {
  readonly #superblock: Superblock;
  readonly #groups: readonly Group[];
  readonly #free = new ExtentSetBuilder();
  /** "before" the heading, "in" the list, "after" it. */
  #where: "before" | "in" | "after" = "before";
  #group = -1;
  /** Of the group: lines of its free list, blocks of its tree, and where the last extent ended. */
  #listed = 0;
  #counted = 0;
  #end = 0;
  #extents = 0;
  #total = 0;

  constructor(superblock: Superblock, groups: readonly Group[]) {
    this.#superblock = superblock;
    this.#groups = groups;
  }

  /** Never has enough. @throws ReelError "io" for what is not expected */
  line(text: string): boolean {
    const words = text.trim().split(/\s+/);
    if (this.#where === "before") {
      if (words.join(" ") !== "agno agbno len") throw disagreement("its list has no heading");
      this.#where = "in";
    } else if (this.#where === "in") {
      if (words[0] === "from") this.#where = "after";
      else this.#extent(words.map(Number));
    }
    return false;
  }

  #extent([group = NaN, start = NaN, count = NaN, ...more]: readonly number[]): void {
    while (group > this.#group && this.#group + 1 < this.#groups.length) this.#nextGroup();
    const found = this.#groups[group];
    const isSound =
      found !== undefined &&
      group === this.#group &&
      more.length === 0 &&
      Number.isInteger(start) &&
      Number.isInteger(count) &&
      count > 0 &&
      start + count <= found.blocks;
    if (!isSound) throw disagreement(`it lists ${count} blocks at ${start} of group ${group}`);
    if (this.#listed < found.listed && count === 1) {
      this.#listed++;
      this.#total++;
      return;
    }
    const headerBytes = GROUP_HEADER_SECTORS * this.#superblock.sectorBytes;
    const first = Math.ceil(headerBytes / this.#superblock.blockBytes);
    if (start < Math.max(first, this.#end) || ++this.#extents > EXTENTS_MAX) {
      throw disagreement(`it lists blocks at ${start} of group ${group} out of order`);
    }
    this.#end = start + count;
    this.#counted += count;
    this.#add(group * this.#superblock.groupBlocks + start, count);
  }

  #add(block: number, count: number): void {
    const { blockBytes, logStart, logBlocks } = this.#superblock;
    if (block < logStart + logBlocks && block + count > logStart) {
      throw disagreement("it lists blocks of the log as free");
    }
    this.#total += count;
    this.#free.add(block * blockBytes, count * blockBytes);
  }

  #nextGroup(): void {
    const group = this.#groups[this.#group];
    if (group !== undefined && (this.#counted !== group.free || this.#listed !== group.listed)) {
      throw disagreement(
        `it lists ${this.#counted} free blocks of group ${this.#group}, whose header counts ${group.free}`,
      );
    }
    this.#group++;
    this.#listed = 0;
    this.#counted = 0;
    this.#end = 0;
  }

  /** @throws ReelError "io" when the sums are not met */
  finish(): ExtentSet {
    if (this.#where !== "after") throw disagreement("its list has no end");
    while (this.#group < this.#groups.length) this.#nextGroup();
    const { freeBlocks } = this.#superblock;
    const inTrees = this.#groups.reduce((sum, { treeBlocks }) => sum + treeBlocks, 0);
    if (this.#total + inTrees !== freeBlocks) {
      throw disagreement(
        `it lists ${this.#total} free blocks, and the superblock counts ${freeBlocks - inTrees}`,
      );
    }
    return this.#free.build();
  }
}

function disagreement(what: string): ReelError {
  return new ReelError("io", `xfs_db is not to be relied on here: ${what}`);
}
