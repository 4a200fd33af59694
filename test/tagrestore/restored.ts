/** Looking at what was restored. */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";

const run = promisify(execFile);

export async function contentsOf(path: string): Promise<Buffer> {
  return readFile(path);
}

/** The extended attributes of a file itself, by name, as getfattr(1) sees them. */
export async function xattrsOf(path: string): Promise<Record<string, string>> {
  const args = ["-h", "-d", "-m", "-", "-e", "hex", "--absolute-names", "--", path];
  const { stdout } = await run("getfattr", args);
  const found: Record<string, string> = {};
  for (const line of stdout.split("\n")) {
    const match = /^([^#=]+)=(?:0x(.*)|"")?$/.exec(line);
    if (match?.[1] === undefined) continue;
    found[match[1]] = Buffer.from(match[2] ?? "", "hex").toString("latin1");
  }
  return found;
}
