/**
 * Unpacks one bzip2 stream that is in memory, to at most a given size. Layout as bzip2 1.0 writes
 * it: the stream's head, blocks, and an end with a checksum over the blocks'. A block is packed four
 * times over; unpacking goes back through
 *
 * - Huffman codes: up to six tables, a selector says which is used for every 50 symbols;
 * - runs of zeros (their length in base 2 of two digits of their own) and move-to-front;
 * - the Burrows-Wheeler transform: a chain through the sorted block that starts at `origin`;
 * - runs of four bytes and more (four of them, then how many follow).
 *
 * The work is a generator that stops every few thousand symbols, so that whoever drives it can let
 * the event loop turn. Every number is held against its limit before it is used; the loops end
 * because the block, the input and the output are bounded.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { BitReader } from "./bit-reader.ts";

const HEAD = 0x42_5a_68; // "BZh"
const LEVEL_UNIT_BYTES = 100_000;
const BLOCK_MAGIC = [0x31_41_59, 0x26_53_59] as const;
const END_MAGIC = [0x17_72_45, 0x38_50_90] as const;
const SYMBOLS_MAX = 258;
const TABLES_MIN = 2;
const TABLES_MAX = 6;
const CODE_BITS_MAX = 20;
const GROUP_SYMBOLS = 50;
/** A run of so many equal bytes is followed by how many more there are. */
const RUN_BYTES_MIN = 4;
/** Groups, and bytes of output, after which the event loop gets its turn. */
const GROUPS_PER_TURN = 400;
const BYTES_PER_TURN = 64 * 1024;
const FIRST_ROOM = 64 * 1024;

/**
 * Unpacks the stream. Throws a RangeError with a short reason ("it is cut short") where it is
 * damaged, and where it holds more than `outputBytesMax`.
 */
export async function unpackBzip2(data: Uint8Array, outputBytesMax: number): Promise<Uint8Array> {
  const output = new Output(outputBytesMax);
  const work = unpack(new BitReader(data), output);
  while (work.next().done !== true) await nextTurn();
  return output.bytes();
}

function* unpack(input: BitReader, output: Output): Generator<undefined, void> {
  if (input.bits(24) !== HEAD) throw new RangeError("it is no bzip2 stream");
  const level = input.bits(8) - 0x30;
  if (level < 1 || level > 9) throw new RangeError("it is no bzip2 stream");
  let streamCrc = 0;
  for (;;) {
    const magic = [input.bits(24), input.bits(24)];
    const crc = input.word();
    if (magic[0] === END_MAGIC[0] && magic[1] === END_MAGIC[1]) {
      if (crc !== streamCrc) throw new RangeError("its checksum is wrong");
      return;
    }
    if (magic[0] !== BLOCK_MAGIC[0] || magic[1] !== BLOCK_MAGIC[1]) {
      throw new RangeError("its blocks do not follow one another");
    }
    const block = yield* readBlock(input, level * LEVEL_UNIT_BYTES);
    const blockCrc = yield* output.appendBlock(block);
    if (blockCrc !== crc) throw new RangeError("the checksum of a block is wrong");
    streamCrc = (((streamCrc << 1) | (streamCrc >>> 31)) ^ crc) >>> 0;
  }
}

/** A block before the last two steps: its bytes in the order of the transform. */
interface SortedBlock {
  /** The low eight bits of each entry are a byte; the rest is room for the chain. */
  readonly entries: Uint32Array;
  readonly origin: number;
}

function* readBlock(input: BitReader, blockBytesMax: number): Generator<undefined, SortedBlock> {
  if (input.flag()) throw new RangeError("its blocks are randomised, as before bzip2 0.9.5");
  const origin = input.bits(24);
  const alphabet = readAlphabet(input);
  const symbols = alphabet.length + 2;
  const tableCount = input.bits(3);
  if (tableCount < TABLES_MIN || tableCount > TABLES_MAX)
    throw new RangeError("its tables are bad");
  const selectors = readSelectors(input, tableCount);
  const tables = Array.from({ length: tableCount }, () => new HuffmanTable(input, symbols));
  const entries = yield* readSymbols(input, { alphabet, selectors, tables, blockBytesMax });
  if (origin >= entries.length) throw new RangeError("a block begins outside of itself");
  return { entries, origin };
}

