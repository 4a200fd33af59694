/**
 * Reads the log once, from its oldest transaction on, and finds out where the newest copy of each
 * block is.
 *
 * The kernel goes over the log three times: PASS_SCAN finds the last whole transaction, PASS_REVOKE
 * collects the revoked blocks, PASS_REPLAY writes what was not revoked by its own or a later
 * transaction (fs/jbd2/recovery.c). One time suffices here, because nothing is written: what a
 * transaction says is set aside until its commit block is found. Then its copies replace earlier
 * ones, and its revoke records remove copies of this transaction and of earlier ones. The result is
 * the same, and no table of revoked blocks is needed.
 *
 * Where to stop is the kernel's rule too. A block that is no journal block, or one of another
 * transaction than the one expected, is the end of the log: what a stopped machine leaves behind.
 * A checksum that does not match may be a left-over of an earlier round of the log; the time in the
 * commit block tells: not older than the transaction before means damage. At damage the kernel
 * refuses to mount. Here the transactions before it are shown and a notice says so.
 */
import { ReelError } from "../../../errors.ts";
import { checksumOfCopy, crc32MsbFirst, hasSoundCommit, hasSoundTail } from "./checksums.ts";
import { CopyTable } from "./copy-table.ts";
import type { JournalLog } from "./journal-log.ts";
import {
  BLOCK_TYPE,
  CHECKSUM_TYPE_CRC32,
  COMMIT,
  HEADER,
  JOURNAL_MAGIC,
  TAG_FLAG,
} from "./layout.ts";
import { eachRevoked, TagList, usedBytesOfRevoke } from "./records.ts";
import type { JournalSuperblock } from "./superblock.ts";
import { Transaction } from "./transaction.ts";

/** More blocks than this between the log's start and its end are not read: 16 GiB of 4 KiB. */
export const LIVE_BLOCKS_MAX = 2 ** 22;
/** Revoke records in the whole log. */
export const REVOKES_MAX = 2 ** 24;
const NOTICES_MAX = 8;
const CRC32_BYTES = 4;

export interface ScannedLog {
  /** Whole transactions. */
  readonly transactions: number;
  /** Number of the transaction after the last whole one. */
  readonly nextSequence: number;
  readonly copies: CopyTable;
  readonly notices: readonly string[];
}

export class LogScan {
  readonly #name: string;
  readonly #log: JournalLog;
  readonly #superblock: JournalSuperblock;
  readonly #tags: TagList;
  readonly #copies = new CopyTable();
  readonly #transaction = new Transaction();
  readonly #notices: string[] = [];
  #noticesLeftOut = 0;
  #at: number;
  #sequence: number;
  #transactions = 0;
  #visited = 0;
  #revokes = 0;
  #lastCommitSeconds = 0n;

  /** `name`: the journal's, for messages. The log must not be empty. */
  constructor(name: string, log: JournalLog, superblock: JournalSuperblock) {
    this.#name = name;
    this.#log = log;
    this.#superblock = superblock;
    this.#tags = new TagList(superblock, log.blockSizeBytes);
    this.#at = superblock.startBlock;
    this.#sequence = superblock.sequence;
  }

  /** Throws "unsupported" for a log beyond the limits, and what the device throws. */
  async run(): Promise<ScannedLog> {
    for (;;) {
      const goesOn = await this.#step();
      if (!goesOn) break;
    }
    return {
      transactions: this.#transactions,
      nextSequence: this.#sequence,
      copies: this.#copies,
      notices: this.#allNotices(),
    };
  }

  #allNotices(): string[] {
    if (this.#noticesLeftOut === 0) return this.#notices;
    return [...this.#notices, `the journal is damaged in ${this.#noticesLeftOut} more ways`];
  }

  /** One descriptor with its copies, one revoke or one commit block; false at the end of the log. */
  async #step(): Promise<boolean> {
    const index = this.#at;
    if (this.#visited >= this.#ringBlocks) {
      return this.#transaction.isEmpty || this.#stop("claims more blocks than the log has", index);
    }
    const block = this.#log.peek(index) ?? (await this.#log.load(index));
    if (block === undefined) return this.#stop("continues in a block outside the volume", index);
    const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
    const isNext =
      view.getUint32(HEADER.magic) === JOURNAL_MAGIC &&
      view.getUint32(HEADER.sequence) === this.#sequence;
    if (!isNext) return false;
    this.#advance(1);
    switch (view.getUint32(HEADER.blockType)) {
      case BLOCK_TYPE.descriptor:
        return this.#descriptor(index, block);
      case BLOCK_TYPE.revoke:
        return this.#revoke(index, block);
      case BLOCK_TYPE.commit:
        return this.#commit(index, block, view);
      default:
        return false;
    }
  }

