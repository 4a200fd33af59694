/**
 * A mount in the background. The command runs its own command line again, as a daemon in a session
 * of its own, and waits until that has an answer: what to print, and the exit status. Then it ends,
 * and the daemon, if it serves, goes on alone.
 *
 *     command  spawn ───────────────► wait ─────────────────► print, exit status
 *     daemon         open, mount ─────► answer (daemon-answer.ts) ──► serve until unmounted
 *
 * While the command starts, nothing else happens. So it does not look at its arguments, and loads
 * nothing that it does not need to start a process: what is wrong with them the daemon says.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { fromSystem, isReelError, ReelError } from "../errors.ts";
import { runtimeFolderNow } from "../fuse/runtime-folder.ts";
import { EXIT, READER_GONE_STATUS } from "./command.ts";
import { type Answer, ANSWER_DESCRIPTOR, DAEMON_WORD, nameOf, tailOf } from "./daemon-answer.ts";
import { escapeLine } from "./escape-name.ts";
import { LEAN_ENVIRONMENT, LEAN_NODE_OPTIONS } from "./lean-heap.ts";

/** Certificates that Node would read and decode whenever it starts, 0.1 s. Nothing here speaks TLS. */
const NOT_FOR_DAEMON = { NODE_EXTRA_CA_CERTS: undefined };

const STDOUT = 1;
const STDERR = 2;

/** Runs a command line as a daemon; the exit status of this process once there is an answer. */
export async function runInBackground(args: readonly string[]): Promise<number> {
  const interruption = listenForSignals();
  try {
    const answer = await startDaemon(args, interruption);
    await print(STDERR, answer.stderr);
    await print(STDOUT, answer.stdout);
    return answer.status;
  } catch (error) {
    if (error instanceof ReaderGone) return READER_GONE_STATUS;
    const reason = fromSystem(error, "cannot start the daemon of the mount");
    await print(STDERR, `${nameOf(args)}: ${escapeLine(reason.message)}\n`);
    return isReelError(reason, "aborted") ? EXIT.interrupted : EXIT.failed;
  }
}

/** Fires at the first SIGINT or SIGTERM; a second ends this process at once. */
function listenForSignals(): AbortSignal {
  const interruption = new AbortController();
  const onSignal = (): void => {
    process.removeListener("SIGINT", onSignal);
    process.removeListener("SIGTERM", onSignal);
    interruption.abort();
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  return interruption.signal;
}

async function startDaemon(args: readonly string[], interruption: AbortSignal): Promise<Answer> {
  // Under a name of its own until the daemon serves: only then it is the log of that mount.
  const log = join(runtimeFolderNow(), `starting-${process.pid}.log`);
  rmSync(log, { force: true });
  const descriptor = openLog(log);
  let serving = false;
  try {
    const child = spawnDaemon(args, log, descriptor);
    const answer = await answerOf(child, { log, interruption });
    serving = answer.serving;
    return answer;
  } finally {
    closeSync(descriptor);
    if (!serving) rmSync(log, { force: true });
  }
}

const LOG_MODE = 0o600;

function openLog(path: string): number {
  try {
    return openSync(path, "ax", LOG_MODE);
  } catch (error) {
    throw fromSystem(error, `cannot make the log ${path}`);
  }
}

function spawnDaemon(args: readonly string[], log: string, logDescriptor: number): ChildProcess {
  const script = process.argv[1];
  if (script === undefined) throw new ReelError("internal", "this program has no script to start");
  const stdio = ["ignore", logDescriptor, logDescriptor] as const;
  return spawn(
    process.execPath,
    [...process.execArgv, ...LEAN_NODE_OPTIONS, script, `${DAEMON_WORD}${log}`, ...args],
    {
      detached: true,
      stdio: [...stdio, "pipe"],
      env: { ...LEAN_ENVIRONMENT, ...process.env, ...NOT_FOR_DAEMON },
    },
  );
}

/**
 * The daemon's answer: as soon as it has come when it serves, else once the daemon is gone and has
 * left nothing behind.
 *
 * @throws ReelError "io" with the end of its log when it died without a word, "aborted"
 */
async function answerOf(
  child: ChildProcess,
  { log, interruption }: { readonly log: string; readonly interruption: AbortSignal },
): Promise<Answer> {
  const stop = (): void => {
    child.kill("SIGTERM");
  };
  interruption.addEventListener("abort", stop, { once: true });
  try {
    return await new Promise((resolve, reject) => {
      let said = "";
      const pipe = child.stdio[ANSWER_DESCRIPTOR] as Readable;
      pipe.setEncoding("utf8").on("data", (text: string) => {
        said += text;
        const answer = parseAnswer(said);
        // Where it was told to end, it does.
        if (answer?.serving === true && !interruption.aborted) resolve(answer);
      });
      child.on("error", reject);
      child.on("close", (status, signal) => {
        const answer = parseAnswer(said);
        if (answer?.serving === false) resolve(answer);
        else if (interruption.aborted) reject(new ReelError("aborted", INTERRUPTED));
        else reject(deathOf(signal ?? `status ${status ?? "?"}`, log));
      });
    });
  } finally {
    interruption.removeEventListener("abort", stop);
  }
}

export const INTERRUPTED = "mounting was interrupted";

function deathOf(how: string, log: string): ReelError {
  const tail = tailOf(readFileSync(log, "utf8"));
  const more = tail === "" ? "" : `: ${tail}`;
  return new ReelError("io", `the daemon of the mount died (${how})${more}`);
}

/** Undefined until the line has come whole. The daemon is this program: what it says has that shape. */
function parseAnswer(said: string): Answer | undefined {
  return said.endsWith("\n") ? (JSON.parse(said) as Answer) : undefined;
}

class ReaderGone extends Error {}

/**
 * Writes a text of the answer, now. Node's own streams would have to be loaded first; they are where
 * somebody has made a pipe of ours one that does not wait.
 */
async function print(descriptor: number, text: string): Promise<void> {
  let rest = Buffer.from(text);
  try {
    while (rest.length > 0) rest = rest.subarray(writeSync(descriptor, rest));
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
    if (error.code === "EAGAIN") return printLater(descriptor, rest);
    if (error.code === "EPIPE") throw new ReaderGone();
    // Words for a person that nobody can take down change nothing of what was done.
    if (descriptor === STDOUT) throw fromSystem(error, "cannot write to standard output");
  }
}

async function printLater(descriptor: number, rest: Uint8Array): Promise<void> {
  const stream = descriptor === STDOUT ? process.stdout : process.stderr;
  await new Promise<void>((resolve) => {
    stream.write(rest, () => {
      resolve();
    });
  });
}
