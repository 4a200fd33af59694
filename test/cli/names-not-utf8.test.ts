/** What becomes of names of ext volumes that are bytes and no text. */
import { expect } from "chai";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { COMMANDS } from "../../src/cli/commands/index.ts";
import { run } from "../../src/cli/program.ts";
import { hasExtTools, makeExtImage, NO_EXT_TOOLS } from "../support/ext-tools.ts";
import { skipUnless } from "../support/skip.ts";
import { withTempFolder } from "../support/temp.ts";
import { FakeStream } from "./fake-stream.ts";

async function reelfs(...words: readonly string[]): Promise<{ out: string; err: string }> {
  const [stdout, stderr] = [new FakeStream(), new FakeStream()];
  const around = { stdout, stderr, signal: new AbortController().signal };
  const status = await run(words, around, COMMANDS);
  expect(status, stderr.text).to.equal(0);
  return { out: stdout.text, err: stderr.text };
}

describe("names that are not UTF-8", function () {
  this.timeout(30_000);

  it("are counted by a restore that changed them, and no others are", async function () {
    skipUnless(this, hasExtTools(), NO_EXT_TOOLS);
    await withTempFolder(async (folder) => {
      const files = join(folder, "files");
      const image = join(folder, "volume.img");
      const tape = join(folder, "t.tap");
      const at = (latin1: string): Buffer => Buffer.from(join(files, latin1), "latin1");
      await mkdir(at("caf\xe9"), { recursive: true });
      await writeFile(at("caf\xe9/na\xefve"), "one");
      await writeFile(at("plain"), "two");
      await writeFile(join(files, "really \ufffd"), "three");
      await writeFile(join(files, "déjà vu"), "four");
      await makeExtImage(image, 8 << 20, ["-t", "ext4"], files);
      await reelfs("backup", "--quiet", image, tape);

      const all = join(folder, "all");
      const told = await reelfs("restore", tape, "--to", all);
      expect(told.err).to.include("2 names are not UTF-8 and were changed\n");
      expect(await readdir(all)).to.include.members(["caf\ufffd", "really \ufffd", "plain"]);
      const one = ["restore", tape, "/caf*", "--json", "--to"];
      const json = await reelfs(...one, join(folder, "one"));
      expect(JSON.parse(json.out)).to.have.nested.property("losses.names", 2);
      const others = await reelfs("restore", tape, "/plain", "/r*", "--to", join(folder, "others"));
      expect(others.err).to.equal("");
    });
  });
});
