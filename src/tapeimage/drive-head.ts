/**
 * The one position of a drive, shared by all who read images from it: locate and read go together,
 * in the order in which they were asked for, and a locate to where the tape stands is left out.
 */
import type { TapeDrive, TapeRead } from "../tape/tape-drive.ts";

export class DriveHead {
  readonly drive: TapeDrive;
  #tail: Promise<unknown> = Promise.resolve();
  /** Object the drive stands at, as far as is known; -1: it is not. */
  #position = -1;

  constructor(drive: TapeDrive) {
    this.drive = drive;
  }

  /** Runs `body` with the drive to itself. */
  async hold<T>(body: (head: this) => Promise<T>): Promise<T> {
    const result = this.#tail.then(async () => body(this));
    this.#tail = result.catch(() => undefined);
    return result;
  }

  /** Reads the object. Only for who holds the drive. */
  async readAt(object: number, target: Uint8Array): Promise<TapeRead> {
    if (this.#position !== object) {
      this.#position = -1;
      await this.drive.locate(object);
    }
    this.#position = -1;
    const read = await this.drive.read(target);
    if (read.kind === "record" || read.kind === "filemark") this.#position = object + 1;
    return read;
  }

  /** Whoever holds the drive has moved it by other means. */
  forgetPosition(): void {
    this.#position = -1;
  }
}
