/** Snapshots of logical volumes. Where the kernel has no device mapper, what LVM says of that. */
import { existsSync } from "node:fs";
import { open, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { COMMANDS } from "../../src/cli/commands/index.ts";
import { run } from "../../src/cli/program.ts";
import { LiveBackup } from "../../src/live/live-backup.ts";
import { logicalVolumeAt, LvmSnapshot, parseVolumes } from "../../src/live/lvm-snapshot.ts";
import { FakeStream } from "../cli/fake-stream.ts";
import { hasTool, runTool } from "../support/mountpoint.ts";
import { skipUnless } from "../support/skip.ts";
import { makeTempFolder } from "../support/temp.ts";
import { expectSaid, mustRun, requireLoopMounts } from "./loop-volume.ts";
import { endKernelMount } from "../support/end-kernel-mount.ts";

const NO_MAPPER = "the kernel has no device mapper";

async function hasMapper(): Promise<boolean> {
  return existsSync("/dev/mapper/control") && (await runTool("dmsetup", ["targets"])).status === 0;
}

describe("a snapshot of a logical volume", function () {
  this.timeout(120_000);
  const group = `reelfs${process.pid}`;
  let folder: string;
  let remove: () => Promise<void>;
  let device: string;

  before(async function () {
    requireLoopMounts(this);
    skipUnless(this, hasTool("lvcreate"), "lvcreate is missing: install lvm2");
    ({ folder, remove } = await makeTempFolder());
    const file = join(folder, "pv.img");
    await writeFile(file, "");
    await truncate(file, 128 << 20);
    device = (await mustRun("losetup", ["--find", "--show", file])).trim();
    await mustRun("vgcreate", ["--quiet", group, device]);
  });

  after(async () => {
    await runTool("vgremove", ["--yes", "--force", "--force", group]);
    await runTool("pvremove", ["--yes", device]);
    await mustRun("losetup", ["--detach", device]);
    await remove();
  });

  it("is refused for what is no logical volume", async () => {
    await expectSaid(logicalVolumeAt(device), "unsupported", /no logical volume of LVM/);
    await expectSaid(logicalVolumeAt(folder), "unsupported", /no logical volume of LVM/);
    const segments = { sources: [device, device], freeze: "lvm" as const };
    await expectSaid(
      LiveBackup.begin({ ...segments, writesTo: [], warn: () => undefined }),
      "invalid",
      /not of several/,
    );
  });

  it("that LVM does not make is an error, with what LVM says, and leaves nothing behind", async () => {
    for (const isThin of [false, true]) {
      const origin = { group, name: "absent", isThin };
      await expectSaid(
        LvmSnapshot.create(origin, 4 << 20),
        "unsupported",
        /cannot keep a snapshot of .*absent: \S/,
      );
    }
    const left = await mustRun("lvs", ["--noheadings", "--options", "lv_name", group]);
    expect(left.trim()).to.equal("");
  });

  it("is sound only when LVM says that it is active and has room", () => {
    const soundness = (attributes: string, invalid: string): boolean | undefined => {
      const lv = { vg_name: "vg", lv_name: "s", lv_path: "/dev/vg/s", lv_attr: attributes };
      const text = JSON.stringify({ report: [{ lv: [{ ...lv, lv_snapshot_invalid: invalid }] }] });
      return parseVolumes(text)[0]?.isSound;
    };
    expect(soundness("sri-a-s---", "0")).to.equal(true);
    expect(soundness("Vri-a-t---", "-1")).to.equal(true);
    expect(soundness("sri-a-s---", "1")).to.equal(false);
    expect(soundness("sri-I-s---", "1")).to.equal(false);
    expect(soundness("sri-S-s---", "0")).to.equal(false);
    expect(soundness("-wi-XX----", "-1")).to.equal(false);
  });

  it("is backed up and removed, and one that overflowed is no image", async function () {
    skipUnless(this, await hasMapper(), NO_MAPPER);
    const origin = `/dev/${group}/home`;
    await mustRun("lvcreate", ["--yes", "--name", "home", "--size", "64M", group]);
    const mountpoint = join(folder, "mnt");
    await mustRun("mkfs.ext4", ["-q", origin]);
    await mustRun("mkdir", [mountpoint]);
    await mustRun("mount", [origin, mountpoint]);
    try {
      await using file = await open(join(mountpoint, "open"), "w");
      await file.write("x");
      const tape = join(folder, "home.tap");
      const [stdout, stderr] = [new FakeStream(), new FakeStream()];
      const args = ["backup", "--freeze", "lvm", "--freeze-size", "16M", origin, tape];
      const signal = new AbortController().signal;
      expect(await run(args, { stdout, stderr, signal }, COMMANDS), stderr.text).to.equal(0);
      expect(stderr.text).to.contain("1 file was open for writing");
      const live = await LiveBackup.begin({
        ...{ sources: [origin], freeze: "lvm", snapshotBytes: 4 << 20, writesTo: [] },
        warn: () => undefined,
      });
      await writeFile(join(mountpoint, "large"), Buffer.alloc(16 << 20, 1));
      await mustRun("sync", ["-f", mountpoint]);
      await expectSaid(live.finish(), "io", /more was written to the volume/);
      await live.close();
      const left = await mustRun("lvs", ["--noheadings", "--options", "lv_name", group]);
      expect(left.trim()).to.equal("home");
    } finally {
      endKernelMount(mountpoint);
    }
  });
});
