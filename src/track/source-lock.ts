/**
 * One tracker for a source: of two, each would miss what is written through the other. A file in the
 * private runtime folder names the process, by its number and when it began; what a killed one left
 * is taken over. (A block device is also opened exclusively, which keeps other users out.)
 */
import { open, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { stat } from "node:fs/promises";
import { fromSystem, ReelError } from "../errors.ts";
import { processStart, runtimeFolder } from "../fuse/registry.ts";

const PRIVATE_MODE = 0o600;

export interface SourceLock {
  close(): Promise<void>;
}

/** @throws ReelError "busy" when the source has a tracker */
export async function lockSource(sourcePath: string): Promise<SourceLock> {
  const doing = `cannot track ${sourcePath}`;
  let name: string;
  try {
    const { dev, ino, rdev, isBlock } = await identityOf(sourcePath);
    name = isBlock ? `track-device-${rdev}.lock` : `track-${dev}-${ino}.lock`;
  } catch (error) {
    throw fromSystem(error, doing);
  }
  const path = join(await runtimeFolder(), name);
  const holder = await holderOf(path);
  if (holder !== undefined) {
    throw new ReelError("busy", `${doing}: process ${holder} tracks it already; see reelfs mounts`);
  }
  await rm(path, { force: true });
  try {
    await using file = await open(path, "wx", PRIVATE_MODE);
    await file.writeFile(`${process.pid} ${(await processStart(process.pid)) ?? ""}`);
  } catch (error) {
    const reason = fromSystem(error, doing);
    if (reason.code !== "exists") throw reason;
    throw new ReelError("busy", `${doing}: another process has just begun to`, { cause: error });
  }
  return { close: async () => rm(path, { force: true }) };
}

async function identityOf(
  path: string,
): Promise<{ dev: bigint; ino: bigint; rdev: bigint; isBlock: boolean }> {
  const found = await stat(path, { bigint: true });
  return { dev: found.dev, ino: found.ino, rdev: found.rdev, isBlock: found.isBlockDevice() };
}

/** The living process that the lock names. */
async function holderOf(path: string): Promise<number | undefined> {
  const [pid = "", start = ""] = (await readFile(path, "utf8").catch(() => "")).split(" ");
  if (!/^\d+$/.test(pid)) return undefined;
  return (await processStart(Number(pid))) === start ? Number(pid) : undefined;
}
