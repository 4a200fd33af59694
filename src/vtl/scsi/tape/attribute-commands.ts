/** READ ATTRIBUTE and WRITE ATTRIBUTE (SPC-4, 6.18 and 6.40), of the one volume and partition. */
import type { CartridgeMemory } from "../cartridge-memory.ts";
import { dataUpTo, defineCommand, parameterList, type Command } from "../command.ts";
import { concat, decodeField, decodeFields, encodeField, flag, number } from "../fields.ts";
import { CheckCondition, SENSE, invalidField, invalidParameter } from "../sense.ts";
import {
  ATTRIBUTES,
  ATTRIBUTE_HEADER,
  ATTRIBUTE_HEADER_BYTES,
  FORMAT,
  attributeValue,
  encodeAttribute,
  type Attribute,
} from "./attributes.ts";
import type { TapeUnit } from "./tape-unit.ts";

const READ_FIELDS = {
  volume: number(5, 1),
  partition: number(7, 1),
  first: number(8, 2),
  allocation: number(10, 4),
} as const;

const LIST_LENGTH = number(0, 4);
const LIST_HEADER_BYTES = 4;

function withLength(...parts: readonly Uint8Array[]): Uint8Array {
  const list = concat(new Uint8Array(LIST_HEADER_BYTES), ...parts);
  encodeField(LIST_LENGTH, list, list.length - LIST_HEADER_BYTES);
  return list;
}

function idBytes(id: number): Uint8Array {
  return Uint8Array.of(id >>> 8, id & 0xff);
}

async function presentAttributes(
  unit: TapeUnit,
  memory: CartridgeMemory,
  first: number,
): Promise<{ attribute: Attribute; value: Uint8Array }[]> {
  const present = [];
  for (const attribute of ATTRIBUTES) {
    if (attribute.id < first) continue;
    const value = await attributeValue(unit, memory, attribute);
    if (value !== undefined) present.push({ attribute, value });
  }
  return present;
}

type Answer = (unit: TapeUnit, memory: CartridgeMemory, first: number) => Promise<Uint8Array>;

function readAttribute(serviceAction: number, name: string, answer: Answer): Command<TapeUnit> {
  return defineCommand({
    name: `READ ATTRIBUTE, ${name}`,
    opcode: 0x8c,
    serviceAction,
    cdbBytes: 16,
    fields: READ_FIELDS,
    reservation: "reading",
    run: async (unit: TapeUnit, { fields }) => {
      if (fields.volume !== 0) throw invalidField(READ_FIELDS.volume);
      if (fields.partition !== 0) throw invalidField(READ_FIELDS.partition);
      const memory = unit.cartridgeMemory();
      return dataUpTo(fields.allocation, await answer(unit, memory, fields.first));
    },
  });
}

const WRITE_FIELDS = {
  writeThrough: flag(1, 0),
  volume: number(5, 1),
  partition: number(7, 1),
  listBytes: number(10, 4),
} as const;

interface SentAttribute {
  readonly id: number;
  /** Undefined: remove it. */
  readonly value: Uint8Array | undefined;
}

/** All attributes of the list, checked; nothing is written before all are right. */
function decodeList(list: Uint8Array): SentAttribute[] {
  if (list.length < LIST_HEADER_BYTES) throw new CheckCondition(SENSE.listLength);
  const end = LIST_HEADER_BYTES + decodeField(LIST_LENGTH, list);
  if (end > list.length) throw new CheckCondition(SENSE.listLength);
  const sent: SentAttribute[] = [];
  for (let at = LIST_HEADER_BYTES; at < end;) {
    if (at + ATTRIBUTE_HEADER_BYTES > end) throw new CheckCondition(SENSE.listLength);
    const head = decodeFields(ATTRIBUTE_HEADER, list, at);
    const valueAt = at + ATTRIBUTE_HEADER_BYTES;
    if (valueAt + head.length > end) throw new CheckCondition(SENSE.listLength);
    checkAttribute(head, at);
    const value = Uint8Array.from(list.subarray(valueAt, valueAt + head.length));
    sent.push({ id: head.id, value: value.length === 0 ? undefined : value });
    at = valueAt + head.length;
  }
  return sent;
}

function checkAttribute(
  head: { readonly id: number; readonly format: number; readonly length: number },
  at: number,
): void {
  const attribute = ATTRIBUTES.find((each) => each.id === head.id);
  if (attribute === undefined || attribute.compute !== undefined) {
    throw invalidParameter(ATTRIBUTE_HEADER.id, at);
  }
  if (head.format !== attribute.format) throw invalidParameter(ATTRIBUTE_HEADER.format, at);
  if (head.length === 0) return;
  const mayBeShorter = attribute.format !== FORMAT.binary || attribute.isVariable === true;
  const fits = mayBeShorter
    ? head.length <= attribute.sizeBytes
    : head.length === attribute.sizeBytes;
  if (!fits) throw invalidParameter(ATTRIBUTE_HEADER.length, at);
}

const writeAttribute = defineCommand({
  name: "WRITE ATTRIBUTE",
  opcode: 0x8d,
  cdbBytes: 16,
  fields: WRITE_FIELDS,
  run: async (unit: TapeUnit, { fields, dataOut }) => {
    if (fields.volume !== 0) throw invalidField(WRITE_FIELDS.volume);
    if (fields.partition !== 0) throw invalidField(WRITE_FIELDS.partition);
    if (fields.listBytes === 0) return {};
    const memory = unit.cartridgeMemory();
    const sent = decodeList(parameterList(dataOut, fields.listBytes));
    unit.checkWritable();
    await memory.write(new Map(sent.map(({ id, value }) => [id, value])));
    return {};
  },
});

export const attributeCommands: readonly Command<TapeUnit>[] = [
  readAttribute(0x00, "ATTRIBUTE VALUES", async (unit, memory, first) => {
    const present = await presentAttributes(unit, memory, first);
    return withLength(...present.map(({ attribute, value }) => encodeAttribute(attribute, value)));
  }),
  readAttribute(0x01, "ATTRIBUTE LIST", async (unit, memory, first) => {
    const present = await presentAttributes(unit, memory, first);
    return withLength(...present.map(({ attribute }) => idBytes(attribute.id)));
  }),
  // Two bytes: number of the first, and how many there are.
  readAttribute(0x02, "LOGICAL VOLUME LIST", async () => Uint8Array.of(0, 2, 0, 1)),
  readAttribute(0x03, "PARTITION LIST", async () => Uint8Array.of(0, 2, 0, 1)),
  readAttribute(0x05, "SUPPORTED ATTRIBUTES", async (_unit, _memory, first) =>
    withLength(...ATTRIBUTES.filter(({ id }) => id >= first).map(({ id }) => idBytes(id))),
  ),
  writeAttribute,
];
