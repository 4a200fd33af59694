/** `reelfs commit` from end to end: exposed images are changed with the tools of others, and kept. */
import { expect } from "chai";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdir, open, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { listImages, openTapeImage } from "../../src/tapeimage/open-image.ts";
import { makeFiles, makeVolume, requireFilesystem, requireLoop } from "../expose/kernel-volume.ts";
import { compileCommand, kill, outputOf, runHere } from "../support/command-in-place.ts";
import { compileScript } from "../support/compiled-script.ts";
import { hasFatTools, NO_FAT_TOOLS, runTool as runFatTool } from "../support/fat-tools.ts";
import {
  isMounted,
  makePlace,
  type Place,
  type Ran,
  requireFuse,
  runTool,
  shell,
} from "../support/mountpoint.ts";
import { withRandom } from "../support/random.ts";
import { seededRandom, type SeededRandom } from "../support/seeded-random.ts";
import { skipUnless } from "../support/skip.ts";
import { lastIn, replay, TRACK_BLOCK } from "./track-sequence.ts";

const WRITER = fileURLToPath(new URL("track-writer.ts", import.meta.url));
const BLOCKS = 512;
const ROUNDS = Number(process.env["REELFS_ROUNDS"] ?? 3);
const KILLED_WITHIN_MS = 1500;

interface ExposedFacts {
  readonly pid: number;
}

interface CommitFacts {
  readonly uuid: string;
  readonly image: string;
  readonly parent: string;
  readonly parentImage: string;
  readonly rawBytes: number;
}

/** Those that docs/json.md gives the command. */
function promisedFields(): string[] {
  const page = readFileSync(new URL("../../docs/json.md", import.meta.url), "utf8");
  const line = page.split("\n").find((each) => each.startsWith("| `commit`")) ?? "";
  return Array.from((line.split("|")[3] ?? "").matchAll(/`(\w+)`/g), ([, name = ""]) => name);
}

