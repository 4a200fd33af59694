/** The exception log: files of a mounted volume that are open for writing, as the system tells. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { type FileHandle, mkdir, open, symlink, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { ExceptionWatch } from "../../src/live/exception-watch.ts";
import { mountedOn, volumeUnder } from "../../src/live/mounted-volumes.ts";
import { devicesOn } from "../../src/device/stacked-devices.ts";
import { hasTool, runTool } from "../support/mountpoint.ts";
import { skipUnless } from "../support/skip.ts";
import { type LoopVolume, makeLoopVolume, mustRun, requireLoopMounts } from "./loop-volume.ts";
import { endKernelMount } from "../support/end-kernel-mount.ts";

/** Maps a file for writing and closes it, says so, and waits for the end of its input. */
const MAPPER = `
import mmap, sys
with open(sys.argv[1], "w+b") as file:
    file.truncate(8192)
    mapped = mmap.mmap(file.fileno(), 8192)
print("mapped", flush=True)
sys.stdin.read()
`;

async function seen(sources: readonly string[]): Promise<readonly string[]> {
  const watch = await ExceptionWatch.begin({ sources, again: false });
  await watch.stop();
  return [...watch.exceptions().paths].sort();
}

async function end(child: ChildProcess): Promise<void> {
  const ended = once(child, "exit");
  child.stdin?.end();
  await ended;
}

