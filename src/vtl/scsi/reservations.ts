/**
 * Who may use a device: RESERVE and RELEASE of SCSI-2 (one nexus, gone with it or with a reset),
 * and persistent reservations of SPC-4 (keys that nexuses register; a reservation that outlives
 * resets, though not this program). Only one of the two kinds is in use at a time.
 */
import type { ReservationRule } from "./command.ts";
import type { Nexuses } from "./nexuses.ts";
import { SENSE } from "./sense.ts";

/** Types of a persistent reservation. */
export const RESERVATION_TYPE = {
  writeExclusive: 0x1,
  exclusiveAccess: 0x3,
  writeExclusiveRegistrants: 0x5,
  exclusiveAccessRegistrants: 0x6,
  writeExclusiveAll: 0x7,
  exclusiveAccessAll: 0x8,
} as const;

const WRITE_EXCLUSIVE: readonly number[] = [
  RESERVATION_TYPE.writeExclusive,
  RESERVATION_TYPE.writeExclusiveRegistrants,
  RESERVATION_TYPE.writeExclusiveAll,
];
/** Types under which every registered nexus has access. */
const REGISTRANTS: readonly number[] = [
  RESERVATION_TYPE.writeExclusiveRegistrants,
  RESERVATION_TYPE.exclusiveAccessRegistrants,
  RESERVATION_TYPE.writeExclusiveAll,
  RESERVATION_TYPE.exclusiveAccessAll,
];
/** Types under which every registered nexus holds the reservation. */
const ALL_REGISTRANTS: readonly number[] = [
  RESERVATION_TYPE.writeExclusiveAll,
  RESERVATION_TYPE.exclusiveAccessAll,
];

export const REGISTRATIONS_MAX = 256;

interface PersistentReservation {
  readonly type: number;
  /** Who made it; of no meaning where every registrant holds it. */
  readonly holder: string;
}

export class Reservations {
  readonly #nexuses: Nexuses;
  #holder: string | undefined;
  readonly #keys = new Map<string, bigint>();
  #persistent: PersistentReservation | undefined;
  /** Counts registrations and preemptions, as READ KEYS reports it. */
  generation = 0;

  constructor(nexuses: Nexuses) {
    this.#nexuses = nexuses;
  }

  /** Must a command under this rule be refused with RESERVATION CONFLICT? */
  conflicts(nexus: string, rule: ReservationRule): boolean {
    if (rule === "allowed") return false;
    if (this.#holder !== undefined) return this.#holder !== nexus;
    const persistent = this.#persistent;
    if (persistent === undefined || rule === "persistent") return false;
    if (this.holds(nexus)) return false;
    if (REGISTRANTS.includes(persistent.type) && this.#keys.has(nexus)) return false;
    return !(rule === "reading" && WRITE_EXCLUSIVE.includes(persistent.type));
  }

  // RESERVE and RELEASE -------------------------------------------------------------------------

  /** False: somebody else holds it, or persistent reservations are in use. */
  reserve(nexus: string): boolean {
    if (this.#keys.size > 0) return false;
    if (this.#holder !== undefined && this.#holder !== nexus) return false;
    this.#holder = nexus;
    return true;
  }

  /** Without effect, and without complaint, for who does not hold it. */
  release(nexus: string): boolean {
    if (this.#keys.size > 0) return false;
    if (this.#holder === nexus) this.#holder = undefined;
    return true;
  }

  /** The nexus is gone, and with it what it reserved; its registration stays. */
  nexusLost(nexus: string): void {
    if (this.#holder === nexus) this.#holder = undefined;
  }

  reset(): void {
    this.#holder = undefined;
  }

  // Persistent reservations ---------------------------------------------------------------------

  get registrations(): readonly (readonly [nexus: string, key: bigint])[] {
    return [...this.#keys];
  }

  get persistent(): PersistentReservation | undefined {
    return this.#persistent;
  }

  keyOf(nexus: string): bigint | undefined {
    return this.#keys.get(nexus);
  }

  holds(nexus: string): boolean {
    const persistent = this.#persistent;
    if (persistent === undefined) return false;
    if (ALL_REGISTRANTS.includes(persistent.type)) return this.#keys.has(nexus);
    return persistent.holder === nexus;
  }

  isForAllRegistrants(): boolean {
    return this.#persistent !== undefined && ALL_REGISTRANTS.includes(this.#persistent.type);
  }

  /** False where there is no room for another key. Key 0 takes the registration back. */
  register(nexus: string, key: bigint): boolean {
    if (key === 0n) {
      this.#unregister(nexus);
    } else {
      if (!this.#keys.has(nexus) && this.#keys.size >= REGISTRATIONS_MAX) return false;
      this.#keys.set(nexus, key);
    }
    this.generation += 1;
    return true;
  }

  /** False: another holds it, or this nexus holds one of another type. */
  reservePersistently(nexus: string, type: number): boolean {
    const persistent = this.#persistent;
    if (persistent !== undefined) return this.holds(nexus) && persistent.type === type;
    this.#persistent = { type, holder: nexus };
    return true;
  }

  /** The reservation ends; registrants are told where it was theirs too. */
  releasePersistently(nexus: string): void {
    const type = this.#persistent?.type;
    this.#persistent = undefined;
    if (type === undefined || !REGISTRANTS.includes(type)) return;
    this.#tell(this.#keys.keys(), nexus, "reservationsReleased");
  }

  clear(nexus: string): void {
    const others = [...this.#keys.keys()];
    this.#keys.clear();
    this.#persistent = undefined;
    this.generation += 1;
    this.#tell(others, nexus, "reservationsPreempted");
  }

  /**
   * Removes every registration with `key`; the reservation goes to `nexus` where one of those held
   * it. Key 0 stands for all the others where all registrants hold the reservation.
   * @returns how many registrations went, the reservation counted.
   */
  preempt(nexus: string, key: bigint, type: number): number {
    const takesOver = this.#holderHas(key);
    const everybody = key === 0n && this.isForAllRegistrants();
    const gone = [...this.#keys]
      .filter(([other, otherKey]) => other !== nexus && (everybody || otherKey === key))
      .map(([other]) => other);
    for (const other of gone) this.#keys.delete(other);
    if (takesOver || everybody) this.#persistent = { type, holder: nexus };
    const count = gone.length + (takesOver || everybody ? 1 : 0);
    if (count > 0) this.generation += 1;
    this.#tell(gone, nexus, "registrationsPreempted");
    return count;
  }

  #holderHas(key: bigint): boolean {
    const persistent = this.#persistent;
    if (persistent === undefined || this.isForAllRegistrants()) return false;
    return this.#keys.get(persistent.holder) === key;
  }

  #unregister(nexus: string): void {
    const held = this.holds(nexus);
    this.#keys.delete(nexus);
    if (!held) return;
    if (!this.isForAllRegistrants() || this.#keys.size === 0) this.releasePersistently(nexus);
  }

  #tell(
    others: Iterable<string>,
    except: string,
    what: "reservationsReleased" | "reservationsPreempted" | "registrationsPreempted",
  ): void {
    for (const other of others) {
      if (other !== except) this.#nexuses.raiseFor(other, SENSE[what]);
    }
  }
}
