/**
 * Writes journals of every layout that JBD2 has had into a volume, block by block, as the kernel
 * would; and, by leaving out or changing what it is told to, as no kernel would.
 */
import {
  checksumOfCopy,
  crc32cWithoutField,
  crc32MsbFirst,
  seedOf,
} from "../../../../src/volume/ext/journal/checksums.ts";
import {
  BLOCK_TYPE,
  COMMIT,
  COMPAT_CHECKSUM,
  HEADER,
  HEADER_BYTES,
  INCOMPAT,
  JOURNAL_MAGIC,
  REVOKE,
  SUPERBLOCK,
  SUPERBLOCK_BYTES,
  TAG,
  TAG_FLAG,
} from "../../../../src/volume/ext/journal/layout.ts";
import { writeFastCommit } from "./fast-commit-writer.ts";
import type { CommitOptions, Note } from "./fast-commit-writer.ts";

export interface BuilderOptions {
  readonly blockSizeBytes: number;
  /** Where the journal's blocks lie in the volume. */
  readonly blocks: ArrayLike<number>;
  readonly checksums?: 0 | 1 | 2 | 3;
  readonly bits64?: boolean;
  readonly asyncCommit?: boolean;
  readonly version?: 1 | 2;
  readonly startBlock?: number;
  readonly sequence?: number;
  /** Each tag but the first of a descriptor says SAME_UUID, as the kernel writes; false: none does. */
  readonly sameUuid?: boolean;
  /** Length of the area of fast commits. */
  readonly fastCommitBlocks?: number;
}

export interface TransactionOptions {
  readonly writes?: readonly (readonly [block: number, contents: Uint8Array])[];
  readonly revokes?: readonly number[];
  /** False: the machine stopped before the commit block was written. */
  readonly isCommitted?: boolean;
  readonly seconds?: bigint;
  /** Tags in a descriptor block at most. */
  readonly tagsMax?: number;
}

const UUID = Uint8Array.from({ length: 16 }, (_, i) => 0x51 + i);

export class JournalBuilder {
  /** Journal block that is written next. */
  at: number;
  sequence: number;
  readonly #volume: Uint8Array;
  readonly #options: Required<BuilderOptions>;
  readonly #seed = seedOf(UUID);
  #crc = 0xffffffff;
  #seconds = 1000n;

