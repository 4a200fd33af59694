/** Reads whole records of unknown length into a buffer that grows with the longest. */
import { ReelError } from "../errors.ts";
import type { TapeDrive, TapeRead } from "./tape-drive.ts";

const FIRST_BYTES = 64 * 1024;

export type WholeRead =
  | { readonly kind: "record"; readonly data: Uint8Array; readonly flawed: boolean }
  | Exclude<TapeRead, { kind: "record" }>;

export class RecordBuffer {
  #buffer = new Uint8Array(FIRST_BYTES);

  /** Reads the next object, whole. The data of a record is good until the next call. */
  async read(drive: TapeDrive): Promise<WholeRead> {
    for (;;) {
      const read = await drive.read(this.#buffer);
      if (read.kind !== "record") return read;
      const { lengthBytes, flawed } = read;
      if (lengthBytes <= this.#buffer.length) {
        return { kind: "record", data: this.#buffer.subarray(0, lengthBytes), flawed };
      }
      await this.#growFor(drive, lengthBytes);
    }
  }

  /** Makes room for the record that was just read, and steps back before it. */
  async #growFor(drive: TapeDrive, lengthBytes: number): Promise<void> {
    if (lengthBytes > drive.capabilities.recordBytesMax) {
      throw new ReelError(
        "unsupported",
        `cannot read ${drive.name}: a record has ${lengthBytes} bytes, ` +
          `at most ${drive.capabilities.recordBytesMax} are read`,
      );
    }
    const { object } = await drive.position();
    await drive.locate(object - 1);
    this.#buffer = new Uint8Array(2 ** Math.ceil(Math.log2(lengthBytes)));
  }
}
