/**
 * READ(6) and READ REVERSE(6).
 *
 * FIXED=0: one record, of up to so many bytes. FIXED=1: so many records of the block length. What
 * ends a read early (a filemark, the end of the data, the beginning, a record of another length or
 * one that cannot be read) comes as CHECK CONDITION together with the data before it; INFORMATION
 * is what is missing, in bytes (FIXED=0) or blocks.
 */
import { isReelError } from "../../../errors.ts";
import type { TapeRead } from "../../../tape/tape-drive.ts";
import { defineCommand, type Command, type Reply } from "../command.ts";
import { flag, number, type Field } from "../fields.ts";
import { SENSE, invalidField, type Sense } from "../sense.ts";
import { TAPE_ALERT } from "../tape-alert.ts";
import type { TapeUnit } from "./tape-unit.ts";

/** Most bytes that one command may move: what a read allocates is bounded by it. */
export const TRANSFER_BYTES_MAX = 64 * 2 ** 20;

const READ_FIELDS = {
  suppressLength: flag(1, 1),
  fixed: flag(1, 0),
  transferLength: number(2, 3),
} as const;
const REVERSE_FIELDS = { ...READ_FIELDS, tapeOrder: flag(1, 2) } as const;

/** What came instead of a record that can be used. */
type Outcome = TapeRead | { readonly kind: "unreadable" };

interface ReadRequest {
  readonly transferLength: number;
  readonly suppressLength: boolean;
  readonly reverse: boolean;
  /** Reverse only: bytes and blocks as a forward read has them, rather than last byte first. */
  readonly tapeOrder: boolean;
}

/** Checks of the CDB that READ, READ REVERSE and WRITE share. @returns bytes of the transfer. */
export function checkTransfer(
  unit: TapeUnit,
  fields: { readonly fixed: number; readonly transferLength: number },
  layout: { readonly fixed: Field; readonly transferLength: Field },
): number {
  if (fields.fixed === 0) return fields.transferLength;
  if (unit.blockLengthBytes === 0) throw invalidField(layout.fixed);
  const bytes = fields.transferLength * unit.blockLengthBytes;
  if (bytes > TRANSFER_BYTES_MAX) throw invalidField(layout.transferLength);
  return bytes;
}

async function readObject(unit: TapeUnit, target: Uint8Array, reverse: boolean): Promise<Outcome> {
  try {
    const read = await unit.drive.read(target, { reverse });
    if (read.kind === "record") {
      unit.counters.bytesRead += Math.min(read.lengthBytes, target.length);
      if (read.flawed) countReadError(unit);
    }
    return read;
  } catch (error) {
    if (!isReelError(error, "damaged") && !isReelError(error, "io")) throw error;
    countReadError(unit);
    await passUnreadable(unit, reverse);
    return { kind: "unreadable" };
  }
}

function countReadError(unit: TapeUnit): void {
  unit.counters.readErrors += 1;
  unit.alerts.raise(TAPE_ALERT.readFailure);
}

/** The position after an unreadable record is behind it, where the tape goes on there. */
async function passUnreadable(unit: TapeUnit, reverse: boolean): Promise<void> {
  try {
    await unit.drive.space("records", reverse ? -1 : 1);
  } catch (error) {
    if (!isReelError(error, "damaged") && !isReelError(error, "io")) throw error;
  }
}

/** Sense for everything that is not a good record; `missing` becomes INFORMATION. */
async function stopSense(
  unit: TapeUnit,
  kind: Exclude<Outcome["kind"], "record">,
  missing: number,
): Promise<Sense> {
  const information = missing;
  switch (kind) {
    case "filemark":
      return { code: SENSE.filemark, filemark: true, information };
    case "beginning":
      return { code: SENSE.beginning, endOfMedium: true, information };
    case "unreadable":
      return { code: SENSE.readError, information };
    case "end-of-data":
      return endOfDataSense(unit, information);
  }
}

/** BLANK CHECK; EOM when the data ends behind early warning. */
export async function endOfDataSense(unit: TapeUnit, information?: number): Promise<Sense> {
  const { earlyWarning } = await unit.drive.position();
  const sense = { code: SENSE.endOfData, endOfMedium: earlyWarning };
  return information === undefined ? sense : { ...sense, information };
}

