import { expect } from "chai";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { COMMANDS } from "../../src/cli/commands/index.ts";
import { run } from "../../src/cli/program.ts";
import { listImages } from "../../src/tapeimage/open-image.ts";
import { makeFatVolume, needsFatTools, type MadeVolume } from "../support/fat-volume.ts";
import { runTool } from "../support/fat-tools.ts";
import { withTempFolder } from "../support/temp.ts";
import { FakeStream } from "./fake-stream.ts";

interface Outcome {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

interface Person {
  readonly signal?: AbortSignal;
  readonly ask?: (question: string) => Promise<string>;
}

async function reelfs(words: readonly string[], person: Person = {}): Promise<Outcome> {
  const [stdout, stderr] = [new FakeStream(), new FakeStream()];
  const { signal = new AbortController().signal, ask } = person;
  const status = await run(words, { stdout, stderr, signal, ask }, COMMANDS);
  return { status, out: stdout.text, err: stderr.text };
}

async function succeed(...words: string[]): Promise<Outcome> {
  const outcome = await reelfs(words);
  expect(outcome.status, outcome.err).to.equal(0);
  return outcome;
}

/** A full image and an incremental one on `tape`. */
async function makeChain(folder: string, tape: string): Promise<MadeVolume> {
  const volume = await makeFatVolume(folder, { sizeBytes: 20 * 1024 * 1024, files: 60 });
  await succeed("backup", "--quiet", "--codec", "none", volume.path, tape);
  await writeFile(join(folder, "added"), Buffer.alloc(200_000, 0x41));
  runTool("mcopy", ["-i", volume.path, join(folder, "added"), "::ADDED.BIN"]);
  await succeed("backup", "--quiet", "--codec", "none", "--parent", "auto", volume.path, tape);
  return volume;
}

const CAPACITY = ["--tape-capacity", "1M"];

describe("reelfs consolidate, from the command line", function () {
  this.timeout(60_000);
  before(function () {
    needsFatTools(this);
  });

  it("shows a chain with times as info has them, and says where no file was open", async () => {
    await withTempFolder(async (folder) => {
      const tape = join(folder, "t.tap");
      await makeChain(folder, tape);
      const created = /created +(\d{4}-\d\d-\d\d \d\d:\d\d) on/.exec(
        (await succeed("info", `${tape}#2`)).out,
      );
      const chain = await succeed("info", "--chain", `${tape}#2`);
      expect(chain.out.split("\n")[1]).to.match(new RegExp(`^${created?.[1] ?? "?"}  `));
      const none = await succeed("info", "--exceptions", tape);
      expect(none.out).to.equal("");
      expect(none.err).to.include("t.tap#2 names no file that was open for writing");
    });
  });

  it("goes on over the tapes that are named, and what it makes is the whole volume", async () => {
    await withTempFolder(async (folder) => {
      const daily = join(folder, "daily.tap");
      const { path } = await makeChain(folder, daily);
      const tapes = ["a", "b", "c", "d", "e"].map((name) => join(folder, `${name}.tap`));
      const [first = "", second = ""] = tapes;
      const done = await succeed("consolidate", daily, "--tapes", tapes.join(), ...CAPACITY);
      expect(done.out).to.include(`${first}#1: `);
      expect(done.err).to.include(
        `reelfs consolidate: ${first} is full; going on on tape 2, ${second}`,
      );
      await succeed("verify", first);
      const disk = join(folder, "disk.img");
      await succeed("restore-image", first, disk);
      expect((await readFile(disk)).equals(await readFile(path))).to.equal(true);
    });
  });

  it("interrupted between two tapes, says so, and leaves nothing that claims to be whole", async () => {
    await withTempFolder(async (folder) => {
      const daily = join(folder, "daily.tap");
      await makeChain(folder, daily);
      const before = await readFile(daily);
      const target = join(folder, "full.tap");
      const interruption = new AbortController();
      const ask = async (question: string): Promise<string> => {
        expect(question).to.include("full.tap is full");
        interruption.abort(new Error("received SIGINT"));
        return Promise.resolve(join(folder, "second.tap"));
      };
      const person = { signal: interruption.signal, ask };
      const stopped = await reelfs(["consolidate", daily, target, ...CAPACITY], person);
      expect(stopped.status).to.equal(130);
      expect(stopped.err).to.match(/^reelfs consolidate: .*interrupted$/m);
      const states = (await listImages(target)).map(({ state }) => state);
      expect(states).to.deep.equal(["interrupted"]);
      expect((await readFile(daily)).equals(before)).to.equal(true);
      // The tape can be used again, and the images it was made from, too.
      await succeed("consolidate", daily, join(folder, "again.tap"));
      await succeed("verify", join(folder, "again.tap"));
    });
  });

  it("does not write to a tape that it reads, and says why", async () => {
    await withTempFolder(async (folder) => {
      const daily = join(folder, "daily.tap");
      await makeChain(folder, daily);
      const own = await reelfs(["consolidate", daily, daily]);
      expect(own.status).to.equal(2);
      expect(own.err).to.include("the image to be consolidated is on it; name another tape");
      const nowhere = await reelfs(["consolidate", daily]);
      expect(nowhere.err).to.include("name the tape to write to, after the image");
      const other = join(folder, "other.tap");
      const words = ["backup", "--quiet", "--parent", daily, join(folder, "volume.img"), other];
      await succeed(...words);
      const ancestor = await reelfs(["consolidate", other, daily]);
      expect(ancestor.err).to.include("an image of the chain is on it; name another tape");
      expect((await listImages(daily)).length).to.equal(2);
    });
  });
});
