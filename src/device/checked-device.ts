/**
 * The part of the BlockDevice contract that is the same for every device: ranges are checked,
 * calls are counted, `close` waits for those under way and runs once. A device derives from one of
 * these two classes and writes only its own `readRange` (and `writeRange`, `zeroRange`, `sync`),
 * which are never called with a range outside the device, with an empty one, or after `close`.
 */
import { ReelError } from "../errors.ts";
import type { BlockDevice, WritableBlockDevice } from "./block-device.ts";

/** What a device is made with. */
export interface DeviceDescription {
  /** For messages: a path, or "partition 2 of /dev/sda". */
  readonly name: string;
  readonly sizeBytes: number;
  /** 512 when absent. */
  readonly sectorSizeBytes?: number | undefined;
}

const SECTOR_SIZE_DEFAULT_BYTES = 512;

/** Counts the calls under way, so that closing can wait for them and refuse later ones. */
export class CallGate {
  readonly #name: string;
  #underWay = 0;
  #closing: Promise<void> | undefined;
  #whenIdle: (() => void) | undefined;

  /** `name` is the object's, for the message of the "closed" error. */
  constructor(name: string) {
    this.#name = name;
  }

  /** Throws "closed" once `close` was called. */
  check(): void {
    if (this.#closing !== undefined) {
      throw new ReelError("closed", `cannot use ${this.#name}: it is closed`);
    }
  }

  /** Runs `work` as a call that `close` waits for. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    this.check();
    this.#underWay++;
    try {
      return await work();
    } finally {
      this.#underWay--;
      if (this.#underWay === 0) this.#whenIdle?.();
    }
  }

  /** Waits for the calls under way, then runs `finish`, once; later calls share the outcome. */
  async close(finish: () => Promise<void>): Promise<void> {
    this.#closing ??= this.#idle().then(finish);
    return this.#closing;
  }

  async #idle(): Promise<void> {
    if (this.#underWay === 0) return;
    await new Promise<void>((resolve) => {
      this.#whenIdle = resolve;
    });
  }
}

/** Throws "out-of-range" unless [offset, offset + length) lies within [0, sizeBytes). */
export function checkRange(
  name: string,
  sizeBytes: number,
  offsetBytes: number,
  lengthBytes: number,
): void {
  const inside =
    Number.isSafeInteger(offsetBytes) &&
    Number.isSafeInteger(lengthBytes) &&
    offsetBytes >= 0 &&
    lengthBytes >= 0 &&
    lengthBytes <= sizeBytes - offsetBytes;
  if (inside) return;
  throw new ReelError(
    "out-of-range",
    `cannot use ${lengthBytes} bytes at offset ${offsetBytes} of ${name}: it has ${sizeBytes} bytes`,
  );
}

/** A read-only device; derived classes read ranges that are known to be good. */
export abstract class CheckedDevice implements BlockDevice {
  readonly name: string;
  readonly sizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly #gate: CallGate;

  constructor(description: DeviceDescription) {
    const { name, sizeBytes, sectorSizeBytes = SECTOR_SIZE_DEFAULT_BYTES } = description;
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0) {
      throw new ReelError("invalid", `cannot use ${name}: ${sizeBytes} bytes is no size`);
    }
    this.name = name;
    this.sizeBytes = sizeBytes;
    this.sectorSizeBytes = sectorSizeBytes;
    this.#gate = new CallGate(name);
  }

  async read(offsetBytes: number, target: Uint8Array): Promise<void> {
    return this.runChecked(offsetBytes, target.length, async () =>
      this.readRange(offsetBytes, target),
    );
  }

  async close(): Promise<void> {
    return this.#gate.close(async () => this.release());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Runs `work` as a call on a range, after checking the range; an empty range does nothing. */
  protected async runChecked(
    offsetBytes: number,
    lengthBytes: number,
    work: () => Promise<void>,
  ): Promise<void> {
    return this.#gate.run(async () => {
      checkRange(this.name, this.sizeBytes, offsetBytes, lengthBytes);
      if (lengthBytes > 0) await work();
    });
  }

  /** Runs `work` as a call that has no range. */
  protected async runOpen(work: () => Promise<void>): Promise<void> {
    return this.#gate.run(work);
  }

  /** Fills `target`, which is not empty, from a range inside the device. */
  protected abstract readRange(offsetBytes: number, target: Uint8Array): Promise<void>;

  /** Gives back what the device holds; called once, when nothing is under way any more. */
  protected abstract release(): Promise<void>;
}

/** A device that can also be written. */
export abstract class CheckedWritableDevice extends CheckedDevice implements WritableBlockDevice {
  async write(offsetBytes: number, source: Uint8Array): Promise<void> {
    return this.runChecked(offsetBytes, source.length, async () =>
      this.writeRange(offsetBytes, source),
    );
  }

  async zero(offsetBytes: number, lengthBytes: number): Promise<void> {
    return this.runChecked(offsetBytes, lengthBytes, async () =>
      this.zeroRange(offsetBytes, lengthBytes),
    );
  }

  async flush(): Promise<void> {
    return this.runOpen(async () => this.sync());
  }

  protected abstract writeRange(offsetBytes: number, source: Uint8Array): Promise<void>;
  protected abstract zeroRange(offsetBytes: number, lengthBytes: number): Promise<void>;
  protected abstract sync(): Promise<void>;
}