async function readVariable(unit: TapeUnit, request: ReadRequest): Promise<Reply> {
  const { transferLength, reverse } = request;
  const target = Buffer.allocUnsafe(transferLength);
  const outcome = await readObject(unit, target, reverse);
  if (outcome.kind !== "record") {
    const sense = await stopSense(unit, outcome.kind, transferLength);
    return { sense, residualBytes: transferLength };
  }
  const { lengthBytes, flawed } = outcome;
  let dataIn: Uint8Array = target.subarray(0, Math.min(lengthBytes, transferLength));
  if (reverse && !request.tapeOrder) {
    if (lengthBytes > transferLength) dataIn = await tailOfNext(unit, lengthBytes, transferLength);
    dataIn.reverse();
  }
  return {
    dataIn,
    residualBytes: transferLength - dataIn.length,
    sense: flawed
      ? { code: SENSE.readError, information: transferLength }
      : lengthSense(unit, request, lengthBytes),
  };
}

/** Read backward, a record that is too long gives its last bytes. The position stays before it. */
async function tailOfNext(unit: TapeUnit, length: number, wanted: number): Promise<Uint8Array> {
  const whole = Buffer.allocUnsafe(length);
  await unit.drive.read(whole);
  await unit.drive.space("records", -1);
  return whole.subarray(length - wanted);
}

/** ILI: SILI keeps quiet about short records, and about long ones in variable block mode. */
function lengthSense(unit: TapeUnit, request: ReadRequest, lengthBytes: number): Sense | undefined {
  const information = request.transferLength - lengthBytes;
  if (information === 0) return undefined;
  const isQuiet = request.suppressLength && (information > 0 || unit.blockLengthBytes === 0);
  if (isQuiet) return undefined;
  return { code: SENSE.incorrectLength, incorrectLength: true, information };
}

async function readFixed(unit: TapeUnit, request: ReadRequest): Promise<Reply> {
  const { transferLength: count, reverse } = request;
  const block = unit.blockLengthBytes;
  const target = Buffer.allocUnsafe(count * block);
  let done = 0;
  let sense: Sense | undefined;
  while (done < count) {
    // Backward, the target fills from its end, so that it is in tape order.
    const at = (reverse ? count - 1 - done : done) * block;
    sense = await readBlock(unit, target.subarray(at, at + block), reverse, count - done);
    if (sense !== undefined) break;
    done += 1;
  }
  const dataIn = reverse
    ? target.subarray((count - done) * block)
    : target.subarray(0, done * block);
  if (reverse && !request.tapeOrder) dataIn.reverse();
  return { dataIn, sense, residualBytes: target.length - dataIn.length };
}

/** One block of a FIXED read; undefined: as it should be. */
async function readBlock(
  unit: TapeUnit,
  target: Uint8Array,
  reverse: boolean,
  missing: number,
): Promise<Sense | undefined> {
  const outcome = await readObject(unit, target, reverse);
  if (outcome.kind !== "record") return stopSense(unit, outcome.kind, missing);
  if (outcome.flawed) return { code: SENSE.readError, information: missing };
  if (outcome.lengthBytes === target.length) return undefined;
  return { code: SENSE.incorrectLength, incorrectLength: true, information: missing };
}

const read6 = defineCommand({
  name: "READ(6)",
  opcode: 0x08,
  cdbBytes: 6,
  fields: READ_FIELDS,
  run: async (unit: TapeUnit, { fields }) => run(unit, fields, { reverse: false, tapeOrder: true }),
});

const readReverse6 = defineCommand({
  name: "READ REVERSE(6)",
  opcode: 0x0f,
  cdbBytes: 6,
  fields: REVERSE_FIELDS,
  run: async (unit: TapeUnit, { fields }) => {
    const tapeOrder = fields.tapeOrder === 1;
    return run(unit, fields, { reverse: true, tapeOrder });
  },
});

async function run(
  unit: TapeUnit,
  fields: {
    readonly fixed: number;
    readonly suppressLength: number;
    readonly transferLength: number;
  },
  direction: { readonly reverse: boolean; readonly tapeOrder: boolean },
): Promise<Reply> {
  const bytes = checkTransfer(unit, fields, READ_FIELDS);
  const suppressLength = fields.suppressLength === 1;
  if (fields.fixed === 1 && suppressLength) throw invalidField(READ_FIELDS.suppressLength);
  unit.checkReady();
  if (bytes === 0) return {};
  const request = { ...direction, suppressLength, transferLength: fields.transferLength };
  return fields.fixed === 1 ? readFixed(unit, request) : readVariable(unit, request);
}

export const readCommands: readonly Command<TapeUnit>[] = [read6, readReverse6];
