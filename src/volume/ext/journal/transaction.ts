/** What one transaction of the log says, set aside until its commit block is found. */
import type { CopyTable } from "./copy-table.ts";

const CRC_START = 0xffffffff;
const COLUMN_MIN = 1024;

export interface TransactionFault {
  readonly what: string;
  /** Block of the journal. */
  readonly index: number;
  /** It may be a left-over of an earlier round of the log rather than damage. */
  readonly mayBeStale: boolean;
}

export class Transaction {
  /** Running checksum v1. */
  crc = CRC_START;
  #blocks = new Float64Array(COLUMN_MIN);
  /** Twice the journal block of the copy, plus 1 when it is escaped. */
  #copies = new Uint32Array(COLUMN_MIN);
  #count = 0;
  #revokeBlocks = new Uint32Array(COLUMN_MIN);
  #revokeCount = 0;
  #fault: TransactionFault | undefined;
  #damagedCopies = 0;
  #firstDamagedCopy = 0;
  #blocksOutside = 0;
  #firstBlockOutside = 0;

  get isEmpty(): boolean {
    return this.#count === 0 && this.#revokeCount === 0 && this.#fault === undefined;
  }

  /** The first thing found wrong with it. */
  get fault(): TransactionFault | undefined {
    return this.#fault;
  }

  addCopy(block: number, copyIndex: number, isEscaped: boolean): void {
    if (this.#count === this.#blocks.length) {
      const blocks = new Float64Array(this.#count * 2);
      blocks.set(this.#blocks);
      this.#blocks = blocks;
      this.#copies = grown(this.#copies);
    }
    this.#blocks[this.#count] = block;
    this.#copies[this.#count] = copyIndex * 2 + (isEscaped ? 1 : 0);
    this.#count++;
  }

  addRevokeBlock(index: number): void {
    if (this.#revokeCount === this.#revokeBlocks.length) {
      this.#revokeBlocks = grown(this.#revokeBlocks);
    }
    this.#revokeBlocks[this.#revokeCount++] = index;
  }

  /** Blocks of the journal that hold its revoke records. */
  revokeBlocks(): Uint32Array {
    return this.#revokeBlocks.subarray(0, this.#revokeCount);
  }

  /** Something that is damage, or the left-over of an earlier round of the log. */
  doubt(what: string, index: number): void {
    this.#fault ??= { what, index, mayBeStale: true };
  }

  condemn(what: string, index: number): void {
    this.#fault ??= { what, index, mayBeStale: false };
  }

  /** A copy that is not what its checksum says: the kernel leaves it out and goes on. */
  copyDamaged(index: number): void {
    if (this.#damagedCopies++ === 0) this.#firstDamagedCopy = index;
  }

  blockOutside(block: number): void {
    if (this.#blocksOutside++ === 0) this.#firstBlockOutside = block;
  }

  applyTo(copies: CopyTable): void {
    for (let i = 0; i < this.#count; i++) {
      const copy = this.#copies[i] ?? 0;
      copies.set(this.#blocks[i] ?? 0, copy >>> 1, (copy & 1) === 1);
    }
  }

  notices(sequence: number): string[] {
    const notices: string[] = [];
    if (this.#damagedCopies > 0) {
      notices.push(
        `the journal is damaged: transaction ${sequence} has ${count(this.#damagedCopies, "damaged copy", "damaged copies")} ` +
          `(first: journal block ${this.#firstDamagedCopy}); older contents are shown in their place`,
      );
    }
    if (this.#blocksOutside > 0) {
      notices.push(
        `the journal is damaged: transaction ${sequence} names ${count(this.#blocksOutside, "block", "blocks")} ` +
          `outside the volume (first: block ${this.#firstBlockOutside})`,
      );
    }
    return notices;
  }

  clear(): void {
    this.crc = CRC_START;
    this.#count = 0;
    this.#revokeCount = 0;
    this.#fault = undefined;
    this.#damagedCopies = 0;
    this.#blocksOutside = 0;
  }
}

function grown(column: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(column.length * 2);
  larger.set(column);
  return larger;
}

function count(number: number, one: string, many: string): string {
  return `${number} ${number === 1 ? one : many}`;
}
