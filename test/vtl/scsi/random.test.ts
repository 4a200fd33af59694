/** The drive against a plain array of records and marks, and both devices against noise. */
import { expect } from "chai";
import { chance, randomBytes, withRandom } from "../../support/random.ts";
import type { SeededRandom } from "../../support/seeded-random.ts";
import {
  CHANGER,
  CHECK_CONDITION,
  DRIVE,
  GOOD,
  Host,
  bench,
  blockLengthList,
  decodeSense,
  locate10,
  locate16,
  modeSelect6,
  read,
  readPosition,
  readReverse,
  rewind,
  space16,
  space6,
  write,
  writeFilemarks,
} from "./host.ts";

type TapeObject = Buffer | "mark";

/** What is expected of one command: "good", or the sense code with its residual. */
interface Expected {
  readonly code: string;
  readonly information?: number | undefined;
  readonly data?: Buffer;
}

const GOOD_CODE = "good";
const NO_DATA = Buffer.alloc(0);

/** A tape as simple as can be. */
class ModelTape {
  readonly objects: TapeObject[] = [];
  at = 0;

  write(records: readonly TapeObject[]): Expected {
    if (records.length > 0) this.objects.splice(this.at, Infinity, ...records);
    this.at += records.length;
    return { code: GOOD_CODE };
  }

  readVariable(length: number, sili: boolean): Expected {
    const next = this.objects[this.at];
    if (length === 0) return { code: GOOD_CODE };
    if (next === undefined) return { code: "08/00/05", information: length };
    this.at += 1;
    if (next === "mark") return { code: "00/00/01", information: length };
    const data = next.subarray(0, length);
    if (next.length === length || sili) return { code: GOOD_CODE, data };
    return { code: "00/00/00", information: length - next.length, data };
  }

  readFixed(count: number, block: number): Expected {
    const parts: Buffer[] = [];
    for (let missing = count; missing > 0; missing--) {
      const next = this.objects[this.at];
      const data = Buffer.concat(parts);
      if (next === undefined) return { code: "08/00/05", information: missing, data };
      this.at += 1;
      if (next === "mark") return { code: "00/00/01", information: missing, data };
      if (next.length !== block) return { code: "00/00/00", information: missing, data };
      parts.push(next);
    }
    return { code: GOOD_CODE, data: Buffer.concat(parts) };
  }

  readReverse(length: number): Expected {
    if (length === 0) return { code: GOOD_CODE };
    if (this.at === 0) return { code: "00/00/04", information: length };
    this.at -= 1;
    const next = this.objects[this.at];
    if (next === "mark" || next === undefined) return { code: "00/00/01", information: length };
    const data = Buffer.from(next).reverse().subarray(0, length);
    if (next.length === length) return { code: GOOD_CODE, data };
    return { code: "00/00/00", information: length - next.length, data };
  }

  space(unit: "records" | "marks", count: number): Expected {
    for (let missing = Math.abs(count); missing > 0;) {
      if (count < 0 && this.at === 0) return { code: "00/00/04", information: missing };
      if (count > 0 && this.at === this.objects.length) {
        return { code: "08/00/05", information: missing };
      }
      const next = this.objects[count > 0 ? this.at : this.at - 1];
      this.at += Math.sign(count);
      if (next === "mark" && unit === "records") return { code: "00/00/01", information: missing };
      if ((next === "mark") === (unit === "marks")) missing -= 1;
    }
    return { code: GOOD_CODE };
  }

  locate(object: number): Expected {
    this.at = Math.min(object, this.objects.length);
    return { code: object <= this.objects.length ? GOOD_CODE : "08/00/05" };
  }

  locateFile(file: number): Expected {
    this.at = 0;
    const { code } = this.space("marks", file);
    return { code };
  }

  erase(): Expected {
    this.objects.length = this.at;
    return { code: GOOD_CODE };
  }

  get file(): number {
    return this.objects.slice(0, this.at).filter((each) => each === "mark").length;
  }
}

interface Step {
  readonly text: string;
  readonly cdb: number[];
  readonly dataOut?: Uint8Array;
  readonly expected: Expected;
}

const BLOCK = 8;

function randomRecord(random: SeededRandom): Buffer {
  const length = chance(random, 50) ? BLOCK : 1 + random.below(20);
  return Buffer.from(randomBytes(random, length));
}

/** A command for the drive, already done on the model. */
function randomStep(random: SeededRandom, model: ModelTape): Step {
  const count = random.below(4);
  const signed = random.below(9) - 4;
  switch (random.below(12)) {
    case 0:
    case 1: {
      const record = randomRecord(random);
      const expected = model.write([record]);
      return { text: "write", cdb: write(record.length), dataOut: record, expected };
    }
    case 2: {
      const blocks = Array.from({ length: count }, () => Buffer.from(randomBytes(random, BLOCK)));
      const expected = model.write(blocks);
      return {
        text: "write fixed",
        cdb: write(count, 1),
        dataOut: Buffer.concat(blocks),
        expected,
      };
    }
    case 3: {
      const expected = model.write(new Array<TapeObject>(count).fill("mark"));
      return { text: "filemarks", cdb: writeFilemarks(count), expected };
    }
    case 4: {
      const length = random.below(24);
      return { text: "read", cdb: read(length), expected: model.readVariable(length, false) };
    }
    case 5:
      return { text: "read fixed", cdb: read(count, 1), expected: model.readFixed(count, BLOCK) };
    case 6: {
      const length = random.below(24);
      const expected = model.readReverse(length);
      return { text: "read reverse", cdb: readReverse(length), expected };
    }
    case 7: {
      const unit = random.pick(["records", "marks"] as const);
      const code = unit === "records" ? 0 : 1;
      const cdb = chance(random, 50) ? space6(code, signed & 0xff_ffff) : space16(code, signed);
      return { text: `space ${signed} ${unit}`, cdb, expected: model.space(unit, signed) };
    }
    case 8: {
      const object = random.below(model.objects.length + 3);
      const cdb = chance(random, 50) ? locate10(object) : locate16(0, object);
      return { text: `locate ${object}`, cdb, expected: model.locate(object) };
    }
    case 9: {
      const file = random.below(model.file + 3);
      return { text: `file ${file}`, cdb: locate16(1, file), expected: model.locateFile(file) };
    }
    case 10:
      if (chance(random, 70)) return { text: "rewind", cdb: rewind, expected: model.locate(0) };
      return { text: "erase", cdb: [0x19, 0, 0, 0, 0, 0], expected: model.erase() };
    default: {
      const expected = model.locate(model.objects.length);
      return { text: "end of data", cdb: space6(3, 0), expected };
    }
  }
}

