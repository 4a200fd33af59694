/** What filesystems of Unix have and FAT has not, through real mounts of a real ext4 volume. */
import { expect } from "chai";
import type { ChildProcess } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  closeSync,
  existsSync,
  lstatSync,
  openSync,
  readFileSync,
  readlinkSync,
  readSync,
  renameSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  hasTool,
  makePlace,
  type Place,
  requireFuse,
  runTool,
  shell,
  startServer,
  stopServer,
} from "../support/mountpoint.ts";
import { skipUnless } from "../support/skip.ts";

const SERVER = fileURLToPath(new URL("volume-server.ts", import.meta.url));

/** Everything that ext4 knows, in a folder $M that mke2fs copies to a volume. */
const SAMPLE = `
  cd "$M"
  mkdir plain shared many
  echo contents > plain/file; chmod 640 plain/file; chown 1234:99 plain/file
  ln -s ../plain/file shared/link
  echo one > shared/one; ln shared/one shared/two; ln shared/one plain/three
  mkfifo -m 622 pipe; mknod tty c 4 64; mknod disk b 259 70000
  chmod 1777 shared; cp /bin/true setuid; chmod 4755 setuid
  printf 'odd' > "$(printf 'new\\nline \\\\ back')"
  for i in $(seq 1 2000); do : > many/$i; done
`;
const ATTRIBUTES = `
  cd "$M"
  setfattr -n user.note -v hello plain/file
  setfattr -n user.big -v "$(head -c 3000 /dev/zero | tr '\\0' x)" plain/file
  setfacl -m u:7:r plain/file
  setfacl -d -m g:8:rwx plain
`;

/** Makes the sample once and mounts it for the tests of one describe. */
function mounted(mode: "read" | "write"): { place: Place; hasAcls: boolean } {
  const holder = { hasAcls: false } as { place: Place; child: ChildProcess; hasAcls: boolean };
  before(async function () {
    this.timeout(120_000);
    requireFuse(this);
    skipUnless(this, process.geteuid?.() === 0, "needs root to make devices");
    skipUnless(this, hasTool("mke2fs"), "mke2fs is not installed (package e2fsprogs)");
    holder.place = await makePlace();
    const sample = join(holder.place.folder, "sample");
    const image = join(holder.place.folder, "ext4.img");
    await mkdir(sample);
    await shell(SAMPLE, sample);
    holder.hasAcls = await shell(ATTRIBUTES, sample).then(
      () => true,
      () => false,
    );
    await shell(`truncate -s 32M ${image}; mke2fs -q -t ext4 -b 4096 -d "$M" ${image}`, sample);
    const args = [image, holder.place.mountpoint, mode];
    holder.child = await startServer(SERVER, args, holder.place.env);
  });
  after(async function () {
    this.timeout(20_000);
    if ((holder.child as ChildProcess | undefined) !== undefined) await stopServer(holder.child);
    if ((holder.place as Place | undefined) !== undefined) await holder.place.remove();
  });
  return holder;
}

describe("a mounted ext4 volume", function () {
  this.timeout(60_000);
  const mount = mounted("read");
  const at = (path: string): string => join(mount.place.mountpoint, path);

  it("shows links, pipes, devices, owners and modes", () => {
    expect(readlinkSync(at("shared/link"))).to.equal("../plain/file");
    expect(readFileSync(at("shared/link"), "utf8")).to.equal("contents\n");
    const file = statSync(at("plain/file"));
    expect([file.uid, file.gid]).to.deep.equal([1234, 99]);
    expect(statSync(at("shared")).mode & 0o7777).to.equal(0o1777);
    expect(statSync(at("setuid")).mode & 0o7777).to.equal(0o4755);
    const pipe = lstatSync(at("pipe"));
    expect([pipe.isFIFO(), pipe.mode & 0o777]).to.deep.equal([true, 0o622]);
    const tty = lstatSync(at("tty"));
    expect([tty.isCharacterDevice(), tty.rdev]).to.deep.equal([true, (4 << 8) | 64]);
    expect(lstatSync(at("disk")).isBlockDevice()).to.be.true;
  });

  it("shows names of one file as one file, and its number in listings too", async () => {
    const one = statSync(at("shared/one"));
    expect([one.nlink, statSync(at("plain/three")).ino]).to.deep.equal([3, one.ino]);
    expect(statSync(at("shared/two")).ino).to.equal(one.ino);
    const found = await shell('find "$M" -samefile "$M/shared/one" | wc -l', at(""));
    expect(found.trim()).to.equal("3");
    const listed = await shell('ls -1i "$M/shared"', at(""));
    expect(listed).to.contain(`${one.ino} one`).and.contain(`${one.ino} two`);
  });

  it("lists large folders whole, and names with any characters", async () => {
    expect(await readdir(at("many"))).to.have.length(2000);
    expect(readFileSync(at("new\nline \\ back"), "utf8")).to.equal("odd");
  });

  it("gives devices and set-ID programs no power", async () => {
    const mounts = readFileSync("/proc/self/mounts", "utf8").split("\n");
    const line = mounts.find((each) => each.includes(mount.place.mountpoint)) ?? "";
    expect(line).to.contain("nosuid").and.contain("nodev");
    const opened = await runTool("cat", [at("tty")]);
    expect(opened.stderr).to.contain("Permission denied");
  });

  it("passes extended attributes and access control lists through", async function () {
    skipUnless(this, mount.hasAcls, "the temporary folder, or its tools, know no attributes");
    const note = await shell('getfattr --only-values -n user.note "$M/plain/file"', at(""));
    expect(note).to.equal("hello");
    const big = await shell('getfattr --only-values -n user.big "$M/plain/file"', at(""));
    expect(big).to.have.length(3000);
    const acl = await shell('getfacl -nc "$M/plain/file"', at(""));
    expect(acl).to.contain("user:7:r--");
    expect(await shell('getfacl -ncd "$M/plain"', at(""))).to.contain("group:8:rwx");
    expect(await shell('ls -ld "$M/plain/file"', at(""))).to.match(/^-rw-r-----\+/);
  });

  it("is copied by tar with everything it has", async () => {
    const listed = await shell('tar -C "$M" -cf - . | tar -tvf -', at(""));
    expect(listed).to.contain("link to ./").and.contain("shared/link -> ../plain/file");
    expect(listed).to.match(/crw\S+ root\/root\s+4,64/);
  });
});

