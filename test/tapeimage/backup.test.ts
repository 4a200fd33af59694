import { expect } from "chai";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { isReelError } from "../../src/errors.ts";
import { MemoryTape } from "../../src/tape/memory-tape.ts";
import { backupVolume } from "../../src/tapeimage/backup.ts";
import { listImages, openTapeImage } from "../../src/tapeimage/open-image.ts";
import { restoreImage } from "../../src/tapeimage/restore-image.ts";
import { verifyImage } from "../../src/tapeimage/verify.ts";
import { openImageTree } from "../../src/tree/image-tree.ts";
import { resolvePath } from "../../src/tree/path.ts";
import { expectReelError } from "../support/expect-error.ts";
import { makeFatVolume, needsFatTools, type MadeVolume } from "../support/fat-volume.ts";
import { hasTool, runTool, shell } from "../support/mountpoint.ts";
import { withRandom } from "../support/random.ts";
import { skipUnless } from "../support/skip.ts";
import { withTempFolder } from "../support/temp.ts";

const run = promisify(execFile);
const MIB = 1024 * 1024;

/** Every file of the volume, read through the image; returns how many were damaged. */
async function compareFiles(spec: string, volume: MadeVolume): Promise<number> {
  await using image = await openTapeImage(spec);
  const opened = await openImageTree(image);
  let damaged = 0;
  try {
    for (const [path, bytes] of volume.files) {
      const { stat: found } = await resolvePath(opened.tree, path);
      expect(found.sizeBytes, path).to.equal(bytes.length);
      const target = new Uint8Array(bytes.length);
      try {
        await opened.tree.read(found.id, 0, target);
      } catch (error) {
        if (!isReelError(error, "damaged")) throw error;
        damaged++;
        continue;
      }
      expect(Buffer.compare(target, bytes), path).to.equal(0);
    }
  } finally {
    await opened.close();
  }
  return damaged;
}

async function fsckOutput(path: string): Promise<string> {
  const { stdout } = await run("fsck.fat", ["-n", "-v", path]).catch(
    (error: unknown) => error as { stdout: string },
  );
  return stdout.replaceAll(path, "VOLUME");
}

