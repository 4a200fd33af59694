/** Commands and answers in words, for developers. Made from the tables that the devices run on. */
import { STATUS, type ScsiAnswer } from "./answer.ts";
import { changerCommands } from "./changer/changer-commands.ts";
import { findCommand, withoutLunBits, type CommandFormat } from "./command.ts";
import { describeData } from "./decode-data.ts";
import { decodeFields, hex } from "./fields.ts";
import { senseText } from "./sense.ts";
import { tapeCommands } from "./tape/tape-commands.ts";
import { fieldsText } from "./decode-fields.ts";

/** Some operation codes mean one thing to a drive and another to a changer. */
export type ScsiDeviceKind = "tape" | "changer";

const DUMP_LINES_MAX = 16;
const DUMP_LINE_BYTES = 16;

function formatOf(cdb: Uint8Array, kind: ScsiDeviceKind): CommandFormat | undefined {
  const table: readonly CommandFormat[] = kind === "tape" ? tapeCommands : changerCommands;
  return findCommand(table, withoutLunBits(cdb));
}

/** "READ(6): suppress length 0, fixed 1, transfer length 16". */
export function describeCdb(cdb: Uint8Array, kind: ScsiDeviceKind = "tape"): string {
  const format = formatOf(cdb, kind);
  if (format === undefined) {
    const opcode = cdb[0] === undefined ? "of no bytes" : hex(cdb[0]);
    return `command ${opcode}: not one of a ${kind === "tape" ? "drive" : "changer"} here`;
  }
  const fields = fieldsText(decodeFields(format.fields, withoutLunBits(cdb)));
  const short =
    cdb.length < format.cdbBytes ? ` (${format.cdbBytes - cdb.length} bytes short)` : "";
  return `${format.name}${short}${fields === "" ? "" : `: ${fields}`}`;
}

function statusText(status: number): string {
  switch (status) {
    case STATUS.good:
      return "GOOD";
    case STATUS.checkCondition:
      return "CHECK CONDITION";
    case STATUS.busy:
      return "BUSY";
    case STATUS.reservationConflict:
      return "RESERVATION CONFLICT";
    default:
      return `status ${hex(status)}`;
  }
}

/** Offset, hexadecimal, and what of it is text. */
function dumpLines(data: Uint8Array): string[] {
  const lines: string[] = [];
  for (let at = 0; at < data.length && lines.length < DUMP_LINES_MAX; at += DUMP_LINE_BYTES) {
    const line = [...data.subarray(at, at + DUMP_LINE_BYTES)];
    const bytes = line.map((byte) => hex(byte)).join(" ");
    const text = line.map((byte) =>
      byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : ".",
    );
    lines.push(`  ${hex(at, 4)}  ${bytes.padEnd(3 * DUMP_LINE_BYTES)} ${text.join("")}`);
  }
  const shown = lines.length * DUMP_LINE_BYTES;
  if (data.length > shown) lines.push(`  … and ${data.length - shown} bytes more`);
  return lines;
}

/** Status, sense, residual and data, on lines of their own. */
export function describeAnswer(
  cdb: Uint8Array,
  answer: ScsiAnswer,
  kind: ScsiDeviceKind = "tape",
): string {
  const lines = [statusText(answer.status)];
  if (answer.sense !== undefined) lines.push(`sense: ${senseText(answer.sense)}`);
  if (answer.residualBytes !== undefined) {
    lines.push(`not moved: ${answer.residualBytes} bytes of those that the CDB has room for`);
  }
  if (answer.dataIn.length > 0) {
    lines.push(`data: ${answer.dataIn.length} bytes`, ...dumpLines(answer.dataIn));
    const inWords = describeData(withoutLunBits(cdb), answer.dataIn, kind);
    lines.push(...inWords.map((line) => `  ${line}`));
  }
  return lines.join("\n");
}
