/** Files compressed as by Windows: wimlib compresses, we read. */
import { expect } from "chai";
import { readFile } from "node:fs/promises";
import { isReelError } from "../../../../src/errors.ts";
import { parseWofReparsePoint, WofFile } from "../../../../src/volume/ntfs/wof/wof-file.ts";
import type { WofSource } from "../../../../src/volume/ntfs/wof/wof-file.ts";
import { expectReelError } from "../../../support/expect-error.ts";
import { chance, randomBytes, withRandom } from "../../../support/random.ts";
import type { SeededRandom } from "../../../support/seeded-random.ts";
import { skipUnless } from "../../../support/skip.ts";
import { makeTempFolder } from "../../../support/temp.ts";
import { compressWithWimlib, hasWimlib, NO_WIMLIB } from "./wim-file.ts";

const PROGRAM_BYTES = 300_000;
const ROUNDS = Number(process.env["REELFS_ROUNDS"] ?? 200);

const ALGORITHMS = [
  { algorithm: 0, name: "XPRESS4K", compress: "XPRESS", chunkBytes: 4096 },
  { algorithm: 1, name: "LZX32K", compress: "LZX", chunkBytes: 32768 },
  { algorithm: 1, name: "LZX32K, compressed well", compress: "LZX:100", chunkBytes: 32768 },
  { algorithm: 2, name: "XPRESS8K", compress: "XPRESS", chunkBytes: 8192 },
  { algorithm: 3, name: "XPRESS16K", compress: "XPRESS:80", chunkBytes: 16384 },
] as const;

describe("WOF-compressed files", function () {
  this.timeout(60_000);
  before(function () {
    skipUnless(this, hasWimlib(), NO_WIMLIB);
  });

  for (const { algorithm, name, compress, chunkBytes } of ALGORITHMS) {
    describe(`by ${name}`, () => {
      let contents: readonly Uint8Array[];
      let compressed: readonly (Uint8Array | undefined)[];

      before(async () => {
        contents = await sampleContents(chunkBytes);
        const { folder, remove } = await makeTempFolder();
        try {
          compressed = await compressWithWimlib(folder, contents, { compress, chunkBytes });
        } finally {
          await remove();
        }
      });

      const open = (index: number): { file: WofFile; expected: Uint8Array; stream: Uint8Array } => {
        const stream = compressed[index];
        const expected = contents[index];
        if (stream === undefined || expected === undefined) throw new Error(`no sample ${index}`);
        const file = new WofFile(sourceOf(stream), expected.length, algorithm, "/a.dll");
        return { file, expected, stream };
      };

      it("give back what was compressed", async () => {
        let found = 0;
        for (const [index, expected] of contents.entries()) {
          if (compressed[index] === undefined) continue;
          const target = Buffer.alloc(expected.length + 5, 0xa5);
          expect(await open(index).file.read(0, target)).to.equal(expected.length);
          expect(target.subarray(0, expected.length).equals(expected), `sample ${index}`).to.be
            .true;
          expect(target.subarray(expected.length)).to.deep.equal(Buffer.alloc(5, 0xa5));
          found++;
        }
        expect(found, "samples that were compressed").to.be.at.least(6);
      });

      it("can be read anywhere, in any steps, and by many at once", async () => {
        await withRandom(async (random) => {
          const { file, expected } = open(0);
          const one = async (): Promise<void> => {
            const start = random.below(expected.length + 100);
            const target = Buffer.alloc(random.below(3 * chunkBytes));
            const count = await file.read(start, target);
            const wanted = expected.subarray(start, start + target.length);
            expect(count).to.equal(wanted.length);
            expect(target.subarray(0, count).equals(wanted), `at ${start}`).to.be.true;
          };
          for (let i = 0; i < 40; i++) await Promise.all([one(), one(), one()]);
          expect(await file.read(expected.length, new Uint8Array(1))).to.equal(0);
        });
      });

      it("are not read again for each small step", async () => {
        const { expected, stream } = open(0);
        let reads = 0;
        const source = sourceOf(stream, () => reads++);
        const file = new WofFile(source, expected.length, algorithm, "/a.dll");
        const step = new Uint8Array(512);
        for (let at = 0; at + 512 <= 2 * chunkBytes; at += 512) await file.read(at, step);
        expect(reads).to.be.at.most(4);
        reads = 0;
        await file.read(0, new Uint8Array(expected.length));
        expect(reads).to.be.at.most(6);
      });

      it("never lead to anything but contents or a report of damage", async () => {
        await withRandom(async (random) => {
          const { expected, stream } = open(1);
          for (let round = 0; round < ROUNDS; round++) {
            const bytes = mutate(stream, random);
            try {
              const file = new WofFile(sourceOf(bytes), expected.length, algorithm, "/a.dll");
              const target = new Uint8Array(expected.length);
              expect(await file.read(0, target)).to.equal(expected.length);
            } catch (error) {
              if (!isReelError(error, "damaged")) {
                throw new Error(`round ${round}: ${String(error)}`, { cause: error });
              }
              expect(error.message).to.match(/^cannot read \/a\.dll: its /);
            }
          }
        });
      });
    });
  }
});

