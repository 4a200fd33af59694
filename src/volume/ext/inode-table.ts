/**
 * The inode table: read in pieces, of which a few are kept, and only as far as inodes are in use.
 *
 * What was never used is not read, because on an image it need not be there: a group's descriptor
 * says how many inodes at the end were never used (where descriptors have checksums), else its
 * inode bitmap says which is the last in use. An inode behind that can still be asked for by
 * number; its block is then read alone.
 */
import { isReelError, ReelError } from "../../errors.ts";
import type { DeviceBlocks } from "./device-blocks.ts";
import type { GroupTable } from "./group-table.ts";
import type { FastChanges, InodeChange } from "./fast-changes.ts";
import { Inode } from "./inode.ts";
import { faultOfBase, replayedInode } from "./replayed-inode.ts";
import { ROOT_INODE } from "./superblock.ts";
import type { Superblock } from "./superblock.ts";

/** The largest block, so that a piece is whole blocks. */
const PIECE_BYTES = 64 * 1024;
/** 8 MiB. */
const PIECES_KEPT = 128;
/** 8 × 64 Ki inodes of 64 KiB. */
const PIECES_PER_GROUP_MAX = 2 ** 19;
/** Inodes that are decoded before other work gets a turn. */
const INODES_PER_TURN = 4096;
/** Inodes of one batch; with an inode number below 2^32 the index still fits in a double. */
const BATCH_INODES_MAX = 2 ** 20;
const NOT_COUNTED = -1;

interface Piece {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly deviceOffset: number;
}

/** Where an inode should be. */
interface Place {
  readonly number: number;
  readonly group: number;
  readonly index: number;
  readonly deviceOffset: number;
}

/** Instead of an offset: the group's descriptor is damaged. */
const NOWHERE = -1;

export class InodeTable {
  readonly #blocks: DeviceBlocks;
  readonly #superblock: Superblock;
  readonly #groups: GroupTable;
  readonly #inUse: Int32Array;
  readonly #changes: FastChanges | undefined;
  readonly #pieces = new Map<number, Piece | Promise<Piece>>();

  /** `changes`: what became of inodes after the device was last written. */
  constructor(
    blocks: DeviceBlocks,
    superblock: Superblock,
    groups: GroupTable,
    changes?: FastChanges,
  ) {
    this.#changes = changes;
    this.#blocks = blocks;
    this.#superblock = superblock;
    this.#groups = groups;
    this.#inUse = new Int32Array(groups.count).fill(NOT_COUNTED);
  }

