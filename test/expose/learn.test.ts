import { expect } from "chai";
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdir, open, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type ExtentSet, ExtentSetBuilder } from "../../src/device/extents.ts";
import { openFileDevice } from "../../src/device/file-device.ts";
import { MemoryDevice } from "../../src/device/memory-device.ts";
import { learnControlSet } from "../../src/expose/learn.ts";
import { OverlayDevice } from "../../src/expose/overlay-device.ts";
import { serveLoop } from "../../src/expose/serve-loop.ts";
import { openTapeImage } from "../../src/tapeimage/open-image.ts";
import { ReelError } from "../../src/errors.ts";
import { expectReelError } from "../support/expect-error.ts";
import { makeTestTape } from "../support/image-fixture.ts";
import {
  hasTool,
  makePlace,
  type Place,
  requireFuse,
  runTool,
  shell,
} from "../support/mountpoint.ts";
import { patternBytes } from "../support/pattern.ts";
import { skipUnless } from "../support/skip.ts";
import {
  type KernelFilesystem,
  makeFiles,
  makeVolume,
  requireFilesystem,
  requireLoop,
} from "./kernel-volume.ts";

const BLOCK_BYTES = 4096;
const GIB = 1024 ** 3;
const KILLED = fileURLToPath(new URL("learn-killed.ts", import.meta.url));

/** Blocks of a file that are not all zeros. */
async function blocksInUse(path: string): Promise<ExtentSet> {
  const used = new ExtentSetBuilder();
  const zeros = Buffer.alloc(BLOCK_BYTES);
  const piece = Buffer.alloc(256 * BLOCK_BYTES);
  const file = await open(path);
  for (let at = 0; ; at += piece.length) {
    const { bytesRead } = await file.read(piece, 0, piece.length, at);
    if (bytesRead === 0) break;
    for (let from = 0; from < bytesRead; from += BLOCK_BYTES) {
      const block = piece.subarray(from, from + BLOCK_BYTES);
      if (!block.equals(zeros)) used.add((at + from) / BLOCK_BYTES, 1);
    }
  }
  await file.close();
  return used.build();
}

