import { execFile } from "node:child_process";
import { open, mkdir, readFile, stat, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect } from "chai";
import type { BlockDevice } from "../../src/device/block-device.ts";
import { openFileDevice, openWritableFileDevice } from "../../src/device/file-device.ts";
import { deviceNumber, findEnd, measureBlockDevice } from "../../src/device/block-device-size.ts";
import { blockDeviceSuite, writableBlockDeviceSuite } from "../support/block-device-suite.ts";
import { expectReelError } from "../support/expect-error.ts";
import { patternBytes } from "../support/pattern.ts";
import { skipUnless } from "../support/skip.ts";
import { makeTempFolder, withTempFolder } from "../support/temp.ts";

const run = promisify(execFile);
const contents = patternBytes(70_001);

async function readAll(device: BlockDevice): Promise<Uint8Array> {
  const target = new Uint8Array(device.sizeBytes);
  await device.read(0, target);
  return target;
}

async function allocatedBytes(path: string): Promise<number> {
  return (await stat(path)).blocks * 512;
}

blockDeviceSuite("a file opened for reading", async () => {
  const temp = await makeTempFolder();
  const path = join(temp.folder, "volume.img");
  await writeFile(path, contents);
  return { device: await openFileDevice(path), contents, cleanUp: temp.remove };
});

writableBlockDeviceSuite("a file opened for writing", async () => {
  const temp = await makeTempFolder();
  const path = join(temp.folder, "volume.img");
  await writeFile(path, contents);
  return { device: await openWritableFileDevice(path), contents, cleanUp: temp.remove };
});

describe("openFileDevice", () => {
  it("follows a symbolic link, and is named as it was asked for", async () => {
    await withTempFolder(async (folder) => {
      await writeFile(join(folder, "volume.img"), contents);
      await symlink("volume.img", join(folder, "link"));
      const device = await openFileDevice(join(folder, "link"));
      expect(device.name).to.equal(join(folder, "link"));
      expect(device.sizeBytes).to.equal(contents.length);
      await device.close();
    });
  });

  it("says what is wrong with what cannot be a volume, without opening it", async () => {
    await withTempFolder(async (folder) => {
      const pipe = join(folder, "pipe");
      await run("mkfifo", [pipe]);
      await mkdir(join(folder, "dir"));
      const cases = [
        [join(folder, "dir"), "is-a-directory", /it is a directory/],
        // Opening it would wait for a writer, for ever.
        [pipe, "invalid", /it is a pipe/],
        ["/dev/null", "invalid", /it is a character device/],
        [join(folder, "absent"), "not-found", /absent/],
        [join(folder, "dir", "absent", "deep"), "not-found", /deep/],
      ] as const;
      for (const [path, code, message] of cases) {
        const error = await expectReelError(openFileDevice(path), code);
        expect(error.message).to.match(message).and.to.include(`cannot open ${path}`);
        await expectReelError(openWritableFileDevice(path), code);
      }
    });
  });

  it("says so when permission is missing", async function () {
    skipUnless(this, process.getuid?.() !== 0, "root may read everything");
    await withTempFolder(async (folder) => {
      const path = join(folder, "volume.img");
      await writeFile(path, contents, { mode: 0 });
      await expectReelError(openFileDevice(path), "no-permission");
    });
  });

  it("reports a file that shrinks while it is open, with the offset", async () => {
    await withTempFolder(async (folder) => {
      const path = join(folder, "volume.img");
      await writeFile(path, contents);
      const device = await openFileDevice(path);
      await truncate(path, 1000);
      const error = await expectReelError(device.read(500, new Uint8Array(1000)), "io");
      expect(error.message).to.match(/offset 1000 of .*volume\.img/);
      const target = new Uint8Array(500);
      await device.read(500, target);
      expect(Buffer.compare(target, contents.subarray(500, 1000))).to.equal(0);
      await device.close();
    });
  });

  it("reads into memory shared with worker threads", async () => {
    await withTempFolder(async (folder) => {
      const path = join(folder, "volume.img");
      await writeFile(path, contents);
      const device = await openFileDevice(path);
      const shared = Buffer.from(new SharedArrayBuffer(5000));
      await device.read(1, shared);
      expect(Buffer.compare(shared, contents.subarray(1, 5001))).to.equal(0);
      await device.close();
    });
  });

  it("reads offsets beyond 32 bits", async () => {
    await withTempFolder(async (folder) => {
      const path = join(folder, "large.img");
      const offset = 2 ** 33 + 12_345;
      const device = await openWritableFileDevice(path, { create: true, sizeBytes: offset + 10 });
      await device.write(offset, contents.subarray(0, 10));
      const target = new Uint8Array(12);
      await device.read(offset - 2, target);
      expect([...target]).to.deep.equal([0, 0, ...contents.subarray(0, 10)]);
      await device.close();
    });
  });
});