  constructor(volume: Uint8Array, options: BuilderOptions) {
    this.#volume = volume;
    this.#options = {
      checksums: 0,
      bits64: false,
      asyncCommit: false,
      version: 2,
      startBlock: 1,
      sequence: 1,
      sameUuid: true,
      fastCommitBlocks: 0,
      ...options,
    };
    this.at = this.#options.startBlock;
    this.sequence = this.#options.sequence;
    this.writeSuperblock();
  }

  /** First block after the log. */
  get endBlock(): number {
    return this.#options.blocks.length - this.#options.fastCommitBlocks;
  }

  /** The journal block at `index`, for reading and for damage. */
  block(index: number): Buffer {
    const size = this.#options.blockSizeBytes;
    const offset = (this.#options.blocks[index] ?? 0) * size;
    return Buffer.from(this.#volume.buffer, this.#volume.byteOffset + offset, size);
  }

  writeSuperblock(change: (superblock: Buffer) => void = () => undefined): void {
    const { checksums, bits64, asyncCommit, version, startBlock, sequence } = this.#options;
    const block = this.block(0).fill(0);
    const type = version === 1 ? BLOCK_TYPE.superblockV1 : BLOCK_TYPE.superblockV2;
    this.#header(block, type, 0);
    block.writeUInt32BE(this.#options.blockSizeBytes, SUPERBLOCK.blockSizeBytes);
    block.writeUInt32BE(this.#options.blocks.length, SUPERBLOCK.lengthBlocks);
    block.writeUInt32BE(1, SUPERBLOCK.firstBlock);
    block.writeUInt32BE(sequence, SUPERBLOCK.sequence);
    block.writeUInt32BE(startBlock, SUPERBLOCK.startBlock);
    if (version === 2) {
      const incompat =
        INCOMPAT.revoke |
        (bits64 ? INCOMPAT.bits64 : 0) |
        (asyncCommit ? INCOMPAT.asyncCommit : 0) |
        (checksums === 2 ? INCOMPAT.checksumV2 : 0) |
        (checksums === 3 ? INCOMPAT.checksumV3 : 0) |
        (this.#options.fastCommitBlocks > 0 ? INCOMPAT.fastCommit : 0);
      block.writeUInt32BE(checksums === 1 ? COMPAT_CHECKSUM : 0, SUPERBLOCK.featureCompat);
      block.writeUInt32BE(incompat, SUPERBLOCK.featureIncompat);
      block.writeUInt32BE(this.#options.fastCommitBlocks, SUPERBLOCK.fastCommitBlocks);
      block.set(UUID, SUPERBLOCK.uuid);
      block.writeUInt32BE(1, 64); // users
      block.writeUInt8(checksums >= 2 ? 4 : 0, SUPERBLOCK.checksumType);
    }
    change(block);
    if (checksums >= 2) {
      const checked = block.subarray(0, SUPERBLOCK_BYTES);
      const checksum = crc32cWithoutField(0xffffffff, checked, SUPERBLOCK.checksum);
      block.writeUInt32BE(checksum, SUPERBLOCK.checksum);
    }
  }

  /** Appends a transaction; returns the journal blocks of its commit block and its copies. */
  transaction(options: TransactionOptions): { commit: number; copies: number[] } {
    const { writes = [], revokes = [], isCommitted = true, tagsMax = 1000 } = options;
    const copies: number[] = [];
    const perDescriptor = Math.min(tagsMax, this.#tagsInBlock());
    for (let i = 0; i < writes.length; i += perDescriptor) {
      copies.push(...this.#descriptor(writes.slice(i, i + perDescriptor)));
    }
    if (revokes.length > 0) this.#revoke(revokes);
    const commit = this.at;
    if (isCommitted) this.#commit(options.seconds ?? this.#seconds++);
    this.#crc = 0xffffffff;
    this.sequence = (this.sequence + 1) >>> 0;
    return { commit, copies };
  }

  /** Recomputes the checksum at the end of a descriptor or revoke block that was changed. */
  resealTail(index: number): void {
    const block = this.block(index);
    const at = block.length - 4;
    if (this.#options.checksums >= 2) {
      block.writeUInt32BE(crc32cWithoutField(this.#seed, block, at), at);
    }
  }

  /** A fast commit from block `index` of their area on; returns the block of the area after it. */
  fastCommit(index: number, notes: readonly Note[], options: Partial<CommitOptions> = {}): number {
    return writeFastCommit((at) => this.block(this.endBlock + 1 + at), index, notes, {
      sequence: this.sequence,
      hasHead: index === 0,
      ...options,
    });
  }

  #tagBytes(): number {
    const { checksums, bits64 } = this.#options;
    if (checksums === 3) return 16;
    return (bits64 ? 12 : 8) + (checksums === 2 ? 2 : 0);
  }

  #tagsInBlock(): number {
    const each = this.#tagBytes() + (this.#options.sameUuid ? 0 : 16);
    return Math.floor((this.#options.blockSizeBytes - HEADER_BYTES - 16 - 4) / each);
  }

  #descriptor(writes: readonly (readonly [number, Uint8Array])[]): number[] {
    const index = this.#next();
    const block = this.block(index).fill(0);
    this.#header(block, BLOCK_TYPE.descriptor, this.sequence);
    let at = HEADER_BYTES;
    const copies: number[] = [];
    const copied: Buffer[] = [];
    writes.forEach(([target, contents], i) => {
      const copy = this.#next();
      copies.push(copy);
      const bytes = this.block(copy);
      bytes.set(contents);
      const isEscaped = bytes.readUInt32BE(0) === JOURNAL_MAGIC;
      if (isEscaped) bytes.writeUInt32BE(0, 0);
      copied.push(bytes);
      const hasUuid = i === 0 || !this.#options.sameUuid;
      const flags =
        (isEscaped ? TAG_FLAG.escaped : 0) |
        (hasUuid ? 0 : TAG_FLAG.sameUuid) |
        (i === writes.length - 1 ? TAG_FLAG.last : 0);
      at = this.#tag(block, at, target, flags, bytes);
      if (hasUuid) {
        block.set(UUID, at);
        at += UUID.length;
      }
    });
    this.resealTail(index);
    this.#crc = crc32MsbFirst(this.#crc, block);
    for (const bytes of copied) this.#crc = crc32MsbFirst(this.#crc, bytes);
    return copies;
  }

  #tag(block: Buffer, at: number, target: number, flags: number, copy: Buffer): number {
    const { checksums, bits64 } = this.#options;
    block.writeUInt32BE(target % 2 ** 32, at + TAG.block);
    block.writeUInt16BE(flags, at + TAG.flags);
    if (bits64) block.writeUInt32BE(Math.floor(target / 2 ** 32), at + TAG.blockHigh);
    const checksum = checksumOfCopy(this.#seed, this.sequence, copy);
    if (checksums === 2) block.writeUInt16BE(checksum & 0xffff, at + TAG.checksum16);
    if (checksums === 3) block.writeUInt32BE(checksum, at + TAG.checksum32);
    return at + this.#tagBytes();
  }

  #revoke(revokes: readonly number[]): void {
    const index = this.#next();
    const block = this.block(index).fill(0);
    this.#header(block, BLOCK_TYPE.revoke, this.sequence);
    let at: number = REVOKE.records;
    for (const target of revokes) {
      if (this.#options.bits64) block.writeBigUInt64BE(BigInt(target), at);
      else block.writeUInt32BE(target, at);
      at += this.#options.bits64 ? 8 : 4;
    }
    block.writeUInt32BE(at, REVOKE.usedBytes);
    this.resealTail(index);
  }

  #commit(seconds: bigint): void {
    const block = this.block(this.#next()).fill(0);
    this.#header(block, BLOCK_TYPE.commit, this.sequence);
    block.writeBigUInt64BE(seconds, COMMIT.seconds);
    const { checksums } = this.#options;
    if (checksums === 1) {
      block.writeUInt8(1, COMMIT.checksumType);
      block.writeUInt8(4, COMMIT.checksumSize);
      block.writeUInt32BE(this.#crc, COMMIT.checksum);
    }
    if (checksums >= 2) {
      const checksum = crc32cWithoutField(this.#seed, block, COMMIT.checksum);
      block.writeUInt32BE(checksum, COMMIT.checksum);
    }
  }

  #header(block: Buffer, type: number, sequence: number): void {
    block.writeUInt32BE(JOURNAL_MAGIC, HEADER.magic);
    block.writeUInt32BE(type, HEADER.blockType);
    block.writeUInt32BE(sequence, HEADER.sequence);
  }

  #next(): number {
    const index = this.at;
    this.at = index + 1 < this.endBlock ? index + 1 : 1;
    return index;
  }
}
