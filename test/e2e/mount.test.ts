/** The mount commands from end to end: a FAT volume, a tape, a daemon, real tools. */
import { expect } from "chai";
import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import {
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { chmod, copyFile, mkdir, open, readFile, rm, truncate } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { controlRequest } from "../../src/fuse/control.ts";
import { outputOf, runHere, withRuntime } from "../support/command-in-place.ts";
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
import { skipUnless } from "../support/skip.ts";
import { REMOVAL } from "../support/temp.ts";

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
const NODE = [process.execPath, "--import", import.meta.resolve("tsx"), MAIN];

interface MountedFacts {
  readonly mountpoint: string;
  readonly pid: number;
}

describe("reelfs mount", function () {
  this.timeout(60_000);
  let place: Place;
  let tape: string;
  let source: string;
  const M = (path = ""): string => join(place.mountpoint, path);

  /** A command in a process of its own. */
  async function reelfs(...args: string[]): Promise<Ran> {
    const [command = "", ...rest] = [...NODE, ...args];
    return runTool(command, rest, { cwd: place.folder, env: place.env });
  }

  async function here(...args: string[]): Promise<Ran> {
    return runHere(place, args);
  }

  async function mount(...options: string[]): Promise<MountedFacts> {
    return JSON.parse(
      outputOf(await reelfs("mount", "--json", tape, place.mountpoint, ...options)),
    ) as MountedFacts;
  }

  async function umount(...options: string[]): Promise<void> {
    const ran = await here("umount", place.mountpoint, ...options);
    expect(ran.stderr).to.equal("");
    expect(ran.status).to.equal(0);
  }

  async function statistics(): Promise<{ image: { dataRecordsRead: number } }> {
    const answer: unknown = await withRuntime(place, async () =>
      controlRequest(place.mountpoint, { op: "statistics" }),
    );
    return answer as { image: { dataRecordsRead: number } };
  }

  /** What mounts keep in the runtime folder. */
  function runtimeFiles(): string[] {
    const { XDG_RUNTIME_DIR: folder = "" } = place.env;
    return readdirSync(join(folder, "reelfs"));
  }

  before(async function () {
    requireFuse(this);
    skipUnless(this, hasFatTools(), NO_FAT_TOOLS);
    place = await makePlace();
    source = join(place.folder, "DCIM");
    tape = join(place.folder, "photos.tap");
    const volume = join(place.folder, "photos.img");
    await mkdir(join(source, "2024"), { recursive: true });
    for (let index = 0; index < 40; index++) {
      writeFileSync(join(source, "2024", `Img${index}.jpg`), randomBytes(1000 + index * 977));
    }
    writeFileSync(join(source, "film.mov"), randomBytes(3_000_000));
    writeFileSync(join(source, "run.sh"), "#!/bin/sh\necho ran on $1\n");
    await copyFile("/bin/true", join(source, "true"));
    writeFileSync(volume, "");
    await truncate(volume, 40 << 20);
    runFatTool("mkfs.fat", ["-F", "32", "-n", "PHOTOS", volume]);
    runFatTool("mcopy", ["-i", volume, "-s", source, "::/DCIM"]);
    const ran = await reelfs("backup", "--codec", "none", volume, tape);
    expect(ran.status, ran.stderr).to.equal(0);
  });

  afterEach(async function () {
    if (!(await isMounted(place.mountpoint))) return;
    await here("umount", "--lazy", place.mountpoint);
    if (this.currentTest?.state === "passed") throw new Error("the test left its mount behind");
  });

  after(async () => {
    if ((place as Place | undefined) !== undefined) await place.remove();
  });

  it("returns when the image can be used, and shows every file as it was", async () => {
    const { pid } = await mount();
    expect(await shell(`diff -r "${source}" "$M/DCIM" && echo same`, M())).to.equal("same\n");
    expect(await shell('"$M/dcim/RUN.SH" tape; "$M/DCIM/true"', M())).to.equal("ran on tape\n");
    const listed = await here("mounts");
    expect(listed.stdout).to.contain(place.mountpoint).and.contain(`${tape}#1`);
    expect(listed.stdout).to.contain(String(pid)).and.contain("serving");
    await umount();
    expect((await here("mounts")).stdout).to.equal("nothing is mounted\n");
    await gone(pid);
  });

  it("walks the tree without reading data from the tape", async () => {
    await mount();
    await shell('find "$M" -printf x; ls -lR "$M"; du -s "$M"; df "$M"', M());
    expect((await statistics()).image.dataRecordsRead).to.equal(0);
    await shell('cat "$M/DCIM/film.mov"', M());
    expect((await statistics()).image.dataRecordsRead).to.be.above(0);
    await umount();
  });

  it("takes edits that vanish, as far as there is room, and never touches the tape", async () => {
    const before = readFileSync(tape);
    await mount("--overlay-size", "4M");
    await shell(
      `cd "$M/DCIM"; cp -a 2024 copy; diff -r 2024 copy; mv 2024 moved; rm -r copy
       printf new > moved/img1.jpg.tmp; mv moved/img1.jpg.tmp moved/IMG1.JPG; cat moved/Img1.jpg
       ln -s film.mov link; cmp link "${source}/film.mov"; chmod 600 film.mov
       printf patch | dd of=film.mov bs=1 seek=1000000 conv=notrunc 2>/dev/null`,
      M(),
    );
    expect(statSync(M("DCIM/film.mov")).mode & 0o777).to.equal(0o600);
    expect(statSync(M("DCIM/film.mov")).size).to.equal(3_000_000);
    const full = await runTool("dd", ["if=/dev/zero", `of=${M("big")}`, "bs=1M", "count=10"]);
    expect(full.stderr).to.contain("No space left on device");
    await umount();
    expect(readFileSync(tape).equals(before)).to.be.true;
    await mount("--read-only");
    expect(await shell(`diff -r "${source}" "$M/DCIM" && echo same`, M())).to.equal("same\n");
    expect((await runTool("touch", [M("x")])).stderr).to.contain("Read-only file system");
    await umount();
  });

  it("gives files the owner and modes that were asked for", async () => {
    await mount("--uid", "1234", "--gid=5678", "--umask", "077", "--time-zone", "-05:30");
    const { uid, gid, mode } = statSync(M("DCIM/film.mov"));
    expect([uid, gid, mode & 0o777]).to.deep.equal([1234, 5678, 0o700]);
    await umount();
  });

  it("tags files by attribute and by command, for a restore", async () => {
    await mount();
    await shell(
      'setfattr -n user.reelfs.tag "$M/dcim/FILM.MOV"; mv "$M/DCIM/2024" "$M/DCIM/y"',
      M(),
    );
    const tagged = await here("tag", M("DCIM/y"), M("nowhere"), "/etc");
    expect(tagged.status).to.equal(1);
    expect(tagged.stdout).to.equal("1 tagged\n");
    expect(tagged.stderr).to.contain("nowhere").and.contain("/etc is not inside a ReelFS mount");
    const tags = await here("tags", "--json", place.mountpoint);
    expect((JSON.parse(tags.stdout) as { tags: unknown }).tags).to.deep.equal([
      { path: "/DCIM/film.mov", imagePath: "/DCIM/film.mov" },
      { path: "/DCIM/y", imagePath: "/DCIM/2024" },
    ]);
    expect((await here("untag", M("DCIM/film.mov"))).status).to.equal(0);
    expect((await here("untag", M("DCIM/film.mov"))).stderr).to.contain("has no tag");
    expect((await here("tags", place.mountpoint)).stdout).to.equal(
      "/DCIM/y  (in the image: /DCIM/2024)\n",
    );
    await umount();
    expect((await here("tags", place.mountpoint)).stderr).to.contain("no ReelFS mount");
  });

  it("says why it cannot mount", async () => {
    const missing = await reelfs("mount", join(place.folder, "no.tap"), place.mountpoint);
    expect(missing.status).to.equal(1);
    expect(missing.stderr).to.match(/^reelfs mount: .*no\.tap/);
    const nowhere = await reelfs("mount", tape, join(place.folder, "nowhere"));
    expect(nowhere.stderr).to.contain("there is no such directory");
    const file = await reelfs("mount", tape, tape);
    expect(file.stderr).to.contain("not a directory");
    const full = await reelfs("mount", tape, source);
    expect(full.stderr).to.contain("not empty");
    expect(runtimeFiles()).to.deep.equal([]);
    await mount();
    const twice = await reelfs("mount", tape, place.mountpoint);
    expect(twice.stderr).to.contain("is mounted there; unmount it first");
    expect((await here("mounts")).stdout).to.contain("serving");
    await umount();
    expect(runtimeFiles()).to.deep.equal([]);
    const again = await here("umount", place.mountpoint);
    expect(again.stderr).to.contain("nothing is mounted there");
  });

  it("lets the daemon hold no more memory than it needs", async () => {
    const { pid } = await mount();
    const [command, environment] = ["cmdline", "environ"].map((name) =>
      readFileSync(`/proc/${pid}/${name}`, "utf8").split("\0"),
    );
    // Without these it takes more than 200 MiB in the end, on a volume larger than a test's.
    expect(command).to.include("--max-semi-space-size=2");
    expect(environment).to.include("MALLOC_ARENA_MAX=2");
    await umount();
  });

  it("names who keeps a mount busy, and goes on serving them when it is taken away lazily", async () => {
    const { pid } = await mount();
    const file = openSync(M("DCIM/film.mov"), "r");
    const busy = await here("umount", place.mountpoint);
    expect(busy.status).to.equal(1);
    expect(busy.stderr).to.contain(`(pid ${process.pid}) has ${M("DCIM/film.mov")} open`);
    await umount("--lazy");
    expect(await isMounted(place.mountpoint)).to.be.false;
    const part = Buffer.alloc(1000);
    expect(readSync(file, part, 0, 1000, 2_000_000)).to.equal(1000);
    expect(part.equals(readFileSync(join(source, "film.mov")).subarray(2_000_000, 2_001_000))).to.be
      .true;
    closeSync(file);
    await gone(pid);
  });

  it("leaves nothing that umount cannot clear when the daemon is killed", async () => {
    const { pid } = await mount();
    process.kill(pid, "SIGKILL");
    await gone(pid);
    expect((await runTool("ls", [M()])).stderr).to.match(/not connected|connection abort/);
    expect((await here("mounts")).stdout).to.contain("stale");
    expect((await here("tags", place.mountpoint)).stderr).to.contain("is gone; clear it");
    const cleared = await here("umount", place.mountpoint);
    expect(cleared.stdout).to.contain("its daemon was gone already");
    expect(await isMounted(place.mountpoint)).to.be.false;
  });

  it("mounts over what a killed daemon left", async () => {
    const { pid } = await mount();
    process.kill(pid, "SIGKILL");
    await gone(pid);
    await mount();
    expect(readFileSync(M("DCIM/run.sh"), "utf8")).to.contain("ran on");
    await umount();
  });

  it("unmounts on SIGTERM, and serves in the foreground when asked", async () => {
    const { pid } = await mount();
    process.kill(pid, "SIGTERM");
    await gone(pid);
    expect(await isMounted(place.mountpoint)).to.be.false;
    const [command, ...rest] = [
      process.execPath,
      ...NODE.slice(1),
      "mount",
      "-f",
      tape,
      place.mountpoint,
    ];
    const child = spawn(command, rest, {
      env: { ...process.env, ...place.env },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [line] = (await once(child.stdout, "data")) as [Buffer];
    expect(line.toString()).to.contain("changes vanish");
    const ended = once(child, "exit");
    child.kill("SIGINT");
    expect(((await ended) as [number])[0]).to.equal(0);
    expect(await isMounted(place.mountpoint)).to.be.false;
  });

  it("answers EIO for what is damaged on the tape, and gives all the rest", async () => {
    const sound = await readFile(tape);
    const film = readFileSync(join(source, "film.mov"));
    const at = sound.indexOf(film.subarray(2_000_000, 2_000_064));
    const file = await open(tape, "r+");
    await file.write(Buffer.alloc(16, 0xee), 0, 16, at);
    await file.close();
    try {
      await mount();
      const { stderr } = await runTool("cat", [M("DCIM/film.mov")]);
      expect(stderr).to.contain("Input/output error");
      const same = await shell(
        `diff -r "${source}/2024" "$M/DCIM/2024"
         head -c 1000000 "$M/DCIM/film.mov" | cmp -n 1000000 - "${source}/film.mov" && echo same`,
        M(),
      );
      expect(same).to.equal("same\n");
      await umount();
    } finally {
      await rm(tape);
      writeFileSync(tape, sound);
    }
  });

  it("works for a user who is not root", async function () {
    skipUnless(this, process.getuid?.() === 0, "only root can become somebody else");
    const device = statSync("/dev/fuse");
    skipUnless(this, (device.mode & 0o006) === 0o006, "/dev/fuse is closed to other users");
    const nobody = Number(spawnSync("id", ["-u", "nobody"], { encoding: "utf8" }).stdout);
    const home = join("/tmp", `reelfs-nobody-${process.pid}`);
    const as = async (...args: string[]): Promise<Ran> =>
      runTool("runuser", ["-u", "nobody", "--", ...args], {
        // He may not write where this process counts what tests cover.
        env: { XDG_RUNTIME_DIR: home, HOME: home, NODE_V8_COVERAGE: "" },
      });
    await as("mkdir", "-p", "-m", "700", home, join(home, "mnt"));
    await chmod(place.folder, 0o755);
    try {
      const ran = await as(...NODE, "mount", tape, join(home, "mnt"));
      expect(ran.stderr).to.equal("");
      const listed = await as("stat", "-c", "%u", join(home, "mnt/DCIM/film.mov"));
      expect(listed.stdout).to.equal(`${nobody}\n`);
      expect((await as(...NODE, "umount", join(home, "mnt"))).status).to.equal(0);
    } finally {
      await as("fusermount3", "-uz", join(home, "mnt"));
      await rm(home, REMOVAL);
    }
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
