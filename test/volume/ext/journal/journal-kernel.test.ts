/** Volumes that the kernel left dirty: mounted, written to, and copied while they were in use. */
import { expect } from "chai";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { copyFile, mkdir, open, rm, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { skipUnless } from "../../../support/skip.ts";
import { withTempFolder } from "../../../support/temp.ts";
import { JOURNAL_MAGIC } from "../../../../src/volume/ext/journal/layout.ts";
import { expectSameAsE2fsck, hasExtTools, makeVolume, NO_EXT_TOOLS } from "./ext-tools.ts";
import { endKernelMount } from "../../../support/end-kernel-mount.ts";

const MIB = 1024 * 1024;
const ROUNDS = 4;
const FILES = 40;
const CANNOT_MOUNT = "not root, or no loop devices here";

function canMount(): boolean {
  if (process.getuid?.() !== 0) return false;
  try {
    execFileSync("losetup", ["-f"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

describe("The journal of a volume that was copied while mounted", function () {
  this.timeout(120_000);
  before(function () {
    skipUnless(this, hasExtTools(), NO_EXT_TOOLS);
    skipUnless(this, canMount(), CANNOT_MOUNT);
  });

  for (const { title, make, mount } of [
    { title: "ext4", make: ["-t", "ext4", "-b", "4096", "-J", "size=4"], mount: "defaults" },
    {
      title: "ext4 with 1 KiB blocks, data in the journal",
      make: ["-t", "ext4", "-b", "1024", "-J", "size=1"],
      mount: "data=journal",
    },
    {
      title: "ext4 with checksums v1",
      make: ["-t", "ext4", "-b", "1024", "-O", "^metadata_csum", "-J", "size=1"],
      mount: "journal_checksum",
    },
    {
      title: "ext4 with asynchronous commits",
      make: ["-t", "ext4", "-b", "1024", "-O", "^metadata_csum,^64bit", "-J", "size=1"],
      mount: "data=writeback,journal_async_commit",
    },
    { title: "ext3", make: ["-t", "ext3", "-b", "1024", "-J", "size=1"], mount: "defaults" },
    {
      title: "ext3 with data in the journal",
      make: ["-t", "ext3", "-b", "4096", "-J", "size=4"],
      mount: "data=journal",
    },
  ]) {
    it(`is replayed as e2fsck does: ${title}`, async () => {
      await withTempFolder(async (folder) => {
        const image = join(folder, "volume.img");
        await makeVolume(image, 24 * MIB, ...make);
        const dirty = join(folder, "dirty.img");
        await withMount(image, folder, mount, async (mountpoint) => {
          for (let round = 0; round < ROUNDS; round++) await useVolume(mountpoint, round);
          await copyFile(image, dirty);
        });
        const { replay, changed } = await expectSameAsE2fsck(dirty);
        expect(replay.transactions).to.be.above(0);
        expect(changed, "blocks that the replay changes").to.be.above(0);
        expect(replay.notices).to.deep.equal([]);
      });
    });
  }
});

async function withMount(
  image: string,
  folder: string,
  options: string,
  use: (mountpoint: string) => Promise<void>,
): Promise<void> {
  const mountpoint = join(folder, "mnt");
  await mkdir(mountpoint);
  execFileSync("mount", ["-o", `loop,${options}`, image, mountpoint]);
  try {
    await use(mountpoint);
  } finally {
    endKernelMount(mountpoint);
  }
}

/** Makes and removes files and folders, so that blocks are written again and revoked. */
async function useVolume(mountpoint: string, round: number): Promise<void> {
  const folder = (i: number): string => join(mountpoint, `folder${i % 7}`);
  for (let i = 0; i < FILES; i++) {
    await mkdir(folder(i), { recursive: true });
    const contents = randomBytes(500 * (i + 1));
    if (i % 3 === 0) contents.writeUInt32BE(JOURNAL_MAGIC, 0);
    await writeFile(join(folder(i), `file${i}`), contents);
  }
  await commit(mountpoint);
  for (let i = 0; i < FILES; i += 2) await rm(join(folder(i), `file${i}`));
  for (let i = 0; i < FILES; i++) await mkdir(join(mountpoint, `${round}-${i}`));
  await commit(mountpoint);
  for (let i = 0; i < FILES; i += 2) await rmdir(join(mountpoint, `${round}-${i}`));
  await commit(mountpoint);
}

/** Commits what was done to the journal, and leaves it at that: nothing goes to its own place. */
async function commit(mountpoint: string): Promise<void> {
  const root = await open(mountpoint);
  await root.sync();
  await root.close();
}
