/**
 * A temporary file that nobody else sees: made with mode 0600 under a name that cannot be guessed,
 * and unlinked as soon as it is open. The system frees its room when it is closed, or when the
 * process dies in whatever way.
 */
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { open, unlink } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CallGate, checkRange } from "../device/checked-device.ts";
import { readFully, writeFully } from "../device/file-io.ts";
import { fromSystem } from "../errors.ts";

const PRIVATE_MODE = 0o600;
const NAME_RANDOM_BYTES = 12;

export class PrivateFile {
  /** For messages: "temporary file in /tmp". */
  readonly name: string;
  readonly #handle: FileHandle;
  readonly #gate: CallGate;
  #sizeBytes = 0;

  private constructor(name: string, handle: FileHandle) {
    this.name = name;
    this.#handle = handle;
    this.#gate = new CallGate(name);
  }

  /** Makes an empty one in `directory` (the system's folder for temporary files by default). */
  static async open(directory = tmpdir()): Promise<PrivateFile> {
    const path = join(directory, `reelfs-${randomBytes(NAME_RANDOM_BYTES).toString("hex")}`);
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const doing = `cannot make a temporary file in ${directory}`;
    let handle: FileHandle;
    try {
      handle = await open(path, flags, PRIVATE_MODE);
    } catch (error) {
      throw fromSystem(error, doing);
    }
    try {
      await unlink(path);
    } catch (error) {
      await handle.close();
      throw fromSystem(error, doing);
    }
    return new PrivateFile(`temporary file in ${directory}`, handle);
  }

  /** End of what was written furthest out. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Fills `target` from `offsetBytes` on; throws "out-of-range" beyond the size. */
  async read(offsetBytes: number, target: Uint8Array): Promise<void> {
    return this.#gate.run(async () => {
      checkRange(this.name, this.#sizeBytes, offsetBytes, target.length);
      await readFully(this.#handle, this.name, offsetBytes, target);
    });
  }

  /** Writes all of `source`; the file grows as needed, with zeros where nothing was written. */
  async write(offsetBytes: number, source: Uint8Array): Promise<void> {
    return this.#gate.run(async () => {
      checkRange(this.name, Number.MAX_SAFE_INTEGER, offsetBytes, source.length);
      await writeFully(this.#handle, this.name, offsetBytes, source);
      this.#sizeBytes = Math.max(this.#sizeBytes, offsetBytes + source.length);
    });
  }

  /** Waits for calls under way; the file's room is free after that. */
  async close(): Promise<void> {
    return this.#gate.close(async () => this.#handle.close());
  }
}