describe("backing up and restoring a FAT volume", function () {
  this.timeout(60_000);
  before(function () {
    needsFatTools(this);
  });

  for (const [bits, sizeBytes] of [
    [12, 4 * MIB],
    [16, 20 * MIB],
    [32, 64 * MIB],
  ] as const) {
    it(`FAT${bits}: files, checker and every used block agree with the source`, async () => {
      await withTempFolder(async (folder) => {
        const volume = await makeFatVolume(folder, { sizeBytes, files: 60, bits });
        const tape = join(folder, "t.tap");
        const result = await backupVolume({ sourcePath: volume.path, tapePath: tape });
        expect(result.volume).to.include({ kind: `fat${bits}`, label: "REELTEST", files: 60 });
        expect(await compareFiles(tape, volume)).to.equal(0);
        await using image = await openTapeImage(tape);
        const disk = join(folder, "disk.img");
        await restoreImage(image, disk, { verify: true });
        expect(await fsckOutput(disk)).to.equal(await fsckOutput(volume.path));
        const [source, restored] = [await readFile(volume.path), await readFile(disk)];
        for (let index = 0; index < image.map.length; index++) {
          const { start, count } = image.map.entryAt(index);
          const [from, to] = [start * image.header.blockSizeBytes, (start + count) * 512];
          expect(source.subarray(from, to).equals(restored.subarray(from, to))).to.equal(true);
        }
        expect((await stat(disk)).blocks * 512).to.be.below(sizeBytes);
      });
    });
  }

  it("a second backup goes behind the first, and neither changes the other", async () => {
    await withTempFolder(async (folder) => {
      const first = await makeFatVolume(folder, {
        sizeBytes: 4 * MIB,
        bits: 12,
        files: 20,
        name: "a.img",
      });
      const second = await makeFatVolume(folder, {
        ...{ sizeBytes: 4 * MIB, bits: 12, files: 20, name: "b.img", salt: 500 },
      });
      const tapePath = join(folder, "two.tap");
      await backupVolume({ sourcePath: first.path, tapePath });
      const { number } = await backupVolume({ sourcePath: second.path, tapePath });
      expect(number).to.equal(2);
      expect(await compareFiles(`${tapePath}#1`, first)).to.equal(0);
      expect(await compareFiles(tapePath, second)).to.equal(0);
    });
  });

  it("killed at any moment, leaves a tape that is readable and can be appended to", async () => {
    await withRandom(async (random) =>
      withTempFolder(async (folder) => {
        const volume = await makeFatVolume(folder, { sizeBytes: 16 * MIB, files: 200 });
        const whole = join(folder, "whole.tap");
        const { number } = await backupVolume({ sourcePath: volume.path, tapePath: whole });
        expect(number).to.equal(1);
        const tapePath = join(folder, "killed.tap");
        for (let round = 0; round < 4; round++) {
          await killedBackup(volume.path, tapePath, random.below(70));
        }
        const before = await listImages(tapePath).catch(() => []);
        for (const image of before) expect(image.state).to.be.oneOf(["interrupted", "complete"]);
        const result = await backupVolume({ sourcePath: volume.path, tapePath });
        expect(await compareFiles(`${tapePath}#${result.number}`, volume)).to.equal(0);
        const after = await listImages(tapePath);
        expect(after.length).to.equal(before.length + 1);
        expect(after.at(-1)?.state).to.equal("complete");
        await using image = await openTapeImage(tapePath);
        expect((await verifyImage(image)).damage).to.deep.equal([]);
      }),
    );
  });

  it("stopped on request, leaves an interrupted image that says so", async () => {
    await withTempFolder(async (folder) => {
      const volume = await makeFatVolume(folder, { sizeBytes: 32 * MIB, files: 400 });
      const tapePath = join(folder, "stopped.tap");
      const stop = new AbortController();
      const options = { sourcePath: volume.path, tapePath, recordSizeBytes: 64 * 1024 };
      await expectReelError(
        backupVolume(options, {
          signal: stop.signal,
          progress: ({ phase, done }) => {
            if (phase === "writing image" && done > 2 * MIB) stop.abort();
          },
        }),
        "aborted",
      );
      const [image] = await listImages(tapePath);
      expect(image?.state).to.equal("interrupted");
      expect(await compareFiles(tapePath, volume))
        .to.be.greaterThan(0)
        .and.below(400);
    });
  });

  it("a tape that is too short ends the backup with an error, and what fits stays readable", async () => {
    await withTempFolder(async (folder) => {
      const volume = await makeFatVolume(folder, { sizeBytes: 16 * MIB, files: 100 });
      const drive = new MemoryTape({ capacityBytes: 1 * MIB });
      await expectReelError(
        backupVolume({ sourcePath: volume.path, tapePath: "memory", codec: "none", drive }),
        "end-of-medium",
      );
    });
  });

  it("refuses a source that holds no volume it knows, and says what it holds", async () => {
    await withTempFolder(async (folder) => {
      const sourcePath = join(folder, "zeros.img");
      await writeFile(sourcePath, Buffer.alloc(MIB));
      const failed = backupVolume({ sourcePath, tapePath: join(folder, "t.tap") });
      const error = await expectReelError(failed, "unsupported");
      expect(error.message).to.include("zeros");
      await expectReelError(openTapeImage(join(folder, "t.tap")), "not-found");
    });
  });
});

/** Runs a backup in a process of its own and kills it after `lines` lines of progress. */
async function killedBackup(source: string, tape: string, lines: number): Promise<void> {
  const child = spawn(
    process.execPath,
    ["--import=tsx", new URL("writer-process.ts", import.meta.url).pathname, source, tape],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  const exited = once(child, "exit");
  let seen = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    seen++;
    if (seen > lines || line === "acknowledged") break;
  }
  child.kill("SIGKILL");
  await exited;
}

