/**
 * A file read through a window, for scans: what lies close together comes in big chunks and is then
 * looked at without waiting; what lies far apart costs one short read each.
 */
import { constants } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { ReelError, fromSystem } from "../../errors.ts";
import { readAll } from "../file-io.ts";

const CHUNK_BYTES = 256 * 1024;
/** A jump longer than this is a hop: reading through is not worth it. */
const HOP_FROM_BYTES = 16 * 1024;
const HOP_BYTES = 64;

export class WindowedFile {
  readonly name: string;
  readonly #handle: FileHandle;
  #sizeBytes: number;
  #window: Buffer | undefined;
  #start = 0;
  #end = 0;

  private constructor(name: string, handle: FileHandle, sizeBytes: number) {
    this.name = name;
    this.#handle = handle;
    this.#sizeBytes = sizeBytes;
  }

  /** @throws "not-found", "no-permission", "invalid" (not a regular file). */
  static async open(path: string): Promise<WindowedFile> {
    const doing = `cannot open ${path} as a tape`;
    let handle: FileHandle | undefined;
    try {
      // Not blocking, so that a pipe in place of a tape is refused and not waited for.
      handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
      const stats = await handle.stat();
      if (!stats.isFile()) throw new ReelError("invalid", `${doing}: it is not a regular file`);
      return new WindowedFile(path, handle, stats.size);
    } catch (error) {
      await handle?.close();
      throw fromSystem(error, doing);
    }
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Looks how long the file is now; true where it grew. */
  async refresh(): Promise<boolean> {
    const before = this.#sizeBytes;
    try {
      this.#sizeBytes = (await this.#handle.stat()).size;
    } catch (error) {
      throw fromSystem(error, `cannot look at ${this.name}`);
    }
    this.#end = this.#start;
    return this.#sizeBytes > before;
  }

  /** The bytes where they are in the window; valid until the next `load`. */
  peek(offsetBytes: number, lengthBytes: number): Buffer | undefined {
    if (offsetBytes < this.#start || offsetBytes + lengthBytes > this.#end) return undefined;
    const at = offsetBytes - this.#start;
    return this.#window?.subarray(at, at + lengthBytes);
  }

  /** Brings the (few) bytes into the window. The caller knows that the file has them. */
  async load(offsetBytes: number, lengthBytes: number): Promise<Buffer> {
    this.#window ??= Buffer.alloc(CHUNK_BYTES);
    const isHop = Math.abs(offsetBytes - this.#end) > HOP_FROM_BYTES;
    const wantedBytes = isHop ? HOP_BYTES : CHUNK_BYTES;
    const chunk = this.#window.subarray(0, Math.max(wantedBytes, lengthBytes));
    this.#end = this.#start;
    const arrivedBytes = await this.read([chunk], offsetBytes, lengthBytes);
    this.#start = offsetBytes;
    this.#end = offsetBytes + arrivedBytes;
    return this.#window.subarray(0, lengthBytes);
  }

  /**
   * Fills the buffers from `offsetBytes` on; returns how many bytes arrived, at least `neededBytes`.
   * @throws "damaged" where the file ends before.
   */
  async read(
    buffers: readonly Uint8Array[],
    offsetBytes: number,
    neededBytes: number,
  ): Promise<number> {
    let arrivedBytes: number;
    try {
      arrivedBytes = await readAll(this.#handle, buffers, offsetBytes, neededBytes);
    } catch (error) {
      throw fromSystem(error, `cannot read ${this.name} at byte ${offsetBytes}`);
    }
    if (arrivedBytes >= neededBytes) return arrivedBytes;
    throw new ReelError(
      "damaged",
      `cannot read ${this.name} at byte ${offsetBytes}: it became shorter while it was read`,
    );
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}
