/** Tapes of every format for tests, and the tools of others that look at them. */
import { execFile, execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { convertTape, type ConvertResult } from "../../../src/tape/containers/convert.ts";
import { createTapeSink, type SinkFormat } from "../../../src/tape/containers/tape-sink.ts";
import { openTape, type OpenTapeOptions } from "../../../src/tape/open-tape.ts";
import type { TapeDrive } from "../../../src/tape/tape-drive.ts";

const ROOT = process.env["REELFS_CORPUS"] ?? join(import.meta.dirname, "../../../../shared/corpus");
export const HERCULES_TAPES = join(ROOT, "SDL-Hercules-390+hyperion", "tests");
export const SIMH_TAPES = join(ROOT, "open-simh+simh");

export function hasTool(name: string): boolean {
  return (process.env["PATH"] ?? "").split(":").some((folder) => existsSync(join(folder, name)));
}

export async function run(command: string, ...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(command, args, { maxBuffer: 2 ** 26 });
  return stdout;
}

/** Runs a program with bytes on its standard input; returns its output. */
export function pipe(command: string, args: readonly string[], input?: Uint8Array): Buffer {
  return execFileSync(command, args, {
    maxBuffer: 2 ** 26,
    env: { ...process.env, TZ: "UTC", LC_ALL: "C.UTF-8" },
    ...(input === undefined ? {} : { input }),
  });
}

/** Converts a tape file to another. */
export async function convertFile(
  from: string,
  to: string,
  format: SinkFormat,
  options: OpenTapeOptions & { file?: number } = {},
): Promise<ConvertResult> {
  await using drive = await openTape(from, { mode: "read", useIndex: false, ...options });
  return await convertTape(drive, await createTapeSink(to, format, { overwrite: true }), {
    file: options.file,
  });
}

/** Every object of a tape: a record's bytes in hex, "|" for a filemark, "!" before what is flawed. */
export async function objectsOf(drive: TapeDrive, reverse = false): Promise<string[]> {
  const objects: string[] = [];
  const target = new Uint8Array(1 << 18);
  for (;;) {
    const read = await drive.read(target, { reverse });
    if (read.kind === "end-of-data" || read.kind === "beginning") return objects;
    if (read.kind === "filemark") objects.push("|");
    else {
      const hex = Buffer.from(target.subarray(0, read.lengthBytes)).toString("hex");
      objects.push(`${read.flawed ? "!" : ""}${hex}`);
    }
  }
}