describe("a restore target", () => {
  before(function () {
    needsFatTools(this);
  });

  it("too small, holding a filesystem, or the tape itself is refused before a byte is written", async () => {
    await withTempFolder(async (folder) => {
      const volume = await makeFatVolume(folder, { sizeBytes: 4 * MIB, bits: 12, files: 5 });
      const tapePath = join(folder, "t.tap");
      await backupVolume({ sourcePath: volume.path, tapePath });
      await using image = await openTapeImage(tapePath);

      const small = join(folder, "small.img");
      await writeFile(small, Buffer.alloc(MIB, 0));
      const tooSmall = await expectReelError(restoreImage(image, small), "too-small");
      expect(tooSmall.message).to.include(String(MIB)).and.include(String(image.sizeBytes));

      const before = await readFile(volume.path);
      const holds = await expectReelError(restoreImage(image, volume.path), "exists");
      expect(holds.message).to.include("it holds a FAT12 volume;").and.include("--force");
      expect((await readFile(volume.path)).equals(before)).to.equal(true);

      await expectReelError(restoreImage(image, tapePath, { force: true }), "invalid");
    });
  });

  it("with force is overwritten; with zero, what the volume does not use is cleared", async () => {
    await withTempFolder(async (folder) => {
      const volume = await makeFatVolume(folder, { sizeBytes: 4 * MIB, bits: 12, files: 5 });
      const tapePath = join(folder, "t.tap");
      await backupVolume({ sourcePath: volume.path, tapePath });
      await using image = await openTapeImage(tapePath);
      const disk = join(folder, "disk.img");
      await writeFile(disk, Buffer.alloc(5 * MIB, 0xaa));
      await expectReelError(restoreImage(image, disk), "exists");
      await restoreImage(image, disk, { force: true, zero: true, verify: true });
      const restored = await readFile(disk);
      const expected = Buffer.alloc(image.sizeBytes);
      await image.read(0, expected);
      expect(restored.subarray(0, image.sizeBytes).equals(expected)).to.equal(true);
      const beyond = restored.subarray(image.sizeBytes);
      expect(
        beyond.every((byte) => byte === 0xaa),
        "beyond the volume",
      ).to.equal(true);
    });
  });

  for (const { tool, args, what } of [
    { tool: "mke2fs", args: ["-q", "-t", "ext4"], what: "an ext4 volume" },
    { tool: "mkntfs", args: ["-q", "-F"], what: "an NTFS volume" },
    { tool: "mkfs.exfat", args: [], what: "an exFAT volume" },
  ]) {
    it(`that holds ${what} is refused as such`, async function () {
      skipUnless(this, hasTool(tool), `${tool} is missing`);
      await withTempFolder(async (folder) => {
        const volume = await makeFatVolume(folder, { sizeBytes: 4 * MIB, bits: 12, files: 5 });
        const tapePath = join(folder, "t.tap");
        await backupVolume({ sourcePath: volume.path, tapePath });
        await using image = await openTapeImage(tapePath);
        const path = join(folder, "other.img");
        await writeFile(path, Buffer.alloc(8 * MIB));
        const made = await runTool(tool, [...args, path]);
        expect(made.status, made.stderr).to.equal(0);
        const refusal = await expectReelError(restoreImage(image, path), "exists");
        expect(refusal.message).to.include(`it holds ${what};`);
      });
    });
  }

  it("on a full disk is named as it was given", async function () {
    skipUnless(this, process.getuid?.() === 0, "only root can mount a small disk");
    await withTempFolder(async (folder) => {
      const volume = await makeFatVolume(folder, { sizeBytes: 4 * MIB, bits: 12, files: 20 });
      const tapePath = join(folder, "t.tap");
      await backupVolume({ sourcePath: volume.path, tapePath });
      await using image = await openTapeImage(tapePath);
      const disk = join(folder, "small");
      await mkdir(disk);
      await shell('mount -t tmpfs -o size=64k none "$M"', disk);
      try {
        const path = join(disk, "restored.img");
        const failure = await expectReelError(restoreImage(image, path), "no-space");
        expect(failure.message).to.include(path).and.not.include("reelfs-part");
        expect(await readdir(disk)).to.deep.equal([]);
      } finally {
        await shell('umount "$M"', disk);
      }
    });
  });

  it("that is a new file never has a half-restored volume under its name", async () => {
    await withTempFolder(async (folder) => {
      const volume = await makeFatVolume(folder, { sizeBytes: 4 * MIB, bits: 12, files: 20 });
      const tapePath = join(folder, "t.tap");
      await backupVolume({ sourcePath: volume.path, tapePath, recordSizeBytes: 64 * 1024 });
      await using image = await openTapeImage(tapePath);
      const disk = join(folder, "disk.img");
      const stop = new AbortController();
      const stopped = restoreImage(image, disk, {
        signal: stop.signal,
        progress: () => {
          stop.abort();
        },
      });
      await expectReelError(stopped, "aborted");
      const left = (await readdir(folder)).filter((name) => name.includes("disk.img"));
      expect(left).to.deep.equal([]);
    });
  });
});
