/** What descriptor blocks and revoke blocks say, in every layout that JBD2 has had. */
import { HEADER_BYTES, REVOKE, TAG, TAG_FLAG, TAIL_BYTES, UUID_BYTES } from "./layout.ts";
import type { JournalSuperblock } from "./superblock.ts";

type Layout = Pick<JournalSuperblock, "bits64" | "checksums">;

const TAG_BYTES_V3 = 16;
const TAG_BYTES_64 = 12;
const TAG_BYTES_32 = 8;
const TAG_BYTES_MORE_V2 = 2;

/** The tags of one descriptor block; reused for the next, so that reading makes no objects. */
export class TagList {
  readonly blocks: Float64Array;
  readonly flags: Uint8Array;
  /** v2: the low 16 bits; 0 without checksums. */
  readonly checksums: Uint32Array;
  count = 0;
  readonly #layout: Layout;
  readonly #tagBytes: number;

  constructor(layout: Layout, blockSizeBytes: number) {
    this.#layout = layout;
    this.#tagBytes = tagBytesOf(layout);
    const countMax = Math.floor(blockSizeBytes / this.#tagBytes);
    this.blocks = new Float64Array(countMax);
    this.flags = new Uint8Array(countMax);
    this.checksums = new Uint32Array(countMax);
  }

  /** Takes the tags of a descriptor block up to the one marked as the last, or as many as fit. */
  read(block: Uint8Array): void {
    const view = viewOf(block);
    const end = block.length - tailBytesOf(this.#layout);
    this.count = 0;
    let at = HEADER_BYTES;
    while (at + this.#tagBytes <= end) {
      const flags = view.getUint16(at + TAG.flags);
      this.#add(view, at, flags);
      at += this.#tagBytes;
      if ((flags & TAG_FLAG.sameUuid) === 0) at += UUID_BYTES;
      if ((flags & TAG_FLAG.last) !== 0) break;
    }
  }

  #add(view: DataView, at: number, flags: number): void {
    const high = this.#layout.bits64 ? view.getUint32(at + TAG.blockHigh) : 0;
    // Numbers above 2^53 lose their low bits and stay outside any volume.
    this.blocks[this.count] = high * 2 ** 32 + view.getUint32(at + TAG.block);
    this.flags[this.count] = flags & 0xff;
    this.checksums[this.count] = this.#checksumAt(view, at);
    this.count++;
  }

  #checksumAt(view: DataView, at: number): number {
    const { checksums } = this.#layout;
    if (checksums === 3) return view.getUint32(at + TAG.checksum32);
    return checksums === 2 ? view.getUint16(at + TAG.checksum16) : 0;
  }
}

/** Bytes of a revoke block that are in use, header included, or what is wrong with that number. */
export function usedBytesOfRevoke(block: Uint8Array, layout: Layout): number | { fault: string } {
  const usedBytes = viewOf(block).getUint32(REVOKE.usedBytes);
  if (usedBytes <= block.length - tailBytesOf(layout)) return usedBytes;
  return { fault: `claims ${usedBytes} bytes of records in a block of ${block.length} bytes` };
}

/** Calls `revoke` for each record of a sound revoke block; returns how many there were. */
export function eachRevoked(
  block: Uint8Array,
  layout: Layout,
  revoke: (block: number) => void,
): number {
  const usedBytes = usedBytesOfRevoke(block, layout);
  if (typeof usedBytes !== "number") return 0;
  const view = viewOf(block);
  const recordBytes = layout.bits64 ? 8 : 4;
  let count = 0;
  for (let at = REVOKE.records; at + recordBytes <= usedBytes; at += recordBytes) {
    const first = view.getUint32(at);
    revoke(layout.bits64 ? first * 2 ** 32 + view.getUint32(at + 4) : first);
    count++;
  }
  return count;
}

function tagBytesOf({ bits64, checksums }: Layout): number {
  if (checksums === 3) return TAG_BYTES_V3;
  const base = bits64 ? TAG_BYTES_64 : TAG_BYTES_32;
  return checksums === 2 ? base + TAG_BYTES_MORE_V2 : base;
}

function tailBytesOf({ checksums }: Layout): number {
  return checksums >= 2 ? TAIL_BYTES : 0;
}

function viewOf(block: Uint8Array): DataView {
  return new DataView(block.buffer, block.byteOffset, block.byteLength);
}
