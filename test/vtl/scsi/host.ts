/**
 * A host for tests: builds CDBs, sends them to a target, takes sense data apart. Offsets are written
 * out here and in the tests a second time, not taken from the tables that are tested.
 */
import { expect } from "chai";
import type { ScsiAnswer } from "../../../src/vtl/scsi/answer.ts";
import { ScsiTarget } from "../../../src/vtl/scsi/target.ts";
import { MemoryLoader, type MemoryLoaderOptions } from "../../support/memory-loader.ts";

export const GOOD = 0x00;
export const CHECK_CONDITION = 0x02;
export const RESERVATION_CONFLICT = 0x18;
export const CHANGER = 0;
export const DRIVE = 1;

export interface DecodedSense {
  /** "05/24/00". */
  readonly code: string;
  readonly filemark: boolean;
  readonly endOfMedium: boolean;
  readonly incorrectLength: boolean;
  /** Undefined: VALID is not set. */
  readonly information: number | undefined;
  /** "cdb 2.7", "list 4": what the field pointer says. */
  readonly pointer: string | undefined;
}

const two = (value: number): string => value.toString(16).padStart(2, "0");

export function decodeSense(bytes: Uint8Array): DecodedSense {
  const sense = Buffer.from(bytes);
  const flags = sense.readUInt8(2);
  const pointer = sense.readUInt8(15);
  const bit = (pointer & 0x08) !== 0 ? `.${pointer & 0x07}` : "";
  return {
    code: [flags & 0x0f, sense.readUInt8(12), sense.readUInt8(13)].map(two).join("/"),
    filemark: (flags & 0x80) !== 0,
    endOfMedium: (flags & 0x40) !== 0,
    incorrectLength: (flags & 0x20) !== 0,
    information: (sense.readUInt8(0) & 0x80) !== 0 ? sense.readInt32BE(3) : undefined,
    pointer:
      (pointer & 0x80) === 0
        ? undefined
        : `${(pointer & 0x40) !== 0 ? "cdb" : "list"} ${sense.readUInt16BE(16)}${bit}`,
  };
}

/** What every answer must be, whatever was sent. */
export function expectWellFormed(answer: ScsiAnswer): void {
  expect([GOOD, CHECK_CONDITION, RESERVATION_CONFLICT]).to.include(answer.status);
  expect(answer.dataIn).to.be.instanceOf(Uint8Array);
  expect(answer.residualBytes ?? 1).to.be.above(0);
  if (answer.status !== CHECK_CONDITION) {
    expect(answer.sense).to.equal(undefined);
    return;
  }
  const sense = answer.sense ?? new Uint8Array(0);
  expect(sense.length).to.equal(18);
  expect(sense[0]).to.be.oneOf([0x70, 0xf0]);
  expect(sense[7]).to.equal(10);
}

export type Bytes = Uint8Array | readonly number[];

/** One nexus to one LUN of a target. */
export class Host {
  readonly target: ScsiTarget;
  readonly lun: number;
  readonly nexus: string;

  constructor(target: ScsiTarget, lun: number, nexus = "host-a") {
    this.target = target;
    this.lun = lun;
    this.nexus = nexus;
  }

  async send(cdb: Bytes, dataOut: Bytes = []): Promise<ScsiAnswer> {
    const answer = await this.target.execute(
      this.lun,
      Uint8Array.from(cdb),
      Uint8Array.from(dataOut),
      this.nexus,
    );
    expectWellFormed(answer);
    return answer;
  }

  /** Expects GOOD; resolves to the data. */
  async good(cdb: Bytes, dataOut: Bytes = []): Promise<Buffer> {
    const answer = await this.send(cdb, dataOut);
    const told = answer.sense === undefined ? "" : JSON.stringify(decodeSense(answer.sense));
    expect(answer.status, told).to.equal(GOOD);
    return Buffer.from(answer.dataIn);
  }

  /** Expects CHECK CONDITION; resolves to the sense. */
  async check(cdb: Bytes, dataOut: Bytes = []): Promise<DecodedSense & { data: Buffer }> {
    const { status, sense, dataIn } = await this.send(cdb, dataOut);
    expect(status, "CHECK CONDITION").to.equal(CHECK_CONDITION);
    return { ...decodeSense(sense ?? new Uint8Array(18)), data: Buffer.from(dataIn) };
  }

  async fails(cdb: Bytes, code: string, dataOut: Bytes = []): Promise<DecodedSense> {
    const sense = await this.check(cdb, dataOut);
    expect(sense.code).to.equal(code);
    return sense;
  }

  async conflicts(cdb: Bytes, dataOut: Bytes = []): Promise<void> {
    expect((await this.send(cdb, dataOut)).status).to.equal(RESERVATION_CONFLICT);
  }

