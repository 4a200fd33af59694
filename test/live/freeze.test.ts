/** Backups of a mounted volume: of one moment, and thawed in any case. */
import { type ChildProcess, fork } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdir, open, readdir, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { COMMANDS } from "../../src/cli/commands/index.ts";
import { run } from "../../src/cli/program.ts";
import { HeldState } from "../../src/live/held-state.ts";
import { LiveBackup, type LiveBackupOptions } from "../../src/live/live-backup.ts";
import { FakeStream } from "../cli/fake-stream.ts";
import { expectReelError } from "../support/expect-error.ts";
import { hasTool, runTool } from "../support/mountpoint.ts";
import { skipUnless } from "../support/skip.ts";
import {
  expectSaid,
  type LoopVolume,
  makeLoopVolume,
  mustRun,
  requireLoopMounts,
} from "./loop-volume.ts";
import { WRITER_FILES, writerFile } from "./steady-writer.ts";
import { endKernelMount } from "../support/end-kernel-mount.ts";

const STEADY_WRITER = new URL("./steady-writer.ts", import.meta.url);
const HOLD_FROZEN = new URL("./hold-frozen.ts", import.meta.url);

interface Told {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function reelfs(
  args: readonly string[],
  more: { signal?: AbortSignal; ask?: () => Promise<string> } = {},
): Promise<Told> {
  const [stdout, stderr] = [new FakeStream(), new FakeStream()];
  const { signal } = new AbortController();
  const status = await run([...args], { stdout, stderr, signal, ...more }, COMMANDS);
  return { status, stdout: stdout.text, stderr: stderr.text };
}

function start(script: URL, ...args: string[]): ChildProcess {
  return fork(script, args, {
    execArgv: ["--import", import.meta.resolve("tsx")],
    stdio: ["ignore", "inherit", "inherit", "ipc"],
    cwd: "/",
  });
}

describe("a backup of a mounted volume", function () {
  this.timeout(120_000);
  let volume: LoopVolume;

  before(function () {
    requireLoopMounts(this);
    skipUnless(this, hasTool("fsfreeze"), "fsfreeze is missing: install util-linux");
  });

  beforeEach(async () => {
    volume = await makeLoopVolume();
  });

  afterEach(async () => {
    await volume.remove();
  });

  const tape = (): string => join(volume.folder, "used.tap");
  const options = (more: Partial<LiveBackupOptions> = {}): LiveBackupOptions => ({
    ...{ sources: [volume.device], freeze: "fsfreeze", writesTo: [], warn: () => undefined },
    ...more,
  });

  /** A write comes back: on a frozen volume it would wait. */
  async function expectThawed(): Promise<void> {
    await writeFile(join(volume.mountpoint, "thawed"), "yes");
    expect((await runTool("fsfreeze", ["--unfreeze", volume.mountpoint])).status).not.to.equal(0);
  }

  it("with --freeze fsfreeze is of one moment, however much is written, again and again", async function () {
    skipUnless(this, hasTool("e2fsck") && hasTool("debugfs"), "e2fsprogs is missing");
    const writer = start(STEADY_WRITER, volume.mountpoint);
    try {
      await once(writer, "message");
      let before = 0;
      // The second time, what the first one read is still in the memory of the device.
      for (const image of [1, 2]) {
        const args = ["backup", "--freeze", "fsfreeze", volume.device, tape()];
        const { status, stderr } = await reelfs(args);
        expect(status, stderr).to.equal(0);
        expect(stderr).to.contain(`${WRITER_FILES} files were open for writing`);
        const target = join(volume.folder, `restored-${image}.img`);
        expect((await reelfs(["restore-image", `${tape()}#${image}`, target])).status).to.equal(0);
        await mustRun("e2fsck", ["-f", "-n", target]);
        const numbers = await countersIn(target);
        const [first = 0, last = 0] = [numbers[0], numbers.at(-1)];
        expect(first, "written since the image before").to.be.greaterThan(before);
        expect(first - last).to.be.oneOf([0, 1]);
        expect(numbers).to.deep.equal([...numbers].sort((a, b) => b - a));
        before = first;
        await once(writer, "message");
      }
    } finally {
      const ended = once(writer, "exit");
      writer.kill("SIGTERM");
      await ended;
    }
  });

  /** The number that each file holds, in all of it. */
  async function countersIn(image: string): Promise<number[]> {
    const numbers: number[] = [];
    for (let index = 0; index < WRITER_FILES; index++) {
      const dumped = join(volume.folder, "dumped");
      await mustRun("debugfs", ["-R", `dump /${writerFile(index)} ${dumped}`, image]);
      const held = await readFile(dumped);
      const values = new Set(new Uint32Array(held.buffer, held.byteOffset, held.length / 4));
      expect(values.size, `numbers in file ${index}`).to.equal(1);
      numbers.push(...values);
    }
    return numbers;
  }

  it("without a freeze warns, and names files that were open", async () => {
    const writer = start(STEADY_WRITER, volume.mountpoint);
    await once(writer, "message");
    const { status, stderr } = await reelfs(["backup", volume.device, tape()]);
    const ended = once(writer, "exit");
    writer.kill("SIGTERM");
    await ended;
    expect(status, stderr).to.equal(0);
    expect(stderr).to.contain(`is mounted for writing on ${volume.mountpoint}`);
    const shown = await reelfs(["info", "--exceptions", tape()]);
    expect(shown.stdout.trim().split("\n")).to.have.members(
      Array.from({ length: WRITER_FILES }, (_, index) => `/${writerFile(index)}`),
    );
    const image = await reelfs(["info", `${tape()}#1`]);
    expect(image.stdout).to.contain(`${WRITER_FILES} files, see --exceptions`);
    const json = JSON.parse((await reelfs(["info", "--json", "--exceptions", tape()])).stdout) as {
      exceptions: string[];
    };
    expect(json).to.include({ image: `${tape()}#1`, moreExceptions: false });
    expect(json.exceptions).to.have.lengthOf(WRITER_FILES);
    const out = join(volume.folder, "out");
    const restored = await reelfs(["restore", tape(), "--to", out, `/${writerFile(0)}`]);
    expect(restored.stderr).to.contain("1 file was open for writing during the backup");
  });

  it("of a disk freezes all its partitions, and each image names its own files", async function () {
    skipUnless(this, hasTool("sfdisk") && hasTool("partx"), "sfdisk is missing: install fdisk");
    const disk = join(volume.folder, "disk.img");
    await writeFile(disk, Buffer.alloc(20 << 20));
    const table = join(volume.folder, "table");
    await writeFile(table, "2048,16384\n18432,16384\n");
    await mustRun("sh", ["-c", 'sfdisk -q --no-tell-kernel "$0" <"$1"', disk, table]);
    const device = (await mustRun("losetup", ["--find", "--show", disk])).trim();
    const places = [1, 2].map((number) => join(volume.folder, `p${number}`));
    try {
      await mustRun("partx", ["--add", device]);
      for (const [index, place] of places.entries()) {
        await mkdir(place);
        await mustRun("mkfs.ext4", ["-q", "-F", `${device}p${index + 1}`]);
        await mustRun("mount", [`${device}p${index + 1}`, place]);
      }
      await using one = await open(join(places[0] ?? "", "one"), "w");
      await using two = await open(join(places[1] ?? "", "two"), "w");
      await Promise.all([one.write("1"), two.write("2")]);
      const told = await reelfs(["backup", "--freeze", "fsfreeze", device, tape()]);
      expect(told.status, told.stderr).to.equal(0);
      expect(told.stderr).to.contain("partition 2: 1 file was open for writing");
      for (const [image, paths] of [
        ["#1", ""],
        ["#2", "/one"],
        ["#3", "/two"],
      ] as const) {
        const { stdout } = await reelfs(["info", "--exceptions", `${tape()}${image}`]);
        expect(stdout.trim(), image).to.equal(paths);
      }
      await Promise.all([one.write("still"), two.write("thawed")]);
    } finally {
      for (const place of places) await runTool("umount", [place]);
      await runTool("partx", ["--delete", device]);
      await mustRun("losetup", ["--detach", device]);
    }
  });

  it("says nothing of a volume that is mounted read-only", async () => {
    await mustRun("mount", ["-o", "remount,ro", volume.mountpoint]);
    const { status, stderr } = await reelfs(["backup", volume.device, tape()]);
    expect([status, stderr]).to.deep.equal([0, ""]);
  });

  it("thaws the volume when it fails, and when it is interrupted", async () => {
    const args = ["backup", "--freeze", "fsfreeze", volume.device, tape()];
    const failed = await reelfs([...args, "--tape-capacity", "64K", "--codec", "none"]);
    expect(failed.status, failed.stderr).to.equal(1);
    await expectThawed();
    const stop = new AbortController();
    const live = await LiveBackup.begin(options({ signal: stop.signal }));
    stop.abort();
    await live.close();
    await expectThawed();
    const told = await reelfs(args, { signal: AbortSignal.abort() });
    expect(told.status).to.equal(130);
    await expectThawed();
  });

  it("thaws the volume when it is killed", async () => {
    const backup = start(HOLD_FROZEN, volume.device);
    await once(backup, "message");
    expect((await runTool("fsfreeze", ["--freeze", volume.mountpoint])).status).not.to.equal(0);
    const ended = once(backup, "exit");
    backup.kill("SIGKILL");
    await ended;
    await expectThawed();
  });

  it("fails when somebody else has thawed the volume", async () => {
    const live = await LiveBackup.begin(options());
    await mustRun("fsfreeze", ["--unfreeze", volume.mountpoint]);
    await expectSaid(live.finish(), "io", /if it was thawed before its time/);
    await expectReelError(live.close(), "io");
  });

  it("fails, and thaws, when the process that keeps the volume frozen is killed", async () => {
    const { mountpoint } = volume;
    const state = await HeldState.begin({
      ...{ doing: `freeze ${mountpoint}`, byHand: "thaw it" },
      begin: ["fsfreeze", "--freeze", mountpoint],
      end: ["fsfreeze", "--unfreeze", mountpoint],
    });
    const lost = once(state.lost, "abort");
    process.kill(state.pid, "SIGTERM");
    expect(state.lost.aborted, "SIGTERM is for the backup").to.equal(false);
    process.kill(state.pid, "SIGKILL");
    await lost;
    await expectSaid(state.end(), "io", /was killed/);
    await expectThawed();
  });

  it("ends as soon as the volume is no longer frozen, and says why", async () => {
    await writeFile(join(volume.mountpoint, "large"), randomBytes(4 << 20));
    let tapes = 1;
    const ask = async (): Promise<string> => {
      if (tapes++ === 1) await killKeeper(volume.mountpoint);
      return join(volume.folder, `used-${tapes}.tap`);
    };
    const args = ["backup", "--freeze", "fsfreeze", volume.device, tape()];
    const { status, stderr } = await reelfs([...args, "--tape-capacity", "1M"], { ask });
    expect(status, stderr).to.equal(1);
    expect(stderr).to.contain(`cannot freeze ${volume.mountpoint} any longer`);
    expect(tapes, "tapes asked for").to.be.lessThan(5);
    await expectThawed();
    expect((await reelfs(["info", tape()])).stdout).to.contain("interrupted");
  });

  async function killKeeper(mountpoint: string): Promise<void> {
    for (const pid of await readdir("/proc")) {
      const words = await readFile(join("/proc", pid, "cmdline"), "utf8").catch(() => "");
      if (!words.includes(`"--unfreeze",${JSON.stringify(mountpoint)}`)) continue;
      process.kill(Number(pid), "SIGKILL");
    }
    // Comes back when the volume is thawed.
    await writeFile(join(mountpoint, "written"), "");
  }

  it("is refused where it would wait for itself, and where nothing is to be frozen", async () => {
    const onVolume = [
      "backup",
      "--freeze",
      "fsfreeze",
      volume.device,
      join(volume.mountpoint, "a.tap"),
    ];
    const told = await reelfs(onVolume);
    expect(told.stderr).to.match(/a\.tap lies on it, and the backup would wait for its own writes/);
    expect(told.status).to.equal(2);
    await expectThawed();
    const temporary = options({ writesTo: [tmpdir(), join(volume.mountpoint, "tmp")] });
    await expectSaid(LiveBackup.begin(temporary), "invalid", /tmp lies on it/);
    endKernelMount(volume.mountpoint);
    await expectSaid(LiveBackup.begin(options()), "invalid", /not mounted for writing/);
    await mustRun("mount", [volume.device, volume.mountpoint]);
  });

  it("is refused for a filesystem that is hidden under another mount", async () => {
    await mustRun("mount", ["-t", "tmpfs", "tmpfs", volume.mountpoint]);
    try {
      await expectSaid(LiveBackup.begin(options()), "unsupported", /mounted over it/);
    } finally {
      endKernelMount(volume.mountpoint);
    }
    await expectThawed();
  });

  it("takes the ways of freezing that are for it", async () => {
    const refused = async (...args: string[]): Promise<string> => {
      const { status, stderr } = await reelfs(["backup", ...args]);
      expect(status, stderr).to.equal(2);
      return stderr;
    };
    const { device } = volume;
    expect(await refused("--freeze", "copy", device, tape())).to.contain("choose fsfreeze or lvm");
    expect(await refused("--freeze", "lvm", "--tracked", volume.folder, tape())).to.contain(
      "choose wait or copy",
    );
    expect(await refused("--freeze-size", "1G", device, tape())).to.contain("--freeze-size is for");
  });
});