describe("A WOF-compressed file", () => {
  it("says which chunk is damaged, and the rest stays readable", async () => {
    const stream = new Uint8Array(4 + 4096 + 300).fill(0xff);
    new DataView(stream.buffer).setUint32(0, 4096, true);
    stream.fill(7, 4, 4100); // chunk 0 is stored as it is
    const file = new WofFile(sourceOf(stream), 8000, 0, "/a.dll");
    const { message } = await expectReelError(file.read(4090, new Uint8Array(10)), "damaged");
    expect(message).to.match(
      /^cannot read \/a\.dll: its chunk 1 \(XPRESS4K\): cannot decode XPRESS/,
    );
    const target = new Uint8Array(4096);
    expect(await file.read(0, target)).to.equal(4096);
    expect(target).to.deep.equal(new Uint8Array(4096).fill(7));
  });

  it("with a chunk table that makes no sense is damaged", async () => {
    const table = (start: number): WofFile => {
      const stream = new Uint8Array(4 + 5000);
      new DataView(stream.buffer).setUint32(0, start, true);
      return new WofFile(sourceOf(stream), 8000, 0, "/a.dll");
    };
    for (const start of [0, 4097, 5000, 0xffffffff]) {
      const { message } = await expectReelError(
        table(start).read(0, new Uint8Array(8000)),
        "damaged",
      );
      expect(message).to.match(/its chunk [01] would lie at bytes/);
    }
    expect(() => new WofFile(sourceOf(new Uint8Array(3)), 8000, 0, "/a.dll")).to.throw(
      "has 3 bytes, and the chunk table alone 4",
    );
    expect(() => new WofFile(sourceOf(new Uint8Array(3)), 2 ** 52, 1, "/a.dll")).to.throw(
      "chunk table",
    );
  });

  it("may be empty, and larger than 4 GiB", async () => {
    const empty = new WofFile(sourceOf(new Uint8Array(0)), 0, 1, "/empty");
    expect(await empty.read(0, new Uint8Array(10))).to.equal(0);
    const sizeBytes = 2 ** 32 + 32768;
    const chunks = Math.ceil(sizeBytes / 32768);
    const tableBytes = (chunks - 1) * 8;
    const stored = new Uint8Array(32768).fill(9);
    const source: WofSource = {
      sizeBytes: tableBytes + sizeBytes, // all chunks stored as they are
      read: async (offsetBytes, target) => {
        if (offsetBytes >= tableBytes) target.set(stored.subarray(0, target.length));
        else {
          const view = new DataView(target.buffer, target.byteOffset, target.length);
          for (let at = 0; at < target.length; at += 8) {
            const chunk = (offsetBytes + at) / 8 + 1;
            view.setBigUint64(at, BigInt(chunk) * 32768n, true);
          }
        }
      },
    };
    const large = new WofFile(source, sizeBytes, 1, "/large");
    const target = new Uint8Array(100);
    expect(await large.read(sizeBytes - 50, target)).to.equal(50);
    expect(target[49]).to.equal(9);
    expect(await large.read(2 ** 31, target)).to.equal(100);
  });

  it("by an algorithm that is not known is refused by name", () => {
    expect(() => new WofFile(sourceOf(new Uint8Array(9)), 9, 4, "/a.dll")).to.throw(
      "cannot read /a.dll: it is compressed by algorithm 4 of WOF",
    );
  });

  it("is known by its reparse point", () => {
    const data = (...fields: number[]): Uint8Array =>
      new Uint8Array(Uint32Array.from(fields).buffer);
    expect(parseWofReparsePoint(data(1, 2, 1, 3))).to.deep.equal({ algorithm: 3 });
    expect(parseWofReparsePoint(data(1, 2, 1, 0, 0))).to.deep.equal({ algorithm: 0 });
    for (const other of [[1, 1, 1, 0], [2, 2, 1, 0], [1, 2, 2, 0], [1, 2, 1, 4], [1, 2, 1], []]) {
      expect(parseWofReparsePoint(data(...other)), String(other)).to.equal(undefined);
    }
  });
});

function sourceOf(bytes: Uint8Array, onRead: () => void = () => undefined): WofSource {
  return {
    sizeBytes: bytes.length,
    read: async (offsetBytes, target) => {
      onRead();
      expect(offsetBytes + target.length).to.be.at.most(bytes.length);
      target.set(bytes.subarray(offsetBytes, offsetBytes + target.length));
    },
  };
}

/** A program, text, runs, noise between, and sizes about the edges of a chunk. */
async function sampleContents(chunkBytes: number): Promise<Uint8Array[]> {
  const program = (await readFile(process.execPath)).subarray(
    4096 * 2000,
    4096 * 2000 + PROGRAM_BYTES,
  );
  const text = await readFile(new URL("../../../../package-lock.json", import.meta.url));
  const calls = new Uint8Array(2 * chunkBytes + 13);
  for (let at = 0; at + 5 <= calls.length; at += 7)
    calls.set([0xe8, at & 0xff, at >>> 8, 0, 0], at);
  const samples: Uint8Array[] = [
    Buffer.concat([
      text.subarray(0, 100_000),
      program.subarray(0, 100_000),
      Buffer.alloc(70_000, 7),
    ]),
    Buffer.concat([text.subarray(0, chunkBytes), program.subarray(0, chunkBytes + 77)]),
    program,
    calls,
    new Uint8Array(3 * chunkBytes),
  ];
  for (const length of [chunkBytes - 1, chunkBytes, chunkBytes + 1, 300, 11, 1]) {
    samples.push(text.subarray(1000, 1000 + length));
  }
  await withRandom((random) => {
    const noise = randomBytes(random, 2 * chunkBytes);
    samples.push(
      Buffer.concat([text.subarray(0, chunkBytes), noise, text.subarray(0, 2 * chunkBytes)]),
    );
  });
  return samples;
}

function mutate(stream: Uint8Array, random: SeededRandom): Uint8Array {
  const bytes = stream.slice(0, chance(random, 10) ? random.below(stream.length) : undefined);
  for (let i = random.below(5); i >= 0; i--) {
    const at = random.below(chance(random, 40) ? Math.min(300, bytes.length) : bytes.length);
    if (at < bytes.length) bytes[at] = random.pick([0, 0xff, random.below(256)]);
  }
  return bytes;
}
