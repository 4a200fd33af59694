import { expect } from "chai";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { COMMANDS } from "../../src/cli/commands/index.ts";
import { run } from "../../src/cli/program.ts";
import { makeFatVolume, needsFatTools } from "../support/fat-volume.ts";
import { withTempFolder } from "../support/temp.ts";
import { FakeStream } from "./fake-stream.ts";

async function reelfs(...words: string[]): Promise<{ status: number; out: string; err: string }> {
  const stdout = new FakeStream();
  const stderr = new FakeStream();
  const around = { stdout, stderr, signal: new AbortController().signal };
  const status = await run(words, around, COMMANDS);
  return { status, out: stdout.text, err: stderr.text };
}

describe("backing up to a tape of a loader", function () {
  this.timeout(30_000);
  before(function () {
    needsFatTools(this);
  });

  it("has the robot load it and put it back; every command finds the image by its bar code", async () => {
    await withTempFolder(async (folder) => {
      const options = { sizeBytes: 4 * 1024 * 1024, files: 12, bits: 12 } as const;
      const volume = await makeFatVolume(folder, options);
      const loader = join(folder, "vtl");
      const config = ["--config", join(folder, "conf")];
      await reelfs("loader", "create", "vtl", "--slots", "2", "--path", loader, ...config);
      await reelfs("tape", "create", loader, "TAPE01", ...config);
      const tape = `${loader}:TAPE01`;

      const done = await reelfs("backup", volume.path, tape);
      expect(done.status, done.err).to.equal(0);
      expect(done.out).to.include(`${tape}#1: 12 files`);
      const { out } = await reelfs("loader", "status", loader, ...config);
      expect(out).to.include("Data Transfer Element 0:Empty");
      expect(out).to.include("Storage Element 1:Full :VolumeTag=TAPE01");

      expect((await reelfs("verify", `${tape}#1`)).status).to.equal(0);
      expect((await reelfs("ls", "-R", tape)).out).to.include("file number 3.dat");
      const to = join(folder, "out");
      expect((await reelfs("restore", tape, "--to", to)).status).to.equal(0);
      for (const [path, bytes] of volume.files) {
        expect((await readFile(join(to, path))).equals(bytes), path).to.equal(true);
      }
      const missing = await reelfs("info", `${loader}:NOPE`);
      expect(missing.status).to.equal(1);
      expect(missing.err).to.include("no tape NOPE is in loader vtl");
    });
  });
});