describe("learning the control set of a volume", function () {
  this.timeout(120_000);
  let place: Place;
  let files: string;
  let runtimeBefore: string | undefined;

  before(async function () {
    requireFuse(this);
    requireLoop(this);
    place = await makePlace();
    runtimeBefore = process.env["XDG_RUNTIME_DIR"];
    Object.assign(process.env, place.env);
    files = join(place.folder, "files");
    await makeFiles(files);
  });

  after(async () => {
    if ((place as Place | undefined) === undefined) return;
    if (runtimeBefore === undefined) delete process.env["XDG_RUNTIME_DIR"];
    else process.env["XDG_RUNTIME_DIR"] = runtimeBefore;
    await place.remove();
  });

  async function expectNothingLeft(): Promise<void> {
    const { XDG_RUNTIME_DIR: runtime = "" } = place.env;
    expect(await readdir(join(runtime, "reelfs"))).to.deep.equal([]);
    expect(await readFile("/proc/self/mountinfo", "utf8")).not.to.contain(place.folder);
    const loops = (await runTool("losetup", ["--list", "--noheadings"])).stdout;
    expect(loops).not.to.contain(place.folder);
    // As a file is named whose mount is out of sight.
    expect(loops).not.to.contain(" /volume.img");
  }

  for (const kind of ["xfs", "btrfs", "ext4"] satisfies KernelFilesystem[]) {
    it(`finds what mounting and walking ${kind} needs, and an image needs no more`, async function () {
      await requireFilesystem(this, kind);
      const volume = join(place.folder, `${kind}.img`);
      await makeVolume(volume, kind, files, place.mountpoint);
      const learned = await learnControlSet(volume);
      await expectNothingLeft();
      expect(learned.problems).to.deep.equal([]);
      // ext4 brings a folder of its own.
      expect(learned.directories).to.equal(kind === "ext4" ? 21 : 20);
      expect(learned.files).to.equal(20 * 11 + 1);
      const used = await blocksInUse(volume);
      // 200 files of 33 KB on average, of which hardly a block shares 4 KiB with a directory.
      expect(used.subtract(learned.control).total).to.be.above(6_000_000 / BLOCK_BYTES);

      await using device = await openFileDevice(volume);
      const folder = join(place.folder, `tape-${kind}`);
      await mkdir(folder);
      const tape = await makeTestTape(folder, device, {
        used: [...used.union(learned.control)],
        control: [...learned.control],
        blockSizeBytes: BLOCK_BYTES,
      });
      const image = await openTapeImage(tape.path);
      const overlay = await OverlayDevice.open(image, { budgetBytes: GIB, ownsBase: true });
      const loop = await serveLoop(overlay, place.mountpoint, {
        name: `${kind}.tap#1`,
        image: { spec: tape.path, uuid: image.header.uuid },
        fileName: "volume.img",
        modifiedMs: 0,
        readOnly: false,
      });
      try {
        await shell('find "$M" -ls; getfattr -R -h -d -m - "$M"; df "$M"', place.mountpoint);
        expect(image.statistics().dataRecordsRead, "records read to walk").to.equal(0);
        const same = await shell(
          `diff -r "${files}" "$M" --exclude lost+found --no-dereference && echo same`,
          place.mountpoint,
        );
        expect(same).to.equal("same\n");
        expect(image.statistics().dataRecordsRead).to.be.above(0);
        await shell(
          'cp -a "$M/directory 3" "$M/new"; sync -f "$M"; diff -r --no-dereference "$M/directory 3" "$M/new"; rm -r "$M/directory 3"',
          place.mountpoint,
        );
      } finally {
        await loop.unmount();
      }
      await loop.finished;
      await expectNothingLeft();
    });
  }

  it("replays a journal beside the source, which stays as it was", async function () {
    await requireFilesystem(this, "ext4");
    const volume = join(place.folder, "dirty.img");
    await makeVolume(volume, "ext4", files, place.mountpoint);
    const copied = `cp "${volume}" "${volume}.copy"`;
    await shell(
      `mount -o loop "${volume}" "$M"; mkdir "$M/late"; cp -a "${files}/." "$M/late"; sync -f "$M"; ${copied}; umount "$M"`,
      place.mountpoint,
    );
    const before = await readFile(`${volume}.copy`);
    expect((await runTool("dumpe2fs", ["-h", `${volume}.copy`])).stdout).to.contain(
      "needs_recovery",
    );
    const learned = await learnControlSet(`${volume}.copy`);
    expect(learned.directories).to.equal(2 * 20 + 2);
    expect((await readFile(`${volume}.copy`)).equals(before)).to.be.true;
    await expectNothingLeft();
  });

  it("tells what of a damaged volume it could not look at", async function () {
    await requireFilesystem(this, "ext4");
    skipUnless(this, hasTool("debugfs"), "debugfs is missing: install e2fsprogs");
    const volume = join(place.folder, "damaged.img");
    await makeVolume(volume, "ext4", files, place.mountpoint);
    const blocks = await runTool("debugfs", ["-R", 'blocks "/directory 7"', volume]);
    const header = await runTool("dumpe2fs", ["-h", volume]);
    const blockBytes = Number(/^Block size:\s+(\d+)/m.exec(header.stdout)?.[1]);
    const file = await open(volume, "r+");
    await file.write(
      Buffer.alloc(blockBytes, 0xee),
      0,
      blockBytes,
      Number.parseInt(blocks.stdout) * blockBytes,
    );
    await file.close();
    const learned = await learnControlSet(volume);
    expect(learned.problems.join("\n")).to.match(/^.?\/directory 7.?: /m);
    expect(learned.files).to.be.within(190, 211);
    await expectNothingLeft();
  });

  it("says that the kernel does not know a filesystem, or does not accept it", async function () {
    skipUnless(this, hasTool("mkfs.fat"), "mkfs.fat is missing: install dosfstools");
    const known = await readFile("/proc/filesystems", "utf8");
    skipUnless(this, !known.includes("vfat"), "the kernel knows FAT");
    const volume = join(place.folder, "fat.img");
    await runTool("mkfs.fat", ["-C", volume, "4096"]);
    const unknown = await expectReelError(learnControlSet(volume), "unsupported");
    expect(unknown.message).to.contain("unknown filesystem type 'vfat'");
    const noise = new MemoryDevice(patternBytes(1 << 20), { name: "noise" });
    const refused = await expectReelError(learnControlSet(noise), "damaged");
    expect(refused.message).to.contain("cannot mount noise: the kernel does not accept it");
    await noise.read(0, new Uint8Array(1));
    await expectNothingLeft();
  });

  it("leaves nothing behind when it is interrupted", async function () {
    await requireFilesystem(this, "ext4");
    const volume = join(place.folder, "interrupted.img");
    await makeVolume(volume, "ext4", files, place.mountpoint);
    const stop = new AbortController();
    const progress = (): void => {
      stop.abort();
    };
    const { signal } = stop;
    await expectReelError(learnControlSet(volume, {}, { signal, progress }), "aborted");
    await expectNothingLeft();
    await expectReelError(learnControlSet(volume, {}, { signal }), "aborted");
    await expectNothingLeft();
  });

  it("clears away what a killed process left, although programs of it were waiting", async function () {
    await requireFilesystem(this, "ext4");
    const volume = join(place.folder, "killed.img");
    await makeVolume(volume, "ext4", files, place.mountpoint);
    for (const reads of ["3", "40", "70"]) {
      const child = fork(KILLED, [volume, reads], {
        execArgv: ["--import", import.meta.resolve("tsx")],
        stdio: ["ignore", "inherit", "inherit", "ipc"],
      });
      child.on("message", (message) => {
        throw new Error(JSON.stringify(message));
      });
      const [, signal] = (await once(child, "exit")) as [number | null, string | null];
      expect(signal).to.equal("SIGKILL");
      const learned = await learnControlSet(volume);
      expect(learned.directories).to.equal(21);
      await expectNothingLeft();
    }
  });

  it("is told when there is no room for what the kernel writes", async function () {
    await requireFilesystem(this, "ext4");
    const volume = join(place.folder, "dirty.img.copy");
    const failed = await learnControlSet(volume, { overlayBytes: 8192 }).catch(
      (error: unknown) => error,
    );
    expect(failed).to.be.instanceOf(ReelError);
    await expectNothingLeft();
  });
});
