/**
 * Directories, read block by block from the first to the last. An index (htree) needs no care:
 * its blocks look like blocks with no names in them, and the names stand in the others as ever.
 * Layouts: "ext4 Data Structures and Algorithms", section "Directory Entries".
 */
import { isReelError, ReelError } from "../../errors.ts";
import { readInlineData } from "./attributes.ts";
import { mapBlocks } from "./block-map.ts";
import type { ClaimTreeBlock } from "./block-map.ts";
import { BlockRuns } from "./block-runs.ts";
import { extCrc32c } from "./checksums.ts";
import { READ_BYTES_MAX } from "./device-blocks.ts";
import type { DeviceBlocks } from "./device-blocks.ts";
import { INCOMPAT } from "./features.ts";
import { INODE_FLAG } from "./inode.ts";
import type { Inode } from "./inode.ts";
import type { NamesToChange } from "./name-changes.ts";
import { nokeyName } from "./nokey-name.ts";

/** What stands for bytes that are not UTF-8. */
const REPLACEMENT = "\ufffd";
/** About three million names. */
const DIRECTORY_BYTES_MAX = 128 * 1024 * 1024;
const ENTRY = { inode: 0, length: 4, nameLength: 6, type: 7, name: 8 } as const;
const ENTRY_BYTES_MIN = 12;
const NAME_BYTES_MAX = 255;
/** Lengths are 16 bits: blocks of 64 KiB store this one, or 0. */
const WHOLE_BLOCK = 0xffff;
const LARGEST_BLOCK_BYTES = 65536;
/** The last entry of a checksummed block is none: length 12, type DE, and the sum. */
const TAIL = { bytes: 12, type: 0xde, checksum: 8 } as const;
/** Inline directories begin with the parent's inode number. */
const INLINE_ENTRIES_AT = 4;
/** Limit and count of an index block, behind the one or two entries that hide it. */
const INDEX = { rootAt: 32, nodeAt: 8, limit: 0, count: 2, entryBytes: 8, tailBytes: 8 } as const;

/** What stands in a directory, as columns: directories can be large. */
export class DirectoryEntries {
  readonly names: string[] = [];
  /** Which of them are not what is on the volume, because that is not UTF-8. */
  readonly notUtf8 = new Set<number>();
  readonly numbers: number[] = [];
  /** File types of entries, 0 where the volume does not store them. */
  readonly types: number[] = [];
}

export interface DirectoryContents {
  readonly entries: DirectoryEntries;
  readonly runs: BlockRuns;
  readonly treeBlocks: readonly number[];
  /** Why entries may be missing. */
  readonly fault: string | undefined;
  /** What is wrong and hides no entry. */
  readonly remark: string | undefined;
}

/**
 * Reads a directory, as far as it can be read. Throws what the device throws, but "io" and
 * "damaged", which are faults of the directory.
 */
export async function loadDirectory(
  blocks: DeviceBlocks,
  inode: Inode,
  claim?: ClaimTreeBlock,
): Promise<DirectoryContents> {
  const reader = new DirectoryReader(blocks, inode);
  try {
    // What a new directory has was made in it after the device was last written.
    if (inode.change?.isNew !== true) {
      if (inode.hasFlag(INODE_FLAG.inlineData)) reader.readInline();
      else await reader.readBlocks(claim);
    }
    reader.addMadeNames();
  } catch (error) {
    if (!isReelError(error, "damaged") && !isReelError(error, "io")) throw error;
    reader.fault ??= error.message;
  }
  return reader;
}

class DirectoryReader implements DirectoryContents {
  readonly entries = new DirectoryEntries();
  runs = new BlockRuns();
  treeBlocks: readonly number[] = [];
  fault: string | undefined;
  remark: string | undefined;
  readonly #blocks: DeviceBlocks;
  readonly #inode: Inode;
  readonly #isEncrypted: boolean;
  readonly #hasTypes: boolean;
  readonly #seed: number;
  /** What fast commits changed; undefined: nothing. */
  readonly #changes: NamesToChange | undefined;

