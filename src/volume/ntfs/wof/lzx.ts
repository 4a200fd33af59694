/**
 * LZX as in WIM images and in files that Windows has compressed: each chunk of 32 KiB by itself.
 *
 * A chunk is a row of blocks, read as bits (word-bits.ts). A block says its kind, its uncompressed
 * size, and, unless it is stored as it is, its codes:
 *
 * - the main code: literal bytes, and matches by distance slot (30 of them) and short length (8);
 * - the length code, for lengths of 9 and more;
 * - in "aligned" blocks a code for the low three bits of distances that have at least three.
 *
 * The lengths of a code are given as differences, modulo 17, from those of the block before, in a
 * small code of their own. Slots 0 to 2 stand for the three distances used last.
 *
 * Before compression, x86 calls (byte E8 and a relative address) were made absolute, taking the
 * file for 12,000,000 bytes long: that is undone at the end, always.
 *
 * Sources: "Microsoft LZX Data Compression Format" (CAB SDK); [MS-PATCH] 2 "LZX DELTA", for the
 * common parts; what differs in WIM as the WIM tools agree on: block sizes of 16 bits with a bit
 * for 32 KiB, no bit that announces E8 translation, the fixed file size.
 */
import { HuffmanTable, NO_SYMBOL } from "./huffman-table.ts";
import { copyMatch, damagedData, faultOfMatch } from "./match-copy.ts";
import { WordBits } from "./word-bits.ts";

const CHUNK_BYTES_MAX = 32768;
const BLOCK = { verbatim: 1, aligned: 2, uncompressed: 3 } as const;
const BLOCK_KIND_BITS = 3;
const BLOCK_SIZE_DEFAULT = 32768;

const LITERALS = 256;
/** What a window of 32 KiB needs. */
const OFFSET_SLOTS = 30;
const SHORT_LENGTHS = 8;
const LENGTH_LONG = SHORT_LENGTHS - 1;
const MAIN_SYMBOLS = LITERALS + OFFSET_SLOTS * SHORT_LENGTHS;
const LENGTH_SYMBOLS = 249;
const MATCH_BYTES_MIN = 2;
const RECENT_OFFSETS = 3;

const ALIGNED_SYMBOLS = 8;
const ALIGNED_BITS = 3;
const ALIGNED_LENGTH_BITS = 3;

/** The code of code lengths: 0 to 16 are differences, the rest are runs. */
const PRE_SYMBOLS = 20;
const PRE_LENGTH_BITS = 4;
const RUN = { zerosShort: 17, zerosLong: 18, same: 19 } as const;
const LENGTHS_MODULUS = 17;

const E8 = 0xe8;
const E8_FILE_BYTES = 12_000_000;
/** No call is looked for in the last bytes of a chunk. */
const E8_TAIL_BYTES = 10;
const E8_CALL_BYTES = 5;
const KIND = "LZX";

/** Bits of a distance that follow its slot, and the distance when they are all zero. */
const extraBits = new Uint8Array(OFFSET_SLOTS);
const slotBases = new Uint16Array(OFFSET_SLOTS);
for (let slot = 0, base = 0; slot < OFFSET_SLOTS; slot++) {
  extraBits[slot] = slot < 4 ? 0 : (slot >>> 1) - 1;
  // Slots count from -2: three distances are taken by the recent ones. (Slots 0 to 2 are unused.)
  slotBases[slot] = Math.max(0, base - 2);
  base += 1 << (extraBits[slot] ?? 0);
}

// Decoding is one synchronous call: all calls can share these.
const bits = new WordBits();
const mainLengths = new Uint8Array(MAIN_SYMBOLS);
const lengthLengths = new Uint8Array(LENGTH_SYMBOLS);
const alignedLengths = new Uint8Array(ALIGNED_SYMBOLS);
const preLengths = new Uint8Array(PRE_SYMBOLS);
const mainTable = new HuffmanTable(MAIN_SYMBOLS, 10);
const lengthTable = new HuffmanTable(LENGTH_SYMBOLS, 9);
const alignedTable = new HuffmanTable(ALIGNED_SYMBOLS, 7);
const preTable = new HuffmanTable(PRE_SYMBOLS, 6);
const recent = new Uint32Array(RECENT_OFFSETS);
const recentBytes = new Uint8Array(RECENT_OFFSETS * 4);
const recentView = new DataView(recentBytes.buffer);

/**
 * Fills `target`, which has the size of the uncompressed chunk (at most 32 KiB), from
 * `compressed`. Throws "damaged".
 */
export function decompressLzx(compressed: Uint8Array, target: Uint8Array): void {
  if (target.length > CHUNK_BYTES_MAX) {
    throw damagedData(KIND, `a chunk of ${target.length} bytes; ${CHUNK_BYTES_MAX} are the most`);
  }
  bits.start(compressed, 0);
  mainLengths.fill(0);
  lengthLengths.fill(0);
  recent.fill(1);
  let at = 0;
  while (at < target.length) {
    const kind = bits.read(BLOCK_KIND_BITS);
    const sizeBytes = bits.read(1) === 1 ? BLOCK_SIZE_DEFAULT : bits.read(16);
    if (sizeBytes === 0 || sizeBytes > target.length - at) {
      throw damagedData(KIND, `a block of ${sizeBytes} bytes at byte ${at} of ${target.length}`);
    }
    const end = at + sizeBytes;
    if (kind === BLOCK.uncompressed) copyBlock(target.subarray(at, end));
    else readBlock(kind, target, at, end);
    if (bits.isOverrun) throw damagedData(KIND, `an end before byte ${end}`);
    at = end;
  }
  undoCallTranslation(target);
}

