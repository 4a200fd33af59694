import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, open, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { COMMANDS } from "../../src/cli/commands/index.ts";
import { run } from "../../src/cli/program.ts";
import { skipUnless } from "../support/skip.ts";
import { FakeStream } from "./fake-stream.ts";
import { REMOVAL } from "../support/temp.ts";

interface Outcome {
  status: number;
  out: string;
  err: string;
}

async function reelfs(...args: string[]): Promise<Outcome> {
  const stdout = new FakeStream();
  const stderr = new FakeStream();
  const around = { stdout, stderr, signal: new AbortController().signal };
  const status = await run(args, around, COMMANDS);
  return { status, out: stdout.text, err: stderr.text };
}

/** The parsed JSON of a command that must succeed. */
async function facts(...args: string[]): Promise<Record<string, unknown>> {
  const { status, out, err } = await reelfs(...args, "--json");
  expect(err).to.equal("");
  expect(status).to.equal(0);
  return JSON.parse(out) as Record<string, unknown>;
}

const HAVE_TOOLS =
  spawnSync("mcopy", ["--version"]).error === undefined &&
  spawnSync("mkfs.fat", ["--help"]).error === undefined;

/** 2024-03-09 12:00 UTC */
const MODIFIED_S = 1_709_985_600;
const BIG = Buffer.alloc(3 * 1024 * 1024, "no two lines are alike: ");
for (let at = 0; at < BIG.length; at += 16) BIG.writeUInt32LE((at * 2_654_435_761) >>> 0, at);