describe("openWritableFileDevice", () => {
  it("creates a file of the size asked for, which takes no room yet", async () => {
    await withTempFolder(async (folder) => {
      const path = join(folder, "new.img");
      await expectReelError(openWritableFileDevice(path), "not-found");
      const device = await openWritableFileDevice(path, { create: true, sizeBytes: 50_000_000 });
      expect(device.sizeBytes).to.equal(50_000_000);
      await device.close();
      expect((await stat(path)).size).to.equal(50_000_000);
      expect(await allocatedBytes(path)).to.be.below(100_000);
    });
  });

  it("keeps a new file sparse where it is made zero behind what was written", async () => {
    await withTempFolder(async (folder) => {
      const path = join(folder, "new.img");
      const sizeBytes = 40_000_000;
      const device = await openWritableFileDevice(path, { create: true, sizeBytes });
      await device.write(0, contents);
      await device.zero(contents.length, 20_000_000);
      await device.write(30_000_000, contents);
      await device.zero(30_000_000 + contents.length, sizeBytes - 30_000_000 - contents.length);
      await device.flush();
      const expected = new Uint8Array(sizeBytes);
      expected.set(contents, 0);
      expected.set(contents, 30_000_000);
      expect(Buffer.compare(await readAll(device), expected)).to.equal(0);
      await device.close();
      expect(await allocatedBytes(path)).to.be.below(1_000_000);
    });
  });

  it("makes zero what is before the end of what was written, however late that is asked", async () => {
    await withTempFolder(async (folder) => {
      const path = join(folder, "new.img");
      const device = await openWritableFileDevice(path, { create: true, sizeBytes: 5_000_000 });
      await device.write(3_000_000, contents);
      await device.write(100, contents);
      await device.zero(50, 4_000_000);
      expect((await readAll(device)).every((byte) => byte === 0)).to.be.true;
      await device.close();
    });
  });

  it("extends a smaller file, leaves a larger one, and keeps what they hold", async () => {
    await withTempFolder(async (folder) => {
      const path = join(folder, "old.img");
      await writeFile(path, contents);
      const same = await openWritableFileDevice(path, { create: true, sizeBytes: 1000 });
      expect(same.sizeBytes).to.equal(contents.length);
      await same.close();
      const longer = await openWritableFileDevice(path, { sizeBytes: 100_000 });
      await longer.zero(60_000, 40_000);
      const expected = new Uint8Array(100_000);
      expected.set(contents.subarray(0, 60_000));
      expect(Buffer.compare(await readAll(longer), expected)).to.equal(0);
      await longer.close();
    });
  });

  it("drops what a file held when it is told to", async () => {
    await withTempFolder(async (folder) => {
      const path = join(folder, "old.img");
      await writeFile(path, contents);
      const emptied = await openWritableFileDevice(path, { truncate: true });
      expect(emptied.sizeBytes).to.equal(contents.length);
      expect((await readAll(emptied)).every((byte) => byte === 0)).to.be.true;
      await emptied.close();
      expect(await allocatedBytes(path)).to.equal(0);
      await writeFile(path, contents);
      const shorter = await openWritableFileDevice(path, { truncate: true, sizeBytes: 4096 });
      expect(shorter.sizeBytes).to.equal(4096);
      await shorter.close();
      expect(Buffer.compare(await readFile(path), new Uint8Array(4096))).to.equal(0);
    });
  });

  it("does not open a file that is there when it must be new", async () => {
    await withTempFolder(async (folder) => {
      const path = join(folder, "old.img");
      await writeFile(path, contents);
      const options = { create: true, exclusive: true, truncate: true };
      await expectReelError(openWritableFileDevice(path, options), "exists");
      expect(Buffer.compare(await readFile(path), contents)).to.equal(0);
    });
  });

  it("passes on that the disk is full", async function () {
    const full = await openFull();
    skipUnless(this, full, "no tmpfs can be mounted here");
  });
});

/** Fills a tiny tmpfs; false when none can be mounted. */
async function openFull(): Promise<boolean> {
  return withTempFolder(async (folder) => {
    try {
      await run("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]);
    } catch {
      return false;
    }
    try {
      const path = join(folder, "volume.img");
      const device = await openWritableFileDevice(path, { create: true, sizeBytes: 1 << 20 });
      const error = await expectReelError(device.write(0, new Uint8Array(1 << 18)), "no-space");
      expect(error.message).to.include("volume.img");
      await device.close();
    } finally {
      await run("umount", [folder]);
    }
    return true;
  });
}

/** A loop device over a file; undefined where that is not possible. */
async function attachLoop(path: string, sectorSize = 512): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  try {
    const options = ["--find", "--show", "--sector-size", String(sectorSize), path];
    return (await run("losetup", options)).stdout.trim();
  } catch {
    return undefined;
  }
}

const NO_LOOP = "loop devices need root and losetup";

