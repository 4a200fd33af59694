/**
 * A daemon lives for days in at most 200 MiB, and works in bursts. By default V8 lets short-lived
 * objects take 48 MiB in each thread before it looks which still live, and glibc keeps an arena of
 * freed memory for each thread: together a sixth of what the daemon would hold, for no speed that
 * can be measured.
 *
 * V8 lays out a heap when a thread starts. From then on the option would only stand in the way: V8
 * takes no code that was compiled under other options than those there are now, neither ours
 * (part-code.ts) nor Node's own, and a daemon would compile for 0.1 s before it mounts. So it is
 * taken back when the daemon has begun, and given again before its threads start.
 */
const SEMI_SPACE_OPTION = "--max-semi-space-size";
const LEAN = `${SEMI_SPACE_OPTION}=2`;
/** V8's default: as the machine has memory. */
const DEFAULT = `${SEMI_SPACE_OPTION}=0`;

export const LEAN_NODE_OPTIONS: readonly string[] = [LEAN];
export const LEAN_ENVIRONMENT: Readonly<Record<string, string>> = { MALLOC_ARENA_MAX: "2" };

/** Before anything else is loaded. */
export function takeCompiledCode(): void {
  setInDaemon(DEFAULT);
}

/** For the threads that start from now on. */
export function keepThreadsLean(): void {
  setInDaemon(LEAN);
}

/** Elsewhere node:v8 need not be loaded, and half of what it loads. */
function setInDaemon(option: string): void {
  if (process.execArgv.includes(LEAN)) {
    process.getBuiltinModule("node:v8").setFlagsFromString(option);
  }
}
