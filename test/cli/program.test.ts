import { expect } from "chai";
import { type CommandDefinition, EXIT, type Terminal } from "../../src/cli/command.ts";
import { run } from "../../src/cli/program.ts";
import { closeAll, type ErrorCode, ReelError } from "../../src/errors.ts";
import { FakeStream } from "./fake-stream.ts";

interface Outcome {
  status: number;
  out: string;
  err: string;
}

type Body = (terminal: Terminal, args: readonly unknown[]) => Promise<number>;

function command(body: Body): CommandDefinition {
  return {
    name: "spool",
    summary: "wind a tape",
    description: ["Winds a tape.", "A second paragraph."],
    examples: [{ command: "reelfs spool a.tap", does: "winds a.tap" }],
    configure: (made) => {
      made
        .argument("<tape>", "the tape")
        .argument("[paths...]", "paths on it")
        .option("--speed <rate>", "how fast");
    },
    run: (args, _, terminal) => body(terminal, args),
  };
}

async function runLine(
  line: string,
  body: Body = async () => EXIT.done,
  more: { signal?: AbortSignal; debug?: boolean; tty?: boolean } = {},
): Promise<Outcome> {
  const stdout = new FakeStream({ isTTY: more.tty ?? false });
  const stderr = new FakeStream({ isTTY: more.tty ?? false });
  const status = await run(
    line.split(" ").filter((word) => word !== ""),
    { stdout, stderr, signal: more.signal ?? new AbortController().signal, debug: more.debug },
    [command(body)],
  );
  return { status, out: stdout.text, err: stderr.text };
}

async function failWith(error: unknown): Promise<Outcome> {
  return runLine("spool a.tap", async () => {
    throw error;
  });
}

