/** LOG SENSE and LOG SELECT (SPC-4, 6.10 and 6.11). Counters are kept since the device started. */
import { dataUpTo, defineCommand, type Command } from "../command.ts";
import { bits, build, concat, flag, number } from "../fields.ts";
import type { LogPage, LogParameter, LogicalUnit } from "../logical-unit.ts";
import { invalidField } from "../sense.ts";

const SENSE_FIELDS = {
  savePages: flag(1, 0),
  control: bits(2, 7, 6),
  page: bits(2, 5, 0),
  subpage: number(3, 1),
  firstParameter: number(5, 2),
  allocation: number(7, 2),
} as const;

const SELECT_FIELDS = {
  resetCounters: flag(1, 1),
  savePages: flag(1, 0),
  control: bits(2, 7, 6),
  page: bits(2, 5, 0),
  subpage: number(3, 1),
  listBytes: number(7, 2),
} as const;

export const LOG_PAGE_HEADER = {
  hasSubpage: flag(0, 6),
  page: bits(0, 5, 0),
  subpage: number(1, 1),
  length: number(2, 2),
} as const;
export const LOG_PAGE_HEADER_BYTES = 4;

export const PARAMETER_HEADER = {
  code: number(0, 2),
  /** Format and linking: 01b text, 11b binary. */
  format: bits(2, 1, 0),
  length: number(3, 1),
} as const;
export const PARAMETER_HEADER_BYTES = 4;
const FORMAT = { text: 1, binary: 3 } as const;

const PAGE_SUPPORTED = 0x00;
const SUBPAGE_ALL = 0xff;

function encodeParameter({ code, value, isText }: LogParameter): Uint8Array {
  const header = build(PARAMETER_HEADER, PARAMETER_HEADER_BYTES, {
    code,
    format: isText === true ? FORMAT.text : FORMAT.binary,
    length: value.length,
  });
  return concat(header, value);
}

function encodePage(page: number, subpage: number, body: Uint8Array): Uint8Array {
  const header = build(LOG_PAGE_HEADER, LOG_PAGE_HEADER_BYTES, {
    hasSubpage: subpage !== 0,
    page,
    subpage,
    length: body.length,
  });
  return concat(header, body);
}

/** Page 00, or with its subpage FF in pairs of page and subpage. */
function supportedPages(pages: readonly LogPage[], subpage: number): Uint8Array {
  const codes = [PAGE_SUPPORTED, ...pages.map((page) => page.code)].sort((a, b) => a - b);
  if (subpage === 0) return encodePage(PAGE_SUPPORTED, 0, Uint8Array.from(codes));
  const pairs = codes.flatMap((code) =>
    code === PAGE_SUPPORTED ? [code, 0, code, SUBPAGE_ALL] : [code, 0],
  );
  return encodePage(PAGE_SUPPORTED, SUBPAGE_ALL, Uint8Array.from(pairs));
}

const logSense = defineCommand({
  name: "LOG SENSE",
  opcode: 0x4d,
  cdbBytes: 10,
  fields: SENSE_FIELDS,
  reservation: "allowed",
  run: async (unit: LogicalUnit, { fields }) => {
    if (fields.savePages === 1) throw invalidField(SENSE_FIELDS.savePages);
    if (fields.page === PAGE_SUPPORTED) {
      if (fields.subpage !== 0 && fields.subpage !== SUBPAGE_ALL) {
        throw invalidField(SENSE_FIELDS.subpage);
      }
      return dataUpTo(fields.allocation, supportedPages(unit.logPages, fields.subpage));
    }
    const page = unit.logPages.find((each) => each.code === fields.page);
    if (page === undefined) throw invalidField(SENSE_FIELDS.page);
    if (fields.subpage !== 0) throw invalidField(SENSE_FIELDS.subpage);
    const parameters = await page.parameters();
    const wanted = parameters.filter(({ code }) => code >= fields.firstParameter);
    if (wanted.length === 0) throw invalidField(SENSE_FIELDS.firstParameter);
    const data = encodePage(page.code, 0, concat(...wanted.map(encodeParameter)));
    page.afterReading?.();
    return dataUpTo(fields.allocation, data);
  },
});

/** Resets all counters, or does nothing; there are no parameters to send. */
const logSelect = defineCommand({
  name: "LOG SELECT",
  opcode: 0x4c,
  cdbBytes: 10,
  fields: SELECT_FIELDS,
  run: (unit: LogicalUnit, { fields }) => {
    if (fields.savePages === 1) throw invalidField(SELECT_FIELDS.savePages);
    if (fields.listBytes !== 0) throw invalidField(SELECT_FIELDS.listBytes);
    if (fields.resetCounters === 1) unit.resetCounters();
    return {};
  },
});

export const logCommands: readonly Command<LogicalUnit>[] = [logSense, logSelect];
