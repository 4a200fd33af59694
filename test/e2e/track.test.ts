/** `reelfs track` from end to end: a volume in use, its backups, and the death of everybody. */
import { expect } from "chai";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openTapeImage } from "../../src/tapeimage/open-image.ts";
import { compileCommand, kill, outputOf, runHere } from "../support/command-in-place.ts";
import { compileScript } from "../support/compiled-script.ts";
import {
  isMounted,
  makePlace,
  type Place,
  type Ran,
  requireFuse,
  runTool,
} from "../support/mountpoint.ts";
import { withRandom } from "../support/random.ts";
import { seededRandom, type SeededRandom } from "../support/seeded-random.ts";
import { lastIn, replay, TRACK_BLOCK } from "./track-sequence.ts";

const WRITER = fileURLToPath(new URL("track-writer.ts", import.meta.url));
const BLOCKS = 1024;
const ROUNDS = Number(process.env["REELFS_ROUNDS"] ?? 4);
/** Backups on one tape of the rounds: a longer chain takes longer to check. */
const IMAGES_ON_TAPE = 12;

interface TrackFacts {
  readonly pid: number;
  readonly image?: string;
  readonly blocksChanged: number;
  readonly notices: readonly string[];
}

interface BackupFacts {
  readonly uuid: string;
  readonly image: string;
  readonly parent?: string;
  readonly rawBytes: number;
  readonly notices: readonly string[];
}

