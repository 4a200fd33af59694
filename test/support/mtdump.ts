/**
 * `mtdump`, of the Debian package simh, as a judge of tapes. It takes records of at most 65,536 bytes,
 * and the second of two filemarks in a row for the end of the tape.
 */
import { execFile, spawnSync } from "node:child_process";
import { promisify } from "node:util";
import { openTape } from "../../src/tape/open-tape.ts";
import { skipUnless } from "./skip.ts";

/** "record 80" or "filemark". */
type Listed = string;

export function requireMtdump(context: Mocha.Context): void {
  const isThere = spawnSync("mtdump", []).error === undefined;
  skipUnless(context, isThere, "mtdump, of the Debian package simh, is not installed");
}

/** What mtdump lists; whatever else it says of an object is in the list as it stands. */
export async function listByMtdump(path: string): Promise<Listed[]> {
  const { stdout } = await promisify(execFile)("mtdump", [path], { maxBuffer: 2 ** 26 });
  return stdout
    .split("\n")
    .filter((line) => line.startsWith("Obj ") && !line.endsWith("end of logical tape"))
    .map((line) => {
      const [, length] = / record \d+, length = (\d+)/.exec(line) ?? [];
      if (length !== undefined) return `record ${length}`;
      return line.includes("end of tape file") ? "filemark" : line;
    });
}

/** What ReelFS reads of the tape up to two filemarks in a row. */
export async function listByReelfs(path: string): Promise<Listed[]> {
  await using drive = await openTape(path, { mode: "read", useIndex: false });
  const listed: Listed[] = [];
  const target = new Uint8Array(65_536);
  for (;;) {
    const read = await drive.read(target);
    if (read.kind === "end-of-data") return listed;
    const isMark = read.kind === "filemark";
    if (isMark && listed.at(-1) === "filemark") return listed;
    listed.push(read.kind === "record" ? `record ${read.lengthBytes}` : read.kind);
  }
}
