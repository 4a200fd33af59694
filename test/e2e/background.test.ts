/** The command as it is installed, and what becomes of it while a mount starts. */
import { expect } from "chai";
import { spawn, type ChildProcess, type StdioOptions } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, openSync, readdirSync, readFileSync, watch } from "node:fs";
import { chmod, copyFile, mkdir, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { asksForDaemon } from "../../src/cli/daemon-answer.ts";
import { hasFatTools, NO_FAT_TOOLS, runTool as runFatTool } from "../support/fat-tools.ts";
import { isMounted, makePlace, type Place, type Ran, requireFuse } from "../support/mountpoint.ts";
import { skipUnless } from "../support/skip.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

describe("asking for a daemon", () => {
  it("is seen in the words, unless they may ask for something else", () => {
    for (const line of ["mount a b", "expose -r a b", "track a b", "loader mount v m", "mount"]) {
      expect(asksForDaemon(line.split(" ")), line).to.be.true;
    }
    const others = ["mount -f a b", "mount -rf a b", "mount --foreground a b", "mount --help"];
    for (const line of [...others, "mounts", "loader list", "loader", "ls mount", ""]) {
      expect(asksForDaemon(line.split(" ")), line).to.be.false;
    }
  });
});

describe("the joined command", function () {
  this.timeout(120_000);
  let place: Place;
  let command: string;
  let volume: string;

  function start(args: readonly string[], stdio: StdioOptions = ["ignore", "pipe", "pipe"]) {
    const env = { ...process.env, ...place.env, NODE_V8_COVERAGE: "" };
    return spawn(command, args, { cwd: "/", env, stdio });
  }

  async function ended(child: ChildProcess): Promise<Ran> {
    let [stdout, stderr] = ["", ""];
    child.stdout?.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr?.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    const [status] = (await once(child, "close")) as [number | null];
    return { status, stdout, stderr };
  }

  const reelfs = async (...args: string[]): Promise<Ran> => ended(start(args));
  const runtime = (): string => join(place.env["XDG_RUNTIME_DIR"] ?? "", "reelfs");

  /** A command that mounts, as soon as it has made the log of its daemon. */
  async function starting(): Promise<ChildProcess> {
    mkdirSync(runtime(), { mode: 0o700, recursive: true });
    const watcher = watch(runtime());
    const logged = once(watcher, "change");
    const child = start(["mount", volume, place.mountpoint]);
    await logged;
    watcher.close();
    return child;
  }

  before(async function () {
    requireFuse(this);
    skipUnless(this, hasFatTools(), NO_FAT_TOOLS);
    place = await makePlace();
    // As npm lays it out: the package, and a link to what it starts.
    const root = join(place.folder, "package");
    const folder = join(root, "dist", "command");
    await mkdir(root);
    await copyFile(join(ROOT, "package.json"), join(root, "package.json"));
    await symlink(join(ROOT, "node_modules"), join(root, "node_modules"));
    const args = ["--import", import.meta.resolve("tsx"), join(ROOT, "scripts/bundle.ts"), folder];
    const built = await ended(spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] }));
    expect(built.status, built.stderr).to.equal(0);
    command = join(place.folder, "reelfs");
    const script = join(folder, "main.js");
    await symlink(script, command);
    await chmod(script, 0o755);
    volume = join(place.folder, "volume.img");
    await writeFile(volume, "");
    await truncate(volume, 40 << 20);
    runFatTool("mkfs.fat", ["-F", "32", volume]);
    await writeFile(join(place.folder, "note.txt"), "a note");
    runFatTool("mcopy", ["-i", volume, join(place.folder, "note.txt"), "::/note.txt"]);
  });

  after(async () => {
    if ((place as Place | undefined) !== undefined) await place.remove();
  });

  it("says its version", async () => {
    expect(await reelfs("--version")).to.deep.include({ status: 0, stderr: "" });
  });

  it("mounts, by the link, prints what was asked for, and unmounts", async () => {
    const ran = await reelfs("mount", "--json", "--read-only", volume, place.mountpoint);
    expect(ran).to.deep.include({ status: 0, stderr: "" });
    const { pid, mountpoint } = JSON.parse(ran.stdout) as { pid: number; mountpoint: string };
    expect(mountpoint).to.equal(place.mountpoint);
    expect(readFileSync(join(place.mountpoint, "note.txt"), "utf8")).to.equal("a note");
    expect(existsSync(`/proc/${pid}`)).to.be.true;
    const files = readdirSync(runtime());
    expect(files.map((name) => name.replace(/.*\./, "")).sort()).to.deep.equal([
      ...["json", "log", "sock"],
    ]);
    expect(await reelfs("umount", place.mountpoint)).to.deep.include({ status: 0 });
    expect(readdirSync(runtime())).to.deep.equal([]);
  });

  it("ends as the daemon's start ended, and leaves nothing where it failed", async () => {
    const missing = await reelfs("mount", join(place.folder, "no.tap"), place.mountpoint);
    expect(missing).to.deep.include({ status: 1, stdout: "" });
    expect(missing.stderr).to.match(/^reelfs mount: .*no\.tap.*no such file.*\n$/);
    const wrong = await reelfs("mount", "--colour", volume, place.mountpoint);
    expect(wrong).to.deep.include({ status: 2, stdout: "" });
    expect(wrong.stderr).to.contain("unknown option '--colour'");
    expect((await reelfs("mount", "--umask", "9", volume, place.mountpoint)).status).to.equal(2);
    // A value that looks like an option: the words do not say what is meant.
    const odd = await reelfs("mount", volume, "--", "-f");
    expect(odd.stderr).to.match(/^reelfs mount: .*-f.*no such (file or )?directory/);
    expect(odd.status).to.equal(1);
    expect(readdirSync(runtime())).to.deep.equal([]);
  });

  it("has no mount after Ctrl-C or SIGTERM while it waits", async () => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      const child = await starting();
      child.kill(signal);
      const ran = await ended(child);
      expect(ran.stderr).to.equal("reelfs mount: mounting was interrupted\n");
      expect(ran).to.deep.include({ status: 130, stdout: "" });
      expect(await isMounted(place.mountpoint)).to.be.false;
      expect(readdirSync(runtime())).to.deep.equal([]);
    }
  });

  it("says how its daemon died when that has no word", async () => {
    const child = await starting();
    const { pid = 0 } = child;
    let daemon = "";
    while (daemon === "") daemon = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
    process.kill(Number(daemon), "SIGKILL");
    const ran = await ended(child);
    expect(ran.stderr).to.equal("reelfs mount: the daemon of the mount died (SIGKILL)\n");
    expect(ran).to.deep.include({ status: 1, stdout: "" });
    expect(readdirSync(runtime())).to.deep.equal([]);
  });

  it("fails when nobody can read where the mount is, and leaves the mount", async () => {
    const full = openSync("/dev/full", "w");
    const args = ["mount", "--json", volume, place.mountpoint];
    const ran = await ended(start(args, ["ignore", full, "pipe"]));
    expect(ran.status).to.equal(1);
    expect(ran.stderr).to.contain("cannot write to standard output: no space left on device");
    expect(await isMounted(place.mountpoint)).to.be.true;
    expect((await reelfs("umount", place.mountpoint)).status).to.equal(0);
  });
});
