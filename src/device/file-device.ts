/**
 * Regular files and the system's block devices.
 *
 * The path is looked at before it is opened: opening a FIFO would wait for its other end, and
 * opening a tape drive would rewind the tape when it is closed again. What was opened is then
 * looked at once more, since the path may have changed meanwhile.
 *
 * `zero` on a regular file: Node cannot punch holes, but a file that this device has just extended
 * is one hole from its old end on. `#blankFromBytes` is where that hole begins; every write moves
 * it up behind itself. So a writer that goes through the device in rising order leaves a sparse
 * file, and zeros are written only where something else may be.
 */
import { constants } from "node:fs";
import { open, stat } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import type { BigIntStats } from "node:fs";
import { ReelError, fromSystem } from "../errors.ts";
import type { BlockDevice, WritableBlockDevice } from "./block-device.ts";
import { measureBlockDevice } from "./block-device-size.ts";
import { CheckedDevice, CheckedWritableDevice } from "./checked-device.ts";
import type { DeviceDescription } from "./checked-device.ts";
import { readFully, writeFully } from "./file-io.ts";

export interface WritableFileOptions {
  /** Makes a regular file where there is none. */
  readonly create?: boolean;
  /** With `create`: throws "exists" where there is one. A block device: "busy" when it is mounted. */
  readonly exclusive?: boolean;
  /**
   * Drops what a regular file holds, so that all of it reads as zeros; it keeps its size, or gets
   * `sizeBytes` where that is given. No effect on a block device.
   */
  readonly truncate?: boolean;
  /**
   * Size that is needed: a smaller regular file is extended to it, a larger one is left as it is,
   * and a smaller block device is refused as "too-small".
   */
  readonly sizeBytes?: number;
  /** What messages call it; default: its path. */
  readonly name?: string;
}

interface OpenFile extends DeviceDescription {
  readonly handle: FileHandle;
  readonly sectorSizeBytes: number;
  /** Bytes from here to the end were never written. */
  readonly blankFromBytes: number;
}

/** Written by `zero`, again and again; never written to. */
const ZEROS = new Uint8Array(1 << 20);

const REGULAR_FILE_SECTOR_BYTES = 512;

/**
 * Opens a regular file or a block device for reading. Throws "not-found", "no-permission",
 * "is-a-directory", "no-medium" (a block device of no size) or "invalid" (neither file nor block device).
 */
export async function openFileDevice(path: string): Promise<BlockDevice> {
  const file = await openChecked(path, constants.O_RDONLY, {});
  return new FileDevice(file);
}

/** Opens a regular file or a block device for reading and writing. Errors as above. */
export async function openWritableFileDevice(
  path: string,
  options: WritableFileOptions = {},
): Promise<WritableBlockDevice> {
  let flags = constants.O_RDWR;
  if (options.create === true) flags |= constants.O_CREAT;
  const file = await openChecked(path, flags, options);
  return new WritableFileDevice(file);
}

class FileDevice extends CheckedDevice {
  readonly #handle: FileHandle;

  constructor(file: OpenFile) {
    super(file);
    this.#handle = file.handle;
  }

