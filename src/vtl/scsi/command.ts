/**
 * A command: its CDB as a table, who may send it while another holds a reservation, and the
 * function that does it. The same tables decode CDBs, answer REPORT SUPPORTED OPERATION CODES and
 * print commands for people.
 */
import { decodeFields, setAllBits, type FieldValues, type Layout } from "./fields.ts";
import { CheckCondition, SENSE, type Sense } from "./sense.ts";

/** What a CDB looks like. */
export interface CommandFormat {
  readonly name: string;
  readonly opcode: number;
  /** For operation codes shared by several commands: bits 4–0 of byte 1. */
  readonly serviceAction?: number;
  readonly cdbBytes: 6 | 10 | 12 | 16;
  readonly fields: Layout;
}

/**
 * While another nexus holds a reservation: "allowed" always; "persistent" unless it was made with
 * RESERVE; "reading" only beside a persistent one that keeps out no readers; "conflict" never (the
 * default). `excepted` overrides it by what the CDB says.
 */
export type ReservationRule = "allowed" | "persistent" | "reading" | "conflict";

export interface Request<L extends Layout = Layout> {
  readonly cdb: Uint8Array;
  readonly fields: FieldValues<L>;
  readonly dataOut: Uint8Array;
  readonly nexus: string;
  /** Every command of the device. */
  readonly table: readonly CommandFormat[];
}

/** Nothing in it: GOOD, without data. */
export interface Reply {
  readonly dataIn?: Uint8Array;
  /** Ends the command with CHECK CONDITION all the same: data may come with it. */
  readonly sense?: Sense | undefined;
  readonly residualBytes?: number;
  readonly status?: number;
}

export interface Command<Unit> extends CommandFormat {
  readonly reservation: ReservationRule;
  /** True for a CDB of this command that a reservation does not keep out. */
  readonly isExcepted: (cdb: Uint8Array) => boolean;
  /** INQUIRY and its like: answered also while a unit attention is pending, which stays. */
  readonly ignoresAttention: boolean;
  readonly run: (unit: Unit, request: Omit<Request, "fields">) => Promise<Reply>;
}

interface CommandSpecification<Unit, L extends Layout> {
  readonly name: string;
  readonly opcode: number;
  readonly serviceAction?: number;
  readonly cdbBytes: 6 | 10 | 12 | 16;
  readonly fields: L;
  readonly reservation?: ReservationRule;
  readonly excepted?: (fields: FieldValues<L>) => boolean;
  readonly ignoresAttention?: boolean;
  readonly run: (unit: Unit, request: Request<L>) => Promise<Reply> | Reply;
}

export function defineCommand<Unit, L extends Layout>(
  specification: CommandSpecification<Unit, L>,
): Command<Unit> {
  const { fields, run, excepted, reservation, ignoresAttention, ...format } = specification;
  return {
    ...format,
    fields,
    reservation: reservation ?? "conflict",
    ignoresAttention: ignoresAttention ?? false,
    isExcepted: (cdb) => excepted?.(decodeFields(fields, cdb)) ?? false,
    run: async (unit, request) =>
      run(unit, { ...request, fields: decodeFields(fields, request.cdb) }),
  };
}

/** Old hosts put the LUN into the top three bits of byte 1. */
const LUN_BITS_BYTE = 1;
const WITHOUT_LUN_BITS = 0x1f;
const SERVICE_ACTION_BITS = 0x1f;

/** A copy of the CDB without what hosts of SCSI-2 days put into byte 1. */
export function withoutLunBits(cdb: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(cdb);
  if (copy.length > LUN_BITS_BYTE) {
    copy[LUN_BITS_BYTE] = (copy[LUN_BITS_BYTE] ?? 0) & WITHOUT_LUN_BITS;
  }
  return copy;
}

/** The command that a CDB is, by operation code and, where it has them, service action. */
export function findCommand<F extends CommandFormat>(
  table: readonly F[],
  cdb: Uint8Array,
): F | undefined {
  const action = (cdb[LUN_BITS_BYTE] ?? 0) & SERVICE_ACTION_BITS;
  return table.find(
    (each) =>
      each.opcode === cdb[0] && (each.serviceAction === undefined || each.serviceAction === action),
  );
}

/** Which bits of the CDB the device looks at (SPC-4: CDB usage data). */
export function usageMap(format: CommandFormat): Uint8Array {
  const map = new Uint8Array(format.cdbBytes);
  for (const field of Object.values(format.fields)) setAllBits(field, map);
  map[0] = format.opcode;
  if (format.serviceAction !== undefined) {
    map[LUN_BITS_BYTE] = (map[LUN_BITS_BYTE] ?? 0) | format.serviceAction;
  }
  return map;
}

/** Data for the host, cut to what the CDB has room for. That is never an error. */
export function dataUpTo(allocationBytes: number, data: Uint8Array): Reply {
  if (data.length > allocationBytes) return { dataIn: data.subarray(0, allocationBytes) };
  return { dataIn: data, residualBytes: allocationBytes - data.length };
}

/** The parameter list of a command: as many bytes as its CDB says. */
export function parameterList(dataOut: Uint8Array, lengthBytes: number): Uint8Array {
  if (dataOut.length < lengthBytes) throw new CheckCondition(SENSE.dataPhase);
  return dataOut.subarray(0, lengthBytes);
}
