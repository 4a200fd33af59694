import { expect } from "chai";
import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmdirSync,
  statSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { mkdir, open, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  hasTool,
  isMounted,
  makePlace,
  type Place,
  requireFuse,
  runTool,
  shell,
  startServer,
  stopServer,
} from "../support/mountpoint.ts";
import { skipUnless } from "../support/skip.ts";
import type { ScratchServerOptions } from "./scratch-server.ts";

const SERVER = fileURLToPath(new URL("scratch-server.ts", import.meta.url));

function codeOf(work: () => unknown): string {
  try {
    work();
    return "no error";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

/** Mounts a scratch tree for the tests of one describe. */
function mounted(options: ScratchServerOptions): { place: Place; child: ChildProcess } {
  const holder = {} as { place: Place; child: ChildProcess };
  before(async function () {
    this.timeout(60_000);
    requireFuse(this);
    holder.place = await makePlace();
    const args = [holder.place.mountpoint, JSON.stringify(options)];
    holder.child = await startServer(SERVER, args, holder.place.env);
  });
  after(async function () {
    this.timeout(20_000);
    if ((holder.child as ChildProcess | undefined) !== undefined) await stopServer(holder.child);
    if ((holder.place as Place | undefined) !== undefined) await holder.place.remove();
  });
  return holder;
}

describe("a mounted tree", function () {
  this.timeout(30_000);
  const mount = mounted({ umask: 0o027 });
  const at = (path: string): string => join(mount.place.mountpoint, path);

  it("lists names with . and .., kinds and sizes", async () => {
    const listing = await shell('ls -a "$M/dir"; find "$M/dir" -type f | wc -l', at(""));
    expect(listing.split("\n")).to.deep.equal([".", "..", "Mixed.Case", "sub", "2", ""]);
    expect(await readdir(at("many"))).to.have.length(300);
    expect(statSync(at("huge.bin")).size).to.equal(6 * 2 ** 30 + 123);
  });

  it("reads every byte, also beyond 4 GiB", async () => {
    const sum = readFileSync(at("pattern.bin"));
    for (let offset = 0; offset < sum.length; offset += 4) {
      if (sum.readUInt32LE(offset) !== offset) throw new Error(`wrong at ${offset}`);
    }
    const file = openSync(at("huge.bin"), "r");
    const target = Buffer.alloc(1000, 1);
    expect(readSync(file, target, 0, 1000, 6 * 2 ** 30)).to.equal(123);
    expect(target.subarray(0, 123).every((byte) => byte === 0)).to.be.true;
    closeSync(file);
  });

  it("gives what has no mode the mount's, minus the umask", () => {
    expect(statSync(at("hello.txt")).mode & 0o7777).to.equal(0o640);
    expect(statSync(at("dir")).mode & 0o7777).to.equal(0o750);
    expect(statSync(at("read-only.txt")).mode & 0o7777).to.equal(0o440);
    expect(statSync(at("program")).mode & 0o7777).to.equal(0o755);
    expect(statSync(at("hello.txt")).uid).to.equal(process.getuid?.());
  });

  it("answers EIO for a damaged range alone", () => {
    const file = openSync(at("damaged.bin"), "r");
    const page = Buffer.alloc(4096);
    expect(codeOf(() => readSync(file, page, 0, 4096, 262144))).to.equal("EIO");
    expect(readSync(file, page, 0, 4096, 262144 - 4096)).to.equal(4096);
    expect(readSync(file, page, 0, 4096, 266240)).to.equal(4096);
    closeSync(file);
  });

  it("outlives an operation that throws what it must not", () => {
    expect(codeOf(() => readFileSync(at("bug.bin")))).to.equal("EIO");
    expect(readFileSync(at("hello.txt"), "utf8")).to.equal("hello, world\n");
  });

  it("creates, appends, truncates and writes at offsets", async () => {
    await shell('printf one > "$M/new"; printf two >> "$M/new"; cat "$M/new"', at(""));
    expect(readFileSync(at("new"), "utf8")).to.equal("onetwo");
    await shell('printf X | dd of="$M/new" bs=1 seek=1 conv=notrunc 2>/dev/null', at(""));
    expect(readFileSync(at("new"), "utf8")).to.equal("oXetwo");
    await shell('truncate -s 3 "$M/new"; truncate -s 5 "$M/new"', at(""));
    expect(readFileSync(at("new"), "latin1")).to.equal("oXe\0\0");
    const file = openSync(at("new"), "r+");
    ftruncateSync(file, 1);
    expect(fstatSync(file).size).to.equal(1);
    closeSync(file);
    expect(statSync(at("new")).size).to.equal(1);
    unlinkSync(at("new"));
    expect(codeOf(() => statSync(at("new")))).to.equal("ENOENT");
  });

  it("replaces a file as editors do, and shows the new one at once", async () => {
    writeFileSync(at("edited"), "old contents, longer");
    expect(readFileSync(at("edited"), "utf8")).to.equal("old contents, longer");
    writeFileSync(at("edited.tmp"), "new");
    renameSync(at("edited.tmp"), at("edited"));
    expect(readFileSync(at("edited"), "utf8")).to.equal("new");
    expect(statSync(at("edited")).size).to.equal(3);
    expect(await readdir(at(""))).not.to.include("edited.tmp");
  });

  it("goes on with open files that are renamed or deleted", () => {
    writeFileSync(at("moving"), "still here");
    const file = openSync(at("moving"), "r+");
    renameSync(at("moving"), at("dir/moved"));
    writeSync(file, "S", 0);
    unlinkSync(at("dir/moved"));
    const target = Buffer.alloc(10);
    expect(readSync(file, target, 0, 10, 0)).to.equal(10);
    expect(target.toString()).to.equal("Still here");
    expect(fstatSync(file).size).to.equal(10);
    closeSync(file);
    expect(codeOf(() => statSync(at("dir/moved")))).to.equal("ENOENT");
  });

  it("moves a folder with all that is cached below it", async () => {
    await shell('mkdir -p "$M/p/q"; echo x > "$M/p/q/r"; cat "$M/p/q/r"', at(""));
    await shell('mv "$M/p" "$M/dir/p2"', at(""));
    expect(readFileSync(at("dir/p2/q/r"), "utf8")).to.equal("x\n");
    expect(codeOf(() => statSync(at("p/q/r")))).to.equal("ENOENT");
    expect(
      codeOf(() => {
        rmdirSync(at("dir/p2"));
      }),
    ).to.equal("ENOTEMPTY");
    await shell('rm -r "$M/dir/p2"', at(""));
  });

  it("keeps times, both of them, modes and links through cp -a", async () => {
    await shell(
      `mkdir "$M/../from"; echo a > "$M/../from/a"; chmod 4751 "$M/../from/a"; ln -s a "$M/../from/l"
       touch -a -d 2001-02-03T04:05:06.789Z "$M/../from/a"
       touch -m -d 2011-12-13T14:15:16.171Z "$M/../from/a"
       cp -a "$M/../from" "$M/to"`,
      at(""),
    );
    const stat = statSync(at("to/a"));
    expect(stat.atime.toISOString()).to.equal("2001-02-03T04:05:06.789Z");
    expect(stat.mtime.toISOString()).to.equal("2011-12-13T14:15:16.171Z");
    expect(stat.mode & 0o7777).to.equal(0o4751);
    expect(await shell('readlink "$M/to/l"', at(""))).to.equal("a\n");
    const before = await shell('cd "$M/../from"; tar c --sort=name . | md5sum', at(""));
    expect(await shell('cd "$M/to"; tar c --sort=name . | md5sum', at(""))).to.equal(before);
  });

  it("takes and gives trees by rsync and tar", async function () {
    skipUnless(this, hasTool("rsync"), "rsync is missing");
    await shell(
      `rsync -a "$M/many/" "$M/rsynced/"; diff -r "$M/many" "$M/rsynced"
       test -z "$(rsync -ain "$M/many/" "$M/rsynced/")"
       mkdir "$M/untarred"; tar c -C "$M/many" . | tar x -C "$M/untarred"; diff -r "$M/many" "$M/untarred"`,
      at(""),
    );
  });

  it("runs programs and maps files", async () => {
    await shell('printf "#!/bin/sh\\necho ran\\n" > "$M/script"; chmod +x "$M/script"', at(""));
    expect(await shell('"$M/script"', at(""))).to.equal("ran\n");
    await shell('"$M/program"', at(""));
    expect((await runTool("grep", ["-c", "hello", at("hello.txt")])).stdout).to.equal("1\n");
  });

  it("refuses what it does not have with the errno that says so", async () => {
    const { stderr } = await runTool("ln", [at("hello.txt"), at("hard")]);
    expect(stderr).to.contain("Operation not permitted");
    expect(
      codeOf(() => {
        writeFileSync(at("no/where"), "");
      }),
    ).to.equal("ENOENT");
    expect(
      codeOf(() => {
        writeFileSync(at("hello.txt/x"), "");
      }),
    ).to.equal("ENOTDIR");
    expect(codeOf(() => openSync(at("dir"), constants.O_WRONLY))).to.equal("EISDIR");
    const latin = Buffer.concat([Buffer.from(at("caf")), Buffer.from([0xe9])]);
    expect(
      codeOf(() => {
        writeFileSync(latin, "");
      }),
    ).to.equal("EILSEQ");
    expect((await runTool("mkfifo", [at("fifo")])).stderr).to.contain("not permitted");
  });

  it("sets, lists and removes extended attributes of any size", async function () {
    skipUnless(this, hasTool("setfattr"), "setfattr is missing");
    writeFileSync(at("marked"), "");
    const long = "v".repeat(3000);
    await shell(`setfattr -n user.note -v ${long} "$M/marked"`, at(""));
    await shell('setfattr -n user.other -v "" "$M/marked"', at(""));
    const value = await shell('getfattr --only-values -n user.note "$M/marked"', at(""));
    expect(value).to.equal(long);
    expect(await shell('getfattr "$M/marked"', at(""))).to.match(/user\.note\nuser\.other\n/);
    await shell('setfattr -x user.note "$M/marked"', at(""));
    const gone = await runTool("getfattr", ["-n", "user.note", at("marked")]);
    expect(gone.stderr).to.contain("No such attribute");
  });

  it("shows the true size of a volume of 20 TiB", async () => {
    const df = await shell('df -B1 --output=size,avail,source "$M" | tail -1', at(""));
    expect(df.trim().split(/\s+/)).to.deep.equal([
      String(20 * 2 ** 40),
      String(5 * 2 ** 40),
      "scratch",
    ]);
  });

  it("answers ENOSPC when the tree is full", () => {
    const file = openSync(at("full"), "w");
    expect(codeOf(() => writeSync(file, Buffer.alloc(4096), 0, 4096, 2 ** 30))).to.equal("ENOSPC");
    closeSync(file);
  });

  it("serves eight readers at once", async () => {
    const sums = await Promise.all(
      Array.from({ length: 8 }, async () => shell('md5sum < "$M/pattern.bin"', at(""))),
    );
    expect(new Set(sums).size).to.equal(1);
  });

  it("unmounts when asked, naming who keeps it busy until then", async () => {
    const sleeper = spawn("sleep", ["30"], { cwd: at("dir"), stdio: "ignore" });
    await once(sleeper, "spawn");
    const said = once(mount.child, "message");
    mount.child.kill("SIGTERM");
    const [message] = (await said) as [string];
    expect(message).to.contain(`sleep (pid ${sleeper.pid ?? 0}) is in ${at("dir")}`);
    expect(await isMounted(mount.place.mountpoint)).to.be.true;
    const ended = once(mount.child, "exit");
    // The second signal does not wait for the sleeper.
    mount.child.kill("SIGTERM");
    await ended;
    expect(await isMounted(mount.place.mountpoint)).to.be.false;
    sleeper.kill();
  });
});

describe("a mounted tree that folds case", function () {
  this.timeout(30_000);
  const mount = mounted({ foldsCase: true });
  const at = (path: string): string => join(mount.place.mountpoint, path);

  it("finds names in either case", () => {
    expect(readFileSync(at("DIR/MIXED.CASE"), "utf8")).to.equal("mixed\n");
  });

  it("shows at once under one spelling what was changed under another", () => {
    for (let round = 0; round < 20; round++) {
      writeFileSync(at("Name.txt"), `round ${"x".repeat(round)}`);
      expect(readFileSync(at("NAME.TXT"), "utf8")).to.equal(`round ${"x".repeat(round)}`);
      expect(statSync(at("name.txt")).size).to.equal(6 + round);
      unlinkSync(at("NAME.txt"));
      expect(codeOf(() => statSync(at("Name.txt")))).to.equal("ENOENT");
      expect(codeOf(() => statSync(at("NAME.TXT")))).to.equal("ENOENT");
    }
  });

  it("renames from one case to the other", async () => {
    await writeFile(at("lower"), "x");
    await rename(at("lower"), at("LOWER"));
    expect(await readdir(at("")))
      .to.include("LOWER")
      .and.not.include("lower");
    await mkdir(at("Folder"));
    expect(
      codeOf(() => {
        writeFileSync(at("FOLDER/new"), "y");
      }),
    ).to.equal("no error");
    expect(await readFile(at("folder/NEW"), "utf8")).to.equal("y");
  });

  it("keeps serving a file opened under one spelling and removed under another", async () => {
    await writeFile(at("Kept"), "kept");
    const file = await open(at("Kept"), "r");
    unlinkSync(at("KEPT"));
    const target = Buffer.alloc(4);
    await file.read(target, 0, 4, 0);
    expect(target.toString()).to.equal("kept");
    await file.close();
  });
});

describe("a read-only mount with a timeout", function () {
  this.timeout(30_000);
  const mount = mounted({ readOnly: true, timeoutSeconds: 1, uid: 1234, name: "a,b c\\040d" });
  const at = (path: string): string => join(mount.place.mountpoint, path);

  it("refuses every change", () => {
    expect(
      codeOf(() => {
        writeFileSync(at("hello.txt"), "");
      }),
    ).to.equal("EROFS");
    expect(
      codeOf(() => {
        unlinkSync(at("hello.txt"));
      }),
    ).to.equal("EROFS");
    expect(statSync(at("hello.txt")).uid).to.equal(1234);
  });

  it("reads", () => {
    expect(readFileSync(at("hello.txt"), "utf8")).to.equal("hello, world\n");
    expect(readFileSync(at("pattern.bin")).readUInt32LE(3 << 20)).to.equal(3 << 20);
  });

  it("lets no name of an image into the options of the mount", async () => {
    const mounts = await readFile("/proc/self/mounts", "utf8");
    const line = mounts.split("\n").find((each) => each.includes(mount.place.mountpoint));
    expect(line).to.match(/^a_b_c_040d /);
  });

  it("gives up on a read that takes too long, and on that alone", () => {
    expect(codeOf(() => readFileSync(at("never.bin")))).to.equal("ETIMEDOUT");
    expect(readFileSync(at("hello.txt"), "utf8")).to.equal("hello, world\n");
  });

  it("ends when it is unmounted from outside", async () => {
    const ended = once(mount.child, "exit");
    await runTool("fusermount3", ["-u", mount.place.mountpoint]);
    expect(((await ended) as [number])[0]).to.equal(0);
  });
});