describe("reelfs commit", function () {
  this.timeout(120_000 + ROUNDS * 60_000);
  let place: Place;
  let main: string;
  const P = (path: string): string => join(place.folder, path);
  const M = (path: string): string => join(place.mountpoint, path);

  /** A command in a process of its own. */
  async function reelfs(...args: string[]): Promise<Ran> {
    return runTool(process.execPath, [main, ...args], { cwd: place.folder, env: place.env });
  }

  async function here(...args: string[]): Promise<Ran> {
    return runHere(place, args);
  }

  async function done(...args: string[]): Promise<string> {
    return outputOf(await here(...args));
  }

  async function expose(...args: string[]): Promise<ExposedFacts> {
    return JSON.parse(
      outputOf(await reelfs("expose", "--json", ...args, place.mountpoint)),
    ) as ExposedFacts;
  }

  async function commit(tape: string, ...options: string[]): Promise<CommitFacts> {
    const made = await done("commit", "--json", place.mountpoint, tape, ...options);
    return JSON.parse(made) as CommitFacts;
  }

  async function umount(): Promise<void> {
    await done("umount", place.mountpoint);
  }

  async function contentOf(image: string): Promise<Buffer> {
    await using opened = await openTapeImage(image);
    const bytes = Buffer.alloc(opened.sizeBytes);
    await opened.read(0, bytes);
    return bytes;
  }

  async function restored(image: string, name: string): Promise<string> {
    await rm(P(name), { force: true });
    await done("restore-image", "--quiet", image, P(name));
    return P(name);
  }

  /** A volume of noise on a tape: all of it counts, and no format knows it. */
  async function noiseOnTape(tape: string, random: SeededRandom): Promise<Buffer> {
    const bytes = Buffer.alloc(BLOCKS * TRACK_BLOCK);
    for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE(1 + random.below(2 ** 31), at);
    await writeFile(P("noise.img"), bytes);
    await done("backup", "--quiet", P("noise.img"), tape);
    return bytes;
  }

  /** Overwrites some blocks of the exposed volume. */
  async function scribble(random: SeededRandom): Promise<void> {
    const file = await open(M("volume.img"), "r+");
    try {
      for (let i = 1 + random.below(20); i > 0; i--) {
        const lengthBytes = 1 + random.below(3 * TRACK_BLOCK);
        const at = random.below(BLOCKS * TRACK_BLOCK - lengthBytes);
        await file.write(Buffer.alloc(lengthBytes, 1 + random.below(255)), 0, lengthBytes, at);
      }
    } finally {
      await file.close();
    }
  }

  function start(command: string, ...args: string[]): ChildProcess {
    const env = { ...process.env, ...place.env };
    return spawn(process.execPath, [command, ...args], { cwd: place.folder, env, stdio: "ignore" });
  }

  before(async function () {
    requireFuse(this);
    place = await makePlace();
    main = await compileCommand(place);
  });

  afterEach(async () => {
    if (await isMounted(place.mountpoint)) await here("umount", "--lazy", place.mountpoint);
  });

  after(async () => {
    if ((place as Place | undefined) !== undefined) await place.remove();
  });

  it("keeps what mtools changed in a FAT volume, and the next time what changed since", async function () {
    skipUnless(this, hasFatTools(), NO_FAT_TOOLS);
    const [volume, tape, other] = [P("fat.img"), P("fat.tap"), P("other.tap")];
    runFatTool("mkfs.fat", ["-C", volume, "20480"]);
    await writeFile(P("big"), Buffer.alloc(3_000_000, 0x61));
    runFatTool("mcopy", ["-i", volume, P("big"), "::BIG.BIN"]);
    await done("backup", "--quiet", volume, tape);
    await expose(tape);
    await writeFile(P("new"), "something new\n");
    await runTool("mcopy", ["-i", M("volume.img"), P("new"), "::NEW.TXT"]);
    const first = await commit(tape);
    expect(first).to.include({ image: `${tape}#2`, parentImage: `${tape}#1` });
    expect(Object.keys(first)).to.have.members(promisedFields());
    const shown = await readFile(M("volume.img"));
    expect((await readFile(await restored(`${tape}#2`, "out.img"))).equals(shown)).to.equal(true);
    await runTool("mmd", ["-i", M("volume.img"), "::DIR"]);
    await runTool("mcopy", ["-i", M("volume.img"), P("new"), "::DIR/AGAIN.TXT"]);
    const second = await commit(other);
    expect(second).to.include({ image: `${other}#1`, parent: first.uuid });
    // Far less than the file of 3 MB that has not changed.
    expect(second.rawBytes).to.be.below(500_000);
    const after = await readFile(M("volume.img"));
    await umount();
    const out = await restored(other, "out.img");
    expect((await readFile(out)).equals(after)).to.equal(true);
    expect(runFatTool("mtype", ["-i", out, "::DIR/AGAIN.TXT"])).to.equal("something new\n");
    await done("verify", other);
    expect(await done("diff", `${tape}#1`, other)).to.contain(
      "3 files added, 0 removed, 0 changed",
    );
    expect((await contentOf(`${tape}#1`)).equals(await readFile(volume))).to.equal(true);
  });

  for (const kind of ["ext4", "xfs"] as const) {
    it(`keeps what was changed in files of ${kind} that the kernel has mounted`, async function () {
      requireLoop(this);
      await requireFilesystem(this, kind);
      const [volume, tape, files] = [P(`${kind}.img`), P(`${kind}.tap`), P(`${kind}-files`)];
      await makeFiles(files, 4);
      await makeVolume(volume, kind, files, place.mountpoint);
      await done("backup", "--quiet", volume, tape);
      await expose("--loop", tape);
      // Not synced: it is for commit to bring it to the volume.
      const change = `cd "$M"; mkdir new; cp -a "directory 1" new/; rm -r "directory 2"; echo x >> "directory 3/file 1"`;
      await shell(change, place.mountpoint);
      await commit(tape);
      await shell(`cp -a "$M" "${P(`${kind}-kept`)}"; echo later > "$M/later"`, place.mountpoint);
      await umount();
      if (kind === "ext4") {
        const out = await restored(tape, "out.img");
        const checked = await runTool("e2fsck", ["-fn", out]);
        expect(checked.status, checked.stdout).to.equal(0);
      }
      await expose("--loop", "--read-only", tape);
      const compare = `diff -r --no-dereference "${P(`${kind}-kept`)}" "$M"`;
      expect(await shell(compare, place.mountpoint)).to.equal("");
      await umount();
    });
  }

  it("says which mounts it cannot commit, and what to do", async function () {
    skipUnless(this, hasFatTools(), NO_FAT_TOOLS);
    const [volume, tape] = [P("small.img"), P("small.tap")];
    runFatTool("mkfs.fat", ["-C", volume, "2048"]);
    await done("backup", "--quiet", volume, tape);
    const refused = async (...mounting: string[]): Promise<string> => {
      expect((await reelfs(...mounting, place.mountpoint)).status).to.equal(0);
      const ran = await here("commit", place.mountpoint, P("none.tap"));
      expect(ran.status).to.not.equal(0);
      await umount();
      return ran.stderr;
    };
    const ofFiles = await refused("mount", tape);
    expect(ofFiles).to.contain("ReelFS writes no filesystem; expose the image");
    expect(ofFiles).to.contain(`reelfs expose ${tape}#1`);
    expect(await refused("expose", "--read-only", tape)).to.contain("exposed read-only");
    expect(await refused("expose", volume)).to.contain("it is no image of a backup");
    expect(await refused("track", volume)).to.contain("use reelfs backup --tracked");
    await expose(tape);
    const tracked = await here("backup", "--tracked", place.mountpoint, P("none.tap"));
    expect(tracked.stderr).to.contain("use reelfs commit");
    const onto = await here("commit", place.mountpoint, M("volume.img"));
    expect(onto.stderr).to.contain("it lies in what is committed");
    const link = P("link.tap");
    for (const inside of [M("volume.img"), M("new.tap")]) {
      await symlink(inside, link);
      const linked = await here("commit", place.mountpoint, link);
      expect(linked.stderr).to.contain(`cannot write to ${link}: it lies in what is committed`);
      const later = ["--tapes", `${P("a.tap")},${link}`];
      const further = await here("commit", place.mountpoint, ...later);
      expect(further.stderr).to.contain(`cannot write to ${link}: it lies in what is committed`);
      await rm(link);
    }
    const nameless = await here("commit", place.mountpoint);
    expect(nameless.stderr).to.contain("name the tape to write to");
    await rm(tape);
    await done("backup", "--quiet", volume, tape);
    const gone = await here("commit", place.mountpoint, P("none.tap"));
    expect(gone.stderr).to.contain("another image is there now");
    await umount();
    const none = await here("commit", place.mountpoint, P("none.tap"));
    expect(none.stderr).to.contain("no ReelFS mount");
  });

  it("makes an image of one moment, with a writer that never stops", async () => {
    await withRandom(async (random) => {
      const tape = P("moment.tap");
      const before = await noiseOnTape(tape, random);
      await expose(tape);
      await mkdir(P("writer"));
      const script = await compileScript(WRITER, P("writer"));
      const seed = random.below(100_000);
      const writer = start(script, M("volume.img"), String(BLOCKS), String(seed), "1");
      try {
        for (let i = 0; i < 3; i++) {
          const found = await contentOf((await commit(tape)).image);
          const expected = replay(before, { first: 1, last: lastIn(found), seed });
          expect(found.equals(expected), `commit ${i + 1}`).to.equal(true);
        }
      } finally {
        await kill(writer);
      }
      await umount();
    });
  });

  it("warns of a loop device that may hold something back", async function () {
    requireLoop(this);
    const tape = P("loop.tap");
    await noiseOnTape(tape, seededRandom());
    await expose(tape);
    const attached = await runTool("losetup", ["--find", "--show", "--", M("volume.img")]);
    const device = attached.stdout.trim();
    try {
      const ran = await here("commit", place.mountpoint, tape);
      expect(ran.status).to.equal(0);
      expect(ran.stderr).to.contain(`is in use by ${device}`);
    } finally {
      await runTool("losetup", ["--detach", device]);
    }
    await umount();
  });

  it("never claims to be whole, nor loses a change, when commit or daemon are killed", async () => {
    await withRandom(async (random) => {
      const tape = P("kill.tap");
      const whole = [await noiseOnTape(tape, random)];
      let { pid } = await expose(tape);
      for (let round = 1; round <= ROUNDS; round++) {
        const victim = random.pick(["commit", "daemon"] as const);
        const note = `round ${round}, killed: ${victim}`;
        await scribble(random);
        const changed = await readFile(M("volume.img"));
        const child = start(main, "commit", place.mountpoint, tape);
        const ended = once(child, "exit");
        await Promise.race([delay(random.below(KILLED_WITHIN_MS)), ended]);
        if (victim === "daemon") process.kill(pid, "SIGKILL");
        else await kill(child);
        await ended;
        const complete = (await listImages(tape)).filter(({ state }) => state === "complete");
        const newest = await contentOf(`${tape}#${complete.at(-1)?.number ?? 0}`);
        const isKept = newest.equals(changed);
        expect(isKept || newest.equals(whole.at(-1) ?? changed), note).to.equal(true);
        if (victim === "daemon") {
          await umount();
          ({ pid } = await expose(`${tape}#${complete.at(-1)?.number ?? 0}`));
          whole.push(newest);
          continue;
        }
        expect((await readFile(M("volume.img"))).equals(changed), note).to.equal(true);
        const made = await commit(tape);
        expect((await contentOf(made.image)).equals(changed), note).to.equal(true);
        whole.push(changed);
      }
      await umount();
    });
  });

  it("goes on over several tapes", async () => {
    const tape = P("set-a.tap");
    await noiseOnTape(P("set.tap"), seededRandom());
    await expose(P("set.tap"));
    const file = await open(M("volume.img"), "r+");
    for (let at = 0; at < BLOCKS; at += 8) {
      await file.write(`block ${at}`, at * TRACK_BLOCK);
    }
    await file.close();
    const tapes = [tape, P("set-b.tap"), P("set-c.tap"), P("set-d.tap")].join();
    const ran = await here("commit", place.mountpoint, "--tapes", tapes, "--tape-capacity", "1M");
    expect(ran.status, ran.stderr).to.equal(0);
    expect(ran.stderr).to.contain("reelfs commit: ");
    expect(ran.stderr).to.contain("going on on tape 2");
    const shown = await readFile(M("volume.img"));
    expect((await contentOf(tape)).equals(shown)).to.equal(true);
    await umount();
  });
});
