/**
 * XPRESS with Huffman codes ("LZ77+Huffman"), as in files that Windows has compressed, WIM images
 * and hibernation files. One piece of up to 64 KiB has one code:
 *
 *   256 bytes   lengths of the codes of 512 symbols, four bits each, the low half first
 *   bits        symbols, most significant bit first, in little-endian words of 16 bits
 *
 * Symbols below 256 are literal bytes. The others are matches: four bits say how many bits the
 * distance has besides its leading one, and four bits the length less 3; a length of 15 goes on in
 * a byte, and one of 255 there in two bytes. Those bytes stand behind the words that the decoder
 * has fetched by then, which is why words must be fetched exactly as here.
 *
 * Source: [MS-XCA] "Xpress Compression Algorithm", 2.1 and 2.2.
 */
import { HuffmanTable, NO_SYMBOL } from "./huffman-table.ts";
import { copyMatch, damagedData, faultOfMatch } from "./match-copy.ts";
import { WordBits } from "./word-bits.ts";

const SYMBOLS = 512;
const LENGTHS_BYTES = SYMBOLS / 2;
const LITERALS = 256;
const MATCH_BYTES_MIN = 3;
/** From here on the length goes on in a byte, and in two when that is full. */
const LENGTH_LONG = 0xf;
const LENGTH_BYTE_FULL = 0xff;
const ROOT_BITS = 10;
const PIECE_BYTES_MAX = 0x10000;
const KIND = "XPRESS";

// Decoding is one synchronous call: all calls can share these.
const bits = new WordBits();
const lengths = new Uint8Array(SYMBOLS);
const table = new HuffmanTable(SYMBOLS, ROOT_BITS);

/**
 * Fills `target`, which has the size of the uncompressed piece (at most 64 KiB), from all of
 * `compressed`. Throws "damaged".
 */
export function decompressXpressHuffman(compressed: Uint8Array, target: Uint8Array): void {
  if (target.length > PIECE_BYTES_MAX) {
    throw damagedData(KIND, `a piece of ${target.length} bytes; ${PIECE_BYTES_MAX} are the most`);
  }
  if (compressed.length < LENGTHS_BYTES) {
    throw damagedData(KIND, `${compressed.length} bytes, too few for its code`);
  }
  for (let i = 0; i < LENGTHS_BYTES; i++) {
    const byte = compressed[i] ?? 0;
    lengths[2 * i] = byte & 0xf;
    lengths[2 * i + 1] = byte >>> 4;
  }
  if (!table.build(lengths)) throw damagedData(KIND, "a code that is none");
  bits.start(compressed, LENGTHS_BYTES);
  let at = 0;
  while (at < target.length) {
    const symbol = table.decode(bits);
    if (symbol < LITERALS) {
      if (symbol === NO_SYMBOL) throw damagedData(KIND, `bits that are no code, for byte ${at}`);
      target[at++] = symbol;
    } else {
      at += readMatch(symbol - LITERALS, target, at);
    }
  }
  if (bits.isOverrun) throw damagedData(KIND, "an end before its last byte");
}

/** Copies the match that a symbol stands for; returns its length. */
function readMatch(symbol: number, target: Uint8Array, at: number): number {
  const offsetBits = symbol >>> 4;
  bits.refill();
  const offset = (1 << offsetBits) | bits.read(offsetBits);
  let length = symbol & LENGTH_LONG;
  if (length === LENGTH_LONG) {
    const more = bits.readByte();
    length = more === LENGTH_BYTE_FULL ? bits.readByteWord() : length + more;
  }
  length += MATCH_BYTES_MIN;
  const fault = faultOfMatch(target, at, offset, length);
  if (fault !== undefined) throw damagedData(KIND, fault);
  copyMatch(target, at, offset, length);
  return length;
}