describe("an ext4 volume mounted to be changed", function () {
  this.timeout(60_000);
  const mount = mounted("write");
  const at = (path: string): string => join(mount.place.mountpoint, path);

  it("shows under one name at once what was changed through another", () => {
    const names = ["shared/one", "shared/two", "plain/three"];
    for (const name of names) expect(statSync(at(name)).size).to.equal(4);
    for (const [index, name] of names.entries()) {
      appendFileSync(at(name), `by ${name}\n`);
      for (const other of names) {
        expect(readFileSync(at(other), "utf8"), `${other} after ${name}`).to.contain(`by ${name}`);
        expect(statSync(at(other)).size).to.equal(statSync(at(name)).size);
      }
      chmodSync(at(name), 0o600 + index);
      for (const other of names) expect(statSync(at(other)).mode & 0o777).to.equal(0o600 + index);
      truncateSync(at(name), 3);
      for (const other of names) expect(readFileSync(at(other), "utf8")).to.equal("one");
    }
  });

  it("keeps a file until its last name is gone", () => {
    for (const name of ["plain/three", "shared/two", "shared/one"]) statSync(at(name));
    unlinkSync(at("plain/three"));
    expect(statSync(at("shared/two")).nlink).to.equal(2);
    renameSync(at("shared/two"), at("plain/moved"));
    expect(statSync(at("plain/moved")).ino).to.equal(statSync(at("shared/one")).ino);
    unlinkSync(at("shared/one"));
    expect(statSync(at("plain/moved")).nlink).to.equal(1);
    const file = openSync(at("plain/moved"), "r");
    try {
      unlinkSync(at("plain/moved"));
      expect(readSync(file, Buffer.alloc(3), 0, 3, 0)).to.equal(3);
    } finally {
      closeSync(file);
    }
  });

  it("replaces, renames and removes links and special files like any other", () => {
    renameSync(at("shared/link"), at("moved link"));
    expect(readlinkSync(at("moved link"))).to.equal("../plain/file");
    renameSync(at("pipe"), at("plain/pipe"));
    expect(lstatSync(at("plain/pipe")).isFIFO()).to.be.true;
    chmodSync(at("plain/pipe"), 0o600);
    expect(lstatSync(at("plain/pipe")).mode & 0o777).to.equal(0o600);
    writeFileSync(at("new"), "regular");
    renameSync(at("new"), at("disk"));
    expect(readFileSync(at("disk"), "utf8")).to.equal("regular");
    unlinkSync(at("tty"));
    expect(existsSync(at("tty"))).to.be.false;
  });

  it("takes attributes of users, and none that it would not enforce", async function () {
    skipUnless(this, mount.hasAcls, "the temporary folder, or its tools, know no attributes");
    await shell('setfattr -n user.note -v changed "$M/plain/file"', at(""));
    const note = await shell('getfattr --only-values -n user.note "$M/plain/file"', at(""));
    expect(note).to.equal("changed");
    const denied = await runTool("setfacl", ["-m", "u:9:rwx", at("plain/file")]);
    expect(denied.stderr).to.contain("not supported");
    expect(await shell('getfacl -nc "$M/plain/file"', at(""))).to.contain("user:7:r--");
  });
});