writableBlockDeviceSuite("a block device (loop)", async (context) => {
  const temp = await makeTempFolder();
  const path = join(temp.folder, "volume.img");
  const whole = patternBytes(128 * 512);
  await writeFile(path, whole);
  const loop = await attachLoop(path);
  if (loop === undefined) await temp.remove();
  skipUnless(context, loop !== undefined, NO_LOOP);
  const cleanUp = async (): Promise<void> => {
    await run("losetup", ["--detach", loop ?? ""]);
    await temp.remove();
  };
  return { device: await openWritableFileDevice(loop ?? ""), contents: whole, cleanUp };
});

describe("a block device", () => {
  it("tells its size and sector size, with and without sysfs", async function () {
    await withTempFolder(async (folder) => {
      const path = join(folder, "volume.img");
      await writeFile(path, new Uint8Array(3 * 4096 + 4096));
      const loop = await attachLoop(path, 4096);
      skipUnless(this, loop !== undefined, NO_LOOP);
      if (loop === undefined) return;
      try {
        const device = await openFileDevice(loop);
        expect(device.sizeBytes).to.equal(4 * 4096);
        expect(device.sectorSizeBytes).to.equal(4096);
        await device.close();
        const { rdev } = await stat(loop, { bigint: true });
        const handle = await open(loop);
        const measured = await measureBlockDevice(handle, loop, rdev, join(folder, "no-sysfs"));
        await handle.close();
        expect(measured).to.deep.equal({ sizeBytes: 4 * 4096, sectorSizeBytes: 512 });
      } finally {
        await run("losetup", ["--detach", loop]);
      }
    });
  });

  it("is refused when it is smaller than what is needed", async function () {
    await withTempFolder(async (folder) => {
      const path = join(folder, "volume.img");
      await writeFile(path, new Uint8Array(8192));
      const loop = await attachLoop(path);
      skipUnless(this, loop !== undefined, NO_LOOP);
      if (loop === undefined) return;
      try {
        const error = await expectReelError(
          openWritableFileDevice(loop, { sizeBytes: 8193 }),
          "too-small",
        );
        expect(error.message).to.include("8192").and.to.include("8193");
        const device = await openWritableFileDevice(loop, { sizeBytes: 8192, exclusive: true });
        await device.close();
      } finally {
        await run("losetup", ["--detach", loop]);
      }
    });
  });
});

describe("the size of a block device", () => {
  it("comes from sysfs, for partitions too, whose sectors are those of the disk", async () => {
    await withTempFolder(async (folder) => {
      const disk = join(folder, "devices", "sda");
      const partition = join(disk, "sda1");
      await mkdir(join(disk, "queue"), { recursive: true });
      await mkdir(partition);
      await mkdir(join(folder, "dev", "block"), { recursive: true });
      await writeFile(join(disk, "queue", "logical_block_size"), "4096\n");
      await writeFile(join(partition, "size"), "204800\n");
      await symlink("../../devices/sda/sda1", join(folder, "dev", "block", "8:1"));
      const handle = await open("/dev/null");
      const measured = await measureBlockDevice(handle, "/dev/sda1", 0x801n, folder);
      await handle.close();
      expect(measured).to.deep.equal({ sizeBytes: 204_800 * 512, sectorSizeBytes: 4096 });
    });
  });

  it("is not taken from nonsense in sysfs", async () => {
    await withTempFolder(async (folder) => {
      const entry = join(folder, "dev", "block", "8:0");
      await mkdir(join(entry, "queue"), { recursive: true });
      await writeFile(join(entry, "size"), "none\n");
      await writeFile(join(entry, "queue", "logical_block_size"), "0\n");
      const path = join(folder, "volume.img");
      await writeFile(path, contents);
      const handle = await open(path);
      const measured = await measureBlockDevice(handle, path, 0x800n, folder);
      expect(measured).to.deep.equal({ sizeBytes: contents.length, sectorSizeBytes: 512 });
      await writeFile(join(entry, "size"), "99999999999999999\n");
      await expectReelError(measureBlockDevice(handle, path, 0x800n, folder), "unsupported");
      await handle.close();
    });
  });

  it("is found by reading where there is nothing else", async () => {
    for (const size of [0, 1, 511, 2 ** 20 - 1, 2 ** 20, 2 ** 20 + 1, 10 ** 13, 2 ** 52]) {
      let reads = 0;
      const found = await findEnd(async (offset) => {
        reads++;
        return offset < size;
      });
      expect(found).to.equal(size);
      expect(reads).to.be.below(120);
    }
    expect(await findEnd(async () => true)).to.be.above(Number.MAX_SAFE_INTEGER);
  });

  it("is looked up under the device number as Linux packs it", () => {
    expect(deviceNumber(0x801n)).to.equal("8:1");
    expect(deviceNumber(0x700n)).to.equal("7:0");
    // makedev(74565, 6785451) of the C library.
    expect(deviceNumber(0x12006789345abn)).to.equal("74565:6785451");
  });
});
