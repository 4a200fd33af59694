/** `loader.json`: what a virtual loader is. Field by field in docs/loaders.md. */
import { ReelError } from "../errors.ts";
import { asArray, asObject, parseJson, type JsonObject } from "../tapeimage/json.ts";
import { parseBarcodePattern } from "./barcode.ts";
import { choiceField, numberField, optionalField, textField } from "./json-fields.ts";
import type { LoaderGeometry } from "./tape-loader.ts";

const FORMAT = "reelfs-loader";
const VERSION = 1;

export const SLOTS_MAX = 10_000;
export const DRIVES_MAX = 64;
export const IMPORT_EXPORT_MAX = 256;
/** A tape that holds less is of no use to anybody. */
export const CAPACITY_BYTES_MIN = 1024;
const CAPACITY_BYTES_MAX = Number.MAX_SAFE_INTEGER;
const LOADER_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const SERIAL = /^[A-Za-z0-9-]{1,32}$/;

/** What becomes of a writer whose tape is full. */
export const NEXT_TAPE_POLICIES = ["none", "create", "scratch-pool"] as const;
export type NextTapePolicy = (typeof NEXT_TAPE_POLICIES)[number];

export interface LoaderPolicies {
  readonly nextTape: NextTapePolicy;
  /** Slots whose blank tapes are the pool; none named: all slots. */
  readonly scratchSlots: readonly number[];
  /** Percent of the file system that must be free, without a warning and for writing at all. */
  readonly spaceWarnPercent: number;
  readonly spaceStopPercent: number;
  /** How far before the end of a tape early warning begins; by default 2 %, and 1 GiB at most. */
  readonly earlyWarningBytes?: number | undefined;
}

export interface LoaderConfig extends LoaderGeometry {
  readonly name: string;
  readonly serial: string;
  /** Of new tapes, in bytes of their files; undefined: as much as the disk holds. */
  readonly capacityBytes?: number | undefined;
  readonly barcodePattern: string;
  readonly policies: LoaderPolicies;
}

/** What a loader is made with where nobody says otherwise. */
export interface LoaderDefaults extends LoaderGeometry {
  readonly capacityBytes?: number | undefined;
  readonly barcodePattern: string;
  readonly policies: LoaderPolicies;
}

export const LOADER_DEFAULTS: LoaderDefaults = {
  slots: 8,
  drives: 1,
  importExport: 0,
  barcodePattern: "REEL%04d",
  policies: { nextTape: "none", scratchSlots: [], spaceWarnPercent: 6, spaceStopPercent: 5 },
};

export function isLoaderName(text: string): boolean {
  return LOADER_NAME.test(text);
}

/** Throws "invalid", naming what is wrong, for a configuration that cannot be. */
export function checkConfig(config: LoaderConfig, doing: string): void {
  try {
    parseConfig(Buffer.from(formatConfig(config)), doing);
  } catch (error) {
    if (!(error instanceof ReelError)) throw error;
    throw new ReelError("invalid", error.message, { cause: error });
  }
}

export function formatConfig(config: LoaderConfig): string {
  return `${JSON.stringify({ format: FORMAT, version: VERSION, ...config }, undefined, 2)}\n`;
}

/** @throws "damaged" naming the field; "unsupported" for a later version. */
export function parseConfig(bytes: Uint8Array, where: string): LoaderConfig {
  const object = asObject(parseJson(bytes, where), where);
  checkFormat(object, FORMAT, VERSION, where);
  const name = textField(object, "name", where, isLoaderName, NAME_RULE);
  const serial = textField(object, "serial", where, (text) => SERIAL.test(text), "a serial number");
  return { name, serial, ...parseDefaults(object, where) };
}

const NAME_RULE = "a name of letters, digits and . _ - (64 at most, beginning with none of . _ -)";

/** The fields that the defaults of the registry have as well. */
export function parseDefaults(object: JsonObject, where: string): LoaderDefaults {
  const slots = numberField(object, "slots", where, 1, SLOTS_MAX);
  const capacityBytes = optionalField(object, "capacityBytes", () =>
    numberField(object, "capacityBytes", where, CAPACITY_BYTES_MIN, CAPACITY_BYTES_MAX),
  );
  return {
    slots,
    drives: numberField(object, "drives", where, 1, DRIVES_MAX),
    importExport: numberField(object, "importExport", where, 0, IMPORT_EXPORT_MAX),
    ...(capacityBytes === undefined ? {} : { capacityBytes }),
    barcodePattern: textField(object, "barcodePattern", where, isPattern, PATTERN_RULE),
    policies: parsePolicies(
      asObject(object["policies"], `${where}: field "policies"`),
      where,
      slots,
    ),
  };
}

const PATTERN_RULE = "a pattern for barcodes with one %d or %04d in it, as in REEL%04d";

function isPattern(text: string): boolean {
  try {
    parseBarcodePattern(text, "");
    return true;
  } catch {
    return false;
  }
}

function parsePolicies(object: JsonObject, where: string, slots: number): LoaderPolicies {
  const scratchSlots = asArray(object, "scratchSlots", where).map((_, index, all) =>
    numberField({ scratchSlots: all[index] }, "scratchSlots", where, 1, slots),
  );
  const earlyWarningBytes = optionalField(object, "earlyWarningBytes", () =>
    numberField(object, "earlyWarningBytes", where, 0, CAPACITY_BYTES_MAX),
  );
  return {
    ...(earlyWarningBytes === undefined ? {} : { earlyWarningBytes }),
    nextTape: choiceField(object, "nextTape", where, NEXT_TAPE_POLICIES),
    scratchSlots,
    spaceWarnPercent: numberField(object, "spaceWarnPercent", where, 0, 100),
    spaceStopPercent: numberField(object, "spaceStopPercent", where, 0, 100),
  };
}

/** Throws "damaged" unless the object says that it is what it should be. */
export function checkFormat(
  object: JsonObject,
  format: string,
  version: number,
  where: string,
): void {
  if (object["format"] !== format) {
    throw new ReelError("damaged", `${where}: field "format" is not "${format}"`);
  }
  const found = numberField(object, "version", where, 1, Number.MAX_SAFE_INTEGER);
  if (found > version) {
    throw new ReelError(
      "unsupported",
      `${where}: field "version" is ${found}; this program reads up to ${version}`,
    );
  }
}