  /** Why a directory cannot name this inode; undefined when it can. */
  faultOfNumber(number: number): string | undefined {
    return faultOfNumber(this.#superblock, number);
  }

  /** An inode of a file or directory. Throws "not-found", "damaged". */
  async get(number: number): Promise<Inode> {
    const fault = this.faultOfNumber(number);
    if (fault !== undefined) throw this.#missing(fault);
    return this.getAny(number);
  }

  /** As `get`, but undefined where there is no such inode. */
  async find(number: number): Promise<Inode | undefined> {
    if (this.faultOfNumber(number) !== undefined) return undefined;
    try {
      return await this.getAny(number);
    } catch (error) {
      if (isReelError(error, "not-found")) return undefined;
      throw error;
    }
  }

  /** As `get`, for the system's own inodes too. */
  async getAny(number: number): Promise<Inode> {
    const place = this.#placeOf(number);
    const inode = this.#decode(await this.#pieceFor(place), place);
    if (inode instanceof ReelError) throw inode;
    return inode;
  }

  /**
   * Many inodes, in few reads: hands each to `take` with its place in `numbers`, or the error that
   * stands for it; in the order of the table. Throws what the device throws but "io".
   */
  async getMany(
    numbers: readonly number[],
    take: (index: number, inode: Inode | ReelError) => void,
  ): Promise<void> {
    for (let from = 0; from < numbers.length; from += BATCH_INODES_MAX) {
      await this.#getBatch(numbers, from, take);
    }
  }

  async #getBatch(
    numbers: readonly number[],
    from: number,
    take: (index: number, inode: Inode | ReelError) => void,
  ): Promise<void> {
    const batch = numbers.slice(from, from + BATCH_INODES_MAX);
    // Number and index in one double sort natively; both fit, below 2^53.
    const order = Float64Array.from(batch, (number, index) => number * BATCH_INODES_MAX + index);
    order.sort();
    let piece: Piece | ReelError | undefined;
    let untilTurn = INODES_PER_TURN;
    for (const packed of order) {
      const number = Math.floor(packed / BATCH_INODES_MAX);
      const index = from + (packed % BATCH_INODES_MAX);
      const fault = this.faultOfNumber(number);
      if (fault !== undefined) {
        take(index, this.#missing(fault));
        continue;
      }
      const place = this.#placeOf(number);
      if (!(piece !== undefined && !(piece instanceof ReelError) && holds(piece, place))) {
        piece = await this.#tryPieceFor(place);
      }
      take(index, piece instanceof ReelError ? piece : this.#decode(piece, place));
      if (--untilTurn === 0) {
        untilTurn = INODES_PER_TURN;
        await new Promise(setImmediate);
      }
    }
  }

  /** Blocks of a group's table in which inodes may be in use: [first block, count]. */
  async blocksInUse(group: number): Promise<readonly [start: number, count: number]> {
    const { inodeSizeBytes, blockSizeBytes } = this.#superblock;
    const inUse = await this.#inodesInUse(group);
    return [this.#groups.inodeTable(group), Math.ceil((inUse * inodeSizeBytes) / blockSizeBytes)];
  }

  /** Does the number of inodes in use come from the bitmap, so that the bitmap must be read? */
  needsBitmap(group: number): boolean {
    return this.#groups.inodesInUse(group) === undefined;
  }

  /** Is the inode behind those in use of its group, as far as that was asked for? */
  isBehindUse(number: number): boolean {
    const { group, index } = this.#placeOf(number);
    const inUse = this.#groups.inodesInUse(group) ?? this.#inUse[group] ?? 0;
    return index >= inUse;
  }

  clear(): void {
    this.#pieces.clear();
  }

  #missing(fault: string): ReelError {
    return new ReelError("not-found", `${fault} (${this.#blocks.device.name})`);
  }

  #placeOf(number: number): Place {
    const { inodesPerGroup, inodeSizeBytes, blockSizeBytes } = this.#superblock;
    const group = Math.floor((number - 1) / inodesPerGroup);
    const index = (number - 1) % inodesPerGroup;
    if (group >= this.#groups.count || !this.#groups.isKnown(group)) {
      return { number, group, index, deviceOffset: NOWHERE };
    }
    const table = this.#groups.inodeTable(group) * blockSizeBytes;
    return { number, group, index, deviceOffset: table + index * inodeSizeBytes };
  }

  #decode(piece: Piece, place: Place): Inode | ReelError {
    const { number, deviceOffset } = place;
    if (!holds(piece, place)) {
      return this.#damaged(place, "it lies beyond the end of the device");
    }
    const offset = deviceOffset - piece.deviceOffset;
    const change = this.#changes?.get(number);
    const base = new Inode(this.#superblock, number, piece, { offset, deviceOffset }, change);
    const inode = change === undefined ? base : this.#replay(base, change, place);
    if (inode instanceof ReelError) return inode;
    if (inode.isFree) return this.#missing(`inode ${number} is not in use`);
    const { fault } = inode;
    return fault === undefined ? inode : this.#damaged(place, fault);
  }

  #replay(base: Inode, change: InodeChange, place: Place): Inode | ReelError {
    const { raw } = change;
    if (raw === undefined) return base;
    const fault = faultOfBase(base, change, raw);
    if (fault !== undefined) return this.#damaged(place, fault);
    return replayedInode(base, change, raw);
  }

