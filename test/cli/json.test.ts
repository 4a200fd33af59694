/** What programs read: docs/json.md promises the fields, and the commands print them. */
import { readFileSync } from "node:fs";
import { truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { COMMANDS } from "../../src/cli/commands/index.ts";
import { run } from "../../src/cli/program.ts";
import { hasFatTools, NO_FAT_TOOLS, runTool } from "../support/fat-tools.ts";
import { skipUnless } from "../support/skip.ts";
import { withTempFolder } from "../support/temp.ts";
import { FakeStream } from "./fake-stream.ts";

const PAGE = readFileSync(new URL("../../docs/json.md", import.meta.url), "utf8");
/** What a FAT volume that is sound has nothing to say of. */
const LEFT_OUT = ["mode", "disk", "partition"];

/** The fields that the page gives a command: its own, and those of the array in it. */
function promised(command: string): { own: string[]; inArray: string[] } {
  const line = PAGE.split("\n").find((each) => each.startsWith(`| \`${command}\``)) ?? "";
  const [own = "", inArray = ""] = (line.split("|")[3] ?? "").split(": array of ");
  const names = (text: string): string[] =>
    Array.from(text.matchAll(/`(\w+)`/g), ([, name = ""]) => name);
  return { own: names(own), inArray: names(inArray) };
}

async function json(...args: string[]): Promise<unknown> {
  const [stdout, stderr] = [new FakeStream(), new FakeStream()];
  const signal = new AbortController().signal;
  const status = await run([...args, "--json"], { stdout, stderr, signal }, COMMANDS);
  expect(status, stderr.text).to.equal(0);
  return JSON.parse(stdout.text);
}

function expectFields(value: unknown, names: readonly string[], command: string): void {
  expect(names, command).not.to.deep.equal([]);
  const known = names.filter((name) => !LEFT_OUT.includes(name));
  expect(Object.keys(value as object), command).to.have.members(known);
}

describe("--json", function () {
  this.timeout(30_000);

  before(function () {
    skipUnless(this, hasFatTools(), NO_FAT_TOOLS);
  });

  it("prints the fields that its page promises", async () => {
    await withTempFolder(async (folder) => {
      const [image, tape] = [join(folder, "a.img"), join(folder, "a.tap")];
      await writeFile(image, "");
      await truncate(image, 4 << 20);
      await writeFile(join(folder, "a.txt"), "hello\n");
      runTool("mkfs.fat", ["-n", "CARD", image]);
      runTool("mcopy", ["-i", image, join(folder, "a.txt"), "::/"]);
      expectFields(await json("backup", image, tape), promised("backup").own, "backup");
      const list = (await json("info", tape)) as { images: unknown[] };
      expectFields(list, promised("info TAPE").own, "info TAPE");
      expectFields(list.images[0], promised("info TAPE").inArray, "info TAPE: images");
      expectFields(await json("info", `${tape}#1`), promised("info TAPE#N").own, "info TAPE#N");
      const entries = (await json("ls", tape)) as unknown[];
      expectFields(entries[0], promised("ls").own, "ls");
      expectFields(await json("verify", tape), promised("verify").own, "verify");
      const plan = await json("restore", "--plan", tape);
      expectFields(plan, promised("restore --plan").own, "restore --plan");
      const restored = await json("restore", tape, "--to", join(folder, "out"));
      expectFields(restored, promised("restore").own, "restore");
      const target = await json("restore-image", tape, join(folder, "b.img"));
      expectFields(target, promised("restore-image").own, "restore-image");
    });
  });
});