function copyBlock(target: Uint8Array): void {
  bits.align();
  let isWhole = bits.readBytes(recentBytes);
  for (let i = 0; i < RECENT_OFFSETS; i++) recent[i] = recentView.getUint32(4 * i, true);
  if (recent.includes(0)) throw damagedData(KIND, "a distance of 0");
  isWhole = isWhole && bits.readBytes(target);
  if (!isWhole) throw damagedData(KIND, "an uncompressed block that is cut short");
  // The word that the block ends in is filled up; at the end of the data it may be missing.
  if (target.length % 2 === 1) bits.skipByte();
}

function readBlock(kind: number, target: Uint8Array, start: number, end: number): void {
  if (kind !== BLOCK.verbatim && kind !== BLOCK.aligned) {
    throw damagedData(KIND, `a block of unknown kind ${kind} at byte ${start}`);
  }
  const isAligned = kind === BLOCK.aligned;
  if (isAligned) {
    for (let i = 0; i < ALIGNED_SYMBOLS; i++) alignedLengths[i] = bits.read(ALIGNED_LENGTH_BITS);
    build(alignedTable, alignedLengths);
  }
  readLengths(mainLengths, 0, LITERALS);
  readLengths(mainLengths, LITERALS, MAIN_SYMBOLS);
  build(mainTable, mainLengths);
  readLengths(lengthLengths, 0, LENGTH_SYMBOLS);
  build(lengthTable, lengthLengths);
  const block = target.subarray(0, end);
  let at = start;
  while (at < end) {
    const symbol = mainTable.decode(bits);
    if (symbol < LITERALS) {
      if (symbol === NO_SYMBOL) throw noCode(at);
      block[at++] = symbol;
    } else {
      at += readMatch(symbol - LITERALS, isAligned, block, at);
    }
  }
}

/** Copies the match that a symbol stands for; returns its length. */
function readMatch(symbol: number, isAligned: boolean, block: Uint8Array, at: number): number {
  let length = symbol % SHORT_LENGTHS;
  if (length === LENGTH_LONG) length += decode(lengthTable);
  length += MATCH_BYTES_MIN;
  const slot = symbol >>> 3;
  const offset = slot < RECENT_OFFSETS ? useRecent(slot) : readOffset(slot, isAligned);
  const fault = faultOfMatch(block, at, offset, length);
  if (fault !== undefined) throw damagedData(KIND, fault);
  copyMatch(block, at, offset, length);
  return length;
}

/** A distance used before changes places with the one used last. */
function useRecent(slot: number): number {
  const offset = recent[slot] ?? 0;
  recent[slot] = recent[0] ?? 0;
  recent[0] = offset;
  return offset;
}

function readOffset(slot: number, isAligned: boolean): number {
  const count = extraBits[slot] ?? 0;
  let offset = slotBases[slot] ?? 0;
  if (isAligned && count >= ALIGNED_BITS) {
    offset += bits.read(count - ALIGNED_BITS) << ALIGNED_BITS;
    offset += decode(alignedTable);
  } else {
    offset += bits.read(count);
  }
  recent[2] = recent[1] ?? 0;
  recent[1] = recent[0] ?? 0;
  recent[0] = offset;
  return offset;
}

/** Reads the lengths [start, end) of a code, given as differences from what they were. */
function readLengths(lengths: Uint8Array, start: number, end: number): void {
  for (let i = 0; i < PRE_SYMBOLS; i++) preLengths[i] = bits.read(PRE_LENGTH_BITS);
  build(preTable, preLengths);
  let at = start;
  while (at < end) {
    const symbol = decode(preTable);
    const count = runLength(symbol);
    if (count > end - at) throw damagedData(KIND, "a run of code lengths that is too long");
    let length = 0;
    if (symbol < RUN.zerosShort) length = difference(lengths[at] ?? 0, symbol);
    else if (symbol === RUN.same) length = difference(lengths[at] ?? 0, decode(preTable));
    lengths.fill(length, at, at + count);
    at += count;
  }
}

function runLength(symbol: number): number {
  if (symbol === RUN.zerosShort) return 4 + bits.read(4);
  if (symbol === RUN.zerosLong) return 20 + bits.read(5);
  return symbol === RUN.same ? 4 + bits.read(1) : 1;
}

function difference(previous: number, symbol: number): number {
  if (symbol >= RUN.zerosShort) throw damagedData(KIND, "a run within a run of code lengths");
  return (previous - symbol + LENGTHS_MODULUS) % LENGTHS_MODULUS;
}

function build(table: HuffmanTable, lengths: Uint8Array): void {
  if (!table.build(lengths)) throw damagedData(KIND, "a code that is none");
}

function decode(table: HuffmanTable): number {
  const symbol = table.decode(bits);
  if (symbol === NO_SYMBOL) throw damagedData(KIND, "bits that are no code");
  return symbol;
}

function noCode(at: number): Error {
  return damagedData(KIND, `bits that are no code, for byte ${at}`);
}

/** Makes the addresses of calls relative again. */
function undoCallTranslation(chunk: Uint8Array): void {
  const end = chunk.length - E8_TAIL_BYTES;
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  let at = chunk.indexOf(E8);
  while (at >= 0 && at < end) {
    const address = view.getInt32(at + 1, true);
    if (address >= 0) {
      if (address < E8_FILE_BYTES) view.setInt32(at + 1, address - at, true);
    } else if (address >= -at) {
      view.setInt32(at + 1, address + E8_FILE_BYTES, true);
    }
    at = chunk.indexOf(E8, at + E8_CALL_BYTES);
  }
}