  /** Hears the unit attentions out, as a host does when it opens a device. */
  async settle(): Promise<this> {
    for (let told = 0; told < 10; told++) {
      const { status, sense } = await this.send(testUnitReady);
      if (
        status !== CHECK_CONDITION ||
        !decodeSense(sense ?? new Uint8Array(18)).code.startsWith("06/")
      )
        break;
    }
    return this;
  }
}

export interface Bench {
  readonly loader: MemoryLoader;
  readonly target: ScsiTarget;
  readonly drive: Host;
  readonly changer: Host;
}

/** A loader with its target; the tape of slot 1 is in drive 0 unless `load` says no. */
export async function bench(
  options: MemoryLoaderOptions = {},
  { load = true }: { readonly load?: boolean } = {},
): Promise<Bench> {
  const loader = new MemoryLoader({ tapes: [{ barcode: "REEL0001" }], ...options });
  if (load) await loader.move({ kind: "storage", number: 1 }, { kind: "drive", number: 0 });
  const target = new ScsiTarget(loader);
  const drive = await new Host(target, DRIVE).settle();
  const changer = await new Host(target, CHANGER).settle();
  return { loader, target, drive, changer };
}

// CDBs --------------------------------------------------------------------------------------------

export const testUnitReady = [0, 0, 0, 0, 0, 0];
export const rewind = [0x01, 0, 0, 0, 0, 0];
export const readBlockLimits = [0x05, 0, 0, 0, 0, 0];

const be = (value: number, bytes: number): number[] =>
  Array.from({ length: bytes }, (_, i) =>
    Number((BigInt(value) >> BigInt(8 * (bytes - 1 - i))) & 0xffn),
  );

export const requestSense = [0x03, 0, 0, 0, 18, 0];
export const inquiry = (allocation: number, page?: number): number[] => [
  0x12,
  page === undefined ? 0 : 1,
  page ?? 0,
  ...be(allocation, 2),
  0,
];
export const read = (length: number, flags = 0): number[] => [0x08, flags, ...be(length, 3), 0];
export const readReverse = (length: number, flags = 0): number[] => [
  0x0f,
  flags,
  ...be(length, 3),
  0,
];
export const write = (length: number, flags = 0): number[] => [0x0a, flags, ...be(length, 3), 0];
export const writeFilemarks = (count: number): number[] => [0x10, 0, ...be(count, 3), 0];
export const space6 = (code: number, count: number): number[] => [0x11, code, ...be(count, 3), 0];
export const space16 = (code: number, count: number): number[] => [
  0x91,
  code,
  0,
  0,
  ...be(count, 8),
  0,
  0,
  0,
  0,
];
export const locate10 = (object: number, flags = 0): number[] => [
  0x2b,
  flags,
  0,
  ...be(object, 4),
  0,
  0,
  0,
];
export const locate16 = (destination: number, identifier: number): number[] => [
  0x92,
  destination << 3,
  0,
  0,
  ...be(identifier, 8),
  0,
  0,
  0,
  0,
];
export const readPosition = (action: number, allocation = 0): number[] => [
  0x34,
  action,
  0,
  0,
  0,
  0,
  0,
  ...be(allocation, 2),
  0,
];
export const modeSense6 = (
  page: number,
  options: { flags?: number; subpage?: number } = {},
): number[] => [0x1a, options.flags ?? 0, page, options.subpage ?? 0, 255, 0];
export const modeSelect6 = (length: number): number[] => [0x15, 0x10, 0, 0, length, 0];
/** The twelve bytes that `mt setblk` sends. */
export const blockLengthList = (length: number): number[] => [
  0,
  0,
  0x10,
  8,
  0,
  0,
  0,
  0,
  0,
  ...be(length, 3),
];
export const prevent = (value: number): number[] => [0x1e, 0, 0, 0, value, 0];
export const loadUnload = (flags: number): number[] => [0x1b, 0, 0, 0, flags, 0];
export const logSense = (page: number, first = 0): number[] => [
  0x4d,
  0,
  0x40 | page,
  0,
  0,
  ...be(first, 2),
  ...be(4096, 2),
  0,
];
export const moveMedium = (from: number, to: number, arm = 0): number[] => [
  0xa5,
  0,
  ...be(arm, 2),
  ...be(from, 2),
  ...be(to, 2),
  0,
  0,
  0,
  0,
];
export const exchangeMedium = (source: number, first: number, second: number): number[] => [
  0xa6,
  0,
  0,
  0,
  ...be(source, 2),
  ...be(first, 2),
  ...be(second, 2),
  0,
  0,
];
export const readElementStatus = (
  type: number,
  options: {
    first?: number;
    count?: number;
    allocation?: number;
    ids?: boolean;
    tags?: boolean;
  } = {},
): number[] => [
  0xb8,
  (options.tags === false ? 0 : 0x10) | type,
  ...be(options.first ?? 0, 2),
  ...be(options.count ?? 0xffff, 2),
  options.ids === true ? 1 : 0,
  ...be(options.allocation ?? 0xffff, 3),
  0,
  0,
];