describe("files open for writing", function () {
  this.timeout(60_000);
  let volume: LoopVolume;
  const handles: FileHandle[] = [];

  before(async function () {
    requireLoopMounts(this);
    volume = await makeLoopVolume();
    await mkdir(join(volume.mountpoint, "mail"));
  });

  afterEach(async () => {
    for (const handle of handles.splice(0)) await handle.close();
  });

  after(async () => {
    await volume.remove();
  });

  async function hold(path: string, flags: string): Promise<void> {
    handles.push(await open(join(volume.mountpoint, path), flags));
  }

  it("are named by their path on the volume, whether the device or its file is the source", async () => {
    await hold("mail/inbox", "w");
    await hold("log", "a");
    await hold("both ways", "w+");
    for (const source of [volume.device, volume.file]) {
      expect(await seen([source])).to.deep.equal(["/both ways", "/log", "/mail/inbox"]);
    }
  });

  it("are not those that are read, removed, on another volume, or devices", async () => {
    await writeFile(join(volume.mountpoint, "read"), "x");
    await hold("read", "r");
    await hold("removed", "w");
    await unlink(join(volume.mountpoint, "removed"));
    await mustRun("mknod", [join(volume.mountpoint, "null"), "c", "1", "3"]);
    await hold("null", "w");
    handles.push(await open(join(volume.folder, "elsewhere"), "w"));
    expect(await seen([volume.device])).to.deep.equal([]);
  });

  it("are named where their name ends as the system marks removed ones", async () => {
    await hold("kept (deleted)", "w");
    expect(await seen([volume.device])).to.deep.equal(["/kept (deleted)"]);
  });

  it("are also those that are mapped, and closed again", async function () {
    skipUnless(this, hasTool("python3"), "python3 is missing");
    const path = join(volume.mountpoint, "mapped");
    const mapper = spawn("python3", ["-c", MAPPER, path], { cwd: "/" });
    await once(mapper.stdout, "data");
    try {
      expect(await seen([volume.device])).to.deep.equal(["/mapped"]);
    } finally {
      await end(mapper);
    }
    expect(await seen([volume.device])).to.deep.equal([]);
  });

  it("are also those of processes with mounts of their own, and behind a bind mount", async function () {
    skipUnless(this, hasTool("unshare"), "unshare is missing: install util-linux");
    const bound = join(volume.folder, "bound");
    await mkdir(bound);
    const script = 'mount --bind "$1" "$2"; exec 3>"$2/contained"; echo ready; read -r line';
    const args = ["--mount", "sh", "-euc", script, "sh", join(volume.mountpoint, "mail"), bound];
    const contained = spawn("unshare", args, { cwd: "/", stdio: ["pipe", "pipe", "inherit"] });
    await once(contained.stdout, "data");
    try {
      expect(await seen([volume.device])).to.deep.equal(["/mail/contained"]);
    } finally {
      await end(contained);
    }
  });

  it("are also the files of loop devices, which no process has open", async () => {
    const inner = join(volume.mountpoint, "inner.img");
    await writeFile(inner, Buffer.alloc(1 << 20));
    const device = (await mustRun("losetup", ["--find", "--show", inner])).trim();
    try {
      expect(await seen([volume.device])).to.deep.equal(["/inner.img"]);
    } finally {
      await mustRun("losetup", ["--detach", device]);
    }
  });

  it("are remembered when they are closed before the end, and found when opened meanwhile", async () => {
    await hold("early", "w");
    const watch = await ExceptionWatch.begin({
      ...{ sources: [volume.device], again: true },
      everyMs: 1,
    });
    try {
      for (const handle of handles.splice(0)) await handle.close();
      await hold("late", "w");
      while (watch.exceptions().paths.length < 2) {
        await new Promise((resolve) => setImmediate(resolve));
      }
      expect(watch.exceptions()).to.deep.equal({ paths: ["/early", "/late"], more: false });
      const elsewhere = { startBytes: 4096, endBytes: 8192 };
      expect(watch.exceptions(elsewhere).paths).to.deep.equal([]);
    } finally {
      await watch.stop();
    }
  });

  it("are of no interest on a volume that is mounted read-only, or not at all", async () => {
    await mustRun("mount", ["-o", "remount,ro", volume.mountpoint]);
    try {
      const [mounted] = await mountedOn([volume.device]);
      expect(mounted).to.deep.include({ type: "ext4", writable: false, source: volume.device });
    } finally {
      await mustRun("mount", ["-o", "remount,rw", volume.mountpoint]);
    }
    expect(await mountedOn([join(volume.folder, "elsewhere")])).to.deep.equal([]);
    expect(await devicesOn(join(volume.folder, "not there"))).to.deep.equal([]);
  });

  it("lie on a volume also through a link, a folder that is not there yet, and a file on it", async () => {
    const volumes = await mountedOn([volume.device]);
    await symlink(volume.mountpoint, join(volume.folder, "link"));
    const at = async (path: string): Promise<string | undefined> =>
      (await volumeUnder(path, volumes))?.mountpoint;
    expect(await at(join(volume.folder, "link/new/tape.tap"))).to.equal(volume.mountpoint);
    expect(await at(join(volume.folder, "tape.tap"))).to.equal(undefined);
    const inner = join(volume.mountpoint, "nested.img");
    await writeFile(inner, Buffer.alloc(2 << 20));
    await mustRun("mkfs.ext4", ["-q", "-F", inner]);
    const nested = join(volume.folder, "nested");
    await mkdir(nested);
    await mustRun("mount", ["-o", "loop", inner, nested]);
    try {
      expect(await at(join(nested, "tape.tap"))).to.equal(volume.mountpoint);
    } finally {
      endKernelMount(nested);
    }
  });

  it("are told apart by partition of a disk", async function () {
    skipUnless(this, hasTool("sfdisk") && hasTool("partx"), "sfdisk is missing: install fdisk");
    const disk = join(volume.folder, "disk.img");
    await writeFile(disk, Buffer.alloc(12 << 20));
    await mustRun("sh", [
      "-c",
      `printf '2048,8192\\n10240,8192\\n' | sfdisk -q --no-tell-kernel "$0"`,
      disk,
    ]);
    const device = (await mustRun("losetup", ["--find", "--show", disk])).trim();
    const mountpoint = join(volume.folder, "part");
    try {
      await mkdir(mountpoint);
      // Also where the kernel does not look for partitions by itself.
      await mustRun("partx", ["--add", device]);
      expect(await devicesOn(disk)).to.have.lengthOf(3);
      await mustRun("mkfs.ext4", ["-q", "-F", `${device}p2`]);
      await mustRun("mount", [`${device}p2`, mountpoint]);
      await using file = await open(join(mountpoint, "open"), "w");
      await file.write("x");
      const watch = await ExceptionWatch.begin({ sources: [disk], again: false });
      const MIB = 1 << 20;
      const of = (startMib: number): readonly string[] =>
        watch.exceptions({ startBytes: startMib * MIB, endBytes: (startMib + 4) * MIB }).paths;
      expect([of(1), of(5)]).to.deep.equal([[], ["/open"]]);
    } finally {
      await runTool("umount", [mountpoint]);
      await runTool("partx", ["--delete", device]);
      await mustRun("losetup", ["--detach", device]);
    }
  });
});
