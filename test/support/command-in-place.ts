/** The command on a place of its own (mountpoint.ts): compiled, or run within the test's process. */
import { expect } from "chai";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { COMMANDS } from "../../src/cli/commands/index.ts";
import { run } from "../../src/cli/program.ts";
import { FakeStream } from "../cli/fake-stream.ts";
import { compileScript } from "./compiled-script.ts";
import type { Place, Ran } from "./mountpoint.ts";

const MAIN = fileURLToPath(new URL("../e2e/expose-cli.ts", import.meta.url));
const PACKAGE = new URL("../../package.json", import.meta.url);

/** The command compiled, for a process of its own that is to start fast: its script. */
export async function compileCommand({ folder }: Place): Promise<string> {
  const compiled = join(folder, "compiled");
  await mkdir(compiled);
  const script = await compileScript(MAIN, compiled);
  // It says its version.
  await copyFile(PACKAGE, join(compiled, "package.json"));
  return script;
}

/** With the environment in which the records of a place are found. */
export async function withRuntime<T>(place: Place, work: () => Promise<T>): Promise<T> {
  const before = process.env["XDG_RUNTIME_DIR"];
  Object.assign(process.env, place.env);
  try {
    return await work();
  } finally {
    if (before === undefined) delete process.env["XDG_RUNTIME_DIR"];
    else process.env["XDG_RUNTIME_DIR"] = before;
  }
}

/** A command in this process, which serves no mount itself: much faster than one of its own. */
export async function runHere(place: Place, args: readonly string[]): Promise<Ran> {
  const [stdout, stderr] = [new FakeStream(), new FakeStream()];
  const { signal } = new AbortController();
  const status = await withRuntime(place, async () =>
    run(args, { stdout, stderr, signal }, COMMANDS),
  );
  return { status, stdout: stdout.text, stderr: stderr.text };
}

/** What a command that succeeded printed. */
export function outputOf({ status, stdout, stderr }: Ran): string {
  expect(status, stderr).to.equal(0);
  return stdout;
}

/** Ends a process as a crash would, and waits until it is gone. */
export async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}
