/** `reelfs expose` from end to end: volumes on tape as files and as mounts of the kernel. */
import { expect } from "chai";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { chmod, mkdir, readFile, rm, truncate } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { join } from "node:path";
import { makeFiles, makeVolume, requireFilesystem, requireLoop } from "../expose/kernel-volume.ts";
import { compileCommand, outputOf, runHere } from "../support/command-in-place.ts";
import { hasFatTools, NO_FAT_TOOLS, runTool as runFatTool } from "../support/fat-tools.ts";
import {
  hasTool,
  isMounted,
  makePlace,
  type Place,
  type Ran,
  requireFuse,
  runTool,
  shell,
} from "../support/mountpoint.ts";
import { skipUnless } from "../support/skip.ts";
import { REMOVAL } from "../support/temp.ts";

interface ExposedFacts {
  readonly mountpoint: string;
  readonly file?: string;
  readonly loopDevice?: string;
  readonly sizeBytes: number;
  readonly pid: number;
  readonly readOnly: boolean;
}

describe("reelfs expose", function () {
  this.timeout(120_000);
  let place: Place;
  /** Where test tools mount what lies in the exposed file. */
  let second: string;
  const M = (path = ""): string => join(place.mountpoint, path);
  const P = (path: string): string => join(place.folder, path);

  /** The command, compiled once: it is started many times. */
  let main: string;

  /** A command in a process of its own. */
  async function reelfs(...args: string[]): Promise<Ran> {
    return runTool(process.execPath, [main, ...args], { cwd: place.folder, env: place.env });
  }

  async function here(...args: string[]): Promise<Ran> {
    return runHere(place, args);
  }

  async function expose(...args: string[]): Promise<ExposedFacts> {
    return JSON.parse(
      outputOf(await reelfs("expose", "--json", ...args, place.mountpoint)),
    ) as ExposedFacts;
  }

  async function umount(...options: string[]): Promise<void> {
    const ran = await here("umount", place.mountpoint, ...options);
    expect(ran.stderr).to.equal("");
    expect(ran.status).to.equal(0);
  }

  /** Mounts, loop devices, folders, records and sockets are gone. */
  async function expectNothingLeft(): Promise<void> {
    const { XDG_RUNTIME_DIR: runtime = "" } = place.env;
    expect(readdirSync(join(runtime, "reelfs"))).to.deep.equal([]);
    expect(readFileSync("/proc/self/mountinfo", "utf8")).not.to.contain(place.folder);
    expect((await runTool("losetup", ["--list"])).stdout).not.to.contain(place.folder);
    expect((await here("mounts")).stdout).not.to.contain(place.folder);
  }

  before(async function () {
    requireFuse(this);
    place = await makePlace();
    second = P("second");
    await mkdir(second);
    await makeFiles(P("files"), 5);
    main = await compileCommand(place);
  });

  afterEach(async function () {
    for (const path of [second, place.mountpoint]) {
      if (!(await isMounted(path))) continue;
      await runTool("umount", ["-l", path]);
      if (this.currentTest?.state === "passed") throw new Error("the test left its mount behind");
    }
  });

  after(async () => {
    if ((place as Place | undefined) !== undefined) await place.remove();
  });

  describe("of an image of a FAT volume", () => {
    before(async function () {
      skipUnless(this, hasFatTools(), NO_FAT_TOOLS);
      writeFileSync(P("photos.img"), "");
      await truncate(P("photos.img"), 40 << 20);
      writeFileSync(P("film.mov"), randomBytes(3_000_000));
      runFatTool("mkfs.fat", ["-F", "32", "-n", "PHOTOS", P("photos.img")]);
      runFatTool("mcopy", ["-i", P("photos.img"), P("film.mov"), "::/"]);
      const ran = await here("backup", P("photos.img"), P("photos.tap"));
      expect(ran.status, ran.stderr).to.equal(0);
    });

    it("gives mtools and fsck the volume as it was", async () => {
      const facts = await expose(P("photos.tap"));
      expect(facts).to.include({ file: M("volume.img"), sizeBytes: 40 << 20, readOnly: false });
      const listed = await here("mounts");
      expect(listed.stdout)
        .to.contain(`${P("photos.tap")}#1`)
        .and.contain("serving");
      await shell(
        `fsck.fat -n "$M/volume.img"; mcopy -n -i "$M/volume.img" ::/film.mov - | cmp - "${P("film.mov")}"`,
        M(),
      );
      await umount();
      await expectNothingLeft();
    });

    it("takes writes of mtools, which vanish with the mount", async () => {
      const tape = readFileSync(P("photos.tap"));
      await expose(P("photos.tap"));
      await shell(
        `mcopy -i "$M/volume.img" "${P("files/directory 1/file 3")}" ::/NEW.BIN
         mdel -i "$M/volume.img" ::/film.mov
         fsck.fat -n "$M/volume.img"
         mcopy -n -i "$M/volume.img" ::/NEW.BIN - | cmp - "${P("files/directory 1/file 3")}"
         mdir -i "$M/volume.img" :: | grep -qi "film" && exit 1 || true`,
        M(),
      );
      await umount();
      expect(readFileSync(P("photos.tap")).equals(tape)).to.be.true;
      await expose(P("photos.tap"));
      expect(await shell('mdir -b -i "$M/volume.img" ::', M())).to.equal("::/film.mov\n");
      await umount();
    });

    it("refuses changes where none are wanted, and has room for so many where they are", async () => {
      await expose("--read-only", P("photos.tap"));
      expect(statSync(M("volume.img")).mode & 0o777).to.equal(0o400);
      const refused = await runTool("dd", [
        `of=${M("volume.img")}`,
        "if=/dev/zero",
        "bs=1k",
        "count=1",
        "conv=notrunc",
      ]);
      expect(refused.stderr).to.contain("Read-only file system");
      await umount();
      await expose("--overlay-size", "1M", P("photos.tap"));
      const full = await runTool("dd", [
        `of=${M("volume.img")}`,
        "if=/dev/zero",
        "bs=1M",
        "count=2",
        "conv=notrunc",
      ]);
      expect(full.stderr).to.contain("No space left on device");
      const cut = await runTool("truncate", ["-s", "1M", M("volume.img")]);
      expect(cut.stderr).to.contain("Invalid argument");
      expect(statSync(M("volume.img")).size).to.equal(40 << 20);
      await umount();
    });

    it("has a file that qemu and dd read, wherever they begin", async function () {
      await expose(P("photos.tap"));
      const same = `cmp -n 1000000 -i 10000001:10000001 "$M/volume.img" "${P("photos.img")}" && echo same`;
      expect(await shell(same, M())).to.equal("same\n");
      if (hasTool("qemu-img")) {
        const info = await runTool("qemu-img", ["info", "--output=json", M("volume.img")]);
        expect(JSON.parse(info.stdout)).to.include({ format: "raw", "virtual-size": 40 << 20 });
      }
      await umount();
    });

    it("ends on SIGTERM, and is cleared away when it was killed", async () => {
      const ended = await expose(P("photos.tap"));
      process.kill(ended.pid, "SIGTERM");
      await gone(ended.pid);
      await expectNothingLeft();
      const killed = await expose(P("photos.tap"));
      process.kill(killed.pid, "SIGKILL");
      await gone(killed.pid);
      expect((await here("mounts")).stdout).to.contain("stale");
      await umount();
      await expectNothingLeft();
    });
  });

  it("says why it cannot expose", async function () {
    const missing = await reelfs("expose", P("no.tap"), place.mountpoint);
    expect(missing.stderr).to.match(/^reelfs expose: .*no\.tap/);
    writeFileSync(P("noise.img"), randomBytes(1 << 20));
    const nowhere = await reelfs("expose", P("noise.img"), P("nowhere"));
    expect(nowhere.stderr).to.contain("there is no such directory");
    const full = await reelfs("expose", P("noise.img"), P("files"));
    expect(full.stderr).to.contain("not empty");
    skipUnless(this, process.getuid?.() === 0, "only root can attach loop devices");
    const refused = await reelfs("expose", "--loop", P("noise.img"), place.mountpoint);
    expect(refused.status).to.equal(3);
    expect(refused.stderr).to.contain("cannot mount noise.img: the kernel does not accept it");
    const taken = await reelfs("expose", "--loop", P("noise.img"), P("files"));
    expect(taken.stderr).to.contain("not empty");
    await expectNothingLeft();
  });

  it("tells a user who is not root what --loop needs", async function () {
    skipUnless(this, process.getuid?.() === 0, "only root can become somebody else");
    const home = join("/tmp", `reelfs-nobody-${process.pid}`);
    await chmod(place.folder, 0o755);
    const as = async (...args: string[]): Promise<Ran> =>
      runTool("runuser", ["-u", "nobody", "--", ...args], {
        env: { XDG_RUNTIME_DIR: home, HOME: home },
      });
    await as("mkdir", "-p", "-m", "700", home, join(home, "mnt"));
    try {
      writeFileSync(P("noise.img"), randomBytes(1 << 20));
      const ran = await as(
        process.execPath,
        main,
        "expose",
        "--loop",
        P("noise.img"),
        join(home, "mnt"),
      );
      expect(ran.stderr).to.contain("only root can attach a loop device and mount it");
    } finally {
      await rm(home, REMOVAL);
    }
  });

  describe("of a raw ext4 volume", () => {
    let volume: string;

    before(async function () {
      requireLoop(this);
      await requireFilesystem(this, "ext4");
      volume = P("server.img");
      await makeVolume(volume, "ext4", P("files"), place.mountpoint);
    });

    const compare = (at: string): string =>
      `diff -r --no-dereference --exclude lost+found "${P("files")}" "${at}" && echo same`;

    it("gives e2fsck, the loop device and fuse2fs a volume that they can write", async function () {
      const before = readFileSync(volume);
      await expose(volume);
      await shell(
        `e2fsck -fn "$M/volume.img"; mount -o loop "$M/volume.img" "${second}"
         ${compare(second)}; cp -a "${second}/directory 2" "${second}/copy"; umount "${second}"
         e2fsck -fn "$M/volume.img"`,
        M(),
      );
      if (hasTool("fuse2fs")) {
        await shell(
          `fuse2fs -o fakeroot,rw "$M/volume.img" "${second}"
           diff -r --no-dereference "${P("files")}/directory 2" "${second}/copy"
           rm -r "${second}/copy"; fusermount3 -u "${second}"`,
          M(),
        );
      }
      const busy = await runTool("mount", ["-o", "loop", M("volume.img"), second]);
      expect(busy.stderr).to.equal("");
      await runTool("umount", [second]);
      await umount();
      expect(readFileSync(volume).equals(before)).to.be.true;
      await expectNothingLeft();
    });

    it("is mounted by the kernel with --loop, to be edited", async () => {
      const before = readFileSync(volume);
      const facts = await expose("--loop", volume);
      expect(facts.loopDevice).to.match(/^\/dev\/loop\d+$/);
      expect(facts.file).to.equal(undefined);
      expect(await shell(compare(M()), M())).to.equal("same\n");
      await shell('rm -r "$M/directory 1"; echo new > "$M/new"; sync "$M/new"', M());
      const { stdout } = await here("mounts", "--json");
      const { mounts } = JSON.parse(stdout) as { mounts: Record<string, unknown>[] };
      const mine = mounts.filter(({ mountpoint }) => String(mountpoint).includes(place.folder));
      expect(mine).to.have.length(1);
      expect(mine[0]).to.include({
        mountpoint: place.mountpoint,
        state: "serving",
        image: volume,
      });
      expect(mine[0]).to.include({ pid: facts.pid, readOnly: false });
      await umount();
      await gone(facts.pid);
      await expectNothingLeft();
      expect(readFileSync(volume).equals(before)).to.be.true;
    });

    it("is mounted read-only with --loop --read-only, also when its journal must be replayed", async () => {
      const dirty = P("dirty.img");
      await shell(
        `mount -o loop "${volume}" "$M"; echo late > "$M/late"; sync -f "$M"; cp "${volume}" "${dirty}"; umount "$M"`,
        M(),
      );
      await expose("--loop", "--read-only", dirty);
      expect(readFileSync(M("late"), "utf8")).to.equal("late\n");
      expect((await runTool("touch", [M("x")])).stderr).to.contain("Read-only file system");
      await umount();
      await expectNothingLeft();
    });

    it("ends when it is unmounted by umount, by SIGTERM, and when it is no longer busy", async () => {
      const first = await expose("--loop", volume);
      expect((await runTool("umount", [place.mountpoint])).stderr).to.equal("");
      await gone(first.pid);
      await expectNothingLeft();

      const terminated = await expose("--loop", volume);
      process.kill(terminated.pid, "SIGTERM");
      await gone(terminated.pid);
      await expectNothingLeft();

      const held = await expose("--loop", volume);
      const holder = spawn("sleep", ["1000"], { cwd: M("directory 1"), stdio: "ignore" });
      await once(holder, "spawn");
      const busy = await here("umount", place.mountpoint);
      expect(busy.stderr).to.contain(`sleep (pid ${holder.pid ?? "?"}) is in ${M("directory 1")}`);
      await umount("--lazy");
      expect(await isMounted(place.mountpoint)).to.be.false;
      holder.kill();
      await gone(held.pid);
      await expectNothingLeft();
    });

    it("is cleared away by umount when its daemon was killed", async () => {
      const { pid } = await expose("--loop", volume);
      process.kill(pid, "SIGKILL");
      await gone(pid);
      expect((await here("mounts")).stdout).to.contain("stale");
      const cleared = await here("umount", place.mountpoint);
      expect(cleared.stdout).to.contain("its daemon was gone already");
      await expectNothingLeft();
    });

    it("refuses a place where something is mounted", async () => {
      await expose("--loop", volume);
      const twice = await reelfs("expose", "--loop", volume, place.mountpoint);
      expect(twice.stderr).to.contain("is mounted there; unmount it first");
      expect((await here("mounts")).stdout).to.contain("serving");
      await umount();
      await expectNothingLeft();
    });
  });

  it("mounts XFS from the header alone, when the backup has learned what that takes", async function () {
    requireLoop(this);
    await requireFilesystem(this, "xfs");
    const volume = P("data.xfs");
    await makeVolume(volume, "xfs", P("files"), place.mountpoint);
    const tape = P("data.tap");
    outputOf(await reelfs("backup", "--learn", volume, tape));
    await expose("--loop", "--read-only", tape);
    const compared = await shell(`diff -r --no-dereference "${P("files")}" "$M" && echo same`, M());
    expect(compared).to.equal("same\n");
    await umount();
    await expectNothingLeft();
    const header = JSON.parse((await here("info", "--json", `${tape}#1`)).stdout) as {
      header: { sections: { control: { items: number } } };
    };
    expect(header.header.sections.control.items).to.be.above(1);
  });

  it("gives ntfs-3g a volume that it can write", async function () {
    skipUnless(this, hasTool("mkntfs") && hasTool("ntfs-3g"), "install ntfs-3g");
    writeFileSync(P("windows.img"), "");
    await truncate(P("windows.img"), 20 << 20);
    await runTool("mkntfs", ["-q", "-F", "-f", P("windows.img")]);
    await expose(P("windows.img"));
    await shell(
      `ntfs-3g "$M/volume.img" "${second}"; cp "${P("files/directory 1/file 1")}" "${second}/a.bin"
       cmp "${P("files/directory 1/file 1")}" "${second}/a.bin"; umount "${second}"
       ntfsfix -n "$M/volume.img"`,
      M(),
    );
    await umount();
    await expectNothingLeft();
  });
});

/** Waits until a process is gone. */
async function gone(pid: number): Promise<void> {
  for (;;) {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
    if (stat === "" || / [ZX] /.test(stat.slice(stat.lastIndexOf(")")))) return;
    await delay(10);
  }
}
