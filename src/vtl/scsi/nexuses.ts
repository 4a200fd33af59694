/**
 * What a device remembers of each nexus: unit attentions that it has yet to be told, and the sense
 * of its last command, for hosts that fetch it with REQUEST SENSE.
 */
import { SENSE, type SenseCode } from "./sense.ts";

/** So many hosts are remembered; the one met longest ago is forgotten, and greeted anew. */
const NEXUSES_MAX = 1024;
const ATTENTIONS_MAX = 8;

interface NexusState {
  attentions: SenseCode[];
  sense: Uint8Array | undefined;
}

export class Nexuses {
  readonly #known = new Map<string, NexusState>();

  /** A nexus not met since the device started or was reset is told so first. */
  meet(nexus: string): void {
    if (this.#known.has(nexus)) return;
    if (this.#known.size >= NEXUSES_MAX) {
      for (const oldest of this.#known.keys()) {
        this.#known.delete(oldest);
        break;
      }
    }
    this.#known.set(nexus, { attentions: [SENSE.powerOnOrReset], sense: undefined });
  }

  /** The next command of every known nexus, except one, is answered with this unit attention. */
  raise(attention: SenseCode, except?: string): void {
    for (const nexus of this.#known.keys()) {
      if (nexus !== except) this.raiseFor(nexus, attention);
    }
  }

  raiseFor(nexus: string, attention: SenseCode): void {
    const attentions = this.#known.get(nexus)?.attentions;
    if (attentions === undefined || attentions.length >= ATTENTIONS_MAX) return;
    if (!attentions.includes(attention)) attentions.push(attention);
  }

  /** The oldest unit attention of this nexus, which thereby is told. */
  takeAttention(nexus: string): SenseCode | undefined {
    return this.#known.get(nexus)?.attentions.shift();
  }

  keepSense(nexus: string, sense: Uint8Array | undefined): void {
    const state = this.#known.get(nexus);
    if (state !== undefined) state.sense = sense;
  }

  takeSense(nexus: string): Uint8Array | undefined {
    const sense = this.#known.get(nexus)?.sense;
    this.keepSense(nexus, undefined);
    return sense;
  }

  forget(nexus: string): void {
    this.#known.delete(nexus);
  }

  /** Everybody is greeted anew. */
  reset(): void {
    this.#known.clear();
  }
}