  protected override async readRange(offsetBytes: number, target: Uint8Array): Promise<void> {
    return readFully(this.#handle, this.name, offsetBytes, target);
  }

  protected override async release(): Promise<void> {
    return closeHandle(this.#handle, this.name);
  }
}

class WritableFileDevice extends CheckedWritableDevice {
  readonly #handle: FileHandle;
  #blankFromBytes: number;

  constructor(file: OpenFile) {
    super(file);
    this.#handle = file.handle;
    this.#blankFromBytes = file.blankFromBytes;
  }

  protected override async readRange(offsetBytes: number, target: Uint8Array): Promise<void> {
    return readFully(this.#handle, this.name, offsetBytes, target);
  }

  protected override async writeRange(offsetBytes: number, source: Uint8Array): Promise<void> {
    this.#blankFromBytes = Math.max(this.#blankFromBytes, offsetBytes + source.length);
    return writeFully(this.#handle, this.name, offsetBytes, source);
  }

  protected override async zeroRange(offsetBytes: number, lengthBytes: number): Promise<void> {
    const endBytes = Math.min(offsetBytes + lengthBytes, this.#blankFromBytes);
    for (let at = offsetBytes; at < endBytes; at += ZEROS.length) {
      const length = Math.min(ZEROS.length, endBytes - at);
      await writeFully(this.#handle, this.name, at, ZEROS.subarray(0, length));
    }
  }

  protected override async sync(): Promise<void> {
    try {
      await this.#handle.sync();
    } catch (error) {
      throw fromSystem(error, `cannot flush ${this.name} to stable storage`);
    }
  }

  protected override async release(): Promise<void> {
    return closeHandle(this.#handle, this.name);
  }
}

/** Opens, measures and, where asked, extends; closes again when anything of that fails. */
async function openChecked(
  path: string,
  accessFlags: number,
  options: WritableFileOptions,
): Promise<OpenFile> {
  const name = options.name ?? path;
  const doing = `cannot open ${name}`;
  const existing = await statIfThere(path, doing);
  if (existing !== undefined) refuseOtherKinds(existing, doing);
  let flags = accessFlags | constants.O_NONBLOCK | constants.O_NOCTTY;
  if (options.exclusive === true) flags |= constants.O_EXCL;
  let handle: FileHandle;
  try {
    handle = await open(path, flags);
  } catch (error) {
    throw fromSystem(error, doing);
  }
  try {
    const opened = await handle.stat({ bigint: true });
    refuseOtherKinds(opened, doing);
    return opened.isBlockDevice()
      ? await describeBlockDevice(name, handle, opened, options)
      : await describeRegularFile(name, handle, opened, options);
  } catch (error) {
    await handle.close();
    throw fromSystem(error, doing);
  }
}

async function statIfThere(path: string, doing: string): Promise<BigIntStats | undefined> {
  try {
    return await stat(path, { bigint: true });
  } catch (error) {
    const failure = fromSystem(error, doing);
    // Whether that matters is for `open` to say: it may be about to create the file.
    if (failure.code === "not-found") return undefined;
    throw failure;
  }
}

function refuseOtherKinds(found: BigIntStats, doing: string): void {
  if (found.isFile() || found.isBlockDevice()) return;
  if (found.isDirectory()) {
    throw new ReelError(
      "is-a-directory",
      `${doing}: it is a directory; name an image file or the block device of the volume`,
    );
  }
  let kind = "a special file";
  if (found.isFIFO()) kind = "a pipe";
  else if (found.isSocket()) kind = "a socket";
  else if (found.isCharacterDevice()) kind = "a character device";
  throw new ReelError("invalid", `${doing}: it is ${kind}, not a regular file or block device`);
}

async function describeRegularFile(
  name: string,
  handle: FileHandle,
  found: BigIntStats,
  options: WritableFileOptions,
): Promise<OpenFile> {
  let heldBytes = Number(found.size);
  if (options.truncate === true && heldBytes > 0) {
    await handle.truncate(0);
    heldBytes = 0;
  }
  const neededBytes = options.sizeBytes ?? (options.truncate === true ? Number(found.size) : 0);
  if (neededBytes > heldBytes) await handle.truncate(neededBytes);
  return {
    name,
    handle,
    sizeBytes: Math.max(heldBytes, neededBytes),
    sectorSizeBytes: REGULAR_FILE_SECTOR_BYTES,
    blankFromBytes: heldBytes,
  };
}

async function describeBlockDevice(
  name: string,
  handle: FileHandle,
  found: BigIntStats,
  options: WritableFileOptions,
): Promise<OpenFile> {
  const { sizeBytes, sectorSizeBytes } = await measureBlockDevice(handle, name, found.rdev);
  if (sizeBytes === 0) {
    throw new ReelError("no-medium", `cannot open ${name}: nothing is in it (its size is 0)`);
  }
  const neededBytes = options.sizeBytes ?? 0;
  if (sizeBytes < neededBytes) {
    throw new ReelError(
      "too-small",
      `cannot open ${name}: it has ${sizeBytes} bytes, and ${neededBytes} are needed`,
    );
  }
  // What a block device holds is never known to be zeros.
  return { name, handle, sizeBytes, sectorSizeBytes, blankFromBytes: sizeBytes };
}

async function closeHandle(handle: FileHandle, name: string): Promise<void> {
  try {
    await handle.close();
  } catch (error) {
    throw fromSystem(error, `cannot close ${name}`);
  }
}
