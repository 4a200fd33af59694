/**
 * PERSISTENT RESERVE OUT (SPC-4, 6.16). Registrations live as long as the program: APTPL, which
 * asks for more, is refused, as is registering for or moving to other ports.
 */
import { STATUS } from "../answer.ts";
import { defineCommand, type Command, type Reply, type Request } from "../command.ts";
import { bits, decodeFields, flag, number } from "../fields.ts";
import type { LogicalUnit } from "../logical-unit.ts";
import { RESERVATION_TYPE } from "../reservations.ts";
import { CheckCondition, SENSE, invalidField, invalidParameter } from "../sense.ts";

const FIELDS = { scope: bits(2, 7, 4), type: bits(2, 3, 0), listBytes: number(5, 4) } as const;
const SCOPE_UNIT = 0;
const TYPES: readonly number[] = Object.values(RESERVATION_TYPE);

const LIST = {
  specifiesPorts: flag(20, 3),
  allPorts: flag(20, 2),
  throughPowerLoss: flag(20, 0),
} as const;
const LIST_BYTES = 24;
const KEY_AT = 0;
const ACTION_KEY_AT = 8;

interface Parameters {
  readonly key: bigint;
  readonly actionKey: bigint;
}

function decodeParameters({ fields, dataOut }: Request<typeof FIELDS>): Parameters {
  if (fields.listBytes !== LIST_BYTES) throw new CheckCondition(SENSE.listLength);
  if (dataOut.length < LIST_BYTES) throw new CheckCondition(SENSE.dataPhase);
  const flags = decodeFields(LIST, dataOut);
  if (flags.specifiesPorts === 1) throw invalidParameter(LIST.specifiesPorts);
  if (flags.throughPowerLoss === 1) throw invalidParameter(LIST.throughPowerLoss);
  const view = new DataView(dataOut.buffer, dataOut.byteOffset, LIST_BYTES);
  return { key: view.getBigUint64(KEY_AT), actionKey: view.getBigUint64(ACTION_KEY_AT) };
}

function checkType({ fields }: Request<typeof FIELDS>): void {
  if (fields.scope !== SCOPE_UNIT) throw invalidField(FIELDS.scope);
  if (!TYPES.includes(fields.type)) throw invalidField(FIELDS.type);
}

const CONFLICT: Reply = { status: STATUS.reservationConflict };

type Action = (unit: LogicalUnit, request: Request<typeof FIELDS>, parameters: Parameters) => Reply;

function serviceAction(action: number, name: string, act: Action): Command<LogicalUnit> {
  return defineCommand({
    name: `PERSISTENT RESERVE OUT, ${name}`,
    opcode: 0x5f,
    serviceAction: action,
    cdbBytes: 10,
    fields: FIELDS,
    reservation: "persistent",
    run: (unit: LogicalUnit, request) => act(unit, request, decodeParameters(request)),
  });
}

/** For all but registering: the key must be the one that this nexus has registered. */
function registered(act: Action): Action {
  return (unit, request, parameters) => {
    const key = unit.reservations.keyOf(request.nexus);
    if (key === undefined || key !== parameters.key) return CONFLICT;
    return act(unit, request, parameters);
  };
}

function register({ reservations }: LogicalUnit, nexus: string, key: bigint): Reply {
  if (!reservations.register(nexus, key)) throw new CheckCondition(SENSE.registrationsFull);
  return {};
}

const actions: readonly Command<LogicalUnit>[] = [
  serviceAction(0x00, "REGISTER", (unit, { nexus }, { key, actionKey }) => {
    if (key !== (unit.reservations.keyOf(nexus) ?? 0n)) return CONFLICT;
    return register(unit, nexus, actionKey);
  }),
  serviceAction(
    0x01,
    "RESERVE",
    registered(({ reservations }, request) => {
      checkType(request);
      return reservations.reservePersistently(request.nexus, request.fields.type) ? {} : CONFLICT;
    }),
  ),
  serviceAction(
    0x02,
    "RELEASE",
    registered(({ reservations }, request) => {
      checkType(request);
      // Nothing to release, or not one's own: no error.
      if (!reservations.holds(request.nexus)) return {};
      if (reservations.persistent?.type !== request.fields.type) {
        throw new CheckCondition(SENSE.invalidRelease);
      }
      reservations.releasePersistently(request.nexus);
      return {};
    }),
  ),
  serviceAction(
    0x03,
    "CLEAR",
    registered(({ reservations }, { nexus }) => {
      reservations.clear(nexus);
      return {};
    }),
  ),
  serviceAction(0x04, "PREEMPT", registered(preempt)),
  // Commands run one at a time: none of the preempted nexus is left to abort.
  serviceAction(0x05, "PREEMPT AND ABORT", registered(preempt)),
  serviceAction(0x06, "REGISTER AND IGNORE EXISTING KEY", (unit, { nexus }, { actionKey }) =>
    register(unit, nexus, actionKey),
  ),
];

function preempt(
  { reservations }: LogicalUnit,
  request: Request<typeof FIELDS>,
  { actionKey }: Parameters,
): Reply {
  checkType(request);
  if (actionKey === 0n && !reservations.isForAllRegistrants()) {
    throw invalidParameter(number(ACTION_KEY_AT, 8));
  }
  const gone = reservations.preempt(request.nexus, actionKey, request.fields.type);
  return gone > 0 ? {} : CONFLICT;
}

export const persistentReserveOutCommands: readonly Command<LogicalUnit>[] = actions;
