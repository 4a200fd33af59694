/** INQUIRY: standard data and vital product data (SPC-4, 6.6 and 7.8). */
import { createHash } from "node:crypto";
import { dataUpTo, defineCommand, type Command } from "../command.ts";
import { bits, build, concat, encodeField, flag, number, paddedText } from "../fields.ts";
import { DEVICE_TYPE, type Identity, type LogicalUnit } from "../logical-unit.ts";
import { invalidField } from "../sense.ts";

const VENDOR = "REELFS";
const REVISION = "0100";
const VENDOR_BYTES = 8;
const PRODUCT_BYTES = 16;
const REVISION_BYTES = 4;

export const STANDARD_LAYOUT = {
  qualifier: bits(0, 7, 5),
  deviceType: bits(0, 4, 0),
  removable: flag(1, 7),
  version: number(2, 1),
  hierarchicalLuns: flag(3, 4),
  responseFormat: bits(3, 3, 0),
  additionalLength: number(4, 1),
  /** Only changers; mtx looks for it, and so asks for 56 bytes. */
  barcodeReader: flag(55, 0),
} as const;
const STANDARD_BYTES = 96;
const VENDOR_AT = 8;
const PRODUCT_AT = 16;
const REVISION_AT = 32;
const STANDARDS_AT = 58;
const ADDITIONAL_FROM = 5;
const VERSION_SPC4 = 0x06;
const RESPONSE_FORMAT = 2;
/** Qualifier 011b: this target has no device at that LUN. */
const QUALIFIER_ABSENT = 3;

/** Version descriptors (SPC-4, table 144): architecture and primary commands. */
export const STANDARD = { sam5: 0x00a0, spc4: 0x0460, ssc4: 0x0520, smc3: 0x0480 } as const;

function standardData(identity: Identity): Uint8Array {
  const data = build(STANDARD_LAYOUT, STANDARD_BYTES, {
    deviceType: identity.deviceType,
    removable: true,
    version: VERSION_SPC4,
    hierarchicalLuns: true,
    responseFormat: RESPONSE_FORMAT,
    additionalLength: STANDARD_BYTES - ADDITIONAL_FROM,
    barcodeReader: identity.hasBarcodeReader,
  });
  data.set(paddedText(VENDOR, VENDOR_BYTES), VENDOR_AT);
  data.set(paddedText(identity.product, PRODUCT_BYTES), PRODUCT_AT);
  data.set(paddedText(REVISION, REVISION_BYTES), REVISION_AT);
  identity.standards.forEach((standard, index) => {
    encodeField(number(STANDARDS_AT + 2 * index, 2), data, standard);
  });
  return data;
}

/** What INQUIRY says at a LUN where nothing is. */
export function absentUnitData(): Uint8Array {
  return build(STANDARD_LAYOUT, STANDARD_BYTES, {
    qualifier: QUALIFIER_ABSENT,
    deviceType: DEVICE_TYPE.none,
    version: VERSION_SPC4,
    responseFormat: RESPONSE_FORMAT,
    additionalLength: STANDARD_BYTES - ADDITIONAL_FROM,
  });
}

// Vital product data -----------------------------------------------------------------------------

const PAGE_SUPPORTED = 0x00;
const PAGE_SERIAL = 0x80;
const PAGE_IDENTIFICATION = 0x83;

const VITAL_HEADER = {
  deviceType: number(0, 1),
  page: number(1, 1),
  length: number(2, 2),
} as const;
const VITAL_HEADER_BYTES = 4;

const DESIGNATOR_HEADER = {
  codeSet: bits(0, 3, 0),
  type: bits(1, 3, 0),
  length: number(3, 1),
} as const;
const DESIGNATOR_HEADER_BYTES = 4;
const CODE_SET = { binary: 1, ascii: 2 } as const;
const DESIGNATOR_TYPE = { vendorId: 1, naa: 3 } as const;
const NAA_BYTES = 8;
/** Locally assigned: no registered company number is needed for it. */
const NAA_LOCAL = 3;

function designator(codeSet: number, type: number, value: Uint8Array): Uint8Array {
  const header = build(DESIGNATOR_HEADER, DESIGNATOR_HEADER_BYTES, {
    codeSet,
    type,
    length: value.length,
  });
  return concat(header, value);
}

/** Vendor, product and serial number: the name by which a changer knows its drives. */
export function vendorDesignator(identity: Identity): Uint8Array {
  const value = concat(
    paddedText(VENDOR, VENDOR_BYTES),
    paddedText(identity.product, PRODUCT_BYTES),
    paddedText(identity.serial, identity.serial.length),
  );
  return designator(CODE_SET.ascii, DESIGNATOR_TYPE.vendorId, value);
}

/** Eight bytes from a hash of product and serial number: the same for ever for the same device. */
function naaDesignator(identity: Identity): Uint8Array {
  const hash = createHash("sha256").update(`${identity.product}\n${identity.serial}`).digest();
  const value = Uint8Array.from(hash.subarray(0, NAA_BYTES));
  encodeField(bits(0, 7, 4), value, NAA_LOCAL);
  return designator(CODE_SET.binary, DESIGNATOR_TYPE.naa, value);
}

function vitalPage(identity: Identity, page: number): Uint8Array | undefined {
  switch (page) {
    case PAGE_SUPPORTED:
      return Uint8Array.from(
        [PAGE_SUPPORTED, PAGE_SERIAL, PAGE_IDENTIFICATION, ...identity.vitalPages.keys()].sort(
          (a, b) => a - b,
        ),
      );
    case PAGE_SERIAL:
      return paddedText(identity.serial, identity.serial.length);
    case PAGE_IDENTIFICATION:
      return concat(vendorDesignator(identity), naaDesignator(identity));
    default:
      return identity.vitalPages.get(page)?.();
  }
}

const INQUIRY_FIELDS = {
  vital: flag(1, 0),
  commandData: flag(1, 1),
  page: number(2, 1),
  allocation: number(3, 2),
} as const;

const inquiry = defineCommand({
  name: "INQUIRY",
  opcode: 0x12,
  cdbBytes: 6,
  fields: INQUIRY_FIELDS,
  reservation: "allowed",
  ignoresAttention: true,
  run: (unit: LogicalUnit, { fields }) => {
    const { identity } = unit;
    if (fields.commandData === 1) throw invalidField(INQUIRY_FIELDS.commandData);
    if (fields.vital === 0) {
      if (fields.page !== 0) throw invalidField(INQUIRY_FIELDS.page);
      return dataUpTo(fields.allocation, standardData(identity));
    }
    const page = vitalPage(identity, fields.page);
    if (page === undefined) throw invalidField(INQUIRY_FIELDS.page);
    const header = build(VITAL_HEADER, VITAL_HEADER_BYTES, {
      deviceType: identity.deviceType,
      page: fields.page,
      length: page.length,
    });
    return dataUpTo(fields.allocation, concat(header, page));
  },
});

export const inquiryCommands: readonly Command<LogicalUnit>[] = [inquiry];
