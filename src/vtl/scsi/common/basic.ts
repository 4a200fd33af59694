/** TEST UNIT READY, REQUEST SENSE, REPORT LUNS, PREVENT ALLOW MEDIUM REMOVAL. */
import { dataUpTo, defineCommand, type Command } from "../command.ts";
import { bits, flag, number, encodeField } from "../fields.ts";
import type { LogicalUnit } from "../logical-unit.ts";
import { SENSE, encodeSense, invalidField } from "../sense.ts";

const testUnitReady = defineCommand({
  name: "TEST UNIT READY",
  opcode: 0x00,
  cdbBytes: 6,
  fields: {},
  reservation: "persistent",
  run: (unit: LogicalUnit) => {
    unit.checkReady();
    return {};
  },
});

const REQUEST_SENSE_FIELDS = { descriptorFormat: flag(1, 0), allocation: number(4, 1) } as const;

/**
 * The sense of the last command, once, although it came with that command: hosts without autosense
 * rely on it. Else a pending unit attention, which thereby is told.
 */
const requestSense = defineCommand({
  name: "REQUEST SENSE",
  opcode: 0x03,
  cdbBytes: 6,
  fields: REQUEST_SENSE_FIELDS,
  reservation: "allowed",
  ignoresAttention: true,
  run: (unit: LogicalUnit, { fields, nexus }) => {
    if (fields.descriptorFormat === 1) throw invalidField(REQUEST_SENSE_FIELDS.descriptorFormat);
    const kept = unit.nexuses.takeSense(nexus);
    if (kept !== undefined) return dataUpTo(fields.allocation, kept);
    const attention = unit.nexuses.takeAttention(nexus) ?? SENSE.none;
    return dataUpTo(fields.allocation, encodeSense({ code: attention }));
  },
});

const REPORT_LUNS_FIELDS = { select: number(2, 1), allocation: number(6, 4) } as const;
/** Well-known logical units alone: there are none. */
const SELECT_WELL_KNOWN = 0x01;
const SELECT_MAX = 0x02;
const LUN_BYTES = 8;
const LUN_LIST_HEADER_BYTES = 8;
/** Below: peripheral device addressing, one byte. From here on: flat space addressing. */
const FLAT_LUNS_FROM = 256;
const FLAT_SPACE = 0x4000;

/** The eight bytes of one LUN (SAM-5, 4.7). */
export function encodeLun(lun: number): Uint8Array {
  const bytes = new Uint8Array(LUN_BYTES);
  encodeField(number(0, 2), bytes, lun < FLAT_LUNS_FROM ? lun : FLAT_SPACE | lun);
  return bytes;
}

/** @returns undefined for bytes that are no LUN of a single level. */
export function decodeLun(bytes: Uint8Array): number | undefined {
  const [high = 0, low = 0, ...rest] = bytes;
  if (bytes.length < 2 || rest.some((byte) => byte !== 0)) return undefined;
  const method = high >>> 6;
  if (method === 0 && high === 0) return low;
  return method === FLAT_SPACE >>> 14 ? ((high & 0x3f) << 8) | low : undefined;
}

/** The list that REPORT LUNS returns. */
export function lunList(luns: readonly number[]): Uint8Array {
  const list = new Uint8Array(LUN_LIST_HEADER_BYTES + luns.length * LUN_BYTES);
  encodeField(number(0, 4), list, luns.length * LUN_BYTES);
  luns.forEach((lun, index) => {
    list.set(encodeLun(lun), LUN_LIST_HEADER_BYTES + index * LUN_BYTES);
  });
  return list;
}

const reportLuns = defineCommand({
  name: "REPORT LUNS",
  opcode: 0xa0,
  cdbBytes: 12,
  fields: REPORT_LUNS_FIELDS,
  reservation: "allowed",
  ignoresAttention: true,
  run: (unit: LogicalUnit, { fields }) => {
    if (fields.select > SELECT_MAX) throw invalidField(REPORT_LUNS_FIELDS.select);
    const luns = fields.select === SELECT_WELL_KNOWN ? [] : unit.luns();
    return dataUpTo(fields.allocation, lunList(luns));
  },
});

const PREVENT_FIELDS = { prevent: bits(4, 1, 0) } as const;

const preventAllow = defineCommand({
  name: "PREVENT ALLOW MEDIUM REMOVAL",
  opcode: 0x1e,
  cdbBytes: 6,
  fields: PREVENT_FIELDS,
  excepted: (fields) => fields.prevent === 0,
  run: (unit: LogicalUnit, { fields, nexus }) => {
    if (fields.prevent > 1) throw invalidField(PREVENT_FIELDS.prevent);
    if (fields.prevent === 1) unit.preventing.add(nexus);
    else unit.preventing.delete(nexus);
    unit.preventionChanged();
    return {};
  },
});

export const basicCommands: readonly Command<LogicalUnit>[] = [
  testUnitReady,
  requestSense,
  reportLuns,
  preventAllow,
];