const STEPS = 600;

describe("SCSI drive against a model", () => {
  it("does what an array of records and marks does, step by step", async () => {
    await withRandom(async (random) => {
      const { drive } = await bench();
      await drive.good(modeSelect6(12), blockLengthList(BLOCK));
      const model = new ModelTape();
      for (let number = 0; number < STEPS; number++) {
        const { text, cdb, dataOut, expected } = randomStep(random, model);
        const where = `step ${number}, ${text}`;
        const { status, sense, dataIn } = await drive.send(cdb, dataOut ?? []);
        const told = sense === undefined ? undefined : decodeSense(sense);
        expect(told?.code ?? (status === GOOD ? GOOD_CODE : ""), where).to.equal(expected.code);
        expect(told?.information, where).to.equal(expected.information);
        expect(Buffer.from(dataIn), where).to.deep.equal(expected.data ?? NO_DATA);
        const position = await drive.good(readPosition(6));
        expect(Number(position.readBigUInt64BE(8)), where).to.equal(model.at);
        expect(Number(position.readBigUInt64BE(16)), where).to.equal(model.file);
        expect((position[0] ?? 0) >>> 7, where).to.equal(model.at === 0 ? 1 : 0);
      }
    });
  });
});

/** Bytes that a host has room for, from the CDB; undefined: commands of one size. */
function allocationBytes(cdb: Uint8Array, blockLength: number): number | undefined {
  const bytes = Buffer.concat([cdb, Buffer.alloc(16)]);
  switch (bytes[0]) {
    case 0x03:
    case 0x1a:
      return bytes[4];
    case 0x08:
    case 0x0f: {
      const isFixed = ((bytes[1] ?? 0) & 1) === 1;
      return bytes.readUIntBE(2, 3) * (isFixed ? blockLength : 1);
    }
    case 0x12:
    case 0x1c:
      return bytes.readUInt16BE(3);
    case 0x4d:
    case 0x5a:
    case 0x5e:
    case 0x44:
      return bytes.readUInt16BE(7);
    case 0x8c:
      return bytes.readUInt32BE(10);
    case 0xa0:
    case 0xa3:
      return bytes.readUInt32BE(6);
    case 0xb8:
      return bytes.readUIntBE(7, 3);
    case undefined:
    default:
      return undefined;
  }
}

/** Noise that gets past the first check more often than pure noise does. */
function randomCdb(random: SeededRandom, opcodes: readonly number[]): Uint8Array {
  const cdb = randomBytes(random, chance(random, 15) ? random.below(17) : 16);
  if (cdb.length > 0 && chance(random, 85)) cdb[0] = random.pick(opcodes);
  // Mostly zeros: reserved fields and high bytes of lengths.
  for (let i = 1; i < cdb.length; i++) if (chance(random, 60)) cdb[i] = 0;
  return cdb;
}

const NOISE = 4000;
const INTERNAL_FAILURE = "04/44/00";

describe("SCSI devices against noise", () => {
  for (const lun of [CHANGER, DRIVE]) {
    it(`LUN ${lun} always gives a valid answer that fits, and stays usable`, async function () {
      this.timeout(20_000);
      await withRandom(async (random) => {
        const tape = { barcode: "REEL0001", capacityBytes: 4 * 2 ** 20 };
        const tapes = [tape, { barcode: "REEL0002" }];
        const { target } = await bench({ tapes });
        const list = await new Host(target, lun).good([
          0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0,
        ]);
        const opcodes: number[] = [];
        for (let at = 4; at < list.length; at += 8) opcodes.push(list[at] ?? 0);
        for (let number = 0; number < NOISE; number++) {
          const host = new Host(target, lun, random.pick(["x", "y"]));
          const cdb = randomCdb(random, opcodes);
          const dataOut = randomBytes(random, random.below(64)).map((byte) =>
            chance(random, 50) ? 0 : byte,
          );
          const answer = await host.send(cdb, dataOut);
          const what = `${number}: ${Buffer.from(cdb).toString("hex")}`;
          const room = allocationBytes(cdb, 0xff_ffff);
          if (room !== undefined) expect(answer.dataIn.length, what).to.be.at.most(room);
          if (answer.status === CHECK_CONDITION && answer.sense !== undefined) {
            expect(decodeSense(answer.sense).code, what).to.not.equal(INTERNAL_FAILURE);
          }
        }
        await target.reset();
        const host = await new Host(target, lun, "after").settle();
        expect((await host.good([0x12, 0, 0, 0, 36, 0])).length).to.equal(36);
      });
    });
  }
});
