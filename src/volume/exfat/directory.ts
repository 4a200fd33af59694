/**
 * exFAT directories: a sequence of 32-byte entries, ended by an entry of type 0. Sets of entries
 * may cross from one cluster into the next, so directories are scanned as a stream: a scanner
 * takes them piece by piece and hands out what it finds, whole.
 *
 * Source of the layout: Microsoft, "exFAT file system specification", 1.00, sections 6 and 7.
 */
import { hex } from "./boot-region.ts";
import {
  BENIGN,
  ENTRY_BYTES,
  ENTRY_TYPE,
  FILE,
  FLAG,
  IN_USE,
  parseFileSet,
  SECONDARY,
  sizeOf,
} from "./entry-set.ts";
import type { Allocation, FileEntry } from "./entry-set.ts";

/** Offsets in the entries of the root directory that describe the volume, and in benign ones. */
const BITMAP = { flags: 1, firstCluster: 20, sizeBytes: 24 } as const;
const UP_CASE = { checksum: 4, firstCluster: 20, sizeBytes: 24 } as const;
const LABEL = { unitCount: 1, units: 2 } as const;
const BENIGN_PRIMARY = { secondaryCount: 1, flags: 4, firstCluster: 20, sizeBytes: 24 } as const;
const GUID = { guid: 6, bytes: 16 } as const;

/** The specification has 11 units; some systems fill the entry to its end. */
const LABEL_UNITS_MAX = 15;
const SECOND_BITMAP = 1;

/** What a directory holds; `id` is the offset of the first entry on the device. */
export type DirectoryItem =
  | { readonly kind: "file" | "deleted"; readonly id: number; readonly entry: FileEntry }
  | { readonly kind: "label"; readonly text: string }
  | { readonly kind: "guid"; readonly text: string }
  | { readonly kind: "bitmap"; readonly index: number; readonly allocation: Allocation }
  | { readonly kind: "upCase"; readonly checksum: number; readonly allocation: Allocation }
  /** A kind that is not known, and need not be, with clusters of its own. */
  | { readonly kind: "benign"; readonly allocation: Allocation }
  | { readonly kind: "broken"; readonly message: string };

export class DirectoryScanner {
  readonly #sink: (item: DirectoryItem) => void;
  readonly #wantsDeleted: boolean;
  /** The set that is being collected, and how much of it is there: 0 when there is none. */
  #set = new Uint8Array(0);
  #setBytes = 0;
  #setId = 0;
  #isSetDeleted = false;
  /** Secondary entries of a benign entry, to be passed over. */
  #passOver = 0;
  #isAmongStray = false;
  /** True once the end mark was met. */
  hasEnded = false;

  constructor(sink: (item: DirectoryItem) => void, options: { wantsDeleted?: boolean } = {}) {
    this.#sink = sink;
    this.#wantsDeleted = options.wantsDeleted ?? false;
  }

