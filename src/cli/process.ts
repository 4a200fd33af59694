/**
 * The command as a process: arguments, streams, signals and exit status. Everything below this
 * file can be called inside another program, and is, in the tests.
 */
import { isatty } from "node:tty";
import { fromSystem } from "../errors.ts";
import { type CommandDefinition, EXIT } from "./command.ts";
import { COMMANDS } from "./commands/index.ts";
import { NotPrinted, PROGRAM_NAME, ReaderGone, run, type Surroundings } from "./program.ts";
import { WaitingParent } from "./waiting-parent.ts";

/** Runs the command line of this process and ends the process with its status. */
export async function runAsProcess(
  definitions: readonly CommandDefinition[] = COMMANDS,
): Promise<void> {
  const { parent, args } = WaitingParent.find(process.argv.slice(2));
  const interruption = interruptedBySignals();
  const around = {
    signal: interruption.signal,
    debug: process.env["REELFS_DEBUG"] === "1",
    background: { parent, start: async () => startInBackground(args) },
  };
  if (parent !== undefined) {
    const { stdout, stderr } = parent;
    const status = await run(args, { ...around, stdout, stderr }, definitions);
    parent.end(status);
    process.exit(status);
  }
  process.exit(await runOnStreams(args, around, interruption, definitions));
}

/** Fires at the first SIGINT or SIGTERM. */
function interruptedBySignals(): AbortController {
  const interruption = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => {
    // From now on the default holds: a second signal ends the process at once.
    process.removeListener("SIGINT", onSignal);
    process.removeListener("SIGTERM", onSignal);
    interruption.abort(new Error(`received ${signal}`));
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  return interruption;
}

async function startInBackground(args: readonly string[]): Promise<number> {
  const { runInBackground } = await import("./background.ts");
  return runInBackground(args);
}

/** With the streams of this process; the status when all that was printed has left it. */
async function runOnStreams(
  args: readonly string[],
  around: Omit<Surroundings, "stdout" | "stderr">,
  interruption: AbortController,
  definitions: readonly CommandDefinition[],
): Promise<number> {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    interruption.abort(
      error.code === "EPIPE" ? new ReaderGone(NOBODY_READS, { cause: error }) : notPrinted(error),
    );
  });
  // That a warning cannot be written to a log on a full disk must not end a backup.
  process.stderr.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") interruption.abort(new ReaderGone(NOBODY_READS, { cause: error }));
  });

  const surroundings = {
    ...around,
    stdout: process.stdout,
    stderr: process.stderr,
    ask: isSomebodyThere() ? async (question: string) => ask(question, interruption) : undefined,
  };
  const status = await run(args, surroundings, definitions);
  await written(process.stdout);
  const { reason } = interruption.signal as { readonly reason: unknown };
  const isLost = status === EXIT.done && reason instanceof NotPrinted;
  if (isLost) process.stderr.write(`${PROGRAM_NAME}: ${reason.message}\n`);
  await written(process.stderr);
  return isLost ? EXIT.failed : status;
}

const NOBODY_READS = "nobody reads what is printed";

function notPrinted(error: NodeJS.ErrnoException): NotPrinted {
  const { message } = fromSystem(error, "cannot write to standard output");
  return new NotPrinted(message, { cause: error });
}

/**
 * Resolves when all that was written has left this process, or never will. A pipe whose reader is
 * slow takes only so much at a time; what waits for it would be lost by process.exit. So would the
 * news that the last write has failed: a stream tells of it later.
 */
async function written(stream: NodeJS.WriteStream): Promise<void> {
  await new Promise<void>((resolve) => {
    stream.write("", () => {
      resolve();
    });
  });
}

const STDIN_FD = 0;

/**
 * process.stdin is not touched for it: Node would make standard input non-blocking, and who then
 * reads a pipe would be told that there is nothing, where he should wait for what comes.
 */
function isSomebodyThere(): boolean {
  return isatty(STDIN_FD) && process.stderr.isTTY;
}

/** One line from the terminal. Ctrl-C while it waits interrupts the program as at any time. */
async function ask(question: string, interruption: AbortController): Promise<string> {
  const { createInterface } = await import("node:readline/promises");
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  lines.on("SIGINT", () => {
    interruption.abort(new Error("received SIGINT"));
  });
  try {
    return await lines.question(question, { signal: interruption.signal });
  } finally {
    lines.close();
  }
}
