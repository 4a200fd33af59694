/** SEND DIAGNOSTIC and RECEIVE DIAGNOSTIC RESULTS: the self-test passes; the one page is 00. */
import { dataUpTo, defineCommand, parameterList, type Command } from "../command.ts";
import { build, concat, decodeFields, flag, number } from "../fields.ts";
import type { LogicalUnit } from "../logical-unit.ts";
import { CheckCondition, SENSE, invalidField, invalidParameter } from "../sense.ts";

const PAGE_SUPPORTED = 0x00;
const PAGE_HEADER = { page: number(0, 1), length: number(2, 2) } as const;
const PAGE_HEADER_BYTES = 4;

const SEND_FIELDS = {
  pageFormat: flag(1, 4),
  selfTest: flag(1, 2),
  listBytes: number(3, 2),
} as const;

const sendDiagnostic = defineCommand({
  name: "SEND DIAGNOSTIC",
  opcode: 0x1d,
  cdbBytes: 6,
  fields: SEND_FIELDS,
  run: (_unit: LogicalUnit, { fields, dataOut }) => {
    if (fields.listBytes === 0) return {};
    if (fields.selfTest === 1) throw invalidField(SEND_FIELDS.listBytes);
    const list = parameterList(dataOut, fields.listBytes);
    if (list.length < PAGE_HEADER_BYTES) throw new CheckCondition(SENSE.listLength);
    const { page, length } = decodeFields(PAGE_HEADER, list);
    if (page !== PAGE_SUPPORTED) throw invalidParameter(PAGE_HEADER.page);
    if (length !== 0) throw invalidParameter(PAGE_HEADER.length);
    return {};
  },
});

const RECEIVE_FIELDS = {
  pageCodeValid: flag(1, 0),
  page: number(2, 1),
  allocation: number(3, 2),
} as const;

const receiveDiagnostic = defineCommand({
  name: "RECEIVE DIAGNOSTIC RESULTS",
  opcode: 0x1c,
  cdbBytes: 6,
  fields: RECEIVE_FIELDS,
  run: (_unit: LogicalUnit, { fields }) => {
    if (fields.pageCodeValid === 1 && fields.page !== PAGE_SUPPORTED) {
      throw invalidField(RECEIVE_FIELDS.page);
    }
    const pages = Uint8Array.of(PAGE_SUPPORTED);
    const header = build(PAGE_HEADER, PAGE_HEADER_BYTES, { length: pages.length });
    return dataUpTo(fields.allocation, concat(header, pages));
  },
});

export const diagnosticCommands: readonly Command<LogicalUnit>[] = [
  sendDiagnostic,
  receiveDiagnostic,
];
