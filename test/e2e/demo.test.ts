import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { expect } from "chai";
import { skipUnless } from "../support/skip.ts";
import { REMOVAL } from "../support/temp.ts";

const DEMO = fileURLToPath(new URL("../../scripts/demo", import.meta.url));

describe("scripts/demo", function () {
  this.timeout(180_000);
  let folder = "";

  before(function () {
    skipUnless(this, existsSync("/dev/fuse"), "there is no /dev/fuse");
  });

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "reelfs-e2e-"));
  });

  afterEach(async () => {
    await rm(folder, REMOVAL);
  });

  function startDemo(): {
    child: ChildProcessByStdio<null, Readable, null>;
    all: { text: string };
  } {
    // Coverage of what the demo runs would be that of the build, not of the source.
    const inherited = { ...process.env };
    delete inherited["NODE_V8_COVERAGE"];
    const child = spawn(DEMO, ["300", "8M"], {
      env: { ...inherited, TMPDIR: folder },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const all = { text: "" };
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => (all.text += chunk));
    return { child, all };
  }

  async function nothingIsLeft(): Promise<void> {
    expect(await readFile("/proc/self/mounts", "utf8")).not.to.contain(folder);
    expect((await readdir(folder)).filter((name) => name.startsWith("reelfs-demo"))).to.deep.equal(
      [],
    );
  }

  it("goes all the way, compares every byte and leaves nothing", async () => {
    const { child, all } = startDemo();
    await once(child, "close");
    expect(child.exitCode, all.text).to.equal(0);
    expect(all.text.match(/^ {2}ok: /gm), all.text).to.have.length(6);
    await nothingIsLeft();
  });

  it("leaves nothing mounted when it is stopped halfway", async () => {
    const { child, all } = startDemo();
    while (!all.text.includes("$ reelfs mounts") && child.exitCode === null) {
      await once(child.stdout, "data");
    }
    child.kill("SIGTERM");
    await once(child, "close");
    expect(child.exitCode, all.text).to.equal(130);
    await nothingIsLeft();
  });
});
