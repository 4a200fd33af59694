/** REPORT SUPPORTED OPERATION CODES (SPC-4, 6.35): made from the table of commands itself. */
import { dataUpTo, defineCommand, usageMap, type Command, type CommandFormat } from "../command.ts";
import { bits, build, concat, encodeField, flag, number } from "../fields.ts";
import type { LogicalUnit } from "../logical-unit.ts";
import { invalidField } from "../sense.ts";

const FIELDS = {
  withTimeouts: flag(2, 7),
  option: bits(2, 2, 0),
  opcode: number(3, 1),
  serviceAction: number(4, 2),
  allocation: number(6, 4),
} as const;

/** Reporting options. */
const ALL = 0;
const BY_OPCODE = 1;
const BY_SERVICE_ACTION = 2;
/** As the two before, and a command that is not there is told, not an error. */
const BY_EITHER = 3;

const DESCRIPTOR = {
  opcode: number(0, 1),
  serviceAction: number(2, 2),
  hasTimeouts: flag(5, 1),
  hasServiceAction: flag(5, 0),
  cdbBytes: number(6, 2),
} as const;
const DESCRIPTOR_BYTES = 8;

const ONE_COMMAND = {
  hasTimeouts: flag(1, 7),
  support: bits(1, 2, 0),
  cdbBytes: number(2, 2),
} as const;
const ONE_COMMAND_BYTES = 4;
const NOT_SUPPORTED = 1;
const SUPPORTED = 3;

/** All zero but its length: no time is named. */
const TIMEOUTS = { length: number(0, 2) } as const;
const TIMEOUTS_BYTES = 12;

function timeouts(wanted: boolean): Uint8Array {
  if (!wanted) return new Uint8Array(0);
  return build(TIMEOUTS, TIMEOUTS_BYTES, { length: TIMEOUTS_BYTES - 2 });
}

function allCommands(table: readonly CommandFormat[], withTimeouts: boolean): Uint8Array {
  const length = new Uint8Array(4);
  const sorted = [...table].sort(
    (a, b) => a.opcode - b.opcode || (a.serviceAction ?? 0) - (b.serviceAction ?? 0),
  );
  const descriptors = sorted.flatMap((each) => [
    build(DESCRIPTOR, DESCRIPTOR_BYTES, {
      opcode: each.opcode,
      serviceAction: each.serviceAction ?? 0,
      hasTimeouts: withTimeouts,
      hasServiceAction: each.serviceAction !== undefined,
      cdbBytes: each.cdbBytes,
    }),
    timeouts(withTimeouts),
  ]);
  const list = concat(length, ...descriptors);
  encodeField(number(0, 4), list, list.length - length.length);
  return list;
}

function oneCommand(found: CommandFormat | undefined, withTimeouts: boolean): Uint8Array {
  if (found === undefined) return build(ONE_COMMAND, ONE_COMMAND_BYTES, { support: NOT_SUPPORTED });
  const header = build(ONE_COMMAND, ONE_COMMAND_BYTES, {
    hasTimeouts: withTimeouts,
    support: SUPPORTED,
    cdbBytes: found.cdbBytes,
  });
  return concat(header, usageMap(found), timeouts(withTimeouts));
}

/** @throws CheckCondition where the option does not fit the operation code. */
function pick(
  table: readonly CommandFormat[],
  fields: { readonly option: number; readonly opcode: number; readonly serviceAction: number },
): CommandFormat | undefined {
  const candidates = table.filter((each) => each.opcode === fields.opcode);
  const [first] = candidates;
  const hasServiceActions = first?.serviceAction !== undefined;
  if (fields.option === BY_OPCODE && hasServiceActions) throw invalidField(FIELDS.opcode);
  if (fields.option === BY_SERVICE_ACTION && first !== undefined && !hasServiceActions) {
    throw invalidField(FIELDS.opcode);
  }
  if (!hasServiceActions) return fields.serviceAction === 0 ? first : undefined;
  return candidates.find((each) => each.serviceAction === fields.serviceAction);
}

const reportSupportedOperationCodes = defineCommand({
  name: "REPORT SUPPORTED OPERATION CODES",
  opcode: 0xa3,
  serviceAction: 0x0c,
  cdbBytes: 12,
  fields: FIELDS,
  reservation: "reading",
  run: (_unit: LogicalUnit, { fields, table }) => {
    const withTimeouts = fields.withTimeouts === 1;
    if (fields.option > BY_EITHER) throw invalidField(FIELDS.option);
    const data =
      fields.option === ALL
        ? allCommands(table, withTimeouts)
        : oneCommand(pick(table, fields), withTimeouts);
    return dataUpTo(fields.allocation, data);
  },
});

export const supportedOperationsCommands: readonly Command<LogicalUnit>[] = [
  reportSupportedOperationCodes,
];