describe("reelfs track", function () {
  this.timeout(120_000 + ROUNDS * 60_000);
  let place: Place;
  let main: string;
  let writerScript: string;
  const P = (path: string): string => join(place.folder, path);
  const volume = (): string => join(place.mountpoint, "volume.img");

  async function reelfs(...args: string[]): Promise<Ran> {
    return runTool(process.execPath, [main, ...args], { cwd: place.folder, env: place.env });
  }

  async function here(...args: string[]): Promise<Ran> {
    return runHere(place, args);
  }

  async function track(): Promise<TrackFacts> {
    return JSON.parse(
      outputOf(await reelfs("track", "--json", P("source.img"), place.mountpoint)),
    ) as TrackFacts;
  }

  async function umount(): Promise<void> {
    outputOf(await here("umount", place.mountpoint));
  }

  async function backup(tape: string, ...options: string[]): Promise<BackupFacts> {
    const args = ["backup", "--json", "--tracked", place.mountpoint, ...options, tape];
    return JSON.parse(outputOf(await here(...args))) as BackupFacts;
  }

  function startWriter(seed: number, first: number): ChildProcess {
    const args = [writerScript, volume(), String(BLOCKS), String(seed), String(first)];
    return spawn(process.execPath, args, { stdio: "ignore", cwd: "/" });
  }

  async function contentOf(image: string): Promise<Buffer> {
    await using opened = await openTapeImage(image);
    const bytes = Buffer.alloc(opened.sizeBytes);
    await opened.read(0, bytes);
    return bytes;
  }

  /** A fresh source of noise, without a tape or notes of it. */
  async function freshSource(random: SeededRandom): Promise<Buffer> {
    const bytes = Buffer.alloc(BLOCKS * TRACK_BLOCK);
    for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE(1 + random.below(2 ** 31), at);
    await writeFile(P("source.img"), bytes);
    await rm(P("source.img.reelfs-dirty"), { force: true });
    return bytes;
  }

  before(async function () {
    requireFuse(this);
    place = await makePlace();
    main = await compileCommand(place);
    await mkdir(P("writer"));
    writerScript = await compileScript(WRITER, P("writer"));
  });

  afterEach(async () => {
    if (await isMounted(place.mountpoint)) await runTool("umount", ["-l", place.mountpoint]);
  });

  after(async () => {
    if ((place as Place | undefined) !== undefined) await place.remove();
  });

  it("writes through, and backs up what was written since the last backup", async () => {
    await freshSource(seededRandom());
    expect((await track()).notices.join()).to.contain("everything counts as changed");
    const full = await backup(P("a.tap"));
    await writeFile(P("change"), Buffer.alloc(3 * TRACK_BLOCK, 0x77));
    const dd = ["conv=notrunc,fsync", "bs=4096", "seek=100", `if=${P("change")}`];
    expect((await runTool("dd", [...dd, `of=${volume()}`])).status).to.equal(0);
    const next = await backup(P("a.tap"), "--parent", "auto");
    expect(next).to.include({ parent: full.uuid });
    expect(next.notices.join()).not.to.contain("compared");
    // What is written changes the one chunk of 64 KiB that it lies in; the rest is the control set.
    const again = await backup(P("a.tap"), "--parent", "auto");
    expect(next.rawBytes - again.rawBytes).to.equal(64 * 1024);
    const source = await readFile(P("source.img"));
    expect(source.subarray(100 * TRACK_BLOCK)[0]).to.equal(0x77);
    expect((await contentOf(next.image)).equals(source)).to.equal(true);
    await umount();
    // Nothing was forgotten meanwhile; and a parent that the tracker does not know is compared.
    expect(await track()).to.include({ image: again.uuid, blocksChanged: 0 });
    const older = await backup(P("a.tap"), "--parent", full.image);
    expect(older.notices.join()).to.contain("compared with it from end to end");
    expect((await contentOf(older.image)).equals(source)).to.equal(true);
    await umount();
  });

  it("refuses what it cannot do, and says why", async () => {
    await freshSource(seededRandom());
    await track();
    const twice = await reelfs("track", P("source.img"), P("writer"));
    expect(twice.status).to.not.equal(0);
    expect(twice.stderr).to.contain("tracks it already");
    const both = await here("backup", "--tracked", place.mountpoint, "x", P("b.tap"));
    expect(both.stderr).to.contain("name the tape alone");
    const onto = await here("backup", "--tracked", place.mountpoint, P("source.img"));
    expect(onto.stderr).to.contain("it is the source of the backup");
    await umount();
    const none = await here("backup", "--tracked", place.mountpoint, P("b.tap"));
    expect(none.stderr).to.contain("no ReelFS mount");
  });

  for (const freeze of ["wait", "copy"] as const) {
    it(`images the volume as it was at one moment, with a writer that never stops (${freeze})`, async () => {
      const random = seededRandom();
      const before = await freshSource(random);
      const tape = P(`${freeze}.tap`);
      await track();
      const seed = random.seed % 100_000;
      const writer = startWriter(seed, 1);
      try {
        let last = 0;
        for (let i = 0; i < 4; i++) {
          const parent = i === 0 ? [] : ["--parent", "auto"];
          const small = freeze === "copy" && i === 2 ? ["--freeze-size", "64K"] : [];
          const made = await backup(tape, "--freeze", freeze, ...parent, ...small);
          const found = await contentOf(made.image);
          const reached = lastIn(found);
          expect(reached, "the writer goes on").to.be.at.least(last);
          last = reached;
          const expected = replay(before, { first: 1, last, seed });
          expect(found.equals(expected), `image ${i + 1}, seed ${random.seed}`).to.equal(true);
        }
        expect(last, "writes seen").to.be.greaterThan(0);
      } finally {
        await kill(writer);
      }
      await umount();
    });
  }

  it("misses no change when tracker, backup or writer are killed at any moment", async () => {
    await withRandom(async (random) => {
      await freshSource(random);
      let first = 1;
      let tape = P("kill-0.tap");
      let tracker = await track();
      await backup(tape);
      let killedInBackup = 0;
      for (let round = 1; round <= ROUNDS; round++) {
        const seed = random.below(100_000);
        const writer = startWriter(seed, first);
        const freeze = random.pick(["wait", "copy"]);
        const args = ["backup", "--tracked", place.mountpoint, "--parent", "auto"];
        const child = spawn(process.execPath, [main, ...args, "--freeze", freeze, tape], {
          cwd: place.folder,
          env: { ...process.env, ...place.env },
          stdio: "ignore",
        });
        const ended = once(child, "exit");
        const victim = random.pick(["tracker", "backup", "writer"] as const);
        const timer = new Promise((resolve) => setTimeout(resolve, random.below(1500)));
        await Promise.race([timer, ended]);
        if (victim === "tracker") process.kill(tracker.pid, "SIGKILL");
        if (victim === "backup") {
          if (child.exitCode === null) killedInBackup++;
          await kill(child);
        }
        if (victim === "writer") await kill(writer);
        await ended;
        await kill(writer);
        if (victim === "tracker" || random.below(3) === 0) {
          await umount();
          tracker = await track();
          if (victim === "tracker") expect(tracker.image).to.equal(undefined);
        }
        const note = `round ${round}, killed: ${victim}`;
        const made = await backup(tape, "--parent", "auto");
        const source = await readFile(P("source.img"));
        expect((await contentOf(made.image)).equals(source), note).to.equal(true);
        first = Math.max(first, lastIn(source)) + 1;
        if (round % IMAGES_ON_TAPE === 0) {
          await rm(tape);
          tape = P(`kill-${round}.tap`);
          await backup(tape);
        }
      }
      await umount();
      const least = ROUNDS >= 50 ? 1 : 0;
      expect(killedInBackup, "backups that were killed").to.be.at.least(least);
    });
  });
});
