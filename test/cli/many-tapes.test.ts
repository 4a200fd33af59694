import { expect } from "chai";
import { mkdtemp, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { COMMANDS } from "../../src/cli/commands/index.ts";
import { run } from "../../src/cli/program.ts";
import { makeFatVolume, needsFatTools, type MadeVolume } from "../support/fat-volume.ts";
import { withTempFolder } from "../support/temp.ts";
import { FakeStream } from "./fake-stream.ts";

interface Outcome {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

async function reelfs(words: readonly string[], answers?: string[]): Promise<Outcome> {
  const stdout = new FakeStream();
  const stderr = new FakeStream();
  const ask = async (question: string): Promise<string> => {
    stderr.write(`${question}\n`);
    return answers?.shift() ?? "";
  };
  const around = {
    ...{ stdout, stderr, signal: new AbortController().signal },
    ask: answers === undefined ? undefined : ask,
  };
  const status = await run(words, around, COMMANDS);
  return { status, out: stdout.text, err: stderr.text };
}

async function expectRestored(tape: string, volume: MadeVolume, to: string): Promise<void> {
  const { status, err } = await reelfs(["restore", tape, "--to", to]);
  expect(status, err).to.equal(0);
  for (const [path, bytes] of volume.files) {
    expect((await readFile(join(to, path))).equals(bytes), path).to.equal(true);
  }
}

interface Moved {
  readonly tapes: readonly string[];
  /** Where the tape is now. */
  readonly moved: string;
}

function tapesIn(folder: string): string[] {
  return ["a", "b", "c", "d"].map((name) => join(folder, `${name}.tap`));
}

const BACKUP = ["backup", "--codec", "none"];

describe("backups over many tapes, from the command line", function () {
  this.timeout(60_000);
  before(function () {
    needsFatTools(this);
  });

  const makeVolume = async (folder: string): Promise<MadeVolume> =>
    makeFatVolume(folder, { sizeBytes: 20 * 1024 * 1024, files: 100 });

  /** A backup that took all of four tapes, the nth of which a person has moved; tapes by number. */
  async function backUpAndMove(folder: string, volume: MadeVolume, nth: number): Promise<Moved> {
    const tapes = tapesIn(folder);
    const capacity = ["--tape-capacity", "1M"];
    await reelfs([...BACKUP, volume.path, "--tapes", tapes.join(), ...capacity]);
    const moved = join(await mkdtemp(join(folder, "away-")), "moved.tap");
    await rename(tapes[nth - 1] ?? "", moved);
    return { tapes, moved };
  }

  it("go on on the tapes that were named, and are read by the name of the first", async () => {
    await withTempFolder(async (folder) => {
      const volume = await makeVolume(folder);
      const tapes = tapesIn(folder);
      const [first = "", second = ""] = tapes;
      const capacity = ["--tape-capacity", "1M"];
      const done = await reelfs([...BACKUP, volume.path, "--tapes", tapes.join(), ...capacity]);
      expect(done.status, done.err).to.equal(0);
      expect(done.out).to.include(`${first}#1: 100 files`);
      expect(done.err).to.include(`${first} is full; going on on tape 2, ${second}`);
      expect((await reelfs(["verify", first])).status).to.equal(0);
      expect((await reelfs(["info", first])).out).to.include("REELTEST");
      expect((await reelfs(["ls", "-R", second])).out).to.include("file number 99.dat");
      await expectRestored(first, volume, join(folder, "out"));
      const disk = join(folder, "disk.img");
      expect((await reelfs(["restore-image", first, disk])).status).to.equal(0);
      const again = await reelfs([...BACKUP, volume.path, second]);
      expect(again.err).to.include("it is tape 2 of the set that begins on");
    });
  });

  it("ask a person for the next tape when those named are used up", async () => {
    await withTempFolder(async (folder) => {
      const volume = await makeVolume(folder);
      const tape = (name: string): string => join(folder, `${name}.tap`);
      const words = [...BACKUP, volume.path, tape("a"), "--tapes", tape("b")];
      const capacity = ["--tape-capacity", "1300K"];
      const done = await reelfs([...words, ...capacity], [tape("c"), tape("d")]);
      expect(done.status, done.err).to.equal(0);
      expect(done.err).to.include(`${tape("b")} is full. Tape 3 to go on on`);
      await expectRestored(tape("a"), volume, join(folder, "out"));
    });
  });

  it("ask a person for a tape that is nowhere, and say what it is needed for", async () => {
    await withTempFolder(async (folder) => {
      const volume = await makeVolume(folder);
      const { tapes, moved } = await backUpAndMove(folder, volume, 2);
      const [first = ""] = tapes;
      const wrong = tapes[2] ?? "";
      const found = await reelfs(["verify", first], [wrong, moved]);
      expect(found.status, found.err).to.equal(0);
      expect(found.err).to.include(`Tape 2 of the set that begins on ${first} is needed`);
      expect(found.err).to.include("serial REEL02");
      const without = await reelfs(["verify", first], [""]);
      expect(without.status).to.equal(3);
      expect(without.err + without.out).to.include("tape 2 of the set");
    });
  });

  it("name a tape that is not there once, however many files are on it", async () => {
    await withTempFolder(async (folder) => {
      const volume = await makeVolume(folder);
      const { tapes } = await backUpAndMove(folder, volume, 2);
      const [first = "", second = ""] = tapes;
      for (const words of [
        ["verify", first],
        ["restore", first, "--to", join(folder, "out")],
        ["restore-image", first, join(folder, "disk.img")],
      ]) {
        const { status, err } = await reelfs(words);
        expect(status, words.join(" ")).to.equal(3);
        expect(err.split(`tape 2 of the set, ${second}`).length - 1, err).to.equal(1);
        if (words[0] === "restore") expect(err).to.match(/file number \d+.dat is not restored\n/);
      }
    });
  });

  it("are listed, shown and compared with the tapes that a person brings, each asked for once", async () => {
    await withTempFolder(async (folder) => {
      const volume = await makeVolume(folder);
      const { tapes, moved } = await backUpAndMove(folder, volume, 1);
      const [first = "", second = ""] = tapes;
      const needed = `Tape 1 of the set that begins on ${first} is needed`;
      for (const words of [
        ["ls", second],
        ["info", second],
        ["info", `${second}#1`],
        ["diff", second, volume.path],
        ["verify", second],
      ]) {
        const found = await reelfs(words, [moved]);
        expect(found.status, `${words.join(" ")}: ${found.err}`).to.equal(0);
        expect(found.err.split(needed).length - 1, words.join(" ")).to.equal(1);
        const alone = await reelfs(words);
        expect(alone.err, words.join(" ")).to.include(`tape 1 of the set, ${first}`);
      }
    });
  });

  it("say so where nobody can be asked", async () => {
    await withTempFolder(async (folder) => {
      const volume = await makeVolume(folder);
      const tape = join(folder, "a.tap");
      const refused = await reelfs([...BACKUP, volume.path, tape, "--tape-capacity", "1M"]);
      expect(refused.status).to.equal(1);
      expect(refused.err).to.include("a.tap: it is full, and there is no further tape");
      expect(refused.err).to.include("--tapes");
      const small = await reelfs([...BACKUP, volume.path, tape, "--tape-capacity", "1K"]);
      expect(small.err).to.include("64K or more");
    });
  });

  it("span the tapes of a loader unattended, and the robot puts them all back", async () => {
    await withTempFolder(async (folder) => {
      const volume = await makeVolume(folder);
      const loader = join(folder, "vtl");
      const config = ["--config", join(folder, "conf")];
      const size = ["--capacity", "1M", "--slots", "12", "--next-tape", "create"];
      const made = await reelfs(["loader", "create", "vtl", "--path", loader, ...size, ...config]);
      expect(made.status, made.err).to.equal(0);
      await reelfs(["tape", "create", loader, "TAPE01", ...config]);
      const tape = `${loader}:TAPE01`;
      const done = await reelfs([...BACKUP, volume.path, tape]);
      expect(done.status, done.err).to.equal(0);
      const { out } = await reelfs(["loader", "status", loader, ...config]);
      expect(out).to.include("Data Transfer Element 0:Empty");
      expect(out.match(/Full :VolumeTag=/g)?.length).to.be.greaterThan(2);
      expect((await reelfs(["verify", tape])).status).to.equal(0);
      await expectRestored(tape, volume, join(folder, "out"));
      // The next image goes behind it, on the last tape.
      const again = await reelfs([...BACKUP, volume.path, tape]);
      expect(again.out, again.err).to.include(`${tape}#2: 100 files`);
      await expectRestored(`${tape}#2`, volume, join(folder, "out2"));
    });
  });
});
