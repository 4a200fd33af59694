/**
 * A drive in front of a drive on which chosen objects go wrong. Everything else passes through, so
 * it stands in for any drive: to see that one bad spot costs one record and never a wrong byte.
 */
import { ReelError } from "../../src/errors.ts";
import { OperationQueue } from "../../src/tape/operation-queue.ts";
import type {
  TapeCapabilities,
  TapeDrive,
  TapePosition,
  TapeRead,
  TapeSpace,
  TapeWrite,
} from "../../src/tape/tape-drive.ts";

export interface TapeFault {
  /** Logical object number that goes wrong. */
  readonly object: number;
  /**
   * read-error: "io" when it is read. damaged: "damaged" when it is read. wrong-byte: one byte of
   * the record is another. flawed: reads as flawed. short: reads one byte shorter than it is.
   * cut: the tape is "damaged" from here on, as if it had been cut. end-of-data: the tape ends here.
   * write-error: "io" when it is written. no-space: "no-space" when it is written.
   */
  readonly kind:
    | "read-error"
    | "damaged"
    | "wrong-byte"
    | "flawed"
    | "short"
    | "cut"
    | "end-of-data"
    | "write-error"
    | "no-space";
  /** Which byte is wrong (default: the middle one). */
  readonly byte?: number;
  /** How often it goes wrong before it heals (default: always). */
  readonly times?: number;
}

const READ_FAULTS = ["read-error", "damaged", "wrong-byte", "flawed", "short"] as const;
const END_FAULTS = ["cut", "end-of-data"] as const;
const WRITE_FAULTS = ["write-error", "no-space"] as const;

export class FaultyDrive implements TapeDrive {
  readonly #drive: TapeDrive;
  readonly #queue: OperationQueue;
  readonly #faults: { readonly fault: TapeFault; left: number }[] = [];
  /** How many faults have struck. */
  struck = 0;

  constructor(drive: TapeDrive, faults: Iterable<TapeFault> = []) {
    this.#drive = drive;
    this.#queue = new OperationQueue(drive.name);
    for (const fault of faults) this.add(fault);
  }

  add(fault: TapeFault): void {
    this.#faults.push({ fault, left: fault.times ?? Number.POSITIVE_INFINITY });
  }

  heal(): void {
    this.#faults.length = 0;
  }

  get name(): string {
    return this.#drive.name;
  }

  get capabilities(): TapeCapabilities {
    return this.#drive.capabilities;
  }

  async position(): Promise<TapePosition> {
    return this.#queue.run(() => this.#drive.position());
  }

  async read(target: Uint8Array, options?: { readonly reverse?: boolean }): Promise<TapeRead> {
    return this.#queue.run(async () => {
      const { object: position } = await this.#drive.position();
      const object = options?.reverse === true ? position - 1 : position;
      const end = this.#ends(object);
      if (end?.kind === "end-of-data") return { kind: "end-of-data" };
      if (end !== undefined) throw this.#failure("damaged", object, "the tape was cut");
      const fault = this.#strike(READ_FAULTS, object);
      if (fault?.kind === "read-error") throw this.#failure("io", object, "read error");
      if (fault?.kind === "damaged") throw this.#failure("damaged", object, "checksum");
      const read = await this.#drive.read(target, options);
      return fault === undefined ? read : spoil(fault, read, target);
    });
  }

  async write(parts: readonly Uint8Array[]): Promise<TapeWrite> {
    return this.#queue.run(async () => {
      await this.#strikeWrite();
      return this.#drive.write(parts);
    });
  }

  async writeFilemarks(count: number): Promise<TapeWrite> {
    return this.#queue.run(async () => {
      await this.#strikeWrite();
      return this.#drive.writeFilemarks(count);
    });
  }

  async space(unit: "records" | "filemarks", count: number): Promise<TapeSpace> {
    return this.#queue.run(async () => {
      const space = await this.#drive.space(unit, count);
      const { object } = await this.#drive.position();
      const end = this.#ends(object - 1);
      if (end === undefined) return space;
      await this.#drive.locate(end.object);
      if (end.kind === "cut") throw this.#failure("damaged", end.object, "the tape was cut");
      return {
        passed: Math.max(0, space.passed - (object - end.object)),
        stoppedBy: "end-of-data",
      };
    });
  }

  async spaceToEndOfData(): Promise<TapePosition> {
    return this.#queue.run(async () => {
      const position = await this.#drive.spaceToEndOfData();
      const end = this.#ends(position.object - 1);
      if (end === undefined) return position;
      await this.#drive.locate(end.object);
      if (end.kind === "cut") throw this.#failure("damaged", end.object, "the tape was cut");
      return this.#drive.position();
    });
  }

  async locate(object: number): Promise<void> {
    return this.#queue.run(async () => {
      const end = this.#ends(object - 1);
      await this.#drive.locate(end?.object ?? object);
      if (end?.kind === "cut") throw this.#failure("damaged", end.object, "the tape was cut");
      if (end !== undefined) throw this.#failure("out-of-range", object, "the data ends before");
    });
  }

  async rewind(): Promise<void> {
    return this.#queue.run(() => this.#drive.rewind());
  }

  async objectOffsetBytes(object: number): Promise<number | undefined> {
    return this.#queue.run(() => this.#drive.objectOffsetBytes?.(object));
  }

  async close(): Promise<void> {
    return this.#queue.close(() => this.#drive.close());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** The first place at or before `object` where the tape ends too soon. */
  #ends(object: number): TapeFault | undefined {
    const ends = this.#faults.filter(
      ({ fault }) => includes(END_FAULTS, fault.kind) && fault.object <= object,
    );
    ends.sort((a, b) => a.fault.object - b.fault.object);
    const first = ends[0]?.fault;
    if (first !== undefined) this.struck += 1;
    return first;
  }

  #strike(kinds: readonly string[], object: number): TapeFault | undefined {
    const entry = this.#faults.find(
      ({ fault, left }) => left > 0 && fault.object === object && includes(kinds, fault.kind),
    );
    if (entry === undefined) return undefined;
    entry.left -= 1;
    this.struck += 1;
    return entry.fault;
  }

  async #strikeWrite(): Promise<void> {
    const { object } = await this.#drive.position();
    const fault = this.#strike(WRITE_FAULTS, object);
    if (fault?.kind === "write-error") throw this.#failure("io", object, "write error");
    if (fault?.kind === "no-space") throw this.#failure("no-space", object, "the disk is full");
  }

  #failure(
    code: "io" | "damaged" | "no-space" | "out-of-range",
    object: number,
    what: string,
  ): ReelError {
    return new ReelError(code, `object ${object} of ${this.name}: ${what} (made up by a test)`);
  }
}

function includes(kinds: readonly string[], kind: string): boolean {
  return kinds.includes(kind);
}

function spoil(fault: TapeFault, read: TapeRead, target: Uint8Array): TapeRead {
  if (read.kind !== "record") return read;
  if (fault.kind === "flawed") return { ...read, flawed: true };
  if (fault.kind === "short") return { ...read, lengthBytes: Math.max(0, read.lengthBytes - 1) };
  const byte = fault.byte ?? read.lengthBytes >>> 1;
  const old = target[byte];
  if (old !== undefined) target[byte] = old ^ 0x01;
  return read;
}
