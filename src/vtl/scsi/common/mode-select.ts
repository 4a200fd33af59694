/**
 * MODE SELECT(6) and (10). The whole parameter list is checked before anything is changed: a
 * command that fails has changed nothing. What a host may not change it may send only as it is.
 */
import { defineCommand, parameterList, type Command, type Reply } from "../command.ts";
import { decodeFields, flag, number, bits } from "../fields.ts";
import type { LogicalUnit } from "../logical-unit.ts";
import {
  PAGE_HEADER,
  PAGE_HEADER_BYTES,
  SUBPAGE_HEADER,
  SUBPAGE_HEADER_BYTES,
  type ModePage,
} from "../mode-pages.ts";
import { CheckCondition, SENSE, invalidField, invalidParameter } from "../sense.ts";
import {
  MODE_HEADER_10,
  MODE_HEADER_10_BYTES,
  MODE_HEADER_6,
  MODE_HEADER_6_BYTES,
} from "./mode-sense.ts";

const SELECT_6_FIELDS = {
  pageFormat: flag(1, 4),
  savePages: flag(1, 0),
  listBytes: number(4, 1),
} as const;
const SELECT_10_FIELDS = { ...SELECT_6_FIELDS, listBytes: number(7, 2) } as const;

const BLOCK_DESCRIPTOR_BYTES = 8;
const BITS = 8;

interface ListHead {
  readonly headerBytes: number;
  readonly deviceSpecific: number;
  readonly deviceSpecificAt: number;
  readonly blockDescriptorBytes: number;
  readonly blockDescriptorBytesAt: number;
}

function decodeHead(list: Uint8Array, kind: "6" | "10"): ListHead {
  const layout = kind === "6" ? MODE_HEADER_6 : MODE_HEADER_10;
  const headerBytes = kind === "6" ? MODE_HEADER_6_BYTES : MODE_HEADER_10_BYTES;
  if (list.length < headerBytes) throw new CheckCondition(SENSE.listLength);
  const { deviceSpecific, blockDescriptorBytes } = decodeFields(layout, list);
  return {
    headerBytes,
    deviceSpecific,
    deviceSpecificAt: layout.deviceSpecific.at,
    blockDescriptorBytes,
    blockDescriptorBytesAt: layout.blockDescriptorBytes.at,
  };
}

/** Where a page begins in the list, which one it is, and its bytes. */
interface SentPage {
  readonly page: ModePage;
  readonly at: number;
  readonly bytes: Uint8Array;
}

function decodePages(unit: LogicalUnit, list: Uint8Array, from: number): SentPage[] {
  const pages: SentPage[] = [];
  for (let at = from; at < list.length;) {
    const sent = decodePage(unit, list, at);
    pages.push(sent);
    at += sent.bytes.length;
  }
  return pages;
}

function decodePage(unit: LogicalUnit, list: Uint8Array, at: number): SentPage {
  const head = decodeFields(PAGE_HEADER, list, at);
  const isLong = head.hasSubpage === 1;
  const long = decodeFields(SUBPAGE_HEADER, list, at);
  const headerBytes = isLong ? SUBPAGE_HEADER_BYTES : PAGE_HEADER_BYTES;
  if (at + headerBytes > list.length) throw new CheckCondition(SENSE.listLength);
  const page = unit.modes.find(head.code, isLong ? long.subpage : 0);
  if (page === undefined) throw invalidParameter(PAGE_HEADER.code, at);
  const sizeBytes = headerBytes + (isLong ? long.length : head.length);
  if (sizeBytes !== page.defaults.length) {
    throw invalidParameter(isLong ? SUBPAGE_HEADER.length : PAGE_HEADER.length, at);
  }
  if (at + sizeBytes > list.length) throw new CheckCondition(SENSE.listLength);
  const bytes = Uint8Array.from(list.subarray(at, at + sizeBytes));
  checkUnchangeable(unit, { page, at, bytes }, headerBytes);
  // "Parameters savable" is reserved here, though MODE SENSE may have set it.
  bytes[0] = page.defaults[0] ?? 0;
  return { page, at, bytes };
}

/** Points at the first bit that differs and may not. */
function checkUnchangeable(unit: LogicalUnit, sent: SentPage, headerBytes: number): void {
  const current = unit.modes.current(sent.page);
  for (let i = headerBytes; i < sent.bytes.length; i++) {
    const differs = (sent.bytes[i] ?? 0) ^ (current[i] ?? 0);
    const wrong = differs & ~(sent.page.changeable[i] ?? 0);
    if (wrong === 0) continue;
    const highest = BITS * 4 - 1 - Math.clz32(wrong);
    throw invalidParameter(bits(i, highest, highest), sent.at);
  }
}

function modeSelect(unit: LogicalUnit, nexus: string, list: Uint8Array, kind: "6" | "10"): Reply {
  if (list.length === 0) return {};
  const head = decodeHead(list, kind);
  const hasDescriptor = head.blockDescriptorBytes === BLOCK_DESCRIPTOR_BYTES;
  const deviceHasDescriptor = unit.blockDescriptor().length > 0;
  if (head.blockDescriptorBytes !== 0 && !(hasDescriptor && deviceHasDescriptor)) {
    throw invalidParameter({ at: head.blockDescriptorBytesAt });
  }
  const pagesFrom = head.headerBytes + head.blockDescriptorBytes;
  if (list.length < pagesFrom) throw new CheckCondition(SENSE.listLength);
  const setDescriptor = hasDescriptor
    ? unit.selectBlockDescriptor(list.subarray(head.headerBytes, pagesFrom), head.headerBytes)
    : (): boolean => false;
  const pages = decodePages(unit, list, pagesFrom);
  // The last check: nothing has been changed up to here.
  let changed = unit.selectDeviceSpecific(head.deviceSpecific, head.deviceSpecificAt);
  changed = setDescriptor() || changed;
  for (const { page, bytes } of pages) changed = unit.modes.set(page, bytes) || changed;
  if (changed) unit.nexuses.raise(SENSE.modeParametersChanged, nexus);
  return {};
}

const modeSelect6 = defineCommand({
  name: "MODE SELECT(6)",
  opcode: 0x15,
  cdbBytes: 6,
  fields: SELECT_6_FIELDS,
  run: (unit: LogicalUnit, { fields, dataOut, nexus }) => {
    if (fields.savePages === 1) throw invalidField(SELECT_6_FIELDS.savePages);
    return modeSelect(unit, nexus, parameterList(dataOut, fields.listBytes), "6");
  },
});

const modeSelect10 = defineCommand({
  name: "MODE SELECT(10)",
  opcode: 0x55,
  cdbBytes: 10,
  fields: SELECT_10_FIELDS,
  run: (unit: LogicalUnit, { fields, dataOut, nexus }) => {
    if (fields.savePages === 1) throw invalidField(SELECT_10_FIELDS.savePages);
    return modeSelect(unit, nexus, parameterList(dataOut, fields.listBytes), "10");
  },
});

export const modeSelectCommands: readonly Command<LogicalUnit>[] = [modeSelect6, modeSelect10];