describe("commands on a FAT volume", function () {
  this.timeout(30_000);
  let folder = "";
  let image = "";
  let tape = "";

  before(async function () {
    skipUnless(this, HAVE_TOOLS, "mtools and dosfstools are not installed");
    folder = await mkdtemp(join(tmpdir(), "reelfs-cli-"));
    image = join(folder, "photos.img");
    const files = join(folder, "files");
    await mkdir(join(files, "DCIM", "Été 2023"), { recursive: true });
    await writeFile(join(files, "DCIM", "big one.bin"), BIG);
    await writeFile(join(files, "DCIM", "Été 2023", "a.txt"), "a short letter\n");
    await writeFile(join(files, "read me.txt"), "hello\n");
    await utimes(join(files, "read me.txt"), MODIFIED_S, MODIFIED_S);
    execFileSync("mkfs.fat", ["-F", "16", "-g", "64/32", "-n", "PHOTOS", "-C", image, "16384"]);
    execFileSync(
      "mcopy",
      ["-s", "-m", "-Q", "-i", image, join(files, "DCIM"), join(files, "read me.txt"), "::/"],
      {
        env: { ...process.env, LC_ALL: "C.UTF-8", MTOOLS_SKIP_CHECK: "1", TZ: "UTC" },
      },
    );
  });

  beforeEach(async () => {
    tape = join(folder, `tape-${String(Math.random()).slice(2)}.tap`);
  });

  after(async () => {
    if (folder !== "") await rm(folder, REMOVAL);
  });

  it("backs up, says what it did, and lists it", async () => {
    const made = await reelfs("backup", image, tape);
    expect(made.err).to.equal("");
    expect(made.status).to.equal(0);
    expect(made.out).to.contain(`${tape}#1: 3 files in 2 folders of PHOTOS (fat16, 16 MiB)`);
    const list = await facts("info", tape);
    expect(list["images"]).to.have.length(1);
    const text = await reelfs("info", tape);
    expect(text.out).to.match(
      /^# {2}date .*\n1 {2}\d{4}-.* PHOTOS \(fat16\) +16 MiB .* 3 +complete\n$/,
    );
    const one = await facts("info", `${tape}#1`);
    expect(one).to.include({ number: 1, state: "complete" });
    expect(one["notices"]).to.deep.equal([]);
    const { out } = await reelfs("info", `${tape}#1`);
    expect(out).to.match(/^volume +PHOTOS \(fat16\), serial /m);
    expect(out).to.match(/^cleanly unmounted +yes$/m);
  });

  it("appends to a tape that holds something", async () => {
    await facts("backup", image, tape);
    const second = await facts("backup", image, tape, "--codec", "none", "--record-size", "64K");
    expect(second).to.include({ number: 2, image: `${tape}#2` });
    const { images } = await facts("info", tape);
    expect(images).to.have.length(2);
    expect((await facts("info", `${tape}#2`))["header"]).to.include({
      codec: "none",
      recordSizeBytes: 65536,
    });
  });

  it("erases a tape only for somebody who knows its serial", async () => {
    await facts("backup", image, tape, "--serial", "R00001");
    const sizeBytes = (await stat(tape)).size;
    const wrong = await reelfs("backup", image, tape, "--overwrite", "R00002");
    expect(wrong.status).to.equal(1);
    expect(wrong.err).to.contain("this one has the serial R00001");
    const late = await reelfs("backup", image, tape, "--serial", "R00002");
    expect(late.err).to.contain("--serial is for a new tape");
    expect((await stat(tape)).size).to.equal(sizeBytes);
    await facts("backup", image, tape, "--overwrite", "R00001");
    expect((await facts("info", tape))["images"]).to.have.length(1);
  });

  it("never takes a volume, or the source, for a tape", async () => {
    const before = await readFile(image);
    for (const target of [image, join(folder, "copy.img")]) {
      if (target !== image) await writeFile(target, before);
      for (const more of [[], ["--overwrite", "REELFS"]]) {
        const { status, err } = await reelfs("backup", image, target, ...more);
        expect(status).to.be.oneOf([1, 2, 3]);
        expect(err).to.match(/^reelfs backup: cannot write to .*\n$/);
        expect(before.equals(await readFile(target)), target).to.equal(true);
      }
    }
  });

  it("leaves no tape behind when the source is no volume", async () => {
    const { status, err } = await reelfs("backup", join(folder, "files", "read me.txt"), tape);
    expect(status).to.be.oneOf([1, 3]);
    expect(err).to.match(/^reelfs backup: .*read me\.txt.*\n$/);
    expect(existsSync(tape)).to.equal(false);
  });

  it("refuses options that make no sense before it touches the tape", async () => {
    for (const wrong of [
      ["--record-size", "100K"],
      ["--record-size", "big"],
      ["--level", "99"],
      ["--codec", "gzip"],
      ["--time-zone", "Mars"],
      ["--code-page", "x"],
      ["--serial", "toolong"],
      ["--overwrite", "a b"],
    ]) {
      const { status, err } = await reelfs("backup", image, tape, ...wrong);
      expect(status, wrong.join(" ")).to.equal(2);
      expect(err.split("\n")).to.have.length(2);
      expect(err, "one sentence").not.to.match(/\. [A-Z]/);
      expect(existsSync(tape)).to.equal(false);
    }
  });

  it("lists folders, plain, long, deep and as JSON", async () => {
    await facts("backup", image, tape);
    expect((await reelfs("ls", tape)).out).to.equal("DCIM/\nread me.txt\n");
    expect((await reelfs("ls", tape, "/DCIM/")).out).to.equal("big one.bin\nÉté 2023/\n");
    const long = await reelfs("ls", "-l", tape, "read me.txt");
    expect(long.out).to.match(/^-rw-r--r-- {2}6 {2}2024-03-09 \d\d:\d\d {2}read me\.txt\n$/);
    expect((await reelfs("ls", "-R", tape)).out).to.equal(
      "/:\nDCIM/\nread me.txt\n\n/DCIM:\nbig one.bin\nÉté 2023/\n\n/DCIM/Été 2023:\na.txt\n",
    );
    const entries = JSON.parse((await reelfs("ls", "-R", "--json", tape)).out) as {
      path: string;
      kind: string;
      sizeBytes: number;
      modified: string;
    }[];
    expect(entries.map((entry) => entry.path)).to.have.members([
      "/DCIM",
      "/read me.txt",
      "/DCIM/big one.bin",
      "/DCIM/Été 2023",
      "/DCIM/Été 2023/a.txt",
    ]);
    expect(entries.find((entry) => entry.path === "/read me.txt")).to.include({
      kind: "file",
      sizeBytes: 6,
      modified: "2024-03-09T12:00:00.000Z",
    });
  });

  it("applies the time zone of the backup", async () => {
    await facts("backup", image, tape, "--time-zone", "+02:00");
    const { out } = await reelfs("ls", "--json", tape, "read me.txt");
    expect(out).to.contain("2024-03-09T10:00:00.000Z");
  });

  it("says what is not there", async () => {
    await facts("backup", image, tape);
    for (const [args, words] of [
      [["ls", tape, "/no/such"], /^reelfs ls: .*no.*\n$/],
      [["ls", tape, "/read me.txt/x"], /^reelfs ls: .*read me\.txt: it is not a folder\n$/],
      [["ls", `${tape}#7`], /^reelfs ls: .*7.*\n$/],
      [["info", `${tape}#7`], /^reelfs info: .*7.*\n$/],
      [["verify", join(folder, "none.tap")], /^reelfs verify: .*none\.tap.*\n$/],
      [
        ["info", join(folder, "files", "read me.txt")],
        /^reelfs info: .*read me\.txt holds no ReelFS image.*\n$/,
      ],
    ] as const) {
      const { status, out, err } = await reelfs(...args);
      expect(err).to.match(words);
      expect(status, args.join(" ")).to.be.oneOf([1, 3]);
      expect(out).to.equal("");
    }
  });

  it("reads no list of files that has no end", async () => {
    await facts("backup", image, tape);
    const to = ["--to", join(folder, "out")];
    const { status, err } = await reelfs("restore", tape, ...to, "--files-from", "/dev/zero");
    expect(err).to.equal("reelfs restore: /dev/zero: longer than 256 MiB\n");
    expect(status).to.equal(2);
  });

  it("restores the whole volume, byte for byte", async () => {
    await facts("backup", image, tape);
    const target = join(folder, "restored.img");
    const restored = await facts("restore-image", tape, target, "--verify");
    expect(restored).to.include({ blocksLost: 0, verified: true, target });
    expect((await readFile(image)).equals(await readFile(target))).to.equal(true);
    const again = await reelfs("restore-image", tape, target);
    expect(again.status).to.equal(1);
    expect(again.err).to.match(/^reelfs restore-image: .*--force.*\n$/);
    const forced = await reelfs("restore-image", tape, target, "--force", "--zero");
    expect(forced.status).to.equal(0);
    expect(forced.out).to.contain("restored from");
    expect((await readFile(image)).equals(await readFile(target))).to.equal(true);
  });

  it("verifies a sound image, and names the file that a damaged record hits", async () => {
    await facts("backup", image, tape, "--codec", "none");
    const sound = await reelfs("verify", tape);
    expect(sound.status).to.equal(0);
    expect(sound.out).to.match(/: sound, \d+ records read in /);
    await flipByte(tape, await offsetOf(tape, BIG.subarray(1_500_000, 1_500_032)));
    const damaged = await reelfs("verify", tape);
    expect(damaged.status).to.equal(3);
    expect(damaged.out).to.contain("hit: /DCIM/big one.bin\n").and.not.to.contain("read me.txt");
    expect(damaged.out).to.contain("damaged, 1 record lost");
    expect(damaged.err).to.match(/^reelfs verify: .*\n$/);
    const json = await reelfs("verify", "--json", tape);
    expect(json.status).to.equal(3);
    expect(JSON.parse(json.out)).to.deep.include({
      filesLost: ["/DCIM/big one.bin"],
      sound: false,
    });
  });

  it("restores what is left of a damaged image, and says that something is missing", async () => {
    await facts("backup", image, tape, "--codec", "none");
    await flipByte(tape, await offsetOf(tape, BIG.subarray(1_500_000, 1_500_032)));
    const target = join(folder, "partly.img");
    const { status, err } = await reelfs("restore-image", tape, target);
    expect(status).to.equal(3);
    expect(err).to.contain("could not be restored");
    const [was, is] = [await readFile(image), await readFile(target)];
    let different = 0;
    for (let at = 0; at < was.length; at += 512) {
      if (!was.subarray(at, at + 512).equals(is.subarray(at, at + 512))) different += 512;
    }
    expect(different).to.be.within(1, 256 * 1024);
  });

  it("says of an image whose header is lost what its records tell, and no more", async () => {
    await facts("backup", image, tape);
    await flipByte(tape, await offsetOf(tape, Buffer.from('"created"')));
    const info = await reelfs("info", `${tape}#1`);
    expect(info.err).to.contain("the header is lost");
    expect(info.out).to.match(/state +rebuilt/);
    expect(info.out).not.to.match(/created|source|volume|files/);
    const { status, out } = await reelfs("verify", tape);
    expect(status).to.equal(3);
    expect(out)
      .to.match(/: damaged, 1 record lost, \d+ records read in /)
      .and.not.contain("hit");
  });
});

async function offsetOf(path: string, bytes: Uint8Array): Promise<number> {
  const at = (await readFile(path)).indexOf(bytes);
  expect(at).to.be.greaterThan(0);
  return at;
}

async function flipByte(path: string, offset: number): Promise<void> {
  const file = await open(path, "r+");
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, offset);
  await file.write(Buffer.from([byte.readUInt8(0) ^ 0x40]), 0, 1, offset);
  await file.close();
}
