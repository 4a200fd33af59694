/** PERSISTENT RESERVE IN (SPC-4, 6.15): who is registered, who holds the device. */
import { dataUpTo, defineCommand, type Command } from "../command.ts";
import { bits, build, concat, flag, number, encodeField } from "../fields.ts";
import type { LogicalUnit } from "../logical-unit.ts";
import { RESERVATION_TYPE } from "../reservations.ts";

const FIELDS = { allocation: number(7, 2) } as const;
const KEY_BYTES = 8;

const HEADER = { generation: number(0, 4), length: number(4, 4) } as const;
const HEADER_BYTES = 8;
const RESERVATION = { scope: bits(13, 7, 4), type: bits(13, 3, 0) } as const;
const RESERVATION_BYTES = 16;

function keyBytes(key: bigint): Uint8Array {
  const bytes = new Uint8Array(KEY_BYTES);
  new DataView(bytes.buffer).setBigUint64(0, key);
  return bytes;
}

function withHeader(generation: number, body: Uint8Array): Uint8Array {
  const header = build(HEADER, HEADER_BYTES, { generation, length: body.length });
  return concat(header, body);
}

const common = {
  opcode: 0x5e,
  cdbBytes: 10,
  fields: FIELDS,
  reservation: "persistent",
} as const;

const readKeys = defineCommand({
  ...common,
  name: "PERSISTENT RESERVE IN, READ KEYS",
  serviceAction: 0x00,
  run: ({ reservations }: LogicalUnit, { fields }) => {
    const keys = reservations.registrations.map(([, key]) => keyBytes(key));
    return dataUpTo(fields.allocation, withHeader(reservations.generation, concat(...keys)));
  },
});

const readReservation = defineCommand({
  ...common,
  name: "PERSISTENT RESERVE IN, READ RESERVATION",
  serviceAction: 0x01,
  run: ({ reservations }: LogicalUnit, { fields }) => {
    const held = reservations.persistent;
    if (held === undefined) {
      return dataUpTo(fields.allocation, withHeader(reservations.generation, new Uint8Array(0)));
    }
    const body = build(RESERVATION, RESERVATION_BYTES, { type: held.type });
    // Where all registrants hold it, it has no one's key.
    if (!reservations.isForAllRegistrants()) {
      body.set(keyBytes(reservations.keyOf(held.holder) ?? 0n), 0);
    }
    return dataUpTo(fields.allocation, withHeader(reservations.generation, body));
  },
});

const CAPABILITIES = {
  length: number(0, 2),
  /** The types below are valid. */
  typeMaskValid: flag(3, 7),
  /** As the type mask has them: bit n of byte 4 is type n, bit 0 of byte 5 is type 8. */
  types: number(4, 1),
  typesFrom8: number(5, 1),
} as const;
const CAPABILITIES_BYTES = 8;

const reportCapabilities = defineCommand({
  ...common,
  name: "PERSISTENT RESERVE IN, REPORT CAPABILITIES",
  serviceAction: 0x02,
  run: (_unit: LogicalUnit, { fields }) => {
    const mask = Object.values(RESERVATION_TYPE).reduce((all, type) => all | (1 << type), 0);
    const data = build(CAPABILITIES, CAPABILITIES_BYTES, {
      length: CAPABILITIES_BYTES,
      typeMaskValid: true,
      types: mask & 0xff,
      typesFrom8: mask >>> 8,
    });
    return dataUpTo(fields.allocation, data);
  },
});

const STATUS_DESCRIPTOR = {
  holder: flag(12, 0),
  type: bits(13, 3, 0),
  port: number(18, 2),
  transportIdBytes: number(20, 4),
} as const;
const STATUS_DESCRIPTOR_BYTES = 24;
const FIRST_PORT = 1;

const TRANSPORT_ID = { protocol: bits(0, 3, 0), length: number(2, 2) } as const;
const TRANSPORT_ID_HEADER_BYTES = 4;
const TRANSPORT_ID_BYTES_MIN = 24;
const PROTOCOL_ISCSI = 5;
const NEXUS_TEXT_BYTES_MAX = 240;

/** The name of the nexus as an iSCSI name: null-terminated, padded to 4 bytes (SPC-4, 7.6.4). */
function transportId(nexus: string): Uint8Array {
  const name = Buffer.from(nexus, "utf8").subarray(0, NEXUS_TEXT_BYTES_MAX);
  const padded = Math.ceil((name.length + 1) / 4) * 4;
  const sizeBytes = Math.max(TRANSPORT_ID_HEADER_BYTES + padded, TRANSPORT_ID_BYTES_MIN);
  const id = build(TRANSPORT_ID, sizeBytes, {
    protocol: PROTOCOL_ISCSI,
    length: sizeBytes - TRANSPORT_ID_HEADER_BYTES,
  });
  id.set(name, TRANSPORT_ID_HEADER_BYTES);
  return id;
}

const readFullStatus = defineCommand({
  ...common,
  name: "PERSISTENT RESERVE IN, READ FULL STATUS",
  serviceAction: 0x03,
  run: ({ reservations }: LogicalUnit, { fields }) => {
    const descriptors = reservations.registrations.map(([nexus, key]) => {
      const id = transportId(nexus);
      const holds = reservations.holds(nexus);
      const descriptor = build(STATUS_DESCRIPTOR, STATUS_DESCRIPTOR_BYTES, {
        holder: holds,
        type: holds ? (reservations.persistent?.type ?? 0) : 0,
        port: FIRST_PORT,
      });
      descriptor.set(keyBytes(key), 0);
      encodeField(STATUS_DESCRIPTOR.transportIdBytes, descriptor, id.length);
      return concat(descriptor, id);
    });
    return dataUpTo(fields.allocation, withHeader(reservations.generation, concat(...descriptors)));
  },
});

export const persistentReserveInCommands: readonly Command<LogicalUnit>[] = [
  readKeys,
  readReservation,
  reportCapabilities,
  readFullStatus,
];
