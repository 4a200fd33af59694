/** Bytes from standard input or a file, and to standard output or a file. */
import { createReadStream, createWriteStream } from "node:fs";
import { Readable, type Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { fromSystem } from "../../errors.ts";

const STDIN_FD = 0;

/**
 * Blocks of `blockBytes` from a file, or from standard input without one; the last may be shorter.
 * A block is good until the next one is asked for.
 */
export async function* readBlocks(
  path: string | undefined,
  blockBytes: number,
): AsyncGenerator<Uint8Array> {
  const source = path === undefined ? { fd: STDIN_FD, autoClose: false } : {};
  const stream = createReadStream(path ?? "", { ...source, highWaterMark: blockBytes });
  const block = Buffer.allocUnsafe(blockBytes);
  let filled = 0;
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      for (let at = 0; at < chunk.length;) {
        const part = chunk.subarray(at, at + blockBytes - filled);
        at += part.length;
        // A chunk that is a block already is not copied.
        if (filled === 0 && part.length === blockBytes) {
          yield part;
          continue;
        }
        filled += part.copy(block, filled);
        if (filled < blockBytes) continue;
        yield block;
        filled = 0;
      }
    }
  } catch (error) {
    throw fromSystem(error, `cannot read ${path ?? "standard input"}`);
  }
  if (filled > 0) yield block.subarray(0, filled);
}

/**
 * Writes everything to a new file, or to standard output; false where its reader has gone.
 *
 * Standard output is written as the stream that Node has for it: that has made a pipe non-blocking,
 * and knows to wait where a reader is slow.
 */
export async function writeBytes(
  source: AsyncIterable<Uint8Array>,
  path: string | undefined,
  signal: AbortSignal,
): Promise<boolean> {
  const target: Writable =
    path === undefined ? process.stdout : createWriteStream(path, { flags: "wx" });
  try {
    await pipeline(Readable.from(source, { objectMode: true, highWaterMark: 2 }), target, {
      signal,
      end: path !== undefined,
    });
    return true;
  } catch (error) {
    if (path === undefined && isReaderGone(error, signal)) return false;
    throw fromSystem(error, `cannot write ${path ?? "standard output"}`);
  }
}

/** The program as a whole is stopped for it, too: either may be told first. */
function isReaderGone(error: unknown, signal: AbortSignal): boolean {
  const reason: unknown = signal.reason;
  const cause = reason instanceof Error ? reason.cause : undefined;
  return [error, cause].some(
    (each) => each instanceof Error && "code" in each && each.code === "EPIPE",
  );
}
