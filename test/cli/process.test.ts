import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { expect } from "chai";

type Child = ChildProcessByStdio<null, Readable, Readable>;

const WAITING_PROGRAM = fileURLToPath(new URL("waiting-program.ts", import.meta.url));
const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

function start(script: string, ...args: string[]): Child {
  return spawn(process.execPath, ["--import", "tsx", script, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
}

function collect(stream: Readable): { text: string } {
  const all = { text: "" };
  stream.setEncoding("utf8").on("data", (chunk: string) => (all.text += chunk));
  return all;
}

/** Resolves once the child has printed `words`. */
async function printed(child: Child, all: { text: string }, words: string): Promise<void> {
  while (!all.text.includes(words)) await once(child.stdout, "data");
}

async function ended(child: Child): Promise<{ status: number | null; signal: string | null }> {
  await once(child, "close");
  return { status: child.exitCode, signal: child.signalCode };
}

describe("reelfs as a process", function () {
  this.timeout(20_000);

  it("cleans up at the first Ctrl-C or SIGTERM, and ends with 130", async () => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      const child = start(WAITING_PROGRAM, "tidy");
      const out = collect(child.stdout);
      const err = collect(child.stderr);
      await printed(child, out, "ready");
      child.kill(signal);
      expect(await ended(child)).to.deep.equal({ status: 130, signal: null });
      expect(out.text).to.equal("ready\ncleaned up\n");
      expect(err.text).to.equal("reelfs tidy: winding: interrupted\n");
    }
  });

  it("ends at once at the second", async () => {
    const child = start(WAITING_PROGRAM, "stubborn");
    const out = collect(child.stdout);
    await printed(child, out, "ready");
    child.kill("SIGINT");
    await printed(child, out, "going on");
    child.kill("SIGINT");
    expect(await ended(child)).to.deep.equal({ status: null, signal: "SIGINT" });
  });

  it("stops without a word when nobody reads what it prints", async () => {
    const child = start(WAITING_PROGRAM, "chatter");
    const err = collect(child.stderr);
    await once(child.stdout, "data");
    child.stdout.destroy();
    expect(await ended(child)).to.deep.equal({ status: 141, signal: null });
    expect(err.text).to.equal("");
  });

  it("waits for standard input, however slowly it comes", async () => {
    const child = spawn(process.execPath, ["--import", "tsx", WAITING_PROGRAM, "reader"], {
      stdio: ["pipe", "pipe", "pipe"],
    });
    const out = collect(child.stdout);
    const err = collect(child.stderr);
    while (!out.text.includes("ready")) await once(child.stdout, "data");
    child.stdin.write(Buffer.alloc(4096));
    while (!out.text.includes("4096 bytes") && child.exitCode === null) {
      await Promise.race([once(child.stdout, "data"), once(child, "close")]);
    }
    child.stdin.end(Buffer.alloc(5000));
    await once(child, "close");
    expect(err.text).to.equal("");
    expect(out.text).to.equal("ready\n4096 bytes\n8192 bytes\n9096 bytes\n");
    expect(child.exitCode).to.equal(0);
  });

  it("waits for who reads its standard output, and stops where he has gone", async () => {
    // A pipe of the shell's, as between any two programs, and a reader that is slower than we are.
    const through = async (
      reader: string,
      command = "writer",
    ): Promise<{ out: string; err: string }> => {
      const script = `( "$0" --import tsx "$1" "$2"; echo "status $?" >&2 ) | ( ${reader} )`;
      const child = spawn("bash", ["-c", script, process.execPath, WAITING_PROGRAM, command], {
        stdio: ["ignore", "pipe", "pipe"],
      });
      const [out, err] = [collect(child.stdout), collect(child.stderr)];
      await once(child, "close");
      return { out: out.text, err: err.text };
    };
    expect(await through("dd bs=16 status=none | wc -c")).to.deep.equal({
      out: "2000000\n",
      err: "status 0\n",
    });
    const listed = await through("dd bs=16 status=none | tail -n 1", "lister");
    expect(listed).to.deep.equal({ out: "line 30000\n", err: "status 0\n" });
    const cut = await through("head -c 10 | wc -c");
    expect(cut.out).to.equal("10\n");
    expect(cut.err).to.be.oneOf(["status 77\n", "status 141\n"]);
  });

  it("fails, and says why, when what it prints cannot be written", async () => {
    // Many lines, which are interrupted, and one at the very end.
    for (const [script, word, name] of [
      [WAITING_PROGRAM, "chatter", "reelfs chatter"],
      [MAIN, "--version", "reelfs"],
    ] as const) {
      const line = ["-c", 'exec "$0" "$@" > /dev/full', process.execPath, "--import", "tsx"];
      const child = spawn("bash", [...line, script, word], { stdio: ["ignore", "pipe", "pipe"] });
      const err = collect(child.stderr);
      const { status } = await ended(child);
      expect(err.text).to.equal(
        `${name}: cannot write to standard output: no space left on device\n`,
      );
      expect(status).to.equal(1);
    }
  });

  it("runs as a program: version, usage error", async () => {
    const version = start(MAIN, "--version");
    const out = collect(version.stdout);
    expect((await ended(version)).status).to.equal(0);
    expect(out.text).to.match(/^\d+\.\d+\.\d+\n$/);
    const wrong = start(MAIN, "bakcup");
    const err = collect(wrong.stderr);
    expect((await ended(wrong)).status).to.equal(2);
    expect(err.text).to.contain("did you mean backup");
  });
});
