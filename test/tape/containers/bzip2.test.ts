import { expect } from "chai";
import { unpackBzip2 } from "../../../src/tape/containers/bzip2.ts";
import { chance, randomBytes, withRandom } from "../../support/random.ts";
import { skipUnless } from "../../support/skip.ts";
import { hasTool, pipe } from "./tapes.ts";

const BYTES_MAX = 4_000_000;
function pack(data: Uint8Array, level = 9): Buffer {
  return pipe("bzip2", [`-${level}`, "-c"], data);
}

async function failureOf(data: Uint8Array, bytesMax = BYTES_MAX): Promise<string> {
  try {
    await unpackBzip2(data, bytesMax);
  } catch (error) {
    expect(error).to.be.instanceOf(RangeError);
    return (error as RangeError).message;
  }
  return "";
}

describe("unpacking bzip2", () => {
  const samples: readonly (readonly [string, () => Uint8Array])[] = [
    ["nothing", () => new Uint8Array(0)],
    ["one byte", () => Buffer.from("a")],
    ["runs of 3, 4, 5, 258, 259 and 260 bytes", () => runs([3, 4, 5, 258, 259, 260, 1])],
    ["two runs of one byte, one behind the other", () => runs([4, 4]).fill(65)],
    ["all byte values", () => Uint8Array.from({ length: 4096 }, (_, at) => (at * 7) % 256)],
    ["text that repeats", () => Buffer.from("a tape is a long story. ".repeat(20_000))],
    ["one byte, very often", () => new Uint8Array(3_000_000).fill(7)],
  ];
  for (const [name, make] of samples) {
    it(`gives back ${name}`, async function () {
      skipUnless(this, hasTool("bzip2"), "bzip2 is not installed");
      const data = make();
      for (const level of [1, 9]) {
        const unpacked = await unpackBzip2(pack(data, level), BYTES_MAX);
        expect(Buffer.compare(unpacked, data)).to.equal(0);
      }
    });
  }

  it("gives back random bytes in several blocks", async function () {
    skipUnless(this, hasTool("bzip2"), "bzip2 is not installed");
    await withRandom(async (random) => {
      const data = randomBytes(random, 250_000);
      expect(Buffer.compare(await unpackBzip2(pack(data, 1), BYTES_MAX), data)).to.equal(0);
    });
  });

  it("stops at the limit", async function () {
    skipUnless(this, hasTool("bzip2"), "bzip2 is not installed");
    const packed = pack(new Uint8Array(3_000_000));
    expect(await failureOf(packed, 100_000)).to.equal("it unpacks to more than 100000 bytes");
    expect(await failureOf(packed, 2_999_999)).to.include("more than");
    expect((await unpackBzip2(packed, 3_000_000)).length).to.equal(3_000_000);
  });

  it("says of every cut that it is one", async function () {
    skipUnless(this, hasTool("bzip2"), "bzip2 is not installed");
    const packed = pack(Buffer.from("cut me anywhere, cut me everywhere"));
    for (let length = 0; length < packed.length; length++) {
      expect(await failureOf(packed.subarray(0, length)), `${length} bytes`).to.not.equal("");
    }
  });

  it("never takes a stream with a changed byte for a good one", async function () {
    skipUnless(this, hasTool("bzip2"), "bzip2 is not installed");
    await withRandom(async (random) => {
      const data = Buffer.from("not a byte of this may come out wrong. ".repeat(50));
      const packed = pack(data);
      for (let round = 0; round < 400; round++) {
        const changed = Buffer.from(packed);
        const at = random.below(packed.length);
        if (chance(random, 50)) changed[at] = random.below(256);
        else changed.set(randomBytes(random, Math.min(8, packed.length - at)), at);
        let unpacked: Uint8Array = data;
        try {
          unpacked = await unpackBzip2(changed, BYTES_MAX);
        } catch (error) {
          expect(error, String(error)).to.be.instanceOf(RangeError);
        }
        expect(Buffer.compare(unpacked, data), `round ${round}`).to.equal(0);
      }
    });
  });
});

/** Runs of so many equal bytes each. */
function runs(lengths: readonly number[]): Uint8Array {
  return Buffer.concat(lengths.map((length, each) => Buffer.alloc(length, 65 + each)));
}
