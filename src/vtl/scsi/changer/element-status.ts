/**
 * READ ELEMENT STATUS (SMC-3, 6.11): a header, then for each type of element a page header and one
 * descriptor for each element. What has no room is left out by whole descriptors, and a page that
 * would have none is left out with its header: mtx takes an empty page for a broken changer.
 */
import type { ElementStatus } from "../../tape-loader.ts";
import { vendorDesignator } from "../common/inquiry.ts";
import { dataUpTo, defineCommand, type Command } from "../command.ts";
import { bits, build, concat, flag, number, paddedText } from "../fields.ts";
import { invalidField } from "../sense.ts";
import type { ChangerUnit } from "./changer-unit.ts";
import { ARM_ADDRESS, ELEMENT_TYPE, addressOf, typeOf } from "./element-map.ts";

const FIELDS = {
  volumeTags: flag(1, 4),
  type: bits(1, 3, 0),
  first: number(2, 2),
  count: number(4, 2),
  currentData: flag(6, 1),
  deviceIds: flag(6, 0),
  allocation: number(7, 3),
} as const;
const TYPE_ALL = 0;
const TYPE_MAX = 4;

export const STATUS_HEADER = {
  first: number(0, 2),
  count: number(2, 2),
  length: number(5, 3),
} as const;
export const STATUS_HEADER_BYTES = 8;

export const STATUS_PAGE = {
  type: number(0, 1),
  hasVolumeTag: flag(1, 7),
  descriptorBytes: number(2, 2),
  length: number(5, 3),
} as const;
export const STATUS_PAGE_BYTES = 8;

export const DESCRIPTOR = {
  address: number(0, 2),
  full: flag(2, 0),
  placedByOperator: flag(2, 1),
  accessible: flag(2, 3),
  exportEnabled: flag(2, 4),
  importEnabled: flag(2, 5),
  sourceValid: flag(9, 7),
  mediumType: bits(9, 2, 0),
  source: number(10, 2),
} as const;
const DESCRIPTOR_BYTES = 12;
export const VOLUME_TAG_AT = DESCRIPTOR_BYTES;
/** 32 of the tag, space padded, then two reserved and the two of a sequence number. */
export const VOLUME_TAG_TEXT_BYTES = 32;
const VOLUME_TAG_BYTES = 36;
/** Code set, type and length of an identifier: all 0 where there is none. */
const NO_IDENTIFIER_BYTES = 4;
const MEDIUM_TYPE_DATA = 1;

interface Entry {
  readonly type: number;
  readonly address: number;
  /** Absent for the arm. */
  readonly element?: ElementStatus;
}

interface Form {
  readonly volumeTags: boolean;
  readonly deviceIds: boolean;
}

/** All elements that have an address, by address. */
function entries(elements: readonly ElementStatus[]): Entry[] {
  const list: Entry[] = [{ type: ELEMENT_TYPE.transport, address: ARM_ADDRESS }];
  for (const element of elements) {
    const address = addressOf(element);
    if (address !== undefined) list.push({ type: typeOf(element.kind), address, element });
  }
  return list.sort((a, b) => a.address - b.address);
}

/** Where the tape came from; one in a slot of which nothing is known is at home there. */
function sourceOf({ element, address }: Entry): number | undefined {
  if (element?.tape === undefined) return undefined;
  if (element.source !== undefined) return addressOf(element.source);
  return element.kind === "storage" ? address : undefined;
}

function isAccessible(unit: ChangerUnit, element: ElementStatus | undefined): boolean {
  if (element?.kind !== "drive") return element !== undefined;
  return !unit.loader.drive(element.number).preventRemoval;
}

function identifier(unit: ChangerUnit, entry: Entry, form: Form): Uint8Array {
  if (!form.deviceIds || entry.element?.kind !== "drive")
    return new Uint8Array(NO_IDENTIFIER_BYTES);
  return vendorDesignator(unit.driveIdentity(entry.element.number));
}