/** The bytes that occur in a block: a map of 16 ranges, and one of each range in use. */
function readAlphabet(input: BitReader): Uint8Array {
  const ranges = input.bits(16);
  const bytes = new Uint8Array(256);
  let count = 0;
  for (let range = 0; range < 16; range++) {
    if ((ranges & (0x8000 >>> range)) === 0) continue;
    const used = input.bits(16);
    for (let each = 0; each < 16; each++) {
      if ((used & (0x8000 >>> each)) !== 0) bytes[count++] = range * 16 + each;
    }
  }
  if (count === 0) throw new RangeError("a block has no bytes");
  return bytes.subarray(0, count);
}

/** Which table each group of symbols uses; written as moves to the front, in unary. */
function readSelectors(input: BitReader, tableCount: number): Uint8Array {
  const selectors = new Uint8Array(input.bits(15));
  const order = Uint8Array.from({ length: tableCount }, (_, table) => table);
  for (let each = 0; each < selectors.length; each++) {
    let place = 0;
    while (input.flag()) {
      place += 1;
      if (place >= tableCount) throw new RangeError("it names a table that is not there");
    }
    selectors[each] = moveToFront(order, place);
  }
  return selectors;
}

function moveToFront(order: Uint8Array, place: number): number {
  const value = order[place] ?? 0;
  order.copyWithin(1, 0, place);
  order[0] = value;
  return value;
}

/** Canonical codes: those of one length are numbers in a row, shorter ones come first. */
class HuffmanTable {
  /** Of each length: the first code past it, and what leads from a code to its symbol. */
  readonly #limits = new Int32Array(CODE_BITS_MAX + 1).fill(-1);
  readonly #bases = new Int32Array(CODE_BITS_MAX + 1);
  readonly #symbols = new Uint16Array(SYMBOLS_MAX);
  #bitsMin = CODE_BITS_MAX;

  constructor(input: BitReader, symbols: number) {
    const lengths = readCodeLengths(input, symbols);
    let code = 0;
    let count = 0;
    for (let bits = 1; bits <= CODE_BITS_MAX; bits++) {
      code <<= 1;
      this.#bases[bits] = count - code;
      for (let symbol = 0; symbol < symbols; symbol++) {
        if (lengths[symbol] !== bits) continue;
        this.#symbols[count++] = symbol;
        code += 1;
        this.#bitsMin = Math.min(this.#bitsMin, bits);
      }
      this.#limits[bits] = code;
    }
  }

  decode(input: BitReader): number {
    let bits = this.#bitsMin;
    let code = input.bits(bits);
    while (code >= (this.#limits[bits] ?? 0)) {
      bits += 1;
      if (bits > CODE_BITS_MAX) throw new RangeError("it has a code that means nothing");
      code = (code << 1) | input.bits(1);
    }
    return this.#symbols[code + (this.#bases[bits] ?? 0)] ?? 0;
  }
}

/** Code lengths, each as steps from the one before. */
function readCodeLengths(input: BitReader, symbols: number): Uint8Array {
  const lengths = new Uint8Array(symbols);
  let length = input.bits(5);
  for (let symbol = 0; symbol < symbols; symbol++) {
    for (;;) {
      if (length < 1 || length > CODE_BITS_MAX) throw new RangeError("its tables are bad");
      if (!input.flag()) break;
      length += input.flag() ? -1 : 1;
    }
    lengths[symbol] = length;
  }
  return lengths;
}

interface SymbolCoding {
  readonly alphabet: Uint8Array;
  readonly selectors: Uint8Array;
  readonly tables: readonly HuffmanTable[];
  readonly blockBytesMax: number;
}

function* readSymbols(input: BitReader, coding: SymbolCoding): Generator<undefined, Uint32Array> {
  const order = Uint8Array.from(coding.alphabet);
  const endSymbol = order.length + 1;
  const block = new GrowingBlock(coding.blockBytesMax);
  let run = 0;
  let runDigit = 1;
  for (const [group, selector] of coding.selectors.entries()) {
    const table = coding.tables[selector];
    if (table === undefined) break;
    if (group % GROUPS_PER_TURN === GROUPS_PER_TURN - 1) yield;
    for (let left = GROUP_SYMBOLS; left > 0; left--) {
      const symbol = table.decode(input);
      if (symbol <= 1) {
        // Digits 1 and 2, the lowest first.
        run += runDigit << symbol;
        runDigit <<= 1;
        if (run > coding.blockBytesMax) throw new RangeError("a block is too long");
        continue;
      }
      if (run > 0) {
        block.append(order[0] ?? 0, run);
        run = 0;
        runDigit = 1;
      }
      if (symbol === endSymbol) return block.entries();
      block.append(moveToFront(order, symbol - 1), 1);
    }
  }
  throw new RangeError("a block has no end");
}

/** The bytes of a block as they come; small blocks take little room whatever the stream promises. */
class GrowingBlock {
  readonly #lengthMax: number;
  #entries = new Uint32Array(FIRST_ROOM);
  #length = 0;

