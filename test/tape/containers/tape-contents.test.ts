import { expect } from "chai";
import { existsSync } from "node:fs";
import { appendFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { encodeVolumeLabel } from "../../../src/tape/labels.ts";
import { MemoryTape } from "../../../src/tape/memory-tape.ts";
import { openTape } from "../../../src/tape/open-tape.ts";
import { checkTape } from "../../../src/tape/tape-check.ts";
import { TAPE_FILES_MAX, describeTape } from "../../../src/tape/tape-contents.ts";
import { dumpTape, hexLines, type DumpedObject } from "../../../src/tape/tape-dump.ts";
import { openTapeFile } from "../../../src/tape/tape-file-stream.ts";
import { expectReelError } from "../../support/expect-error.ts";
import { patternBytes } from "../../support/pattern.ts";
import { withRandom } from "../../support/random.ts";
import { skipUnless } from "../../support/skip.ts";
import { makeTempFolder } from "../../support/temp.ts";
import * as tap from "../tap-builder.ts";
import { HERCULES_TAPES, SIMH_TAPES, convertFile, hasTool, pipe } from "./tapes.ts";

const IMAGE_TAPE = fileURLToPath(new URL("../../fixtures/image-1.0/fat12.tap", import.meta.url));

/** The first record behind the label of a tape. */
async function firstRecordOf(path: string): Promise<Uint8Array> {
  await using drive = await openTape(path);
  await drive.space("filemarks", 1);
  const record = Buffer.alloc(64 * 1024);
  const read = await drive.read(record);
  return record.subarray(0, read.kind === "record" ? read.lengthBytes : 0);
}

function label(text: string): Uint8Array {
  return Buffer.from(text.padEnd(80));
}

async function dumped(dump: AsyncIterable<DumpedObject>): Promise<DumpedObject[]> {
  const objects: DumpedObject[] = [];
  for await (const object of dump) objects.push(object);
  return objects;
}

describe("what is on a tape", () => {
  let folder: string;
  let remove: () => Promise<void>;
  let path: string;

  beforeEach(async () => {
    ({ folder, remove } = await makeTempFolder());
    path = join(folder, "test.tap");
  });
  afterEach(() => remove());

  it("is told file by file: counts, labels, and what it seems to be", async function () {
    skipUnless(this, hasTool("tar"), "tar is not installed");
    const archive = pipe("tar", ["-cf", "-", "-C", folder, "."]);
    const image = await firstRecordOf(IMAGE_TAPE);
    const tape = new MemoryTape({
      name: "mixed",
      objects: [
        encodeVolumeLabel("REEL07"),
        label(`HDR1${"PAYROLL".padEnd(17)}REEL0700010001000100026325 26330 000000REELFS`),
        label("HDR2D3276000080"),
        undefined,
        archive.subarray(0, 10_240),
        new Uint8Array(300),
        undefined,
        undefined,
        image,
        undefined,
        Buffer.from("070707 and so on"),
        undefined,
        Buffer.from("just a line\n"),
        undefined,
        Buffer.from("c885939396", "hex"),
        undefined,
        patternBytes(1000),
      ],
    });
    const contents = await describeTape(tape);
    expect(contents.volume).to.include({ serial: "REEL07" });
    expect(
      contents.files.map(({ kind, records, endedBy }) => [kind, records, endedBy]),
    ).to.deep.equal([
      ["labels", 3, "filemark"],
      ["tar", 2, "filemark"],
      ["empty", 0, "filemark"],
      ["reelfs-image", 1, "filemark"],
      ["cpio", 1, "filemark"],
      ["text", 1, "filemark"],
      ["ebcdic-text", 1, "filemark"],
      ["unknown", 1, "end-of-data"],
    ]);
    expect(contents.files[1]).to.include({
      firstObject: 4,
      bytes: 10_540,
      recordBytesMin: 300,
      recordBytesMax: 10_240,
      flawed: 0,
    });
    expect(contents).to.include({ records: 10, filemarks: 7, filesLeftOut: 0, problem: undefined });
    const [, first, second] = contents.files[0]?.labels ?? [];
    expect(first?.file).to.include({ kind: "HDR1", name: "PAYROLL", created: "2026-11-21" });
    expect(second?.format).to.deep.equal({
      recordFormat: "D",
      blockBytes: 32_760,
      recordBytes: 80,
    });
  });

  it("keeps no more labels than fit memory of a tape that is nothing else", async function () {
    this.timeout(20_000);
    const label = encodeVolumeLabel("REEL07");
    const file = [...Array.from({ length: 32 }, () => label), undefined];
    await using tape = new MemoryTape({
      objects: Array.from({ length: 2200 }, () => file).flat(),
    });
    const { files } = await describeTape(tape);
    const kept = files.reduce((sum, { labels }) => sum + labels.length, 0);
    expect(kept).to.equal(65_536);
    expect(files.map(({ kind }) => kind)).to.include.members(["labels"]);
  });

  it("is told of every tape in the corpus", async function () {
    skipUnless(this, existsSync(HERCULES_TAPES), `there is no corpus at ${HERCULES_TAPES}`);
    for (const name of ["awsbsf.aws", "hetbsf.het", "hetbsf-bzip2.het"]) {
      await using drive = await openTape(join(HERCULES_TAPES, name));
      const contents = await describeTape(drive);
      expect(contents.volume, name).to.include({ serial: "000000", encoding: "ebcdic" });
      expect(contents.files.map(({ kind, records }) => [kind, records])).to.deep.equal([
        ["labels", 2],
      ]);
      expect(await checkTape(drive)).to.include({
        records: 2,
        filemarks: 1,
        problems: 0,
        complete: true,
      });
    }
    await using drive = await openTape(join(HERCULES_TAPES, "tape.aws"));
    const { files, filemarks } = await describeTape(drive);
    expect(files.map(({ records, bytes }) => [records, bytes])).to.deep.equal([
      [4, 81_920],
      [0, 0],
      [0, 0],
    ]);
    expect(filemarks).to.equal(3);
    const names = (await readdir(SIMH_TAPES, { recursive: true })).filter((each) =>
      each.endsWith(".tap"),
    );
    for (const each of names) {
      await using tap = await openTape(join(SIMH_TAPES, each), { useIndex: false });
      const contents = await describeTape(tap);
      expect(contents.files[0], each).to.include({
        recordBytesMin: 80,
        recordBytesMax: 80,
        kind: "text",
      });
      expect(contents.records).to.be.greaterThan(2000);
      expect(contents.problem).to.equal(undefined);
    }
  });

  it("is told up to where the tape can be read, and why no further", async () => {
    await writeFile(
      path,
      Buffer.concat([tap.good(80, 1), tap.FILEMARK, tap.good(90, 2), tap.good(90, 3)]).subarray(
        0,
        240,
      ),
    );
    await using drive = await openTape(path, { useIndex: false });
    const contents = await describeTape(drive);
    expect(contents).to.include({ records: 2, filemarks: 1 });
    expect(contents.files[1]).to.include({ records: 1, endedBy: "damage" });
    expect(contents.problem).to.include("object 3").and.include("cut");
  });

  it("stays small for a tape of very many filemarks", async () => {
    await writeFile(path, Buffer.alloc((TAPE_FILES_MAX + 1000) * 4));
    await using drive = await openTape(path, { useIndex: false });
    const contents = await describeTape(drive);
    expect(contents.files.length).to.equal(TAPE_FILES_MAX);
    expect(contents).to.include({ filesLeftOut: 1000, filemarks: TAPE_FILES_MAX + 1000 });
  });

  it("can be told to stop", async () => {
    const signal = AbortSignal.abort();
    const drive = new MemoryTape({ objects: [patternBytes(1), patternBytes(5)] });
    await expectReelError(describeTape(drive, { signal }), "aborted");
    await expectReelError(checkTape(drive, { signal }), "aborted");
    await expectReelError(openTapeFile(drive, 0, { signal }), "aborted");
    await expectReelError(dumped(dumpTape(drive, { signal })), "aborted");
  });

  it("is dumped object by object, past what is damaged", async () => {
    const bad = tap.good(20, 2);
    bad.writeUInt32LE(21, 24);
    const parts = [
      tap.record(label("VOL1ABC")),
      bad,
      tap.FILEMARK,
      tap.record(Buffer.from("abc"), 8),
    ];
    await writeFile(path, Buffer.concat(parts));
    await using drive = await openTape(path, { useIndex: false });
    const objects = await dumped(dumpTape(drive, { startBytes: 4 }));
    expect(
      objects.map(({ object, file, offsetBytes, kind }) => [object, file, offsetBytes, kind]),
    ).to.deep.equal([
      [0, 0, 0, "record"],
      [1, 0, 88, "damaged"],
      [2, 0, 116, "filemark"],
      [3, 1, 120, "record"],
    ]);
    const [first, , , last] = objects;
    expect(first?.kind === "record" && first.label?.volume?.serial).to.equal("ABC");
    expect(last).to.deep.include({ flawed: true, lengthBytes: 3, start: Buffer.from("abc") });
    expect(
      (await dumped(dumpTape(drive, { from: 2, count: 1 }))).map(({ kind }) => kind),
    ).to.deep.equal(["filemark"]);
    await expectReelError(dumped(dumpTape(drive, { from: 9 })), "out-of-range");
  });

  it("is shown in hex, as ASCII and as EBCDIC", () => {
    expect(hexLines(Buffer.from("e5d6d3f1f0f0f0f0f0f04040404040404142", "hex"))).to.deep.equal([
      "0000  e5d6 d3f1 f0f0 f0f0 f0f0 4040 4040 4040  ..........@@@@@@  VOL1000000",
      "0010  4142                                     AB                ..",
    ]);
  });

  it("is checked both ways, and the first problem has its place", async () => {
    const bad = tap.good(20, 2);
    bad.writeUInt32LE(21, 24);
    await writeFile(
      path,
      Buffer.concat([tap.good(80, 1), bad, tap.FILEMARK, tap.record(patternBytes(5), 8)]),
    );
    await using drive = await openTape(path, { useIndex: false });
    const check = await checkTape(drive);
    expect(check).to.include({
      records: 2,
      filemarks: 1,
      bytes: 85,
      flawed: 1,
      problems: 1,
      complete: true,
    });
    expect(check.firstProblem).to.include({ object: 1, offsetBytes: 88 });
    await writeFile(path, Buffer.concat([tap.good(80, 1), tap.word(0xfffe_0001), Buffer.alloc(9)]));
    await using stopped = await openTape(path, { useIndex: false });
    expect(await checkTape(stopped)).to.include({ records: 1, problems: 1, complete: false });
  });

  it("is told apart from a tape that reads otherwise backward", async () => {
    const drive = new MemoryTape({ objects: [patternBytes(10), patternBytes(20)] });
    const read = drive.read.bind(drive);
    drive.read = async (target, options) => {
      const result = await read(target, options);
      const wrong =
        options?.reverse === true && result.kind === "record" && result.lengthBytes === 10;
      return wrong ? { kind: "filemark" } : result;
    };
    const { problems, firstProblem } = await checkTape(drive);
    expect([problems, firstProblem?.object]).to.deep.equal([1, 0]);
  });
});

describe("a tape file as a run of bytes", () => {
  let folder: string;
  let remove: () => Promise<void>;

  beforeEach(async () => ({ folder, remove } = await makeTempFolder()));
  afterEach(() => remove());

  for (const format of ["simh", "e11", "aws", "het"] as const) {
    it(`gives the same bytes from any offset (${format})`, async () => {
      await withRandom(async (random) => {
        const lengths = Array.from({ length: 40 }, () => 1 + random.below(3000));
        const records = lengths.map((length, salt) => patternBytes(length, salt));
        const joined = Buffer.concat(records);
        const before = [tap.good(80, 77), tap.FILEMARK];
        const parts = [
          ...before,
          ...records.map((each) => tap.record(each)),
          tap.FILEMARK,
          tap.good(9, 1),
        ];
        await writeFile(join(folder, "a.tap"), Buffer.concat(parts));
        await convertFile(join(folder, "a.tap"), join(folder, "b"), format);
        await using drive = await openTape(join(folder, "b"), {
          container: format,
          useIndex: false,
        });
        const reader = await openTapeFile(drive, 1);
        expect([reader.sizeBytes, reader.records, reader.complete]).to.deep.equal([
          joined.length,
          40,
          true,
        ]);
        const other = await openTapeFile(drive, 0);
        const reads = Array.from({ length: 60 }, async () => {
          const offset = random.below(joined.length + 100);
          const target = new Uint8Array(random.below(8000));
          const got = await reader.read(offset, target);
          const expected = joined.subarray(offset, offset + target.length);
          expect(got).to.equal(expected.length);
          expect(Buffer.compare(target.subarray(0, got), expected)).to.equal(0);
          // Somebody else uses the drive meanwhile.
          expect(await other.readRecord(0)).to.deep.equal(patternBytes(80, 77));
        });
        await Promise.all(reads);
        expect(await reader.readRecord(3)).to.deep.equal(records[3]);
        expect(reader.recordOffsetBytes(3)).to.equal(joined.indexOf(records[3] ?? ""));
        await expectReelError(reader.readRecord(40), "out-of-range");
        await expectReelError(reader.read(-1, new Uint8Array(1)), "invalid");
        await expectReelError(openTapeFile(drive, 3), "not-found");
        await expectReelError(openTapeFile(drive, -1), "not-found");
      });
    });
  }

  it("can be read as it grows", async () => {
    const path = join(folder, "a.tap");
    await writeFile(path, tap.good(100, 1));
    await using drive = await openTape(path, { useIndex: false });
    const reader = await openTapeFile(drive, 0);
    expect([reader.sizeBytes, reader.complete]).to.deep.equal([100, false]);
    await appendFile(path, Buffer.concat([tap.good(50, 2), tap.FILEMARK]));
    await reader.refresh();
    expect([reader.sizeBytes, reader.records, reader.complete]).to.deep.equal([150, 2, true]);
    const target = new Uint8Array(60);
    expect(await reader.read(90, target)).to.equal(60);
    expect(target.subarray(10)).to.deep.equal(patternBytes(50, 2));
  });

  it("does not take damage for its end", async () => {
    const path = join(folder, "a.tap");
    await writeFile(path, Buffer.concat([tap.good(100, 1), tap.good(100, 2)]).subarray(0, 150));
    await using drive = await openTape(path, { useIndex: false });
    const reader = await openTapeFile(drive, 0);
    expect(reader.sizeBytes).to.equal(100);
    expect(await reader.read(0, new Uint8Array(100))).to.equal(100);
    await expectReelError(reader.read(50, new Uint8Array(100)), "damaged");
  });

  it("says when a record is no longer what it was", async () => {
    const objects: (Uint8Array | undefined)[] = [patternBytes(10), patternBytes(20)];
    const drive = new MemoryTape({ objects });
    const reader = await openTapeFile(drive, 0);
    objects[1] = patternBytes(21);
    await expectReelError(reader.readRecord(1), "damaged");
  });
});
