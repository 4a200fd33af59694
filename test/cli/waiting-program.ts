/** A program of six commands for process.test.ts: what a process does with signals and pipes. */
import { setImmediate } from "node:timers/promises";
import { type CommandDefinition, EXIT } from "../../src/cli/command.ts";
import { readBlocks, writeBytes } from "../../src/cli/loader/byte-streams.ts";
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
  command("writer", async (_args, _options, terminal) => {
    const timer = keepAlive();
    const blocks = (async function* (): AsyncGenerator<Uint8Array> {
      for (let block = 0; block < 200; block++) {
        await setImmediate();
        yield Buffer.alloc(10_000, block);
      }
    })();
    const isWhole = await writeBytes(blocks, undefined, terminal.signal);
    clearInterval(timer);
    return isWhole ? EXIT.done : 77;
  }),
  command("lister", async (_args, _options, terminal) => {
    for (let line = 1; line <= 30_000; line++) terminal.print(`line ${line}`);
    return Promise.resolve(EXIT.done);
  }),
  command("chatter", async (_args, _options, terminal) => {
    for (;;) {
      terminal.print("a line");
      await setImmediate();
      throwIfAborted(terminal.signal, "chattering");
    }
  }),
]);