  #damaged({ number, deviceOffset }: Place, fault: string): ReelError {
    const where = deviceOffset === NOWHERE ? "" : ` at byte ${deviceOffset}`;
    const { name } = this.#blocks.device;
    return new ReelError("damaged", `cannot read inode ${number}${where} of ${name}: ${fault}`);
  }

  async #tryPieceFor(place: Place): Promise<Piece | ReelError> {
    try {
      return await this.#pieceFor(place);
    } catch (error) {
      if (isReelError(error, "damaged") || isReelError(error, "io")) return error;
      throw error;
    }
  }

  /** The piece of the table that an inode lies in. */
  async #pieceFor(place: Place): Promise<Piece> {
    const { group, index, deviceOffset } = place;
    if (deviceOffset === NOWHERE) {
      throw this.#damaged(place, `the descriptor of group ${group} is damaged`);
    }
    const { inodeSizeBytes, blockSizeBytes } = this.#superblock;
    const start = Math.floor((index * inodeSizeBytes) / PIECE_BYTES);
    const key = group * PIECES_PER_GROUP_MAX + start;
    const kept = this.#pieces.get(key);
    if (kept !== undefined) {
      const piece = await kept;
      if (holds(piece, place)) return piece;
    }
    const [table, blocksInUse] = await this.blocksInUse(group);
    const pieceOffset = start * PIECE_BYTES;
    const length = Math.min(PIECE_BYTES, blocksInUse * blockSizeBytes - pieceOffset);
    if ((index + 1) * inodeSizeBytes > pieceOffset + length) return this.#readBlockOf(place);
    const loading = this.#read(table * blockSizeBytes + pieceOffset, length);
    this.#keep(key, loading);
    try {
      const piece = await loading;
      this.#pieces.set(key, piece);
      return piece;
    } catch (error) {
      this.#pieces.delete(key);
      if (isReelError(error, "io")) return this.#readBlockOf(place);
      throw error;
    }
  }

  /** Only the block that the inode is in: behind those in use, or beside a bad sector. */
  async #readBlockOf({ deviceOffset }: Place): Promise<Piece> {
    const { blockSizeBytes } = this.#superblock;
    const start = Math.floor(deviceOffset / blockSizeBytes) * blockSizeBytes;
    return this.#read(start, blockSizeBytes);
  }

  /** What of the range is on the device. */
  async #read(deviceOffset: number, length: number): Promise<Piece> {
    const { device, blocksOnDevice, blockSizeBytes } = this.#blocks;
    const end = blocksOnDevice * blockSizeBytes;
    const onDevice = Math.max(0, Math.min(length, end - deviceOffset));
    const bytes = new Uint8Array(onDevice);
    if (onDevice > 0) await device.read(deviceOffset, bytes);
    return { bytes, view: new DataView(bytes.buffer), deviceOffset };
  }

  #keep(key: number, loading: Promise<Piece>): void {
    if (this.#pieces.size >= PIECES_KEPT) {
      for (const oldest of this.#pieces.keys()) {
        this.#pieces.delete(oldest);
        break;
      }
    }
    this.#pieces.set(key, loading);
  }

  async #inodesInUse(group: number): Promise<number> {
    const known = this.#groups.inodesInUse(group) ?? this.#inUse[group] ?? 0;
    if (known !== NOT_COUNTED) return known;
    const counted = await this.#countInUse(group);
    this.#inUse[group] = counted;
    return counted;
  }

  /** Up to the last inode that the bitmap has as in use; all where there is no bitmap to trust. */
  async #countInUse(group: number): Promise<number> {
    const { inodesPerGroup, blockSizeBytes } = this.#superblock;
    const block = this.#groups.inodeBitmap(group);
    if (this.#blocks.faultOf(block, 1) !== undefined) return inodesPerGroup;
    const bitmap = new Uint8Array(blockSizeBytes);
    try {
      await this.#blocks.device.read(block * blockSizeBytes, bitmap);
    } catch (error) {
      if (isReelError(error, "io")) return inodesPerGroup;
      throw error;
    }
    let bit = inodesPerGroup - 1;
    while (bit >= 0 && ((bitmap[bit >>> 3] ?? 0) & (1 << (bit & 7))) === 0) bit--;
    return bit + 1;
  }
}

/** Why a directory cannot name an inode; undefined when it can. */
export function faultOfNumber(superblock: Superblock, number: number): string | undefined {
  const { inodeCount, firstInode, hiddenInodes } = superblock;
  if (!Number.isInteger(number) || number < 1 || number > inodeCount) {
    return `inode ${number} is not one of the ${inodeCount} that the volume has`;
  }
  const isReserved = number < firstInode && number !== ROOT_INODE;
  if (isReserved || hiddenInodes.includes(number)) return `inode ${number} is the system's own`;
  return undefined;
}

function holds(piece: Piece, { deviceOffset }: Place): boolean {
  const from = deviceOffset - piece.deviceOffset;
  return from >= 0 && from < piece.bytes.length;
}
