/** A program of four commands for process.test.ts: what a process does with signals and pipes. */
import { setImmediate } from "node:timers/promises";
import { type CommandDefinition, EXIT } from "../../src/cli/command.ts";
import { readBlocks } from "../../src/cli/loader/byte-streams.ts";
import { runAsProcess } from "../../src/cli/process.ts";
import { ReelError, throwIfAborted } from "../../src/errors.ts";

function command(name: string, run: CommandDefinition["run"]): CommandDefinition {
  return { name, summary: name, description: [], examples: [], configure: () => undefined, run };
}

const keepAlive = (): NodeJS.Timeout => setInterval(() => undefined, 1 << 30);

await runAsProcess([
  command("tidy", async (_args, _options, terminal) => {
    const timer = keepAlive();
    const aborted = new Promise((resolve) => {
      terminal.signal.addEventListener("abort", resolve);
    });
    terminal.print("ready");
    await aborted;
    terminal.print("cleaned up");
    clearInterval(timer);
    throw new ReelError("aborted", "winding: interrupted");
  }),
  command("stubborn", async (_args, _options, terminal) => {
    keepAlive();
    terminal.signal.addEventListener("abort", () => {
      terminal.print("going on");
    });
    terminal.print("ready");
    await new Promise(() => undefined);
    return EXIT.done;
  }),
  command("reader", async (_args, _options, terminal) => {
    const timer = keepAlive();
    terminal.print("ready");
    let bytes = 0;
    for await (const block of readBlocks(undefined, 4096)) {
      bytes += block.length;
      terminal.print(`${bytes} bytes`);
    }
    clearInterval(timer);
    return EXIT.done;
  }),
  command("chatter", async (_args, _options, terminal) => {
    for (;;) {
      terminal.print("a line");
      await setImmediate();
      throwIfAborted(terminal.signal, "chattering");
    }
  }),
]);