describe("the command line", () => {
  it("says of a name that is not UTF-8 why it is not found", async () => {
    const { status, err } = await runLine("spool n\ufffd.tap", async () => {
      throw new ReelError("not-found", "cannot open n\ufffd.tap as a tape: no such file");
    });
    expect(status).to.equal(1);
    expect(err).to.contain("no such file; a name that is not UTF-8 cannot be given");
  });

  it("hands arguments to the command and returns its status", async () => {
    const seen: (readonly unknown[])[] = [];
    const { status } = await runLine("spool a.tap x y", async (_, args) => {
      seen.push(args);
      return EXIT.damaged;
    });
    expect(status).to.equal(3);
    expect(seen).to.deep.equal([["a.tap", ["x", "y"]]]);
  });

  it("prints text without --json and JSON alone with it", async () => {
    const body: Body = async (terminal) => {
      terminal.print("wound");
      terminal.printJson({ metres: 960 });
      return EXIT.done;
    };
    expect((await runLine("spool a.tap", body)).out).to.equal("wound\n");
    expect(JSON.parse((await runLine("spool a.tap --json", body)).out)).to.deep.equal({
      metres: 960,
    });
    expect((await runLine("spool a.tap --quiet", body)).out).to.equal("");
    expect(JSON.parse((await runLine("spool a.tap --quiet --json", body)).out)).to.have.key(
      "metres",
    );
  });

  it("warns even when quiet, with nothing in it that a terminal obeys", async () => {
    const { err } = await runLine("spool a.tap -q", async (terminal) => {
      terminal.warn("the file \u001b]0;x is damaged");
      return EXIT.done;
    });
    expect(err).to.equal("the file \\x1b]0;x is damaged\n");
  });

  it("gives each kind of failure its exit status and one sentence", async () => {
    const statuses: Partial<Record<ErrorCode, number>> = {
      damaged: 3,
      invalid: 2,
      aborted: 130,
      "not-found": 1,
      "no-space": 1,
      io: 1,
    };
    for (const [code, expected] of Object.entries(statuses)) {
      const { status, out, err } = await failWith(new ReelError(code as ErrorCode, "it broke"));
      expect(status, code).to.equal(expected);
      expect(err, code).to.equal("reelfs spool: it broke\n");
      expect(out).to.equal("");
    }
  });

  it("tells of every failure when several things failed to close", async () => {
    const failing = (code: ErrorCode): { close(): Promise<void> } => ({
      close: async () => Promise.reject(new ReelError(code, `${code} happened`)),
    });
    const { status, err } = await runLine("spool a.tap", async () => {
      await closeAll(failing("io"), failing("damaged"));
      return EXIT.done;
    });
    expect(err).to.equal("reelfs spool: io happened\nreelfs spool: damaged happened\n");
    expect(status).to.equal(3);
  });

  it("owns up to a bug, without a stack unless asked", async () => {
    const calm = await failWith(new TypeError("x is not a function"));
    expect(calm.status).to.equal(1);
    expect(calm.err).to.match(/^reelfs spool: this is a bug in reelfs: x is not a function; .*\n$/);
    expect(calm.err).to.contain("REELFS_DEBUG=1").and.not.to.contain("at ");
    const debug = await runLine(
      "spool a.tap",
      async () => {
        throw new TypeError("x is not a function", { cause: new Error("the cause") });
      },
      { debug: true },
    );
    expect(debug.err).to.contain("program.test.ts").and.to.contain("the cause");
  });

  it("ends with 130 when what was interrupted threw Node's own AbortError", async () => {
    const controller = new AbortController();
    const { status, err } = await runLine(
      "spool a.tap",
      async (terminal) => {
        controller.abort();
        terminal.signal.throwIfAborted();
        return EXIT.done;
      },
      { signal: controller.signal },
    );
    expect(status).to.equal(130);
    expect(err).to.equal("reelfs spool: interrupted\n");
  });

  it("calls a wrong command line one, with what to do about it", async () => {
    const cases: readonly (readonly [string, RegExp])[] = [
      ["spol a.tap", /^reelfs: unknown command 'spol'; did you mean spool; see reelfs --help\n$/],
      ["spool", /^reelfs spool: missing required argument 'tape'; see reelfs spool --help\n$/],
      ["spool a --jsn", /^reelfs spool: unknown option '--jsn'; did you mean --json; see /],
      ["spool a --speed", /^reelfs spool: option '--speed <rate>' argument missing; see /],
    ];
    for (const [line, message] of cases) {
      const { status, out, err } = await runLine(line);
      expect(err).to.match(message);
      expect(status, line).to.equal(2);
      expect(out).to.equal("");
    }
  });

  it("counts a bad option value as usage, and names the command", async () => {
    const picky: CommandDefinition = {
      ...command(async () => EXIT.done),
      configure: (made) => {
        made.option("--size <size>", "size", (text: string) => {
          throw new ReelError("invalid", `--size: "${text}" is not a size`);
        });
      },
    };
    const stderr = new FakeStream();
    const status = await run(
      ["spool", "--size", "big"],
      { stdout: new FakeStream(), stderr, signal: new AbortController().signal },
      [picky],
    );
    expect(status).to.equal(2);
    expect(stderr.text).to.equal('reelfs spool: --size: "big" is not a size\n');
  });

  it("shows help on standard output when asked, on standard error when nothing was asked", async () => {
    const asked = await runLine("--help");
    expect(asked.status).to.equal(0);
    expect(asked.out).to.contain("spool").and.to.contain("wind a tape");
    const bare = await runLine("");
    expect(bare.status).to.equal(2);
    expect(bare.out).to.equal("");
    expect(bare.err).to.contain("wind a tape");
  });

  it("teaches with examples in a command's help", async () => {
    const { status, out } = await runLine("spool --help");
    expect(status).to.equal(0);
    expect(out).to.contain("Usage: reelfs spool [OPTIONS] TAPE [PATHS...]");
    expect(out).to.contain("--speed RATE").and.to.contain("--json").and.to.contain("-q, --quiet");
    expect(out).to.contain("Examples:\n  reelfs spool a.tap\n      winds a.tap");
    expect((await runLine("help spool")).out).to.equal(out);
  });

  it("prints its version", async () => {
    const { status, out } = await runLine("--version");
    expect(out).to.match(/^\d+\.\d+\.\d+\n$/);
    expect(status).to.equal(0);
  });

  it("leaves no progress bar behind, nor draws one where nobody sees it", async () => {
    const body: Body = async (terminal) => {
      for (let done = 0; done < 5; done++) terminal.progress({ phase: "winding", done, total: 5 });
      return EXIT.done;
    };
    expect((await runLine("spool a.tap", body)).err).to.equal("");
    expect((await runLine("spool a.tap", body, { tty: true })).err).to.equal("");
  });
});