  /** Takes the next piece of the directory: whole entries, lying at `deviceOffset`. */
  scan(piece: Uint8Array, deviceOffset: number): void {
    const view = new DataView(piece.buffer, piece.byteOffset, piece.byteLength);
    for (let at = 0; at + ENTRY_BYTES <= piece.length && !this.hasEnded; at += ENTRY_BYTES) {
      const type = view.getUint8(at);
      if (this.#setBytes > 0 && this.#continueSet(piece, at, type)) continue;
      if (type === ENTRY_TYPE.end) this.hasEnded = true;
      else if ((type & IN_USE) === 0) this.#startDeleted(view, at, type, deviceOffset);
      else if ((type & SECONDARY) === 0) this.#takePrimary(view, at, type, deviceOffset);
      else this.#takeStray(type, deviceOffset + at);
    }
  }

  /** To be called when the directory ends without an end mark. */
  finish(): void {
    if (this.#setBytes > 0) this.#giveUpSet("the directory ends in it");
  }

  /** Adds an entry to the set under way; false when it does not belong to it. */
  #continueSet(piece: Uint8Array, at: number, type: number): boolean {
    const live = this.#isSetDeleted ? type | IN_USE : type;
    const belongs = (live & (IN_USE | SECONDARY)) === (IN_USE | SECONDARY);
    if (!belongs || (this.#isSetDeleted && live === type)) {
      const has = this.#setBytes / ENTRY_BYTES;
      this.#giveUpSet(`it has ${has} of ${this.#set.length / ENTRY_BYTES} entries`);
      return false;
    }
    this.#append(piece, at, live);
    if (this.#setBytes === this.#set.length) this.#finishSet();
    return true;
  }

  #startSet(view: DataView, at: number, id: number, isDeleted: boolean): void {
    this.#setId = id;
    this.#isSetDeleted = isDeleted;
    this.#setBytes = 0;
    this.#set = new Uint8Array((view.getUint8(at + FILE.secondaryCount) + 1) * ENTRY_BYTES);
    const piece = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    this.#append(piece, at, ENTRY_TYPE.file);
    if (this.#setBytes === this.#set.length) this.#giveUpSet("it has but one entry");
  }

  #append(piece: Uint8Array, at: number, type: number): void {
    this.#set.set(piece.subarray(at, at + ENTRY_BYTES), this.#setBytes);
    this.#set[this.#setBytes] = type;
    this.#setBytes += ENTRY_BYTES;
  }

  #finishSet(): void {
    const entry = parseFileSet(this.#set);
    if (typeof entry === "string") {
      this.#giveUpSet(entry);
      return;
    }
    this.#setBytes = 0;
    const isSound = entry.fault === undefined;
    if (!this.#isSetDeleted) this.#sink({ kind: "file", id: this.#setId, entry });
    else if (isSound) this.#sink({ kind: "deleted", id: this.#setId, entry });
  }

  #giveUpSet(why: string): void {
    this.#setBytes = 0;
    if (this.#isSetDeleted) return;
    this.#break(`entry set at byte ${this.#setId} left out: ${why}`);
    // What follows is known to be loose: one problem is enough.
    this.#isAmongStray = true;
  }

  #startDeleted(view: DataView, at: number, type: number, deviceOffset: number): void {
    this.#isAmongStray = false;
    if (!this.#wantsDeleted || (type | IN_USE) !== ENTRY_TYPE.file) return;
    this.#startSet(view, at, deviceOffset + at, true);
  }

  #takePrimary(view: DataView, at: number, type: number, deviceOffset: number): void {
    this.#passOver = 0;
    this.#isAmongStray = false;
    switch (type) {
      case ENTRY_TYPE.file:
        this.#startSet(view, at, deviceOffset + at, false);
        return;
      case ENTRY_TYPE.bitmap: {
        const index = view.getUint8(at + BITMAP.flags) & SECOND_BITMAP;
        const allocation = chainOf(view, at + BITMAP.firstCluster, at + BITMAP.sizeBytes);
        this.#sink({ kind: "bitmap", index, allocation });
        return;
      }
      case ENTRY_TYPE.upCase: {
        const checksum = view.getUint32(at + UP_CASE.checksum, true);
        const allocation = chainOf(view, at + UP_CASE.firstCluster, at + UP_CASE.sizeBytes);
        this.#sink({ kind: "upCase", checksum, allocation });
        return;
      }
      case ENTRY_TYPE.label:
        this.#sink({ kind: "label", text: labelOf(view, at) });
        return;
      default:
        if ((type & BENIGN) !== 0) this.#takeBenign(view, at, type);
        else this.#break(`entry at byte ${deviceOffset + at} has unknown type ${hex(type, 2)}`);
    }
  }

  #takeBenign(view: DataView, at: number, type: number): void {
    this.#passOver = view.getUint8(at + BENIGN_PRIMARY.secondaryCount);
    if (type === ENTRY_TYPE.volumeGuid) {
      this.#sink({ kind: "guid", text: guidOf(view, at + GUID.guid) });
      return;
    }
    const flags = view.getUint16(at + BENIGN_PRIMARY.flags, true);
    if ((flags & FLAG.allocationPossible) === 0) return;
    const { firstCluster, sizeBytes } = chainOf(
      view,
      at + BENIGN_PRIMARY.firstCluster,
      at + BENIGN_PRIMARY.sizeBytes,
    );
    const isContiguous = (flags & FLAG.noFatChain) !== 0;
    this.#sink({ kind: "benign", allocation: { firstCluster, sizeBytes, isContiguous } });
  }

  #takeStray(type: number, deviceOffset: number): void {
    if (this.#passOver > 0) {
      this.#passOver--;
      return;
    }
    if (this.#isAmongStray) return;
    this.#isAmongStray = true;
    this.#break(`entry at byte ${deviceOffset} of type ${hex(type, 2)} belongs to no entry set`);
  }

  #break(message: string): void {
    this.#sink({ kind: "broken", message });
  }
}

/** The bitmap and the up-case table are always in the FAT. A size that cannot be is shown as 2^53. */
function chainOf(view: DataView, clusterAt: number, sizeAt: number): Allocation {
  return {
    firstCluster: view.getUint32(clusterAt, true),
    sizeBytes: sizeOf(view, sizeAt) ?? Number.MAX_SAFE_INTEGER,
    isContiguous: false,
  };
}

function labelOf(view: DataView, at: number): string {
  const units = Math.min(view.getUint8(at + LABEL.unitCount), LABEL_UNITS_MAX);
  const text = Buffer.from(view.buffer, view.byteOffset + at + LABEL.units, units * 2);
  return text.toString("utf16le").replace(/\0.*$/s, "");
}

/** Three little-endian numbers, then eight bytes: "01234567-89ab-cdef-0123-456789abcdef". */
function guidOf(view: DataView, at: number): string {
  const tail = Buffer.from(view.buffer, view.byteOffset + at + 8, GUID.bytes - 8).toString("hex");
  const head = [
    view.getUint32(at, true).toString(16).padStart(8, "0"),
    view
      .getUint16(at + 4, true)
      .toString(16)
      .padStart(4, "0"),
    view
      .getUint16(at + 6, true)
      .toString(16)
      .padStart(4, "0"),
  ];
  return [...head, tail.slice(0, 4), tail.slice(4)].join("-");
}
