/** Containers that are cut, changed or made to do harm: no crash, no hang, no wrong byte unnoticed. */
import { expect } from "chai";
import { appendFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { deflateSync } from "node:zlib";
import { ReelError } from "../../../src/errors.ts";
import { openTape, recogniseContainer } from "../../../src/tape/open-tape.ts";
import type { TapeContainer } from "../../../src/tape/open-tape.ts";
import type { TapeDrive } from "../../../src/tape/tape-drive.ts";
import { expectReelError } from "../../support/expect-error.ts";
import { patternBytes } from "../../support/pattern.ts";
import { randomBytes, withRandom } from "../../support/random.ts";
import { makeTempFolder } from "../../support/temp.ts";
import * as tap from "../tap-builder.ts";
import { convertFile, objectsOf } from "./tapes.ts";

const FIRST = 0x80;
const LAST = 0x20;
const WHOLE = FIRST | LAST;
const ZLIB = 0x01;
const MARK = 0x40;

/** A chunk with any header. */
function chunk(data: Uint8Array, previousBytes: number, flags1 = WHOLE, flags2 = 0): Buffer {
  const header = Buffer.alloc(6);
  header.writeUInt16LE(data.length, 0);
  header.writeUInt16LE(previousBytes, 2);
  header.writeUInt8(flags1, 4);
  header.writeUInt8(flags2, 5);
  return Buffer.concat([header, data]);
}

const NOTHING = new Uint8Array(0);

describe("foreign tapes that are not as they should be", () => {
  let folder: string;
  let remove: () => Promise<void>;
  let path: string;
  let drive: TapeDrive | undefined;

  beforeEach(async () => {
    ({ folder, remove } = await makeTempFolder());
    path = join(folder, "test.aws");
  });

  afterEach(async () => {
    await drive?.close();
    drive = undefined;
    await remove();
  });

  const openAs = async (container: TapeContainer, ...parts: Buffer[]): Promise<TapeDrive> => {
    await writeFile(path, Buffer.concat(parts));
    return (drive = await openTape(path, { container }));
  };

  describe("AWS and HET", () => {
    it("are read through Bus-Tech's flag", async () => {
      const data = patternBytes(500, 3);
      const tape = await openAs("het", chunk(deflateSync(data), 0, WHOLE, 0x80));
      expect(await objectsOf(tape)).to.deep.equal([Buffer.from(data).toString("hex")]);
    });

    it("lose one record by one wrong link, not the tape", async () => {
      const tape = await openAs(
        "aws",
        chunk(patternBytes(100, 1), 0),
        chunk(patternBytes(200, 2), 99),
        chunk(patternBytes(300, 3), 200),
        chunk(NOTHING, 300, MARK),
      );
      expect((await tape.spaceToEndOfData()).object).to.equal(4);
      await tape.locate(1);
      const error = await expectReelError(tape.read(new Uint8Array(300)), "damaged");
      expect(error.message).to.include("object 1 at byte 106");
      await tape.locate(2);
      expect(await tape.read(new Uint8Array(300))).to.include({ lengthBytes: 300 });
    });

    it("end where the chain leads astray", async () => {
      const lost = chunk(patternBytes(90, 2), 100);
      lost.writeUInt16LE(50, 0);
      const tape = await openAs("aws", chunk(patternBytes(100, 1), 0), lost);
      const target = new Uint8Array(100);
      expect(await tape.read(target)).to.include({ lengthBytes: 100 });
      expect(await tape.read(target)).to.include({ lengthBytes: 50 });
      await expectReelError(tape.read(target), "damaged");
      await expectReelError(tape.spaceToEndOfData(), "damaged");
      expect((await tape.position()).object).to.equal(2);
    });

    const wrong: readonly (readonly [string, Buffer[], string])[] = [
      ["flags of no meaning", [chunk(patternBytes(9), 0, 0xa8)], "mean nothing"],
      ["two packings at once", [chunk(patternBytes(9), 0, WHOLE | 3)], "mean nothing"],
      ["a tape mark with data", [chunk(patternBytes(9), 0, MARK)], "tape mark with data"],
      ["a middle without a beginning", [chunk(patternBytes(9), 0, LAST)], "middle of a record"],
      ["a record without an end", [chunk(patternBytes(9), 0, FIRST)], "tape ends at byte 15"],
      ["a record of no bytes", [chunk(NOTHING, 0)], "has no data"],
      [
        "a beginning within a record",
        [chunk(patternBytes(9), 0, FIRST), chunk(patternBytes(9), 9, WHOLE)],
        "last chunk is missing",
      ],
      [
        "chunks packed unlike",
        [chunk(patternBytes(9), 0, FIRST), chunk(patternBytes(9), 9, LAST | ZLIB)],
        "packed unlike",
      ],
      [
        "chunks that do not fit",
        [chunk(patternBytes(9), 0, FIRST), chunk(patternBytes(9), 8, LAST)],
        "do not fit",
      ],
      ["a cut header", [chunk(patternBytes(9), 0), Buffer.from([1, 0])], "ends at byte 17"],
      ["cut data", [chunk(patternBytes(9), 0).subarray(0, 12)], "ends at byte 12"],
      ["packed data that is none", [chunk(patternBytes(9), 0, WHOLE | ZLIB)], "cannot be unpacked"],
      [
        "packed data that is cut",
        [chunk(deflateSync(patternBytes(900)).subarray(0, 500), 0, WHOLE | ZLIB)],
        "cannot be unpacked",
      ],
      ["packed nothing", [chunk(deflateSync(NOTHING), 0, WHOLE | ZLIB)], "unpacks to nothing"],
      [
        "a bomb",
        [chunk(deflateSync(Buffer.alloc(17_000_000)), 0, WHOLE | ZLIB)],
        "cannot be unpacked",
      ],
    ];
    for (const [what, parts, message] of wrong) {
      it(`say where they have ${what}`, async () => {
        const tape = await openAs("het", ...parts);
        let error: unknown;
        try {
          await objectsOf(tape);
        } catch (caught) {
          error = caught;
        }
        expect(error).to.be.instanceOf(ReelError);
        expect((error as ReelError).code).to.equal("damaged");
        expect((error as ReelError).message).to.include(message);
      });
    }

    it("do not hold a record of endless chunks", async () => {
      const first = chunk(new Uint8Array(65_535), 0, FIRST);
      const more = chunk(new Uint8Array(65_535), 65_535, 0);
      const tape = await openAs("aws", first, ...new Array<Buffer>(300).fill(more));
      await expectReelError(tape.read(new Uint8Array(10)), "damaged");
    });
  });

  it("E11 tapes stop at a cut, a wrong word and a word of no meaning", async () => {
    const good = Buffer.concat([tap.word(3), Buffer.from("abc"), tap.word(3)]);
    for (const [tail, message] of [
      [good.subarray(0, 9), "ends at byte 20"],
      [Buffer.from([1, 0]), "within a word"],
      [Buffer.concat([tap.word(3), Buffer.from("abc"), tap.word(4)]), "ends with 00000004"],
      [tap.word(0xfffe_0001), "means nothing"],
    ] as const) {
      const tape = await openAs("e11", good, tail);
      const target = new Uint8Array(3);
      expect(await tape.read(target)).to.include({ lengthBytes: 3 });
      const error = await expectReelError(tape.read(target), "damaged");
      expect(error.message).to.include("object 1 at byte 11").and.include(message);
      await tape.close();
    }
  });

  it("E11 tapes have gaps, flawed records and an end of medium", async () => {
    const flawed = Buffer.concat([
      tap.word(0x8000_0003),
      Buffer.from("abc"),
      tap.word(0x8000_0003),
    ]);
    const parts = [tap.ERASE_GAP, tap.FILEMARK, flawed, tap.PRIVATE_MARKER, tap.FILEMARK];
    const tape = await openAs("e11", ...parts, tap.END_OF_MEDIUM, Buffer.from("whatever"));
    expect(await objectsOf(tape)).to.deep.equal(["|", "!616263", "|"]);
    expect(await objectsOf(tape, true)).to.deep.equal(["|", "!616263", "|"]);
  });

  for (const container of ["e11", "aws"] as const) {
    it(`${container} tapes that grow are read as far as they are complete`, async () => {
      const source = join(folder, "source.tap");
      await writeFile(source, Buffer.concat([tap.good(31, 1), tap.FILEMARK, tap.good(77, 2)]));
      const whole = join(folder, "whole");
      await convertFile(source, whole, container);
      const bytes = await readFile(whole);
      const cut = bytes.length - 20;
      const tape = await openAs(container, bytes.subarray(0, cut));
      const target = new Uint8Array(77);
      await tape.read(target);
      await tape.read(target);
      await expectReelError(tape.read(target), "damaged");
      await appendFile(path, bytes.subarray(cut));
      expect(await tape.read(target)).to.include({ lengthBytes: 77 });
      expect(target).to.deep.equal(patternBytes(77, 2));
      expect((await tape.read(target)).kind).to.equal("end-of-data");
    });
  }

  it("plain files of any size are records of one size", async () => {
    const data = patternBytes(2500, 4);
    await writeFile(path, data);
    drive = await openTape(path, { container: "plain", blockBytes: 1000 });
    expect((await drive.spaceToEndOfData()).object).to.equal(3);
    const target = new Uint8Array(1000);
    expect(await drive.read(target, { reverse: true })).to.include({ lengthBytes: 500 });
    expect(target.subarray(0, 500)).to.deep.equal(data.subarray(2000));
    await expectReelError(openTape(path, { container: "plain", blockBytes: 0 }), "invalid");
    await expectReelError(openTape(path, { container: "plain", blockBytes: 2 ** 25 }), "invalid");
  });

  it("are recognised by what is in them, then by their names", async () => {
    const named = async (name: string, ...parts: Uint8Array[]): Promise<TapeContainer> => {
      const file = join(folder, name);
      await writeFile(file, Buffer.concat(parts));
      return recogniseContainer(file);
    };
    const odd = Buffer.concat([tap.word(3), Buffer.from("abc"), tap.word(3)]);
    const even = tap.good(80);
    expect(await named("x.bin", even, tap.FILEMARK)).to.equal("simh");
    expect(await named("x.aws", tap.good(7), even)).to.equal("simh");
    expect(await named("x.tap", odd, tap.FILEMARK, even)).to.equal("e11");
    expect(await named("x.e11", even)).to.equal("e11");
    expect(await named("x.tap", chunk(patternBytes(9), 0), chunk(patternBytes(5), 9))).to.equal(
      "aws",
    );
    expect(await named("x", chunk(deflateSync(patternBytes(9)), 0, WHOLE | ZLIB))).to.equal("het");
    expect(await named("x.het", chunk(patternBytes(9), 0))).to.equal("het");
    expect(await named("x.het")).to.equal("het");
    expect(await named("x.tap", Buffer.alloc(4096))).to.equal("simh");
    expect(await named("x.img", Buffer.alloc(4096))).to.equal("plain");
    expect(await named("x.txt", Buffer.from("Dear reader,\nthis is no tape.\n"))).to.equal("plain");
    expect(await named("x")).to.equal("simh");
    await expectReelError(recogniseContainer(folder), "invalid");
    await expectReelError(recogniseContainer(join(folder, "nowhere")), "not-found");
    await expectReelError(openTape(folder, { container: "aws" }), "invalid");
    await expectReelError(openTape("/dev/null", { container: "e11" }), "invalid");
    await expectReelError(openTape(join(folder, "x.het"), { mode: "write" }), "read-only");
  });

  for (const container of ["e11", "aws", "het", "simh"] as const) {
    it(`${container} tapes with random damage are read or refused, and never lie about sizes`, async function () {
      this.timeout(15_000);
      await withRandom(async (random) => {
        const source = join(folder, "source.tap");
        const parts = Array.from({ length: 30 }, (_, salt) =>
          random.below(5) === 0 ? tap.FILEMARK : tap.good(1 + random.below(200), salt),
        );
        await writeFile(source, Buffer.concat(parts));
        await convertFile(source, join(folder, "good"), container);
        const good = await readFile(join(folder, "good"));
        const until = Date.now() + 700;
        for (let round = 0; round < 150 && Date.now() < until; round++) {
          const bad = Buffer.from(good);
          for (let changes = 1 + random.below(4); changes > 0; changes--) {
            const at = random.below(bad.length);
            bad.set(randomBytes(random, Math.min(1 + random.below(6), bad.length - at)), at);
          }
          await writeFile(path, bad.subarray(0, 1 + random.below(bad.length)));
          await recogniseContainer(path);
          await using tape = await openTape(path, { container, useIndex: false });
          await readAllOf(tape);
        }
      });
    });
  }
});

/** Reads as far as it goes, forward and back; damage is fine, anything else is not. */
async function readAllOf(tape: TapeDrive): Promise<void> {
  const target = new Uint8Array(1000);
  for (const reverse of [false, true]) {
    for (let objects = 0; ; objects++) {
      expect(objects).to.be.lessThan(10_000);
      try {
        const read = await tape.read(target, { reverse });
        if (read.kind === "end-of-data" || read.kind === "beginning") break;
      } catch (error) {
        expect(error, String(error)).to.be.instanceOf(ReelError);
        expect((error as ReelError).code).to.equal("damaged");
        break;
      }
    }
  }
}
