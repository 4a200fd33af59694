/** What no compressor here writes: examples of the specification, stored blocks, broken codes. */
import { expect } from "chai";
import { ReelError } from "../../../../src/errors.ts";
import { decompressLzx } from "../../../../src/volume/ntfs/wof/lzx.ts";
import { decompressXpressHuffman } from "../../../../src/volume/ntfs/wof/xpress-huffman.ts";

type Decoder = (compressed: Uint8Array, target: Uint8Array) => void;

function decode(decoder: Decoder, compressed: Uint8Array, length: number): string {
  const target = Buffer.alloc(length);
  decoder(compressed, target);
  return target.toString("latin1");
}

function expectDamaged(
  decoder: Decoder,
  compressed: Uint8Array,
  length: number,
  what: RegExp,
): void {
  let error: unknown;
  try {
    decoder(compressed, new Uint8Array(length));
  } catch (caught) {
    error = caught;
  }
  expect(error).to.be.instanceOf(ReelError);
  expect((error as ReelError).code).to.equal("damaged");
  expect((error as ReelError).message).to.match(what);
}

/** Code lengths that were all 0 before, in a code of 5 bits for each of the 20 symbols. */
function addLengths(bits: Bits, lengths: Uint8Array): void {
  for (let i = 0; i < 20; i++) bits.add(5, 4);
  for (const length of lengths) bits.add((17 - length) % 17, 5);
}

/** A row of bits as a compressed stream has it. */
class Bits {
  readonly bytes: number[] = [];
  #word = 0;
  #count = 0;

