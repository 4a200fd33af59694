/** A read-only tape drive in front of any foreign container: the position and TapeDrive's rules. */
import { basename } from "node:path";
import { ReelError } from "../../errors.ts";
import type { ObjectRunDrive } from "../object-run.ts";
import { OperationQueue } from "../operation-queue.ts";
import { RECORD_BYTES_MAX } from "../simh-format.ts";
import type {
  TapeCapabilities,
  TapePosition,
  TapeRead,
  TapeSpace,
  TapeWrite,
} from "../tape-drive.ts";
import { planSpace } from "../tape-space.ts";
import type { Container } from "./container.ts";

const FILEMARKS_PER_CALL_MAX = 65_536;
/** Objects that a run looks ahead for. */
const RUN_OBJECTS = 4096;

export class ContainerDrive implements ObjectRunDrive {
  readonly name: string;
  readonly capabilities: TapeCapabilities = {
    writable: false,
    recordBytesMax: RECORD_BYTES_MAX,
    reverse: true,
  };
  readonly #container: Container;
  readonly #queue: OperationQueue;
  #object = 0;

  /** Takes over `container`; closing the drive closes it. */
  constructor(name: string, container: Container) {
    this.name = name;
    this.#container = container;
    this.#queue = new OperationQueue(basename(name));
  }

  async position(): Promise<TapePosition> {
    return this.#queue.run(() => this.#position());
  }

  async read(target: Uint8Array, options?: { readonly reverse?: boolean }): Promise<TapeRead> {
    return this.#queue.run(() =>
      options?.reverse === true ? this.#readReverse(target) : this.#readForward(target),
    );
  }

  async write(parts: readonly Uint8Array[]): Promise<TapeWrite> {
    const lengthBytes = parts.reduce((bytes, part) => bytes + part.length, 0);
    return this.#queue.run(() => {
      const fits = lengthBytes > 0 && lengthBytes <= RECORD_BYTES_MAX;
      throw fits ? this.#readOnly() : this.#invalid(`write a record of ${lengthBytes} bytes to`);
    });
  }

  async writeFilemarks(count: number): Promise<TapeWrite> {
    return this.#queue.run(() => {
      const valid = Number.isSafeInteger(count) && count >= 0 && count <= FILEMARKS_PER_CALL_MAX;
      throw valid ? this.#readOnly() : this.#invalid(`write ${count} filemarks to`);
    });
  }

  async space(unit: "records" | "filemarks", count: number): Promise<TapeSpace> {
    return this.#queue.run(() => this.#space(unit, count));
  }

  async spaceToEndOfData(): Promise<TapePosition> {
    return this.#queue.run(async () => {
      await this.#scanTo(Number.MAX_SAFE_INTEGER);
      this.#object = this.#container.index.count;
      this.#throwUnlessEndOfData();
      return this.#position();
    });
  }

  async locate(object: number): Promise<void> {
    return this.#queue.run(() => this.#locate(object));
  }

  async rewind(): Promise<void> {
    return this.#queue.run(() => {
      this.#object = 0;
    });
  }

  async objectOffsetBytes(object: number): Promise<number | undefined> {
    return this.#queue.run(async () => {
      await this.#scanTo(object - 1);
      const { index } = this.#container;
      return object <= index.count ? index.offsetBytes(object) : undefined;
    });
  }

  async objectRun(object: number): Promise<Uint32Array | undefined> {
    return this.#queue.run(async () => {
      await this.#scanTo(object + RUN_OBJECTS - 1);
      return this.#container.wordRun(object);
    });
  }

  async close(): Promise<void> {
    return this.#queue.close(() => this.#container.close());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #position(): TapePosition {
    return {
      object: this.#object,
      file: this.#container.index.filesBefore(this.#object),
      beginning: this.#object === 0,
      earlyWarning: false,
    };
  }

  async #readForward(target: Uint8Array): Promise<TapeRead> {
    await this.#scanTo(this.#object);
    if (this.#object >= this.#container.index.count) {
      this.#throwUnlessEndOfData();
      return { kind: "end-of-data" };
    }
    const read = await this.#container.fetch(this.#object, target);
    this.#object += 1;
    return read;
  }

  async #readReverse(target: Uint8Array): Promise<TapeRead> {
    if (this.#object === 0) return { kind: "beginning" };
    const read = await this.#container.fetch(this.#object - 1, target);
    this.#object -= 1;
    return read;
  }

  async #scanTo(object: number, filemarks?: number): Promise<void> {
    // A tape that another program writes may have grown since the scan met its end.
    if (object >= this.#container.index.count && this.#container.stop !== undefined) {
      await this.#container.refresh();
    }
    await this.#container.scanTo(object, filemarks);
  }

  async #locate(object: number): Promise<void> {
    if (!Number.isSafeInteger(object) || object < 0) {
      throw this.#invalid(`locate object ${object} on`);
    }
    await this.#scanTo(object - 1);
    this.#object = Math.min(object, this.#container.index.count);
    if (object === this.#object) return;
    this.#throwUnlessEndOfData();
    throw new ReelError(
      "out-of-range",
      `cannot locate object ${object} on ${this.name}: the data ends at object ${this.#object}`,
    );
  }

  async #space(unit: "records" | "filemarks", count: number): Promise<TapeSpace> {
    if (!Number.isSafeInteger(count)) throw this.#invalid(`space over ${count} ${unit} on`);
    const { index } = this.#container;
    const files = index.filesBefore(this.#object);
    if (count > 0 && unit === "records") await this.#scanTo(this.#object + count - 1, files + 1);
    if (count > 0 && unit === "filemarks") {
      await this.#scanTo(Number.MAX_SAFE_INTEGER, files + count);
    }
    const { to, space } = planSpace(index, this.#object, unit, count);
    this.#object = to;
    if (space.stoppedBy === "end-of-data") this.#throwUnlessEndOfData();
    return space;
  }

  #throwUnlessEndOfData(): void {
    const { stop } = this.#container;
    if (stop?.kind === "torn" || stop?.kind === "damaged") {
      throw new ReelError("damaged", stop.message);
    }
  }

  #readOnly(): ReelError {
    return new ReelError(
      "read-only",
      `cannot write ${this.name}: tapes of this format are only read; convert it to a .tap first`,
    );
  }

  #invalid(what: string): ReelError {
    return new ReelError("invalid", `cannot ${what} ${this.name}: that makes no sense`);
  }
}