  constructor(lengthMax: number) {
    this.#lengthMax = lengthMax;
  }

  append(byte: number, count: number): void {
    const end = this.#length + count;
    if (end > this.#lengthMax) throw new RangeError("a block is too long");
    if (end > this.#entries.length) {
      const grown = new Uint32Array(Math.max(end, this.#entries.length * 2));
      grown.set(this.#entries.subarray(0, this.#length));
      this.#entries = grown;
    }
    if (count === 1) this.#entries[this.#length] = byte;
    else this.#entries.fill(byte, this.#length, end);
    this.#length = end;
  }

  entries(): Uint32Array {
    return this.#entries.subarray(0, this.#length);
  }
}

/** Writes into the entries where each byte's successor is, above the byte itself. */
function linkChain({ entries }: SortedBlock): void {
  const starts = new Uint32Array(257);
  for (const byte of entries) starts[byte + 1] = (starts[byte + 1] ?? 0) + 1;
  for (let byte = 1; byte < 257; byte++) {
    starts[byte] = (starts[byte] ?? 0) + (starts[byte - 1] ?? 0);
  }
  for (let at = 0; at < entries.length; at++) {
    const byte = (entries[at] ?? 0) & 0xff;
    const place = starts[byte] ?? 0;
    starts[byte] = place + 1;
    entries[place] = ((entries[place] ?? 0) | (at << 8)) >>> 0;
  }
}

class Output {
  readonly #bytesMax: number;
  #bytes: Uint8Array;
  #length = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
    this.#bytes = new Uint8Array(Math.min(bytesMax, FIRST_ROOM));
  }

  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Unpacks the last two steps of a block; returns the checksum of what came of it. */
  *appendBlock(block: SortedBlock): Generator<undefined, number> {
    linkChain(block);
    yield;
    const { entries, origin } = block;
    let entry = entries[(entries[origin] ?? 0) >>> 8] ?? 0;
    let crc = 0xffff_ffff;
    let previous = -1;
    let run = 0;
    for (let left = entries.length; left > 0; left--) {
      const byte = entry & 0xff;
      entry = entries[entry >>> 8] ?? 0;
      const isCount = run === RUN_BYTES_MIN;
      const count = isCount ? byte : 1;
      if (!isCount) {
        run = byte === previous ? run + 1 : 1;
        previous = byte;
      } else run = 0;
      crc = this.#append(previous, count, crc);
      if (isCount) previous = -1;
      if (left % BYTES_PER_TURN === 0) yield;
    }
    return ~crc >>> 0;
  }

  #append(byte: number, count: number, crc: number): number {
    const end = this.#length + count;
    if (end > this.#bytes.length) this.#grow(end);
    let sum = crc;
    for (let at = this.#length; at < end; at++) {
      this.#bytes[at] = byte;
      sum = (sum << 8) ^ (CRC_TABLE[(sum >>> 24) ^ byte] ?? 0);
    }
    this.#length = end;
    return sum;
  }

  #grow(neededBytes: number): void {
    if (neededBytes > this.#bytesMax) {
      throw new RangeError(`it unpacks to more than ${this.#bytesMax} bytes`);
    }
    const roomBytes = Math.min(this.#bytesMax, Math.max(neededBytes, this.#bytes.length * 2));
    const grown = new Uint8Array(roomBytes);
    grown.set(this.bytes());
    this.#bytes = grown;
  }
}

const CRC_POLYNOMIAL = 0x04c1_1db7;
const CRC_TABLE = Int32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 24;
  for (let bit = 0; bit < 8; bit++) crc = (crc << 1) ^ (crc < 0 ? CRC_POLYNOMIAL : 0);
  return crc;
});