function encodeDescriptor(unit: ChangerUnit, entry: Entry, form: Form): Uint8Array {
  const { element, address } = entry;
  const tape = element?.tape;
  const source = sourceOf(entry);
  const isPort = element?.kind === "import-export";
  const head = build(DESCRIPTOR, DESCRIPTOR_BYTES, {
    address,
    full: tape !== undefined,
    placedByOperator: isPort && tape !== undefined && element.placedByOperator === true,
    accessible: isAccessible(unit, element),
    exportEnabled: isPort,
    importEnabled: isPort,
    sourceValid: source !== undefined,
    mediumType: tape === undefined ? 0 : MEDIUM_TYPE_DATA,
    source: source ?? 0,
  });
  const parts = [head];
  if (form.volumeTags) {
    const tag = new Uint8Array(VOLUME_TAG_BYTES);
    if (tape !== undefined) tag.set(paddedText(tape.barcode, VOLUME_TAG_TEXT_BYTES));
    parts.push(tag);
  }
  return concat(...parts, identifier(unit, entry, form));
}

/** One page: entries of one type, all descriptors of one length. */
function encodePage(
  unit: ChangerUnit,
  page: readonly Entry[],
  form: Form,
  roomBytes: number,
): { bytes: Uint8Array; fullBytes: number } {
  const descriptors = page.map((entry) => encodeDescriptor(unit, entry, form));
  const size = Math.max(...descriptors.map((each) => each.length));
  const fullBytes = STATUS_PAGE_BYTES + size * descriptors.length;
  const fitting = Math.floor((roomBytes - STATUS_PAGE_BYTES) / size);
  if (fitting < 1) return { bytes: new Uint8Array(0), fullBytes };
  const sent = descriptors.slice(0, fitting);
  const header = build(STATUS_PAGE, STATUS_PAGE_BYTES, {
    type: page[0]?.type ?? 0,
    hasVolumeTag: form.volumeTags,
    descriptorBytes: size,
    length: size * sent.length,
  });
  const padded = sent.map((each) => concat(each, new Uint8Array(size - each.length)));
  return { bytes: concat(header, ...padded), fullBytes };
}

/** Entries in pages: neighbours of one type. */
function intoPages(wanted: readonly Entry[]): Entry[][] {
  const pages: Entry[][] = [];
  for (const entry of wanted) {
    const last = pages.at(-1);
    if (last?.[0]?.type === entry.type) last.push(entry);
    else pages.push([entry]);
  }
  return pages;
}

/** The whole report; the header counts all of it, also what `allocationBytes` leaves out. */
function encodeStatus(
  unit: ChangerUnit,
  wanted: readonly Entry[],
  form: Form,
  allocationBytes: number,
): Uint8Array {
  let roomBytes = allocationBytes - STATUS_HEADER_BYTES;
  let length = 0;
  const pages: Uint8Array[] = [];
  for (const page of intoPages(wanted)) {
    const { bytes, fullBytes } = encodePage(unit, page, form, roomBytes);
    pages.push(bytes);
    length += fullBytes;
    // Behind a page that was cut there is nothing.
    roomBytes = bytes.length === fullBytes ? roomBytes - fullBytes : 0;
  }
  const header = build(STATUS_HEADER, STATUS_HEADER_BYTES, {
    first: wanted[0]?.address ?? 0,
    count: wanted.length,
    length,
  });
  return concat(header, ...pages);
}

/** CURDATA or not, the answer is what is there now, and nothing moves for it. */
const readElementStatus = defineCommand({
  name: "READ ELEMENT STATUS",
  opcode: 0xb8,
  cdbBytes: 12,
  fields: FIELDS,
  reservation: "reading",
  excepted: (fields) => fields.currentData === 1,
  run: async (unit: ChangerUnit, { fields }) => {
    if (fields.type > TYPE_MAX) throw invalidField(FIELDS.type);
    const all = entries(await unit.loader.elements());
    const wanted = all
      .filter(({ type }) => fields.type === TYPE_ALL || type === fields.type)
      .filter(({ address }) => address >= fields.first)
      .slice(0, fields.count);
    const form = { volumeTags: fields.volumeTags === 1, deviceIds: fields.deviceIds === 1 };
    return dataUpTo(fields.allocation, encodeStatus(unit, wanted, form, fields.allocation));
  },
});

export const elementStatusCommands: readonly Command<ChangerUnit>[] = [readElementStatus];
