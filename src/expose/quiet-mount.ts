/**
 * A filesystem that the kernel has mounted, held still for a moment: all that it keeps back in memory
 * is on its device then, and nothing is under way.
 */
import { ReelError } from "../errors.ts";
import { runProgram, saidBy } from "./run-program.ts";

/**
 * Freezes the mount (fsfreeze(8)) while `work` runs; where that cannot be, brings what it holds back
 * to the device before (sync -f). `work` must not touch the mount: it would wait for ever.
 *
 * @returns what is to be said of how it went
 * @throws ReelError "io" when the mount cannot be let go again, and what `work` throws
 */
export async function whileFrozen(
  mountpoint: string,
  work: () => Promise<void>,
): Promise<readonly string[]> {
  const frozen = await runProgram("fsfreeze", ["--freeze", mountpoint]);
  if (frozen.status !== 0) return whileSynced(mountpoint, saidBy("fsfreeze", frozen), work);
  const working = work();
  await Promise.allSettled([working]);
  const thawed = await runProgram("fsfreeze", ["--unfreeze", mountpoint]);
  if (thawed.status !== 0) throw stillFrozen(mountpoint, saidBy("fsfreeze", thawed));
  await working;
  return [];
}

async function whileSynced(
  mountpoint: string,
  why: string,
  work: () => Promise<void>,
): Promise<readonly string[]> {
  const synced = await runProgram("sync", ["--file-system", mountpoint]);
  await work();
  const how = synced.status === 0 ? "it was synced instead" : saidBy("sync", synced);
  return [`${mountpoint} could not be frozen for the moment of the image (${why}); ${how}`];
}

function stillFrozen(mountpoint: string, said: string): ReelError {
  return new ReelError(
    "io",
    `cannot let ${mountpoint} go on (${said}); try fsfreeze --unfreeze ${mountpoint}`,
  );
}
