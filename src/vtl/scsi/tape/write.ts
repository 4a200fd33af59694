/**
 * WRITE(6), WRITE FILEMARKS(6), ERASE(6).
 *
 * From early warning on, what is written is written, and the command ends with CHECK CONDITION,
 * NO SENSE, EOM, INFORMATION 0. What does not fit ends with VOLUME OVERFLOW; INFORMATION is what is
 * missing, and nothing of the record that did not fit is on the tape.
 */
import { isReelError } from "../../../errors.ts";
import { defineCommand, type Command, type Reply } from "../command.ts";
import { flag, number } from "../fields.ts";
import { CheckCondition, SENSE, invalidField, type Sense } from "../sense.ts";
import { TAPE_ALERT } from "../tape-alert.ts";
import { checkTransfer } from "./read.ts";
import type { TapeUnit } from "./tape-unit.ts";

/** Most filemarks that one command may write. */
export const FILEMARKS_MAX = 65_536;

const WRITE_FIELDS = { fixed: flag(1, 0), transferLength: number(2, 3) } as const;
const FILEMARK_FIELDS = {
  setmarks: flag(1, 1),
  immediate: flag(1, 0),
  count: number(2, 3),
} as const;
const ERASE_FIELDS = { immediate: flag(1, 1), long: flag(1, 0) } as const;

const EARLY_WARNING: Sense = { code: SENSE.endOfMedium, endOfMedium: true, information: 0 };

/** Sense for a write that failed with `missing` (bytes, blocks, filemarks) not written. */
function writeSense(unit: TapeUnit, error: unknown, missing: number): Sense {
  if (isReelError(error, "end-of-medium")) {
    return { code: SENSE.volumeOverflow, endOfMedium: true, information: missing };
  }
  if (isReelError(error, "no-space")) return { code: SENSE.diskNearlyFull, information: missing };
  if (isReelError(error, "io") || isReelError(error, "damaged")) {
    unit.counters.writeErrors += 1;
    unit.alerts.raise(TAPE_ALERT.writeFailure);
    return { code: SENSE.writeError, information: missing };
  }
  throw error;
}

/** Writes `data` as records of `recordBytes`; INFORMATION counts `unitBytes`. */
async function writeRecords(
  unit: TapeUnit,
  data: Uint8Array,
  recordBytes: number,
  unitBytes: number,
): Promise<Reply> {
  let earlyWarning = false;
  for (let at = 0; at < data.length; at += recordBytes) {
    try {
      const written = await unit.drive.write([data.subarray(at, at + recordBytes)]);
      earlyWarning ||= written.earlyWarning;
      unit.counters.bytesWritten += recordBytes;
    } catch (error) {
      const missingBytes = data.length - at;
      return {
        sense: writeSense(unit, error, missingBytes / unitBytes),
        residualBytes: missingBytes,
      };
    }
  }
  return earlyWarning ? { sense: EARLY_WARNING } : {};
}

const write6 = defineCommand({
  name: "WRITE(6)",
  opcode: 0x0a,
  cdbBytes: 6,
  fields: WRITE_FIELDS,
  run: async (unit: TapeUnit, { fields, dataOut }) => {
    const bytes = checkTransfer(unit, fields, WRITE_FIELDS);
    unit.checkReady();
    if (bytes === 0) return {};
    unit.checkWritable();
    const isFixed = fields.fixed === 1;
    if (!isFixed && bytes > unit.recordBytesMax) throw invalidField(WRITE_FIELDS.transferLength);
    if (dataOut.length < bytes) throw new CheckCondition(SENSE.dataPhase);
    const recordBytes = isFixed ? unit.blockLengthBytes : bytes;
    return writeRecords(unit, dataOut.subarray(0, bytes), recordBytes, isFixed ? recordBytes : 1);
  },
});

/** How many of `count` filemarks are on the tape; all of them, or those that fit. */
async function writeThoseThatFit(
  unit: TapeUnit,
  count: number,
): Promise<{ written: number; earlyWarning: boolean; failure?: unknown }> {
  try {
    const { earlyWarning } = await unit.drive.writeFilemarks(count);
    return { written: count, earlyWarning };
  } catch (failure) {
    if (!isReelError(failure, "end-of-medium") || count <= 1) {
      return { written: 0, earlyWarning: true, failure };
    }
  }
  for (let written = 0; written < count; written++) {
    try {
      await unit.drive.writeFilemarks(1);
    } catch (failure) {
      return { written, earlyWarning: true, failure };
    }
  }
  return { written: count, earlyWarning: true };
}

/** IMMED changes nothing: a virtual tape is as quick as it can be either way. */
const writeFilemarks6 = defineCommand({
  name: "WRITE FILEMARKS(6)",
  opcode: 0x10,
  cdbBytes: 6,
  fields: FILEMARK_FIELDS,
  run: async (unit: TapeUnit, { fields }) => {
    const { count } = fields;
    if (fields.setmarks === 1) throw invalidField(FILEMARK_FIELDS.setmarks);
    if (count > FILEMARKS_MAX) throw invalidField(FILEMARK_FIELDS.count);
    unit.checkReady();
    if (count === 0) return flush(unit);
    unit.checkWritable();
    const { written, earlyWarning, failure } = await writeThoseThatFit(unit, count);
    if (failure !== undefined) return { sense: writeSense(unit, failure, count - written) };
    return earlyWarning ? { sense: EARLY_WARNING } : {};
  },
});

/** No filemarks: what was written so far is made durable. Nothing to do on a protected tape. */
async function flush(unit: TapeUnit): Promise<Reply> {
  if (unit.isWriteProtected()) return {};
  try {
    await unit.drive.writeFilemarks(0);
    return {};
  } catch (error) {
    return { sense: writeSense(unit, error, 0) };
  }
}

/** Long or short, the data ends here afterwards; the position stays. */
const erase6 = defineCommand({
  name: "ERASE(6)",
  opcode: 0x19,
  cdbBytes: 6,
  fields: ERASE_FIELDS,
  run: async (unit: TapeUnit) => {
    unit.checkReady();
    unit.checkWritable();
    try {
      await unit.drive.erase();
      return {};
    } catch (error) {
      return { sense: writeSense(unit, error, 0) };
    }
  },
});

export const writeCommands: readonly Command<TapeUnit>[] = [write6, writeFilemarks6, erase6];
