/**
 * The device server: takes a CDB, finds its command, and sees to what is the same for all:
 * one command at a time, unit attentions first, then reservations, then the command; whatever is
 * thrown becomes sense data.
 *
 * Order of the checks (SAM-5, 5.14; the one that Linux and others implement too):
 *   what changed? → a nexus never met → unit attention → operation code → reservation → CDB → run
 * INQUIRY, REPORT LUNS and REQUEST SENSE are carried out while a unit attention is pending.
 */
import { ReelError } from "../../errors.ts";
import { OperationQueue } from "../../tape/operation-queue.ts";
import { STATUS, type ScsiAnswer, type ScsiDevice } from "./answer.ts";
import { findCommand, withoutLunBits, type Command, type Reply } from "./command.ts";
import { flag } from "./fields.ts";
import type { LogicalUnit } from "./logical-unit.ts";
import { CheckCondition, SENSE, encodeSense, invalidField, type Sense } from "./sense.ts";

const NO_DATA = new Uint8Array(0);
const REQUEST_SENSE = 0x03;
/** Bit of the control byte, the last one of a CDB: asks for contingent allegiance. */
const NACA_BIT = 2;

export class DeviceServer<Unit extends LogicalUnit> implements ScsiDevice {
  readonly unit: Unit;
  readonly table: readonly Command<Unit>[];
  readonly #queue: OperationQueue;

  constructor(name: string, unit: Unit, table: readonly Command<Unit>[]) {
    this.unit = unit;
    this.table = table;
    this.#queue = new OperationQueue(name);
  }

  async execute(cdb: Uint8Array, dataOut: Uint8Array, nexus: string): Promise<ScsiAnswer> {
    return this.#queue.run(() => this.#answer(withoutLunBits(cdb), dataOut, nexus));
  }

  /** A nexus ended (logout, connection lost): what it reserved and prevented is free again. */
  async nexusLost(nexus: string): Promise<void> {
    return this.#queue.run(() => {
      this.unit.reservations.nexusLost(nexus);
      this.unit.nexuses.forget(nexus);
      if (this.unit.preventing.delete(nexus)) this.unit.preventionChanged();
    });
  }

  /** Logical unit reset, target reset, power on: every nexus is told. */
  async reset(): Promise<void> {
    return this.#queue.run(() => {
      const { unit } = this;
      unit.reservations.reset();
      unit.nexuses.reset();
      unit.preventing.clear();
      unit.preventionChanged();
      unit.modes.reset();
      unit.reset();
    });
  }

  async #answer(cdb: Uint8Array, dataOut: Uint8Array, nexus: string): Promise<ScsiAnswer> {
    const { nexuses } = this.unit;
    try {
      const reply = await this.#carryOut(cdb, dataOut, nexus);
      return this.#finish(cdb, nexus, reply);
    } catch (error) {
      const sense = encodeSense(this.#senseOf(error));
      nexuses.keepSense(nexus, sense);
      return { status: STATUS.checkCondition, sense, dataIn: NO_DATA };
    }
  }

  #finish(cdb: Uint8Array, nexus: string, reply: Reply): ScsiAnswer {
    const sense = reply.sense === undefined ? undefined : encodeSense(reply.sense);
    if (cdb[0] !== REQUEST_SENSE) this.unit.nexuses.keepSense(nexus, sense);
    return {
      status: sense === undefined ? (reply.status ?? STATUS.good) : STATUS.checkCondition,
      ...(sense === undefined ? {} : { sense }),
      dataIn: reply.dataIn ?? NO_DATA,
      ...(reply.residualBytes === undefined || reply.residualBytes === 0
        ? {}
        : { residualBytes: reply.residualBytes }),
    };
  }

  async #carryOut(cdb: Uint8Array, dataOut: Uint8Array, nexus: string): Promise<Reply> {
    const { unit } = this;
    await unit.notice();
    unit.nexuses.meet(nexus);
    const command = findCommand(this.table, cdb);
    if (command?.ignoresAttention !== true) {
      const attention = unit.nexuses.takeAttention(nexus);
      if (attention !== undefined) throw new CheckCondition(attention);
    }
    if (command === undefined) throw this.#unknown(cdb);
    const excepted = command.isExcepted(cdb);
    if (!excepted && unit.reservations.conflicts(nexus, command.reservation)) {
      return { status: STATUS.reservationConflict };
    }
    if (cdb.length < command.cdbBytes) throw invalidField({ at: cdb.length });
    const control = flag(command.cdbBytes - 1, NACA_BIT);
    if (((cdb[control.at] ?? 0) & (1 << NACA_BIT)) !== 0) throw invalidField(control);
    return command.run(unit, { cdb, dataOut, nexus, table: this.table });
  }

  /** A known operation code with a service action that is not: the field is wrong, not the code. */
  #unknown(cdb: Uint8Array): CheckCondition {
    const isOpcodeKnown = this.table.some((each) => each.opcode === cdb[0]);
    return isOpcodeKnown
      ? invalidField({ at: 1, bits: [4, 0] })
      : new CheckCondition({ code: SENSE.invalidOpcode, fieldPointer: { inCdb: true, byte: 0 } });
  }

  #senseOf(error: unknown): Sense {
    if (error instanceof CheckCondition) return error.sense;
    if (error instanceof ReelError) return this.unit.senseOf(error);
    return { code: SENSE.internalFailure };
  }
}
