/**
 * A tape in memory: for tests, and for whatever is gone when the program ends. It accounts for room
 * exactly as a `.tap` file would, so that capacity and offsets mean the same.
 */
import { ReelError } from "../errors.ts";
import { OperationQueue } from "./operation-queue.ts";
import { RECORD_BYTES_MAX, WORD_BYTES, recordSizeBytes } from "./simh-format.ts";
import { earlyWarningFrom, type CapacityOptions } from "./tape-capacity.ts";
import type {
  TapeCapabilities,
  TapeDrive,
  TapePosition,
  TapeRead,
  TapeSpace,
  TapeWrite,
} from "./tape-drive.ts";

/** A record's bytes, or undefined for a filemark. */
export type MemoryObject = Uint8Array | undefined;

export interface MemoryTapeOptions extends CapacityOptions {
  readonly name?: string;
  /** The tape itself: objects that outlive the drive. A new one without it. */
  readonly objects?: MemoryObject[];
  readonly readOnly?: boolean;
}

const FILEMARKS_PER_CALL_MAX = 65_536;

function sizeBytesOf(object: MemoryObject): number {
  return object === undefined ? WORD_BYTES : recordSizeBytes(object.length);
}

export class MemoryTape implements TapeDrive {
  readonly name: string;
  readonly capabilities: TapeCapabilities;
  readonly #objects: MemoryObject[];
  /** Bytes before each object, and behind the last. */
  readonly #offsets: number[] = [0];
  readonly #capacityBytes: number;
  readonly #warningFromBytes: number;
  readonly #queue: OperationQueue;
  #object = 0;

  /** @throws "invalid" for sizes that are no sizes. */
  constructor(options: MemoryTapeOptions = {}) {
    this.name = options.name ?? "a tape in memory";
    this.#objects = options.objects ?? [];
    this.#capacityBytes = options.capacityBytes ?? Number.POSITIVE_INFINITY;
    const warningBytes = earlyWarningFrom(options, `cannot make ${this.name}`);
    this.#warningFromBytes = this.#capacityBytes - warningBytes;
    this.#queue = new OperationQueue(this.name);
    this.capabilities = {
      writable: options.readOnly !== true,
      recordBytesMax: RECORD_BYTES_MAX,
      reverse: true,
    };
    for (const object of this.#objects) this.#offsets.push(this.#endBytes() + sizeBytesOf(object));
  }

  async position(): Promise<TapePosition> {
    return this.#queue.run(() => this.#position());
  }

  async read(target: Uint8Array, options?: { readonly reverse?: boolean }): Promise<TapeRead> {
    return this.#queue.run(() => {
      if (options?.reverse === true) {
        if (this.#object === 0) return { kind: "beginning" };
        this.#object -= 1;
        return this.#copy(this.#object, target);
      }
      if (this.#object === this.#objects.length) return { kind: "end-of-data" };
      this.#object += 1;
      return this.#copy(this.#object - 1, target);
    });
  }

  async write(parts: readonly Uint8Array[]): Promise<TapeWrite> {
    return this.#queue.run(() => {
      const record = Buffer.concat(parts);
      if (record.length === 0 || record.length > RECORD_BYTES_MAX) {
        throw new ReelError(
          "invalid",
          `cannot write a record of ${record.length} bytes to ${this.name}: ` +
            `a record has 1 to ${RECORD_BYTES_MAX} bytes`,
        );
      }
      return this.#append([record]);
    });
  }

  async writeFilemarks(count: number): Promise<TapeWrite> {
    return this.#queue.run(() => {
      if (!Number.isSafeInteger(count) || count < 0 || count > FILEMARKS_PER_CALL_MAX) {
        throw new ReelError("invalid", `cannot write ${count} filemarks to ${this.name}`);
      }
      return this.#append(new Array<MemoryObject>(count).fill(undefined));
    });
  }

  async space(unit: "records" | "filemarks", count: number): Promise<TapeSpace> {
    return this.#queue.run(() => {
      if (!Number.isSafeInteger(count)) {
        throw new ReelError("invalid", `cannot space over ${count} ${unit} on ${this.name}`);
      }
      return this.#space(unit, count);
    });
  }

  async spaceToEndOfData(): Promise<TapePosition> {
    return this.#queue.run(() => {
      this.#object = this.#objects.length;
      return this.#position();
    });
  }

  async locate(object: number): Promise<void> {
    return this.#queue.run(() => {
      if (!Number.isSafeInteger(object) || object < 0) {
        throw new ReelError("invalid", `cannot locate object ${object} on ${this.name}`);
      }
      this.#object = Math.min(object, this.#objects.length);
      if (object > this.#object) {
        throw new ReelError(
          "out-of-range",
          `cannot locate object ${object} on ${this.name}: the data ends at object ${this.#object}`,
        );
      }
    });
  }

  async rewind(): Promise<void> {
    return this.#queue.run(() => {
      this.#object = 0;
    });
  }

  async objectOffsetBytes(object: number): Promise<number | undefined> {
    return this.#queue.run(() => this.#offsets[object]);
  }

  async close(): Promise<void> {
    return this.#queue.close(() => undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #endBytes(): number {
    return this.#offsets.at(-1) ?? 0;
  }

  #position(): TapePosition {
    const before = this.#objects.slice(0, this.#object);
    return {
      object: this.#object,
      file: before.filter((object) => object === undefined).length,
      beginning: this.#object === 0,
      earlyWarning: (this.#offsets[this.#object] ?? 0) >= this.#warningFromBytes,
    };
  }

  #copy(object: number, target: Uint8Array): TapeRead {
    const record = this.#objects[object];
    if (record === undefined) return { kind: "filemark" };
    target.set(record.subarray(0, target.length));
    return { kind: "record", lengthBytes: record.length, flawed: false };
  }

  #append(added: readonly MemoryObject[]): TapeWrite {
    if (!this.capabilities.writable) {
      throw new ReelError("read-only", `cannot write ${this.name}: it was opened for reading`);
    }
    const from = this.#offsets[this.#object] ?? 0;
    const endBytes = added.reduce((bytes, object) => bytes + sizeBytesOf(object), from);
    if (added.length > 0 && endBytes > this.#capacityBytes) {
      throw new ReelError(
        "end-of-medium",
        `cannot write object ${this.#object} to ${this.name}: it does not fit on a tape of ` +
          `${this.#capacityBytes} bytes; go on with another tape`,
      );
    }
    if (added.length > 0) {
      this.#objects.length = this.#object;
      this.#offsets.length = this.#object + 1;
    }
    for (const object of added) {
      this.#objects.push(object);
      this.#offsets.push(this.#endBytes() + sizeBytesOf(object));
      this.#object += 1;
    }
    return { earlyWarning: endBytes >= this.#warningFromBytes };
  }

  /** Step by step, as the contract says it. */
  #space(unit: "records" | "filemarks", count: number): TapeSpace {
    const step = Math.sign(count);
    for (let passed = 0; passed < Math.abs(count);) {
      const next = step > 0 ? this.#object : this.#object - 1;
      if (next < 0) return { passed, stoppedBy: "beginning" };
      if (next >= this.#objects.length) return { passed, stoppedBy: "end-of-data" };
      this.#object += step;
      const isFilemark = this.#objects[next] === undefined;
      if (isFilemark && unit === "records") return { passed, stoppedBy: "filemark" };
      if (isFilemark === (unit === "filemarks")) passed += 1;
    }
    return { passed: Math.abs(count) };
  }
}
