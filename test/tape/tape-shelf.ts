/** Tapes in memory on a shelf: the set they make, and what was asked of the shelf. */
import { MemoryTape, type MemoryObject } from "../../src/tape/memory-tape.ts";
import type { TapeDrive } from "../../src/tape/tape-drive.ts";
import type { NextTape, TapeRequest, TapeSource } from "../../src/tape/tape-set.ts";
import { TapeSetDrive } from "../../src/tape/tape-set.ts";

export interface ShelfLimits {
  readonly capacityBytes?: number;
  readonly earlyWarningBytes?: number;
}

export class TapeShelf implements TapeSource {
  readonly tapes = new Map<string, MemoryObject[]>();
  /** Names of tapes that are not to be found. */
  readonly lost = new Set<string>();
  /** Sequence numbers, in the order in which they were asked for. */
  readonly asked: number[] = [];
  readonly #limitsOf: (sequence: number) => ShelfLimits;
  #mode: "read" | "write" = "read";

  constructor(limitsOf: (sequence: number) => ShelfLimits) {
    this.#limitsOf = limitsOf;
  }

  async open(
    mode: "read" | "write",
    options: { from?: number; limits?: ShelfLimits | undefined; spans?: boolean } = {},
  ): Promise<TapeSetDrive> {
    this.#mode = mode;
    const drive = this.#load(options.from ?? 1, options.limits);
    const nextTape = options.spans === false ? undefined : this.#next;
    return TapeSetDrive.open(drive, { source: this, nextTape });
  }

  async *candidates({ sequence, name }: TapeRequest): AsyncGenerator<TapeDrive> {
    this.asked.push(sequence);
    if (this.tapes.has(name) && !this.lost.has(name)) yield this.#load(sequence);
  }

  async later(_set: string, sequence: number): Promise<TapeDrive | undefined> {
    for (let each = sequence + 1; each <= this.tapes.size; each++) {
      if (!this.lost.has(`tape ${each}`)) return this.#load(each);
    }
    return undefined;
  }

  readonly #next = async (sequence: number): Promise<NextTape> => ({
    name: `tape ${sequence}`,
    serial: `S${sequence}`,
    open: async () => {
      this.tapes.set(`tape ${sequence}`, []);
      return this.#load(sequence);
    },
  });

  #load(sequence: number, limits = this.#limitsOf(sequence)): MemoryTape {
    const name = `tape ${sequence}`;
    const objects = this.tapes.get(name) ?? [];
    this.tapes.set(name, objects);
    return new MemoryTape({ ...limits, name, objects, readOnly: this.#mode === "read" });
  }
}
