/**
 * Reads and writes of several buffers at once that do not stop half way. They go through the
 * callback interface: for records of 256 KiB a promise of `FileHandle` costs a fifth of the call.
 */
import { readv, writev } from "node:fs";
import type { FileHandle } from "node:fs/promises";

/** Buffers in one system call: IOV_MAX on Linux is 1024. */
const BUFFERS_PER_CALL_MAX = 1024;

/** What of `buffers` lies after the first `doneBytes`. */
function remaining(buffers: readonly Uint8Array[], doneBytes: number): Uint8Array[] {
  const rest: Uint8Array[] = [];
  let skipBytes = doneBytes;
  for (const buffer of buffers) {
    if (skipBytes >= buffer.length) skipBytes -= buffer.length;
    else {
      rest.push(skipBytes === 0 ? buffer : buffer.subarray(skipBytes));
      skipBytes = 0;
    }
  }
  return rest;
}

async function readOnce(
  descriptor: number,
  buffers: readonly Uint8Array[],
  positionBytes: number,
): Promise<number> {
  return new Promise((resolve, reject) => {
    readv(descriptor, buffers, positionBytes, (error, bytesRead) => {
      if (error === null) resolve(bytesRead);
      else reject(error);
    });
  });
}

async function writeOnce(
  descriptor: number,
  buffers: readonly Uint8Array[],
  positionBytes: number,
): Promise<number> {
  return new Promise((resolve, reject) => {
    writev(descriptor, buffers, positionBytes, (error, bytesWritten) => {
      if (error === null) resolve(bytesWritten);
      else reject(error);
    });
  });
}

/**
 * Fills the buffers from `positionBytes` on until `neededBytes` are there or the file ends; returns
 * how many bytes arrived. One system call unless the kernel stops early.
 */
export async function readAll(
  handle: FileHandle,
  buffers: readonly Uint8Array[],
  positionBytes: number,
  neededBytes: number,
): Promise<number> {
  let doneBytes = 0;
  let rest: readonly Uint8Array[] = buffers;
  while (doneBytes < neededBytes) {
    const bytesRead = await readOnce(handle.fd, rest, positionBytes + doneBytes);
    if (bytesRead === 0) break;
    doneBytes += bytesRead;
    if (doneBytes < neededBytes) rest = remaining(buffers, doneBytes);
  }
  return doneBytes;
}

/** Writes all of the buffers at `positionBytes`; throws what the system throws. */
export async function writeAll(
  handle: FileHandle,
  buffers: readonly Uint8Array[],
  positionBytes: number,
): Promise<void> {
  const { failure } = await writeAsFarAsPossible(handle, buffers, positionBytes);
  if (failure !== undefined) throw failure;
}

/** Writes the buffers at `positionBytes`, all or up to what the system failed with. */
export async function writeAsFarAsPossible(
  handle: FileHandle,
  buffers: readonly Uint8Array[],
  positionBytes: number,
): Promise<{ readonly bytesWritten: number; readonly failure?: Error }> {
  let bytesWritten = 0;
  let rest: readonly Uint8Array[] = buffers;
  try {
    while (rest.length > 0) {
      const call = rest.length > BUFFERS_PER_CALL_MAX ? rest.slice(0, BUFFERS_PER_CALL_MAX) : rest;
      const written = await writeOnce(handle.fd, call, positionBytes + bytesWritten);
      bytesWritten += written;
      rest = remaining(rest, written);
    }
  } catch (error) {
    return { bytesWritten, failure: error instanceof Error ? error : new Error(String(error)) };
  }
  return { bytesWritten };
}
