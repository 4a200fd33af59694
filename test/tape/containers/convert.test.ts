import { expect } from "chai";
import { existsSync } from "node:fs";
import { readFile, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { convertTape } from "../../../src/tape/containers/convert.ts";
import { createTapeSink, type SinkFormat } from "../../../src/tape/containers/tape-sink.ts";
import { openTape, recogniseContainer } from "../../../src/tape/open-tape.ts";
import { expectReelError } from "../../support/expect-error.ts";
import { patternBytes } from "../../support/pattern.ts";
import { randomBytes, withRandom } from "../../support/random.ts";
import { skipUnless } from "../../support/skip.ts";
import { makeTempFolder } from "../../support/temp.ts";
import * as tap from "../tap-builder.ts";
import { HERCULES_TAPES, SIMH_TAPES, convertFile, hasTool, objectsOf, run } from "./tapes.ts";

const CONTAINERS = ["simh", "e11", "aws", "het"] as const;

describe("converting tapes", () => {
  let folder: string;
  let remove: () => Promise<void>;

  beforeEach(async () => ({ folder, remove } = await makeTempFolder()));
  afterEach(() => remove());

  const file = (name: string): string => join(folder, name);

  it("keeps every record and filemark from any container to any other", async () => {
    await withRandom(async (random) => {
      const parts = Array.from({ length: 60 }, () => {
        if (random.below(6) === 0) return tap.FILEMARK;
        const length = 1 + random.below(random.below(4) === 0 ? 3000 : 90);
        const data = random.below(2) === 0 ? randomBytes(random, length) : new Uint8Array(length);
        return tap.record(data);
      });
      const original = Buffer.concat(parts);
      await writeFile(file("original.tap"), original);
      for (const first of CONTAINERS) {
        await convertFile(file("original.tap"), file("first"), first);
        for (const second of CONTAINERS) {
          await convertFile(file("first"), file("second"), second, { container: first });
          await convertFile(file("second"), file("back.tap"), "simh", { container: second });
          expect(await readFile(file("back.tap")), `${first}, ${second}`).to.deep.equal(original);
        }
      }
    });
  });

  it("keeps records over 65,535 bytes, packed or not", async () => {
    const original = Buffer.concat([
      tap.good(200_001, 1),
      tap.record(new Uint8Array(300_000)),
      tap.FILEMARK,
      tap.good(65_535, 2),
      tap.good(65_536, 3),
    ]);
    await writeFile(file("long.tap"), original);
    for (const format of ["aws", "het"] as const) {
      await convertFile(file("long.tap"), file("long"), format);
      await using drive = await openTape(file("long"));
      await drive.locate(4);
      const target = new Uint8Array(65_536);
      expect(await drive.read(target)).to.include({ lengthBytes: 65_536 });
      expect(target).to.deep.equal(patternBytes(65_536, 3));
      expect(await drive.read(target.subarray(0, 10), { reverse: true })).to.include({
        lengthBytes: 65_536,
      });
      await convertFile(file("long"), file("back.tap"), "simh");
      expect((await readFile(file("back.tap"))).equals(original), format).to.be.true;
    }
  });

  it("keeps the mark of flawed records where the format has one, and counts them anyway", async () => {
    await writeFile(
      file("flawed.tap"),
      Buffer.concat([tap.good(9, 1), tap.record(patternBytes(5, 2), 8)]),
    );
    for (const format of ["e11", "aws"] as const) {
      const result = await convertFile(file("flawed.tap"), file("out"), format);
      expect(result).to.deep.equal({ records: 2, filemarks: 0, bytes: 14, flawed: 1 });
      await using drive = await openTape(file("out"));
      const objects = await objectsOf(drive);
      expect(objects[1]?.startsWith("!"), format).to.equal(format === "e11");
    }
  });

  it("joins the records of one tape file in a plain file", async () => {
    await writeFile(
      file("two.tap"),
      Buffer.concat([
        tap.good(80, 1),
        tap.FILEMARK,
        tap.good(700, 2),
        tap.good(31, 3),
        tap.FILEMARK,
      ]),
    );
    const plain = await convertFile(file("two.tap"), file("plain.bin"), "plain", { file: 1 });
    expect(plain).to.deep.include({ records: 2, bytes: 731 });
    const joined = Buffer.concat([patternBytes(700, 2), patternBytes(31, 3)]);
    expect(await readFile(file("plain.bin"))).to.deep.equal(joined);
    await convertFile(file("plain.bin"), file("again.tap"), "simh", { blockBytes: 700 });
    await using drive = await openTape(file("again.tap"));
    expect((await objectsOf(drive)).join(" ").length).to.equal(731 * 2 + 1);
    const error = await expectReelError(
      convertFile(file("two.tap"), file("x"), "plain"),
      "invalid",
    );
    expect(error.message).to.include("say which");
    await expectReelError(
      convertFile(file("two.tap"), file("x"), "plain", { file: 7 }),
      "not-found",
    );
    await expectReelError(
      convertFile(file("two.tap"), file("x"), "plain", { file: -1 }),
      "not-found",
    );
    expect(existsSync(file("x"))).to.be.false;
  });

  it("leaves nothing behind when it fails, and never replaces a file unasked", async () => {
    await writeFile(
      file("bad.tap"),
      Buffer.concat([tap.good(80, 1), tap.good(80, 2)]).subarray(0, 120),
    );
    await writeFile(file("kept.aws"), "keep me");
    await expectReelError(createTapeSink(file("kept.aws"), "aws"), "exists");
    await expectReelError(convertFile(file("bad.tap"), file("kept.aws"), "aws"), "damaged");
    expect(await readFile(file("kept.aws"), "utf8")).to.equal("keep me");
    const aborted = AbortSignal.abort();
    await using drive = await openTape(file("bad.tap"), { useIndex: false });
    const sink = await createTapeSink(file("new.aws"), "aws");
    await expectReelError(convertTape(drive, sink, { signal: aborted }), "aborted");
    await expectReelError(createTapeSink(file("no/where.aws"), "aws"), "not-found");
    expect((await readdir(folder)).sort()).to.deep.equal(["bad.tap", "kept.aws"]);
  });

  it("does not replace a file that came into being meanwhile", async () => {
    const sink = await createTapeSink(file("late.aws"), "aws");
    await writeFile(file("late.aws"), "here first");
    await expectReelError(sink.finish(), "exists");
    await sink.abandon();
    expect(await readdir(folder)).to.deep.equal(["late.aws"]);
  });

  describe("is understood by others", () => {
    const SHORT_RECORDS = Buffer.concat([
      ...Array.from({ length: 40 }, (_, salt) => tap.good(1 + salt * 100, salt)),
      tap.FILEMARK,
      tap.record(new Uint8Array(32_760)),
    ]);
    const SHORT_RECORDS_BYTES = SHORT_RECORDS.length;
    const original = Buffer.concat([
      SHORT_RECORDS,
      tap.good(65_535, 1),
      tap.FILEMARK,
      tap.FILEMARK,
    ]);

    beforeEach(() => writeFile(file("ours.tap"), original));

    for (const format of ["aws", "het"] as const) {
      it(`hetmap and tapemap list what we wrote as ${format}`, async function () {
        skipUnless(this, hasTool("hetmap") && hasTool("tapemap"), "hercules is not installed");
        const path = file(`ours.${format}`);
        await convertFile(file("ours.tap"), path, format);
        const map = await run("hetmap", path);
        expect(blocksOf(map, /Blocks +: (\d+)/g)).to.deep.equal(["40", "2", "0", "42"]);
        expect(map)
          .to.match(/Min Blocksize +: 1\n/)
          .and.match(/Max Blocksize +: 65535\n/);
        const listed = await run("tapemap", path);
        expect(blocksOf(listed, /Blocks=(\d+)/g).slice(0, 2)).to.deep.equal(["40", "2"]);
      });

      it(`hetget extracts the bytes of a file that we wrote as ${format}`, async function () {
        skipUnless(this, hasTool("hetget"), "hercules is not installed");
        const path = file(`ours.${format}`);
        await convertFile(file("ours.tap"), path, format);
        await run("hetget", "-n", path, file("out"), "2", "U", "0", "65535");
        const expected = Buffer.concat([new Uint8Array(32_760), patternBytes(65_535, 1)]);
        expect((await readFile(file("out"))).equals(expected)).to.be.true;
      });
    }

    for (const [how, flags] of [
      ["zlib", ["-z"]],
      ["bzip2", ["-b"]],
      ["4,096-byte chunks", ["-s"]],
      ["bzip2 in small chunks", ["-b", "-c", "4096"]],
    ] as const) {
      it(`what hetupd packed again (${how}) is what it was`, async function () {
        skipUnless(this, hasTool("hetupd"), "hercules is not installed");
        // Its bzip2 fails on long records that do not get smaller.
        const taken = how.startsWith("bzip2")
          ? original.subarray(0, SHORT_RECORDS_BYTES)
          : original;
        await writeFile(file("ours.tap"), taken);
        await convertFile(file("ours.tap"), file("ours.aws"), "aws");
        await run("hetupd", ...flags, file("ours.aws"), file("theirs.het"));
        await convertFile(file("theirs.het"), file("back.tap"), "simh");
        expect((await readFile(file("back.tap"))).equals(taken)).to.be.true;
      });
    }

    it("mtdump lists what we wrote as E11", async function () {
      skipUnless(this, hasTool("mtdump"), "mtdump, of the Debian package simh, is not installed");
      await convertFile(file("ours.tap"), file("ours.e11"), "e11");
      const dump = await run("mtdump", "-e", file("ours.e11"));
      const lengths = blocksOf(dump, /record \d+, length = (\d+)/g).map(Number);
      const expected = Array.from({ length: 40 }, (_, salt) => 1 + salt * 100);
      expect(lengths).to.deep.equal([...expected, 32_760, 65_535]);
    });
  });

  it("lists the tapes of Hercules' own tests as hetmap does", async function () {
    skipUnless(this, existsSync(HERCULES_TAPES), `there is no corpus at ${HERCULES_TAPES}`);
    const labels = [
      Buffer.from("e5d6d3f1f0f0f0f0f0f0" + "40".repeat(70), "hex").toString("hex"),
      "c8c4d9f1" + "f0".repeat(76),
      "|",
    ];
    for (const name of ["awsbsf.aws", "hetbsf.het", "hetbsf-bzip2.het"]) {
      await using drive = await openTape(join(HERCULES_TAPES, name));
      expect(await objectsOf(drive), name).to.deep.equal(labels);
      expect((await objectsOf(drive, true)).reverse(), name).to.deep.equal(labels);
      expect(await recogniseContainer(join(HERCULES_TAPES, name))).to.equal(name.slice(-3));
    }
    await using drive = await openTape(join(HERCULES_TAPES, "tape.aws"));
    const objects = await objectsOf(drive);
    expect(objects.map((each) => each.length / 2)).to.deep.equal([
      ...new Array<number>(4).fill(20_480),
      ...new Array<number>(3).fill(0.5),
    ]);
  });

  it("gives the tapes of SIMH's people back byte by byte", async function () {
    skipUnless(this, existsSync(SIMH_TAPES), `there is no corpus at ${SIMH_TAPES}`);
    this.timeout(20_000);
    const names = (await readdir(SIMH_TAPES, { recursive: true })).filter((name) =>
      name.endsWith(".tap"),
    );
    for (const name of names) {
      for (const format of ["e11", "aws", "het"] satisfies SinkFormat[]) {
        await convertFile(join(SIMH_TAPES, name), file("there"), format);
        await convertFile(file("there"), file("back.tap"), "simh", { container: format });
        const original = await readFile(join(SIMH_TAPES, name));
        const back = await readFile(file("back.tap"));
        expect(back.equals(original.subarray(0, back.length)), name).to.be.true;
        expect((await stat(join(SIMH_TAPES, name))).size - back.length).to.be.oneOf([0, 4]);
      }
    }
  });
});

function blocksOf(text: string, pattern: RegExp): (string | undefined)[] {
  return Array.from(text.matchAll(pattern), ([, number]) => number);
}
