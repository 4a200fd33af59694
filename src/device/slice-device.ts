/**
 * A stretch of another device seen as a device: a partition.
 *
 * Closing: whoever opened a device closes it, so closing a slice leaves the device below open, for
 * other slices of it. With `ownsBase` the slice has taken it over and closes it too.
 */
import type { BlockDevice, WritableBlockDevice } from "./block-device.ts";
import { CheckedDevice, CheckedWritableDevice, checkRange } from "./checked-device.ts";
import type { DeviceDescription } from "./checked-device.ts";

export interface SliceOptions {
  /** Where the slice begins on the device below, and how long it is. */
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** "bytes 512 to 1535 of disk.img" when absent. */
  readonly name?: string;
  /** True: closing the slice closes the device below. */
  readonly ownsBase?: boolean;
}

/** Read-only. The constructor throws "out-of-range" when the device below does not hold the slice. */
export class SliceDevice extends CheckedDevice {
  readonly #base: BlockDevice;
  readonly #offsetBytes: number;
  readonly #ownsBase: boolean;

  constructor(base: BlockDevice, options: SliceOptions) {
    super(describeSlice(base, options));
    this.#base = base;
    this.#offsetBytes = options.offsetBytes;
    this.#ownsBase = options.ownsBase ?? false;
  }

  protected override async readRange(offsetBytes: number, target: Uint8Array): Promise<void> {
    return this.#base.read(this.#offsetBytes + offsetBytes, target);
  }

  protected override async release(): Promise<void> {
    if (this.#ownsBase) await this.#base.close();
  }
}

/** The same, of a device that can be written. */
export class WritableSliceDevice extends CheckedWritableDevice {
  readonly #base: WritableBlockDevice;
  readonly #offsetBytes: number;
  readonly #ownsBase: boolean;

  constructor(base: WritableBlockDevice, options: SliceOptions) {
    super(describeSlice(base, options));
    this.#base = base;
    this.#offsetBytes = options.offsetBytes;
    this.#ownsBase = options.ownsBase ?? false;
  }

  protected override async readRange(offsetBytes: number, target: Uint8Array): Promise<void> {
    return this.#base.read(this.#offsetBytes + offsetBytes, target);
  }

  protected override async writeRange(offsetBytes: number, source: Uint8Array): Promise<void> {
    return this.#base.write(this.#offsetBytes + offsetBytes, source);
  }

  protected override async zeroRange(offsetBytes: number, lengthBytes: number): Promise<void> {
    return this.#base.zero(this.#offsetBytes + offsetBytes, lengthBytes);
  }

  protected override async sync(): Promise<void> {
    return this.#base.flush();
  }

  protected override async release(): Promise<void> {
    if (this.#ownsBase) await this.#base.close();
  }
}

function describeSlice(base: BlockDevice, options: SliceOptions): DeviceDescription {
  const { offsetBytes, lengthBytes } = options;
  checkRange(base.name, base.sizeBytes, offsetBytes, lengthBytes);
  const last = offsetBytes + lengthBytes - 1;
  return {
    name: options.name ?? `bytes ${offsetBytes} to ${last} of ${base.name}`,
    sizeBytes: lengthBytes,
    sectorSizeBytes: base.sectorSizeBytes,
  };
}
