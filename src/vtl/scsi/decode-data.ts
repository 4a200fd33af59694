/** The data of answers in words: of those commands whose data people look at. */
import { changerModePages } from "./changer/changer-mode-pages.ts";
import {
  DESCRIPTOR,
  STATUS_HEADER,
  STATUS_HEADER_BYTES,
  STATUS_PAGE,
  STATUS_PAGE_BYTES,
  VOLUME_TAG_AT,
  VOLUME_TAG_TEXT_BYTES,
} from "./changer/element-status.ts";
import { decodeLun } from "./common/basic.ts";
import { STANDARD_LAYOUT } from "./common/inquiry.ts";
import {
  LOG_PAGE_HEADER,
  LOG_PAGE_HEADER_BYTES,
  PARAMETER_HEADER,
  PARAMETER_HEADER_BYTES,
} from "./common/logs.ts";
import {
  MODE_HEADER_10,
  MODE_HEADER_10_BYTES,
  MODE_HEADER_6,
  MODE_HEADER_6_BYTES,
} from "./common/mode-sense.ts";
import { fieldsText, layoutText } from "./decode-fields.ts";
import { decodeFields, hex, type Layout } from "./fields.ts";
import {
  PAGE_HEADER,
  PAGE_HEADER_BYTES,
  SUBPAGE_HEADER,
  SUBPAGE_HEADER_BYTES,
  type ModePage,
} from "./mode-pages.ts";
import { senseText } from "./sense.ts";
import { BLOCK_LIMITS } from "./tape/medium.ts";
import { EXTENDED_FORM, LONG_FORM, SHORT_FORM } from "./tape/position.ts";
import { tapeModePages } from "./tape/tape-mode-pages.ts";
import { BLOCK_DESCRIPTOR } from "./tape/tape-unit.ts";

const LUN_BYTES = 8;
/** Lines of a long list; the bytes are dumped anyway. */
const LINES_MAX = 64;
const TEXT_FROM = 8;
const TEXT_TO = 36;

/** Page header and fields of mode pages; their values come from the data. */
const MODE_PAGES: Readonly<Record<"tape" | "changer", readonly ModePage[]>> = {
  tape: tapeModePages(() => 0),
  changer: changerModePages(() => ({ slots: 0, drives: 0, importExport: 0 })),
};

const OPCODE = {
  requestSense: 0x03,
  blockLimits: 0x05,
  inquiry: 0x12,
  modeSense6: 0x1a,
  modeSense10: 0x5a,
  readPosition: 0x34,
  logSense: 0x4d,
  reportLuns: 0xa0,
  elementStatus: 0xb8,
} as const;

function latin1(data: Uint8Array): string {
  return Buffer.from(data).toString("latin1").trimEnd();
}

function inquiryLines(cdb: Uint8Array, data: Uint8Array): string[] {
  const isVital = ((cdb[1] ?? 0) & 1) === 1;
  if (isVital) return [`vital product data, page ${hex(data[1] ?? 0)}`];
  return [layoutText(STANDARD_LAYOUT, data), `"${latin1(data.subarray(TEXT_FROM, TEXT_TO))}"`];
}

/** By service action; what it does not know has the short form. */
const POSITION_FORMS = new Map<number, Layout>([
  [0x06, LONG_FORM],
  [0x08, EXTENDED_FORM],
]);

function lunLines(data: Uint8Array): string[] {
  const lines: string[] = [];
  for (let at = LUN_BYTES; at + LUN_BYTES <= data.length && lines.length < LINES_MAX;) {
    lines.push(`LUN ${decodeLun(data.subarray(at, at + LUN_BYTES)) ?? "of another form"}`);
    at += LUN_BYTES;
  }
  return lines;
}

