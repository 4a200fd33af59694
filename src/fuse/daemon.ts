/**
 * The life of a mount in the background. `reelfs mount` starts itself again with --foreground, in a
 * session of its own, and waits on a channel until that process says that the mount can be used, or
 * why not. Then the channel is closed and the child goes on alone.
 *
 *     parent  spawn ──────────────► wait ──────────────────► exit status
 *     child         open, mount ──► "ready" or its error ──► serve until unmounted
 */
import { type ChildProcess, spawn } from "node:child_process";
import { open, readFile, rename, rm } from "node:fs/promises";
import { type ErrorCode, fromSystem, isReelError, ReelError } from "../errors.ts";

/** What a child says to its parent, once. */
type Report =
  | { readonly ready: true; readonly facts: Readonly<Record<string, unknown>> }
  | { readonly ready: false; readonly code: ErrorCode; readonly message: string };

const LOG_TAIL_CHARACTERS = 400;

/**
 * A daemon lives for days in at most 200 MiB, and works in bursts. By default V8 lets short-lived
 * objects take 48 MiB in each thread before it looks which still live, and glibc keeps an arena of
 * freed memory for each thread: together a sixth of what the daemon would hold, for no speed that
 * can be measured.
 */
const LEAN_NODE_OPTIONS: readonly string[] = ["--max-semi-space-size=2"];
const LEAN_ENVIRONMENT: Readonly<Record<string, string>> = { MALLOC_ARENA_MAX: "2" };

export interface BackgroundOptions {
  /** Arguments of this program for the child. */
  readonly args: readonly string[];
  /** Takes the child's standard output and error; not there when it failed to start. */
  readonly log: string;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Starts this program again, detached, and waits for its word.
 *
 * @returns what the child reported, and its pid
 * @throws ReelError the child's own, or "io" with the end of its log when it died without a word
 */
export async function startInBackground(
  options: BackgroundOptions,
): Promise<{ pid: number; facts: Readonly<Record<string, unknown>> }> {
  const script = process.argv[1];
  if (script === undefined) throw new ReelError("internal", "this program has no script to start");
  // Under a name of its own until the child is ready: the log there may be a living daemon's.
  const draft = `${options.log}.${process.pid}`;
  await rm(draft, { force: true });
  const log = await open(draft, "ax", 0o600).catch((error: unknown) => {
    throw fromSystem(error, `cannot make the log ${draft}`);
  });
  try {
    const child = spawn(
      process.execPath,
      [...process.execArgv, ...LEAN_NODE_OPTIONS, script, ...options.args],
      {
        detached: true,
        stdio: ["ignore", log.fd, log.fd, "ipc"],
        env: { ...LEAN_ENVIRONMENT, ...process.env },
      },
    );
    const facts = await waitForReport(child, { ...options, log: draft });
    // Nothing must keep this process here: it has done what it was asked to.
    child.removeAllListeners();
    if (child.connected) child.disconnect();
    child.unref();
    await rename(draft, options.log);
    return { pid: child.pid ?? 0, facts };
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  } finally {
    await log.close();
  }
}

async function waitForReport(
  child: ChildProcess,
  options: BackgroundOptions,
): Promise<Readonly<Record<string, unknown>>> {
  const stop = (): void => {
    child.kill("SIGTERM");
  };
  options.signal?.addEventListener("abort", stop, { once: true });
  try {
    return await new Promise((resolve, reject) => {
      child.on("message", (message: Report) => {
        if (message.ready) resolve(message.facts);
        else reject(new ReelError(message.code, message.message));
      });
      child.on("error", (error) => {
        reject(fromSystem(error, "cannot start the daemon of the mount"));
      });
      child.on("exit", (status, signal) => {
        reject(
          options.signal?.aborted === true
            ? new ReelError("aborted", "mounting was interrupted")
            : new ReelError(
                "io",
                `the daemon of the mount died (${signal ?? `status ${status ?? "?"}`})`,
              ),
        );
      });
    });
  } catch (error) {
    throw await withLog(error, options.log);
  } finally {
    options.signal?.removeEventListener("abort", stop);
  }
}

/** The error with what libfuse or Node left in the log: only they know why they failed. */
async function withLog(error: unknown, log: string): Promise<unknown> {
  if (!isReelError(error, "io")) return error;
  const text = (await readFile(log, "utf8").catch(() => "")).trim();
  if (text === "") return error;
  const tail = text.slice(-LOG_TAIL_CHARACTERS).replaceAll("\n", "; ");
  return new ReelError("io", `${error.message}: ${tail}`, { cause: error });
}

/** In the child: tells the parent, if there is one, and lets go of it. */
export async function reportReady(facts: object): Promise<void> {
  await report({ ready: true, facts: { ...facts } });
}

/** In the child: tells the parent, if there is one, why there will be no mount. */
export async function reportFailure(error: unknown): Promise<void> {
  const told: Report = isReelError(error)
    ? { ready: false, code: error.code, message: error.message }
    : { ready: false, code: "internal", message: String(error) };
  await report(told);
}

async function report(message: Report): Promise<void> {
  if (process.send === undefined || !process.connected) return;
  await new Promise<void>((resolve) => {
    process.send?.(message, undefined, undefined, (error) => {
      // An error: the parent is gone, and nobody is left to tell.
      if (error === null) process.disconnect();
      resolve();
    });
  });
}

export interface Servable {
  readonly finished: Promise<void>;
  unmount(options?: { readonly lazy?: boolean }): Promise<void>;
}

/**
 * Serves until the mount has ended. The first SIGINT or SIGTERM unmounts; when the mount is busy it
 * stays, and `warn` says who holds it. The second takes it out of sight and leaves those processes
 * without it.
 */
export async function serveUntilUnmounted(
  mount: Servable,
  warn: (message: string) => void,
): Promise<void> {
  let signals = 0;
  let force = (): void => undefined;
  const forced = new Promise<void>((resolve) => (force = resolve));
  const onSignal = (): void => {
    signals++;
    const lazy = signals > 1;
    mount.unmount({ lazy }).then(
      () => {
        if (lazy) force();
      },
      (error: unknown) => {
        warn(error instanceof Error ? error.message : String(error));
      },
    );
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  process.on("SIGHUP", onSignal);
  // The folder the daemon was started in is not its to keep busy.
  process.chdir("/");
  try {
    await Promise.race([mount.finished, forced]);
  } finally {
    process.removeListener("SIGINT", onSignal);
    process.removeListener("SIGTERM", onSignal);
    process.removeListener("SIGHUP", onSignal);
  }
}