  constructor(blocks: DeviceBlocks, inode: Inode) {
    this.#blocks = blocks;
    this.#inode = inode;
    this.#isEncrypted = inode.hasFlag(INODE_FLAG.encrypted);
    this.#hasTypes = (inode.superblock.incompat & INCOMPAT.filetype) !== 0;
    this.#seed = inode.superblock.hasMetadataChecksums ? inode.checksumSeed : 0;
    this.#changes = this.#beginChanges();
  }

  /** Fast commits have names in clear, so they can say nothing of those in encrypted directories. */
  #beginChanges(): NamesToChange | undefined {
    const names = this.#inode.change?.names;
    if (names === undefined || names.length === 0) return undefined;
    if (!this.#isEncrypted) return names.begin(this.#inode.hasFlag(INODE_FLAG.casefold));
    this.remark = `the journal has ${names.length} changes of encrypted names, which are not shown`;
    return undefined;
  }

  /** The names that fast commits made, when those on the volume were read. */
  addMadeNames(): void {
    for (const { name, inode } of this.#changes?.made() ?? []) this.#add(name, inode, 0);
  }

  readInline(): void {
    const { head, tail } = readInlineData(this.#inode);
    const first = this.#inode.bytes.subarray(head.start, head.end);
    this.#scan(Buffer.from(first.subarray(INLINE_ENTRIES_AT)), "the inode");
    if (tail === undefined) return;
    this.#scan(
      Buffer.from(this.#inode.bytes.subarray(tail.start, tail.end)),
      "the inode's attributes",
    );
  }

  async readBlocks(claim: ClaimTreeBlock | undefined): Promise<void> {
    const { runs, treeBlocks } = await mapBlocks(this.#blocks, this.#inode, claim);
    this.treeBlocks = treeBlocks;
    checkDistinct(runs);
    this.runs = runs;
    const { blockSizeBytes } = this.#blocks;
    let total = 0;
    for (let i = 0; i < runs.length; i++) total += runs.countAt(i);
    const bytesInAll = total * blockSizeBytes;
    if (bytesInAll > DIRECTORY_BYTES_MAX) {
      throw new ReelError(
        "damaged",
        `it has ${bytesInAll} bytes; directories are read up to ${DIRECTORY_BYTES_MAX}`,
      );
    }
    if (total * blockSizeBytes < this.#inode.sizeBytes) this.remark = "it has holes";
    const buffer = Buffer.allocUnsafe(Math.min(bytesInAll, READ_BYTES_MAX));
    for (let i = 0; i < runs.length; i++) await this.#readRun(buffer, i);
  }

  async #readRun(buffer: Buffer, index: number): Promise<void> {
    const { blockSizeBytes } = this.#blocks;
    const blocksMax = buffer.length / blockSizeBytes;
    const count = this.runs.countAt(index);
    for (let done = 0; done < count; done += blocksMax) {
      const physical = this.runs.physicalAt(index) + done;
      const part = buffer.subarray(0, Math.min(blocksMax, count - done) * blockSizeBytes);
      await this.#blocks.readRun(physical, part.length / blockSizeBytes, part, "a directory block");
      for (let at = 0; at < part.length; at += blockSizeBytes) {
        const step = done + at / blockSizeBytes;
        const block = part.subarray(at, at + blockSizeBytes);
        this.#readBlock(block, this.runs.logicalAt(index) + step, physical + at / blockSizeBytes);
      }
    }
  }

  #readBlock(block: Buffer, logical: number, physical: number): void {
    const where = `block ${logical} of the directory (block ${physical} of the volume)`;
    if (this.#inode.superblock.hasMetadataChecksums && !this.#isSumRight(block, logical)) {
      const message = `the checksum of ${where} is wrong`;
      if (!this.#isIndex(block, logical)) {
        this.fault ??= message;
        return;
      }
      this.remark ??= message;
    }
    this.#scan(block, where);
  }

  /** Root or node of an index: the first block of an indexed directory, and blocks of one entry. */
  #isIndex(block: Buffer, logical: number): boolean {
    if (!this.#inode.hasFlag(INODE_FLAG.hashIndex)) return false;
    return logical === 0 || this.#entryLength(block, 0) === block.length;
  }

  #isSumRight(block: Buffer, logical: number): boolean {
    if (this.#isIndex(block, logical)) {
      return isIndexSumRight(block, logical === 0 ? INDEX.rootAt : INDEX.nodeAt, this.#seed);
    }
    const tailAt = block.length - TAIL.bytes;
    const isTail =
      block.readUInt32LE(tailAt + ENTRY.inode) === 0 &&
      block.readUInt16LE(tailAt + ENTRY.length) === TAIL.bytes &&
      block.readUInt8(tailAt + ENTRY.type) === TAIL.type;
    const sum = extCrc32c(this.#seed, block.subarray(0, tailAt));
    return isTail && sum === block.readUInt32LE(tailAt + TAIL.checksum);
  }

  #entryLength(block: Buffer, at: number): number {
    const stored = block.readUInt16LE(at + ENTRY.length);
    if (this.#blocks.blockSizeBytes < LARGEST_BLOCK_BYTES) return stored;
    if (stored === 0 || stored === WHOLE_BLOCK) return LARGEST_BLOCK_BYTES;
    // Lengths are multiples of four: the low bits are free for the high ones.
    return (stored & 0xfffc) | ((stored & 3) << 16);
  }

  /** Takes the entries of one block, up to the first that is not sound. */
  #scan(block: Buffer, where: string): void {
    for (let at = 0; at < block.length;) {
      const room = block.length - at;
      const length = room < ENTRY.name ? 0 : this.#entryLength(block, at);
      const nameLength = room < ENTRY.name ? 0 : this.#nameLength(block, at);
      const isSound =
        length >= ENTRY_BYTES_MIN &&
        length % 4 === 0 &&
        length <= room &&
        nameLength <= NAME_BYTES_MAX &&
        ENTRY.name + nameLength <= length;
      if (!isSound) {
        this.fault ??= `the entry at byte ${at} of ${where} has length ${length} and a name of ${nameLength}`;
        return;
      }
      const number = block.readUInt32LE(at + ENTRY.inode);
      if (number !== 0 && nameLength > 0) this.#take(block, at, number, nameLength);
      at += length;
    }
  }

  #nameLength(block: Buffer, at: number): number {
    return this.#hasTypes
      ? block.readUInt8(at + ENTRY.nameLength)
      : block.readUInt16LE(at + ENTRY.nameLength);
  }

  #take(block: Buffer, at: number, number: number, nameLength: number): void {
    const from = at + ENTRY.name;
    const bytes = block.subarray(from, from + nameLength);
    if (this.#changes?.keeps(bytes, number) === false) return;
    this.#add(bytes, number, this.#hasTypes ? block.readUInt8(at + ENTRY.type) : 0);
  }

  #add(bytes: Buffer, number: number, type: number): void {
    const name = bytes.toString("utf8");
    if (name === "." || name === "..") return;
    if (this.#isEncrypted) this.entries.names.push(nokeyName(bytes));
    else {
      const isDoubtful = name.includes(REPLACEMENT) && !bytes.equals(Buffer.from(name));
      if (isDoubtful) this.entries.notUtf8.add(this.entries.names.length);
      this.entries.names.push(name);
    }
    this.entries.numbers.push(number);
    this.entries.types.push(type);
  }
}

/** The sum covers the entries in use, and the tail with a sum of zeros. */
function isIndexSumRight(block: Buffer, countAt: number, seed: number): boolean {
  const limit = block.readUInt16LE(countAt + INDEX.limit);
  const count = block.readUInt16LE(countAt + INDEX.count);
  const tailAt = countAt + limit * INDEX.entryBytes;
  if (count > limit || tailAt + INDEX.tailBytes > block.length) return false;
  const tail = Buffer.from(block.subarray(tailAt, tailAt + INDEX.tailBytes));
  const stored = tail.readUInt32LE(4);
  tail.writeUInt32LE(0, 4);
  const sum = extCrc32c(seed, block.subarray(0, countAt + count * INDEX.entryBytes));
  return extCrc32c(sum, tail) === stored;
}

/** A block that is in a directory twice would let a small volume have endless names. */
function checkDistinct(runs: BlockRuns): void {
  const order = Float64Array.from({ length: runs.length }, (_, index) => index);
  order.sort((a, b) => runs.physicalAt(a) - runs.physicalAt(b));
  let end = 0;
  for (const index of order) {
    const start = runs.physicalAt(index);
    if (start < end) throw new ReelError("damaged", `it has block ${start} of the volume twice`);
    end = start + runs.countAt(index);
  }
}