function modeLines(
  data: Uint8Array,
  kind: "tape" | "changer",
  layout: typeof MODE_HEADER_6 | typeof MODE_HEADER_10,
  headerBytes: number,
): string[] {
  const header = decodeFields(layout, data);
  const lines = [fieldsText(header)];
  let at = headerBytes + header.blockDescriptorBytes;
  if (header.blockDescriptorBytes > 0) lines.push(layoutText(BLOCK_DESCRIPTOR, data, headerBytes));
  while (at + PAGE_HEADER_BYTES <= data.length && lines.length < LINES_MAX) {
    const head = decodeFields(PAGE_HEADER, data, at);
    const long = decodeFields(SUBPAGE_HEADER, data, at);
    const subpage = head.hasSubpage === 1 ? long.subpage : 0;
    const page = MODE_PAGES[kind].find(
      (each) => each.code === head.code && each.subpage === subpage,
    );
    const fields = page === undefined ? "not known here" : layoutText(page.fields, data, at);
    lines.push(`page ${hex(head.code)} ${page?.name ?? ""}: ${fields}`);
    at +=
      head.hasSubpage === 1 ? SUBPAGE_HEADER_BYTES + long.length : PAGE_HEADER_BYTES + head.length;
  }
  return lines;
}

function logLines(data: Uint8Array): string[] {
  const { page } = decodeFields(LOG_PAGE_HEADER, data);
  const lines = [`log page ${hex(page)}`];
  if (page === 0) return lines;
  let at = LOG_PAGE_HEADER_BYTES;
  while (at + PARAMETER_HEADER_BYTES <= data.length && lines.length < LINES_MAX) {
    const { code, length, format } = decodeFields(PARAMETER_HEADER, data, at);
    at += PARAMETER_HEADER_BYTES;
    const value = data.subarray(at, at + length);
    const shown = format === 1 ? `"${latin1(value)}"` : Buffer.from(value).toString("hex");
    lines.push(`parameter ${hex(code, 4)}: ${shown}`);
    at += length;
  }
  return lines;
}

function elementLines(data: Uint8Array): string[] {
  const lines = [layoutText(STATUS_HEADER, data)];
  let at = STATUS_HEADER_BYTES;
  while (at + STATUS_PAGE_BYTES <= data.length && lines.length < LINES_MAX) {
    const page = decodeFields(STATUS_PAGE, data, at);
    lines.push(`elements of type ${page.type}:`);
    const end = Math.min(at + STATUS_PAGE_BYTES + page.length, data.length);
    at += STATUS_PAGE_BYTES;
    // A size of 0 would stand still.
    const size = Math.max(page.descriptorBytes, 1);
    for (; at + size <= end && lines.length < LINES_MAX; at += size) {
      const tag = data.subarray(at + VOLUME_TAG_AT, at + VOLUME_TAG_AT + VOLUME_TAG_TEXT_BYTES);
      const name = page.hasVolumeTag === 1 ? `, tag "${latin1(tag).replace(/\0+$/, "")}"` : "";
      lines.push(`  ${layoutText(DESCRIPTOR, data, at)}${name}`);
    }
    at = end;
  }
  return lines;
}

/** Empty for commands whose data has nothing to say beyond its bytes. */
export function describeData(
  cdb: Uint8Array,
  data: Uint8Array,
  kind: "tape" | "changer",
): string[] {
  const [opcode, action = 0] = cdb;
  switch (opcode) {
    case OPCODE.requestSense:
      return [senseText(data)];
    case OPCODE.inquiry:
      return inquiryLines(cdb, data);
    case OPCODE.blockLimits:
      return kind === "tape" ? [layoutText(BLOCK_LIMITS, data)] : [];
    case OPCODE.readPosition:
      return [layoutText(POSITION_FORMS.get(action) ?? SHORT_FORM, data)];
    case OPCODE.modeSense6:
      return modeLines(data, kind, MODE_HEADER_6, MODE_HEADER_6_BYTES);
    case OPCODE.modeSense10:
      return modeLines(data, kind, MODE_HEADER_10, MODE_HEADER_10_BYTES);
    case OPCODE.logSense:
      return logLines(data);
    case OPCODE.reportLuns:
      return lunLines(data);
    case OPCODE.elementStatus:
      return elementLines(data);
    case undefined:
    default:
      return [];
  }
}
