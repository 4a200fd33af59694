/**
 * Processes that are killed at a system call, or whose calls fail: strace(1) stands between them and
 * the kernel. It counts each call by itself and for each thread, so libuv gets one thread for files,
 * and the N-th call is the same one each time, or nearly.
 */
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { hasTool } from "../../test/support/mountpoint.ts";
import type { SeededRandom } from "../../test/support/seeded-random.ts";
import type { Ran, RunOptions, Workshop } from "./workshop.ts";

/** Calls that change something, by what they change. */
export const CALLS = {
  writes: "pwrite64,pwritev,pwritev2,writev",
  plainWrites: "write",
  syncs: "fsync,fdatasync",
  names:
    "rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,symlink,symlinkat",
  sizes: "ftruncate,truncate,fallocate,copy_file_range",
  reads: "pread64,preadv,preadv2,read,readv",
} as const;

export const NO_STRACE = "strace is not installed";
export const straceTrouble = (): string | undefined => (hasTool("strace") ? undefined : NO_STRACE);

const ONE_THREAD = { UV_THREADPOOL_SIZE: "1" };

/** Runs the command with `rule` for all its threads, as in "inject=write:signal=KILL:when=3". */
export async function straced(
  workshop: Workshop,
  args: readonly string[],
  rules: readonly string[],
  options: RunOptions = {},
): Promise<Ran> {
  const under = ["strace", "-f", "-qqq", "-o", "/dev/null", "--seccomp-bpf", ...rules];
  return workshop.apart(args, { ...options, under, env: { ...ONE_THREAD, ...options.env } });
}

/** Of each call that a command makes: how often its busiest thread makes it. */
export async function countCalls(
  workshop: Workshop,
  args: readonly string[],
  calls: string,
): Promise<ReadonlyMap<string, number>> {
  const log = join(workshop.folder, "calls.strace");
  const under = ["strace", "-f", "-qqq", "-o", log, "-e", `trace=${calls}`];
  await workshop.apart(args, { under, env: ONE_THREAD });
  const byThread = new Map<string, number>();
  const most = new Map<string, number>();
  for (const line of (await readFile(log, "utf8")).split("\n")) {
    const [, thread, call] = /^(\d+) +(\w+)\(/.exec(line) ?? [];
    if (thread === undefined || call === undefined) continue;
    const count = (byThread.get(`${thread} ${call}`) ?? 0) + 1;
    byThread.set(`${thread} ${call}`, count);
    most.set(call, Math.max(count, most.get(call) ?? 0));
  }
  await rm(log);
  return most;
}

export const pathRules = (paths: readonly string[]): string[] =>
  paths.flatMap((path) => ["-P", path]);

/** Early and late calls are where things begin and end: half of all choices lie there. */
export function pickCall(random: SeededRandom, count: number): number {
  const edge = Math.min(count, 8);
  const which = random.below(4);
  if (which === 0) return 1 + random.below(edge);
  return which === 1 ? count - random.below(edge) : 1 + random.below(count);
}

/** True when it was killed, by itself or with the strace above it. */
export const wasKilled = (ran: Ran): boolean => ran.signal === "SIGKILL" || ran.status === 137;
