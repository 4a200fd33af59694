/** `slotmap.json`: the slot map as text. Field by field in docs/loaders.md. */
import { ReelError } from "../errors.ts";
import { asArray, asObject, parseJson, type JsonObject } from "../tapeimage/json.ts";
import { CONTAINERS, isBarcode } from "./barcode.ts";
import { choiceField, flagField, numberField, optionalField, textField } from "./json-fields.ts";
import { CAPACITY_BYTES_MIN, DRIVES_MAX, SLOTS_MAX, checkFormat } from "./loader-config.ts";
import {
  elementKey,
  type FullElement,
  type PendingChange,
  type PendingTape,
  type SlotMap,
  type StoredTape,
} from "./slot-map.ts";
import type { ElementAddress } from "./tape-loader.ts";

const FORMAT = "reelfs-slot-map";
const VERSION = 1;
const KINDS = ["storage", "drive", "import-export"] as const;
const OPERATIONS = ["create", "delete", "import", "export"] as const;
const COUNT_MAX = Number.MAX_SAFE_INTEGER;

/** One line for each element, for people who look. */
export function formatSlotMap(map: SlotMap): string {
  const { generation, loadCounts, full, pending } = map;
  const head = { format: FORMAT, version: VERSION, generation, loadCounts };
  const headLines = Object.entries(head).map(
    ([field, value]) => `  ${JSON.stringify(field)}: ${JSON.stringify(value)},`,
  );
  const elements = [...full.values()].map((each) => `    ${JSON.stringify(flatElement(each))}`);
  const rest =
    pending === undefined ? "" : `,\n  "pending": ${JSON.stringify(flatPending(pending))}`;
  return `{\n${headLines.join("\n")}\n  "elements": [\n${elements.join(",\n")}\n  ]${rest}\n}\n`;
}

function flatElement({ tape, ...element }: FullElement): object {
  const { kind, number, ...rest } = element;
  const { barcode, container, writeProtected, capacityBytes } = tape;
  return {
    kind,
    number,
    barcode,
    ...(container === "tap" ? {} : { container }),
    ...(writeProtected ? { writeProtected } : {}),
    ...(capacityBytes === undefined ? {} : { capacityBytes }),
    ...rest,
  };
}

function flatPending({ operation, tapes }: PendingChange): object {
  const flat = tapes.map(({ element, path, takeAway }) => ({
    element: flatElement(element),
    path,
    takeAway,
  }));
  return { operation, tapes: flat };
}

/** @throws "damaged" naming the field and its element. */
export function parseSlotMap(bytes: Uint8Array, where: string): SlotMap {
  const object = asObject(parseJson(bytes, where), where);
  checkFormat(object, FORMAT, VERSION, where);
  const loadCounts = asArray(object, "loadCounts", where);
  if (loadCounts.length > DRIVES_MAX) {
    throw new ReelError("damaged", `${where}: field "loadCounts" has too many drives`);
  }
  const pending = optionalField(object, "pending", () => parsePending(object["pending"], where));
  return {
    generation: numberField(object, "generation", where, 0, COUNT_MAX),
    full: parseElements(asArray(object, "elements", where), where),
    loadCounts: loadCounts.map((count) =>
      numberField({ loadCounts: count }, "loadCounts", where, 0, COUNT_MAX),
    ),
    ...(pending === undefined ? {} : { pending }),
  };
}

function parseElements(list: readonly unknown[], where: string): Map<string, FullElement> {
  const full = new Map<string, FullElement>();
  const places = new Map<string, string>();
  for (const [index, value] of list.entries()) {
    const at = `${where}: elements[${index}]`;
    const element = parseElement(value, at);
    const key = elementKey(element);
    const before = places.get(element.tape.barcode);
    if (full.has(key)) throw new ReelError("damaged", `${at}: ${key} is listed twice`);
    if (before !== undefined) {
      throw new ReelError(
        "damaged",
        `${at}: field "barcode" is ${element.tape.barcode}, which is in ${before} already`,
      );
    }
    places.set(element.tape.barcode, key);
    full.set(key, element);
  }
  return full;
}

function parseElement(value: unknown, where: string): FullElement {
  const object = asObject(value, where);
  const address = parseAddress(object, where);
  const source = optionalField(object, "source", () =>
    parseAddress(asObject(object["source"], `${where}: field "source"`), `${where}: source`),
  );
  return {
    ...address,
    tape: parseTape(object, where),
    ...(source === undefined ? {} : { source }),
    ...(address.kind === "drive" ? { threaded: flagField(object, "threaded", where) } : {}),
    ...(address.kind === "import-export"
      ? { placedByOperator: flagField(object, "placedByOperator", where) }
      : {}),
  };
}

function parseAddress(object: JsonObject, where: string): ElementAddress {
  return {
    kind: choiceField(object, "kind", where, KINDS),
    number: numberField(object, "number", where, 0, SLOTS_MAX),
  };
}

function parseTape(object: JsonObject, where: string): StoredTape {
  const capacityBytes = optionalField(object, "capacityBytes", () =>
    numberField(object, "capacityBytes", where, CAPACITY_BYTES_MIN, COUNT_MAX),
  );
  const container = optionalField(object, "container", () =>
    choiceField(object, "container", where, CONTAINERS),
  );
  return {
    barcode: textField(object, "barcode", where, isBarcode, "a barcode"),
    container: container ?? "tap",
    writeProtected: flagField(object, "writeProtected", where),
    ...(capacityBytes === undefined ? {} : { capacityBytes }),
  };
}

function parsePending(value: unknown, where: string): PendingChange {
  const at = `${where}: pending`;
  const object = asObject(value, at);
  return {
    operation: choiceField(object, "operation", at, OPERATIONS),
    tapes: asArray(object, "tapes", at).map((tape, index) =>
      parsePendingTape(tape, `${at}.tapes[${index}]`),
    ),
  };
}

function parsePendingTape(value: unknown, where: string): PendingTape {
  const object = asObject(value, where);
  const path = optionalField(object, "path", () =>
    textField(object, "path", where, (text) => text.startsWith("/"), "an absolute path"),
  );
  return {
    element: parseElement(object["element"], `${where}.element`),
    ...(path === undefined ? {} : { path }),
    ...(flagField(object, "takeAway", where) ? { takeAway: true } : {}),
  };
}
