/** A device in memory: small volumes, tests. */
import { CheckedWritableDevice } from "./checked-device.ts";

export class MemoryDevice extends CheckedWritableDevice {
  readonly #contents: Uint8Array;

  /** `contents`: the bytes themselves, which are used in place, or a size, for a device of zeros. */
  constructor(
    contents: Uint8Array | number,
    options: { readonly name?: string; readonly sectorSizeBytes?: number } = {},
  ) {
    const bytes = typeof contents === "number" ? new Uint8Array(contents) : contents;
    super({
      name: options.name ?? "memory",
      sizeBytes: bytes.length,
      sectorSizeBytes: options.sectorSizeBytes,
    });
    this.#contents = bytes;
  }

  protected override async readRange(offsetBytes: number, target: Uint8Array): Promise<void> {
    target.set(this.#contents.subarray(offsetBytes, offsetBytes + target.length));
  }

  protected override async writeRange(offsetBytes: number, source: Uint8Array): Promise<void> {
    this.#contents.set(source, offsetBytes);
  }

  protected override async zeroRange(offsetBytes: number, lengthBytes: number): Promise<void> {
    this.#contents.fill(0, offsetBytes, offsetBytes + lengthBytes);
  }

  protected override async sync(): Promise<void> {
    // Memory is as stable as it will get.
  }

  protected override async release(): Promise<void> {
    // The bytes belong to whoever handed them in.
  }
}