  add(value: number, count: number): this {
    for (let i = count - 1; i >= 0; i--) {
      this.#word = (this.#word << 1) | ((value >>> i) & 1);
      if (++this.#count === 16) this.flush();
    }
    return this;
  }

  flush(): this {
    if (this.#count === 0) return this;
    this.#word <<= 16 - this.#count;
    this.bytes.push(this.#word & 0xff, this.#word >>> 8);
    this.#word = 0;
    this.#count = 0;
    return this;
  }

  get isAligned(): boolean {
    return this.#count === 0;
  }

  raw(...bytes: number[]): this {
    this.bytes.push(...bytes);
    return this;
  }

  u32(...values: number[]): this {
    for (const value of values) this.bytes.push(...new Uint8Array(Uint32Array.of(value).buffer));
    return this;
  }

  done(): Uint8Array {
    return Uint8Array.from(this.flush().bytes);
  }
}

describe("XPRESS", () => {
  /** Lengths of codes, by symbol. */
  const code = (lengths: Readonly<Record<number, number>>): number[] => {
    const bytes = new Array<number>(256).fill(0);
    for (const [symbol, length] of Object.entries(lengths)) {
      const at = Number(symbol) >>> 1;
      bytes[at] = (bytes[at] ?? 0) | (Number(symbol) % 2 === 0 ? length : length << 4);
    }
    return bytes;
  };
  const A = 0x61;

  it("decodes the examples of its specification", () => {
    // [MS-XCA] 3.2: the alphabet, then 300 bytes of "abc".
    const alphabet = code(
      Object.fromEntries([
        ...Array.from({ length: 26 }, (_, i): [number, number] => [A + i, i < 22 ? 5 : 4]),
        [256, 4],
      ]),
    );
    const letters = [
      0xd8, 0x52, 0x3e, 0xd7, 0x94, 0x11, 0x5b, 0xe9, 0x19, 0x5f, 0xf9, 0xd6, 0x7c, 0xdf, 0x8d,
      0x04, 0x00, 0x00, 0x00, 0x00,
    ];
    expect(
      decode(decompressXpressHuffman, Uint8Array.from([...alphabet, ...letters]), 26),
    ).to.equal("abcdefghijklmnopqrstuvwxyz");
    const abc = code({ [A]: 3, [A + 1]: 3, [A + 2]: 2, [256]: 2, [256 + 0x1f]: 2 });
    const repeated = [0xa8, 0xdc, 0x00, 0x00, 0xff, 0x26, 0x01];
    expect(decode(decompressXpressHuffman, Uint8Array.from([...abc, ...repeated]), 300)).to.equal(
      "abc".repeat(100),
    );
  });

  it("says what is wrong with its data", () => {
    const wrong = (bytes: Uint8Array, length: number, what: RegExp): void => {
      expectDamaged(decompressXpressHuffman, bytes, length, what);
    };
    wrong(new Uint8Array(255), 10, /255 bytes, too few for its code/);
    wrong(new Uint8Array(300), 70_000, /piece of 70000 bytes/);
    wrong(new Uint8Array(300).fill(0x11), 10, /a code that is none/);
    wrong(new Uint8Array(300), 10, /bits that are no code, for byte 0/);
    // Three codes of 15 bits leave most bit patterns without a symbol.
    const sparse = code({ [A]: 15, [A + 1]: 15, [A + 2]: 15 });
    const good = new Bits()
      .raw(...sparse)
      .add(1, 15)
      .add(0, 15)
      .add(2, 15)
      .done();
    expect(decode(decompressXpressHuffman, good, 3)).to.equal("bac");
    wrong(
      new Bits()
        .raw(...sparse)
        .add(0x7fff, 15)
        .done(),
      3,
      /bits that are no code, for byte 0/,
    );
    const matches = code({ [A]: 1, [256]: 1 });
    wrong(
      new Bits()
        .raw(...matches)
        .add(1, 1)
        .done(),
      9,
      /match 1 bytes back, from byte 0/,
    );
    wrong(
      new Bits()
        .raw(...matches)
        .add(1, 2)
        .done(),
      3,
      /match of 3 bytes, and 2 are to come/,
    );
    wrong(
      new Bits()
        .raw(...matches)
        .add(0, 16)
        .done(),
      17,
      /an end before its last byte/,
    );
    const long = code({ [A]: 1, [256 + 15]: 1 });
    wrong(
      new Bits()
        .raw(...long)
        .add(1, 2)
        .done(),
      300,
      /an end before its last byte|match of/,
    );
  });

  it("reads lengths of two bytes, and codes longer than its table", () => {
    const lengths: Record<number, number> = { [256 + 15]: 13 };
    for (let i = 0; i < 12; i++) lengths[A + i] = i + 1;
    lengths[A + 12] = 13;
    const bits = new Bits().raw(...code(lengths));
    bits.add(0xffe, 12); // l
    bits.add(0x1ffe, 13); // m
    bits.add(0x1fff, 13).flush(); // the match: one byte back
    // The decoder has 10 bits left and fetches a word before it looks at the bytes.
    bits.add(0, 16).raw(0xff, 500 & 0xff, 500 >>> 8);
    expect(decode(decompressXpressHuffman, bits.done(), 505)).to.equal(`l${"m".repeat(504)}`);
  });
});

describe("LZX", () => {
  const stored = (kind: number, length: number): Bits =>
    new Bits().add(kind, 3).add(0, 1).add(length, 16);

  it("takes uncompressed blocks as they are, of odd size too", () => {
    const bits = stored(3, 3).flush().u32(1, 2, 3).raw(0x61, 0x62, 0x63, 0);
    bits.add(3, 3).add(0, 1).add(2, 16).flush().u32(5, 5, 5).raw(0x64, 0x65);
    expect(decode(decompressLzx, bits.done(), 5)).to.equal("abcde");
    const unpadded = stored(3, 3).flush().u32(1, 2, 3).raw(0x61, 0x62, 0x63);
    expect(decode(decompressLzx, unpadded.done(), 3)).to.equal("abc");
  });

  it("drops a whole word before an uncompressed block where one has just ended", () => {
    const bits = new Bits().add(1, 3).add(0, 1).add(11, 16);
    const main = new Uint8Array(496);
    main[0x61] = 1;
    main[0x62] = 1;
    addLengths(bits, main.subarray(0, 256));
    addLengths(bits, main.subarray(256));
    addLengths(bits, new Uint8Array(249));
    bits.add(0b01100101101, 11);
    // 20 bits more are a multiple of 16 in all.
    bits.add(3, 3).add(0, 1).add(2, 16);
    expect(bits.isAligned).to.be.true;
    bits.add(0xffff, 16).u32(1, 1, 1).raw(0x63, 0x64);
    expect(decode(decompressLzx, bits.done(), 13)).to.equal("abbaababbabcd");
  });

  it("says what is wrong with its data", () => {
    const wrong = (bits: Bits, length: number, what: RegExp): void => {
      expectDamaged(decompressLzx, bits.done(), length, what);
    };
    wrong(new Bits(), 10, /block of 0 bytes at byte 0 of 10/);
    wrong(new Bits(), 40_000, /chunk of 40000 bytes/);
    wrong(stored(3, 11), 10, /block of 11 bytes at byte 0 of 10/);
    wrong(stored(4, 10), 10, /block of unknown kind 4 at byte 0/);
    wrong(stored(3, 10).flush().u32(1, 0, 1).u32(0, 0, 0), 10, /distance of 0/);
    wrong(stored(3, 10).flush().u32(1, 1, 1).raw(1, 2), 10, /cut short/);
    wrong(stored(1, 10), 10, /bits that are no code/);
    wrong(stored(1, 10).add(0x11111111, 32).add(0x11111111, 32), 10, /a code that is none/);
    // Two codes for lengths: "20 to 51 zeros" (0) and "as before" (1). Runs end at the alphabet's end.
    const pre = new Bits().add(1, 3).add(0, 1).add(10, 16);
    for (let i = 0; i < 20; i++) pre.add(i === 18 || i === 19 ? 1 : 0, 4);
    for (let i = 0; i < 6; i++) pre.add(0, 1).add(31, 5);
    wrong(pre, 10, /run of code lengths that is too long/);
    const nested = new Bits().add(1, 3).add(0, 1).add(10, 16);
    for (let i = 0; i < 20; i++) nested.add(i === 18 || i === 19 ? 1 : 0, 4);
    wrong(nested.add(1, 1).add(0, 1).add(0, 1), 10, /run within a run/);
  });
});