  async #descriptor(index: number, block: Uint8Array): Promise<boolean> {
    const { checksums, seed } = this.#superblock;
    if (checksums >= 2 && !hasSoundTail(seed, block)) {
      this.#transaction.doubt("has a descriptor block whose checksum does not match", index);
    }
    if (checksums === 1) this.#transaction.crc = crc32MsbFirst(this.#transaction.crc, block);
    this.#tags.read(block);
    const first = this.#at;
    this.#advance(this.#tags.count);
    if (checksums === 0) this.#takeUnread(first);
    else await this.#takeChecked(first);
    return true;
  }

  /** Without checksums there is no need to read the copies now. */
  #takeUnread(first: number): void {
    let copy = first;
    for (let i = 0; i < this.#tags.count; i++) {
      if (this.#log.physicalOf(copy) === undefined) this.#transaction.copyDamaged(copy);
      else this.#take(i, copy);
      copy = this.#after(copy);
    }
  }

  async #takeChecked(first: number): Promise<void> {
    const { checksums } = this.#superblock;
    let copy = first;
    for (let i = 0; i < this.#tags.count; i++) {
      const bytes = this.#log.peek(copy) ?? (await this.#log.load(copy));
      if (bytes !== undefined && checksums === 1) {
        this.#transaction.crc = crc32MsbFirst(this.#transaction.crc, bytes);
      }
      if (bytes !== undefined && this.#isSoundCopy(i, bytes)) this.#take(i, copy);
      else this.#transaction.copyDamaged(copy);
      copy = this.#after(copy);
    }
  }

  #isSoundCopy(tag: number, bytes: Uint8Array): boolean {
    const { checksums, seed } = this.#superblock;
    if (checksums < 2) return true;
    const computed = checksumOfCopy(seed, this.#sequence, bytes);
    return this.#tags.checksums[tag] === (checksums === 3 ? computed : computed & 0xffff);
  }

  #take(tag: number, copy: number): void {
    const block = this.#tags.blocks[tag] ?? 0;
    if (block >= this.#log.deviceBlocks) {
      this.#transaction.blockOutside(block);
      return;
    }
    const flags = this.#tags.flags[tag] ?? 0;
    this.#transaction.addCopy(block, copy, (flags & TAG_FLAG.escaped) !== 0);
  }

  #revoke(index: number, block: Uint8Array): boolean {
    const { checksums, seed } = this.#superblock;
    const usedBytes = usedBytesOfRevoke(block, this.#superblock);
    if (checksums >= 2 && !hasSoundTail(seed, block)) {
      this.#transaction.doubt("has a revoke block whose checksum does not match", index);
    } else if (typeof usedBytes !== "number") {
      this.#transaction.condemn(`has a revoke block that ${usedBytes.fault}`, index);
    }
    this.#transaction.addRevokeBlock(index);
    return true;
  }

  async #commit(index: number, block: Uint8Array, view: DataView): Promise<boolean> {
    const seconds = view.getBigUint64(COMMIT.seconds);
    const fault = this.#transaction.fault;
    if (fault !== undefined) {
      const mayBeStale = fault.mayBeStale && seconds < this.#lastCommitSeconds;
      return mayBeStale ? false : this.#stop(fault.what, fault.index);
    }
    if (!this.#isSoundCommit(block, view)) {
      if (seconds < this.#lastCommitSeconds) return false;
      return this.#stop("has a commit block whose checksum does not match", index);
    }
    this.#lastCommitSeconds = seconds;
    await this.#conclude();
    return true;
  }

  #isSoundCommit(block: Uint8Array, view: DataView): boolean {
    const { checksums, seed } = this.#superblock;
    if (checksums === 0) return true;
    if (checksums >= 2) return hasSoundCommit(seed, block);
    const found = view.getUint32(COMMIT.checksum);
    const type = view.getUint8(COMMIT.checksumType);
    const size = view.getUint8(COMMIT.checksumSize);
    const isAbsent = found === 0 && type === 0 && size === 0;
    const isCrc32 = type === CHECKSUM_TYPE_CRC32 && size === CRC32_BYTES;
    return isAbsent || (isCrc32 && found === this.#transaction.crc);
  }

  /** The transaction is whole: what it set aside counts. */
  async #conclude(): Promise<void> {
    this.#transaction.applyTo(this.#copies);
    for (const index of this.#transaction.revokeBlocks()) {
      const block = this.#log.peek(index) ?? (await this.#log.load(index));
      if (block === undefined) continue;
      this.#revokes += eachRevoked(block, this.#superblock, (each) => {
        this.#copies.revoke(each);
      });
      if (this.#revokes > REVOKES_MAX) throw this.#tooLarge(`${REVOKES_MAX} revoke records`);
    }
    for (const notice of this.#transaction.notices(this.#sequence)) this.#note(notice);
    this.#transaction.clear();
    this.#transactions++;
    this.#sequence = (this.#sequence + 1) >>> 0;
  }

  #note(notice: string): void {
    if (this.#notices.length < NOTICES_MAX) this.#notices.push(notice);
    else this.#noticesLeftOut++;
  }

  get #ringBlocks(): number {
    return this.#superblock.endBlock - this.#superblock.firstBlock;
  }

  #after(index: number): number {
    return index + 1 < this.#superblock.endBlock ? index + 1 : this.#superblock.firstBlock;
  }

  #advance(count: number): void {
    this.#visited += count;
    if (this.#visited > LIVE_BLOCKS_MAX) throw this.#tooLarge(`${LIVE_BLOCKS_MAX} blocks in use`);
    const { firstBlock } = this.#superblock;
    this.#at = firstBlock + ((this.#at - firstBlock + count) % this.#ringBlocks);
  }

  #tooLarge(limit: string): ReelError {
    return new ReelError(
      "unsupported",
      `cannot replay ${this.#name}: its log has more than ${limit}, from block ${this.#superblock.startBlock} on`,
    );
  }

  /** Notes why the log is not followed further. */
  #stop(what: string, index: number): false {
    // With asynchronous commits a commit block may reach the disk before what it stands for.
    const cause = this.#superblock.asyncCommit ? "unfinished or damaged" : "damaged";
    this.#note(
      `the journal is ${cause}: transaction ${this.#sequence} ${what} (journal block ${index}); ` +
        `it and what follows are not shown`,
    );
    return false;
  }
}
