import { expect } from "chai";
import { open, mkdir, readFile, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { SparseFiles } from "../../../src/tape/sparse-file.ts";
import { SPARSE_PARTS_MAX } from "../../../src/tape/sparse-map.ts";
import { openTape } from "../../../src/tape/open-tape.ts";
import { openTapeFile, type TapeFileReader } from "../../../src/tape/tape-file-stream.ts";
import { indexTar, type TarEntry } from "../../../src/tape/tar-index.ts";
import { ReelError } from "../../../src/errors.ts";
import { expectReelError } from "../../support/expect-error.ts";
import { randomBytes, withRandom } from "../../support/random.ts";
import type { SeededRandom } from "../../support/seeded-random.ts";
import { skipUnless } from "../../support/skip.ts";
import { makeTempFolder } from "../../support/temp.ts";
import { hasTool, pipe } from "./tapes.ts";
import { BLOCK, END, file, header, onTape, padded, paxHeader, seal } from "./tar-blocks.ts";

type Part = readonly [startBytes: number, lengthBytes: number];

/** A member of an archive, as it is read. */
class Member {
  readonly #files: SparseFiles;
  readonly entry: TarEntry;

  constructor(reader: TapeFileReader, entry: TarEntry) {
    this.#files = new SparseFiles(reader);
    this.entry = entry;
  }

  async read(offsetBytes: number, lengthBytes: number): Promise<Buffer> {
    // What stood in the target must not be taken for data.
    const target = Buffer.alloc(lengthBytes, 0xaa);
    return target.subarray(0, await this.#files.read(this.entry, offsetBytes, target));
  }

  async all(): Promise<Buffer> {
    return this.read(0, this.entry.sizeBytes + 1);
  }
}

async function memberOf(name: string, ...blocks: Uint8Array[]): Promise<Member> {
  const reader = await onTape(Buffer.concat(blocks));
  const index = await indexTar(reader);
  const entry = index.find(name)?.entry;
  if (entry === undefined) throw new Error(`${name} is not listed`);
  return new Member(reader, entry);
}

function octal(value: number): string {
  return `${value.toString(8).padStart(11, "0")}\0`;
}

/** The formats, each with how a member of it is made; the data of all parts is `data`. */
const FORMATS: Readonly<
  Record<string, (parts: readonly Part[], sizeBytes: number, data: string) => Buffer>
> = {
  gnu: (parts, sizeBytes, data) => {
    const head = header("s", "S", data.length);
    head.write("ustar  \0", 257);
    head.write(octal(sizeBytes), 483);
    const blocks = [head];
    let rest = parts;
    for (let [at, room] = [386, 4]; ; [at, room] = [0, 21]) {
      const block = blocks.at(-1) ?? head;
      for (const [index, [start, length]] of rest.slice(0, room).entries()) {
        block.write(octal(start) + octal(length), at + 24 * index, "latin1");
      }
      rest = rest.slice(room);
      if (rest.length === 0) break;
      block[block === head ? 482 : 504] = 1;
      blocks.push(Buffer.alloc(BLOCK));
    }
    seal(head);
    return Buffer.concat([...blocks, padded(data)]);
  },
  "pax 0.0": (parts, sizeBytes, data) =>
    Buffer.concat([
      paxHeader([
        ["GNU.sparse.size", String(sizeBytes)],
        ["GNU.sparse.numblocks", String(parts.length)],
        ...parts.flatMap(([start, length]) => [
          ["GNU.sparse.offset", String(start)] as const,
          ["GNU.sparse.numbytes", String(length)] as const,
        ]),
      ]),
      file("s", data),
    ]),
  "pax 0.1": (parts, sizeBytes, data) =>
    Buffer.concat([
      paxHeader([
        ["GNU.sparse.size", String(sizeBytes)],
        ["GNU.sparse.numblocks", String(parts.length)],
        ["GNU.sparse.name", "s"],
        ["GNU.sparse.map", parts.flat().join(",")],
      ]),
      file("GNUSparseFile.1/s", data),
    ]),
  "pax 1.0": (parts, sizeBytes, data) => {
    const map = padded([parts.length, ...parts.flat(), ""].join("\n")).toString("latin1");
    return Buffer.concat([pax1(sizeBytes), file("GNUSparseFile.1/s", map + data)]);
  },
};

function pax1(sizeBytes: number): Buffer {
  return paxHeader([
    ["GNU.sparse.major", "1"],
    ["GNU.sparse.minor", "0"],
    ["GNU.sparse.name", "s"],
    ["GNU.sparse.realsize", String(sizeBytes)],
  ]);
}

/** What a file of these parts reads as. */
function expected(parts: readonly Part[], sizeBytes: number, data: string): Buffer {
  const bytes = Buffer.alloc(sizeBytes);
  let at = 0;
  for (const [start, length] of parts) {
    bytes.write(data.slice(at, at + length), start, "latin1");
    at += length;
  }
  return bytes;
}

/** Parts that rise, of some or no bytes, next to one another or apart. */
function randomParts(random: SeededRandom, count: number): { parts: Part[]; sizeBytes: number } {
  const parts: Part[] = [];
  let at = 0;
  for (let part = 0; part < count; part++) {
    const start = at + random.below(3) * random.below(700);
    const length = random.below(4) * random.below(400);
    parts.push([start, length]);
    at = start + length;
  }
  return { parts, sizeBytes: at + random.below(2) * random.below(2000) };
}

describe("files with holes in a tar on tape", () => {
  let folder: string;
  let remove: () => Promise<void>;

  beforeEach(async () => ({ folder, remove } = await makeTempFolder()));
  afterEach(() => remove());

  /** Files with holes everywhere that holes can be. */
  async function makeTree(): Promise<string> {
    const tree = join(folder, "tree");
    await mkdir(join(tree, "n".repeat(120)), { recursive: true });
    const make = async (name: string, sizeBytes: number, ...places: number[]): Promise<void> => {
      await using handle = await open(join(tree, name), "w");
      for (const at of places) await handle.write(`data at ${at}`, at);
      await handle.truncate(sizeBytes);
    };
    await make("nothing but a hole", 3_000_000);
    await make("hole in front", 1_000_011, 1_000_000);
    await make("hole behind", 1_000_000, 0);
    await make(`${"n".repeat(120)}/one`, 200_000, 100_000);
    const many = Array.from({ length: 300 }, (_, each) => each * 16_384 + 4096);
    await make("many", 300 * 16_384, ...many);
    await make("more than nine digits", 40_000_000_000, 39_000_000_000);
    return tree;
  }

  for (const [format, flags] of [
    ["gnu", []],
    ["oldgnu", []],
    ["posix", ["--sparse-version=0.0"]],
    ["posix", ["--sparse-version=0.1"]],
    ["posix", ["--sparse-version=1.0"]],
  ] as const) {
    it(`are what GNU tar stored (${format} ${flags.join("")})`, async function () {
      this.timeout(20_000);
      skipUnless(this, hasTool("tar"), "tar is not installed");
      const tree = await makeTree();
      const archive = join(folder, "a.tar");
      pipe("tar", ["-S", `--format=${format}`, ...flags, "-cf", archive, "-C", tree, "."]);
      await using drive = await openTape(archive, { container: "plain", blockBytes: 10_240 });
      const reader = await openTapeFile(drive, 0);
      const index = await indexTar(reader);
      expect(index.problems).to.deep.equal([]);
      let compared = 0;
      for (const name of await readdir(tree, { recursive: true })) {
        const path = join(tree, name);
        const facts = await stat(path);
        const entry = index.find(name)?.entry;
        if (entry?.kind !== "file") continue;
        const member = new Member(reader, entry);
        expect(entry.sizeBytes, name).to.equal(facts.size);
        expect(entry.sparse, name).to.not.equal(undefined);
        if (facts.size < 10_000_000) {
          expect(Buffer.compare(await member.all(), await readFile(path)), name).to.equal(0);
        } else {
          const part = await member.read(39_000_000_000, 21);
          expect(part.toString().replaceAll("\0", "")).to.equal("data at 39000000000");
          expect(await member.read(1_000_000_000, 1000)).to.deep.equal(Buffer.alloc(1000));
        }
        compared += 1;
      }
      expect(compared).to.equal(6);
    });
  }

  it("are what bsdtar stored", async function () {
    skipUnless(this, hasTool("bsdtar"), "bsdtar, of libarchive-tools, is not installed");
    const tree = await makeTree();
    const archive = join(folder, "a.tar");
    pipe("bsdtar", ["--format=pax", "-cf", archive, "-C", tree, "many", "hole in front"]);
    const reader = await onTape(await readFile(archive));
    const index = await indexTar(reader);
    for (const name of ["many", "hole in front"]) {
      const entry = index.find(name)?.entry;
      expect(entry?.sparse?.format, name).to.equal("pax-1.0");
      const bytes = entry === undefined ? Buffer.alloc(0) : await new Member(reader, entry).all();
      expect(Buffer.compare(bytes, await readFile(join(tree, name))), name).to.equal(0);
    }
  });

  for (const [format, make] of Object.entries(FORMATS)) {
    it(`read from anywhere as they are (${format})`, async function () {
      this.timeout(10_000);
      await withRandom(async (random) => {
        for (const count of [0, 1, 4, 5, 26, 200]) {
          const { parts, sizeBytes } = randomParts(random, count);
          const packedBytes = parts.reduce((sum, [, length]) => sum + length, 0);
          const hex = Buffer.from(randomBytes(random, packedBytes)).toString("hex");
          const data = hex.slice(0, packedBytes);
          const member = await memberOf("s", make(parts, sizeBytes, data), END);
          const whole = expected(parts, sizeBytes, data);
          expect(member.entry.sizeBytes).to.equal(sizeBytes);
          expect(Buffer.compare(await member.all(), whole), `${count} parts`).to.equal(0);
          for (let round = 0; round < 40; round++) {
            const from = random.below(sizeBytes + 10);
            const length = random.below(round % 2 === 0 ? 50 : 3000);
            const part = await member.read(from, length);
            const wanted = whole.subarray(from, from + length);
            expect(Buffer.compare(part, wanted), `${from} + ${length}`).to.equal(0);
          }
        }
      });
    });

    const hostile: readonly (readonly [string, readonly Part[], RegExp])[] = [
      ["overlap", [[0, 4], [3, 4]], /part 2 begins at byte 3, before the end/], // prettier-ignore
      ["go down", [[50, 4], [10, 4]], /part 2 begins at byte 10, before the end/], // prettier-ignore
      ["lie beyond the end", [[95, 8]], /part 1 lies beyond the 100 bytes of the file/],
      ["have fewer bytes than are stored", [[0, 4]], /have 4 bytes, and 8 are stored/],
      ["have more bytes than are stored", [[0, 40]], /have 40 bytes, and 8 are stored/],
      ["begin beyond all measure", [[2 ** 33 - 1, 8]], /beyond the 100 bytes/],
    ];
    for (const [what, parts, message] of hostile) {
      it(`whose parts ${what} are an error for them alone (${format})`, async () => {
        const blocks = [
          file("a", "before"),
          make(parts, 100, "abcdefgh"),
          file("z", "behind"),
          END,
        ];
        const reader = await onTape(Buffer.concat(blocks));
        const index = await indexTar(reader);
        expect(Array.from(index.children(""), ({ name }) => name)).to.deep.equal(["a", "s", "z"]);
        const entry = index.find("s")?.entry;
        if (entry === undefined) throw new Error("s is not listed");
        expect(entry.sizeBytes).to.equal(100);
        const failure = await expectReelError(new Member(reader, entry).all(), "damaged");
        expect(failure.message).to.match(message).and.contain("cannot read s, ");
      });
    }

    it(`that are cut off give what is there, and else an error (${format})`, async () => {
      const whole = make([[0, 512], [9000, 600]], 10_000, "x".repeat(1112)); // prettier-ignore
      const cut = whole.subarray(0, whole.length - 1024);
      const member = await memberOf("s", cut);
      expect(member.entry.isWhole).to.equal(false);
      expect((await member.read(0, 600)).toString("latin1")).to.equal(
        "x".repeat(512) + "\0".repeat(88),
      );
      await expectReelError(member.read(8900, 500), "damaged");
    });
  }

  describe("of an archive that means harm", () => {
    const refuses = async (message: RegExp, ...blocks: Uint8Array[]): Promise<void> => {
      const member = await memberOf("s", ...blocks, file("z", "behind"), END);
      const failure = await expectReelError(member.all(), "damaged");
      expect(failure.message).to.match(message);
    };

    it("are refused where their maps are no maps", async () => {
      const data = (map: string): Buffer[] => [pax1(100), file("x", map)];
      await refuses(/is cut off/, ...data(""));
      await refuses(/is cut off/, ...data("2\n0\n4\n"));
      await refuses(/is cut off/, ...data("2"));
      await refuses(/not made of numbers/, ...data("1\n-4\n4\n"));
      await refuses(/number in it is missing/, ...data("1\n\n4\n"));
      await refuses(/number in it is too large/, ...data(`1\n${"9".repeat(17)}\n4\n`));
      await refuses(/number in it is too large/, ...data("0".repeat(100_000)));
      await refuses(/is cut off/, ...data(`${2 ** 50}\n`));
      const list = (map: string): Buffer[] => [
        paxHeader([["GNU.sparse.size", "100"], ["GNU.sparse.map", map]]), // prettier-ignore
        file("s", "abcd"),
      ];
      await refuses(/number in it is missing/, ...list("0,4,"));
      await refuses(/is cut off/, ...list("0,4,9"));
      await refuses(/not made of numbers/, ...list("0,4;9,9"));
      const records = (...keys: string[]): Buffer[] => [
        paxHeader([
          ["GNU.sparse.size", "100"],
          ...keys.map((key) => [`GNU.sparse.${key}`, "4"] as const),
        ]),
        file("s", "abcd"),
      ];
      await refuses(/a part has no beginning/, ...records("offset", "numbytes", "numbytes"));
      await refuses(/is cut off/, ...records("offset", "numbytes", "offset"));
    });

    it("are refused where nothing says how large they are, or of which version", async () => {
      const unsized = paxHeader([["GNU.sparse.map", "0,4"]]);
      await refuses(/could not be read/, unsized, file("s", "abcd"));
      const later = paxHeader([
        ["GNU.sparse.major", "2"],
        ["GNU.sparse.realsize", "100"],
      ]);
      await refuses(/could not be read/, later, file("s", "abcd"));
    });

    it("are refused where the header with their map is too large or damaged", async function () {
      this.timeout(20_000);
      const large = 17 * 1024 * 1024;
      const map = Buffer.alloc(large, "1,");
      await refuses(/could not be read/, header("pax", "x", large), map, file("s", "abcd"));
      const good = paxHeader([["GNU.sparse.size", "100"], ["GNU.sparse.map", "0,4"]]); // prettier-ignore
      good.write("x", BLOCK + good.subarray(BLOCK).indexOf("\n"));
      await refuses(/could not be read/, good, file("s", "abcd"));
    });

    it("are refused where they have more parts than one may", async function () {
      this.timeout(20_000);
      const lines = `${SPARSE_PARTS_MAX + 1}\n${"0\n0\n".repeat(SPARSE_PARTS_MAX + 1)}`;
      await refuses(/more than 1000000 parts/, pax1(100), file("x", padded(lines).toString()));
    });

    it("do not make one header speak of all files", async () => {
      const pax = paxHeader([["GNU.sparse.map", "0,4"], ["GNU.sparse.name", "s"]]); // prettier-ignore
      pax.write("g", 156);
      seal(pax.subarray(0, BLOCK));
      const reader = await onTape(Buffer.concat([pax, file("a", "1"), file("b", "2"), END]));
      const index = await indexTar(reader);
      expect(Array.from(index.children(""), ({ name }) => name)).to.deep.equal(["a", "b"]);
      expect(index.find("a")?.entry?.sparse).to.equal(undefined);
    });

    it("with random damage, read as files of their size or are refused", async function () {
      this.timeout(15_000);
      await withRandom(async (random) => {
        const parts: Part[] = Array.from({ length: 30 }, (_, part) => [part * 1000, 20]);
        const until = Date.now() + 1000;
        const makers = Object.values(FORMATS);
        for (let round = 0; round < 400 && Date.now() < until; round++) {
          const make = makers[round % makers.length];
          const bad = Buffer.from(make?.(parts, 40_000, "d".repeat(600)) ?? "");
          for (let changes = 1 + random.below(3); changes > 0; changes--) {
            const block = random.below(bad.length / BLOCK) * BLOCK;
            bad.set(randomBytes(random, 1 + random.below(4)), block + random.below(500));
            if (random.below(2) === 0) seal(bad.subarray(block, block + BLOCK));
          }
          const reader = await onTape(bad, 700);
          try {
            const index = await indexTar(reader);
            for (let each = 0; each < index.count; each++) {
              const entry = index.entry(each);
              if (entry.sparse === undefined) continue;
              const target = new Uint8Array(50_000);
              const length = await new SparseFiles(reader).read(entry, 0, target);
              expect(length).to.equal(Math.min(entry.sizeBytes, target.length));
            }
          } catch (error) {
            expect(error, String(error)).to.be.instanceOf(ReelError);
          }
        }
      });
    });
  });

  it("of very many the maps take no memory until they are read, and then little", async function () {
    this.timeout(20_000);
    const make = FORMATS["gnu"];
    const member = make?.([[100, 4], [200, 4]], 1000, "abcdefgh") ?? END; // prettier-ignore
    const reader = await onTape(Buffer.concat([...Array<Buffer>(200).fill(member), END]));
    const index = await indexTar(reader);
    const files = new SparseFiles(reader);
    expect(files.costBytes).to.equal(0);
    for (let each = 0; each < index.count; each++) {
      const target = Buffer.alloc(8);
      await files.read(index.entry(each), 200, target);
      expect(target.toString("latin1")).to.equal("efgh\0\0\0\0");
    }
    expect(files.costBytes).to.be.within(1, 64 * 2 * 16);
  });
});
