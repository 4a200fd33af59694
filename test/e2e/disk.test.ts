/** Whole disks from end to end: made by the system's tools, judged by the system's checkers. */
import { expect } from "chai";
import { copyFile, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { COMMANDS } from "../../src/cli/commands/index.ts";
import { run } from "../../src/cli/program.ts";
import { FakeStream } from "../cli/fake-stream.ts";
import {
  extractPartition,
  hasDiskTools,
  listPartitions,
  makeSampleDisk,
  NO_DISK_TOOLS,
  runDiskTool,
  SAMPLE_NUMBERS,
  type SampleDisk,
} from "../support/disk-sample.ts";
import { isMounted, makePlace, requireFuse, runTool, type Place } from "../support/mountpoint.ts";
import { skipUnless } from "../support/skip.ts";
import { makeTempFolder } from "../support/temp.ts";

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
const MIB = 1024 * 1024;
const SWAP_HEADER_BYTES = 4096;

interface Outcome {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

async function reelfs(...args: string[]): Promise<Outcome> {
  const stdout = new FakeStream();
  const stderr = new FakeStream();
  const around = { stdout, stderr, signal: new AbortController().signal };
  const status = await run(args, around, COMMANDS);
  return { status, out: stdout.text, err: stderr.text };
}

async function succeed(...args: string[]): Promise<Outcome> {
  const outcome = await reelfs(...args);
  expect(outcome.status, outcome.err).to.equal(0);
  return outcome;
}

async function json(...args: string[]): Promise<Record<string, unknown>> {
  return JSON.parse((await succeed(...args, "--json")).out) as Record<string, unknown>;
}

for (const kind of ["gpt", "mbr"] as const) {
  describe(`a whole disk with ${kind === "gpt" ? "a GPT" : "an MBR"}`, function () {
    this.timeout(120_000);
    const numbers = SAMPLE_NUMBERS[kind];
    let place: Place;
    let disk: SampleDisk;
    let tape = "";

    before(async function () {
      skipUnless(this, hasDiskTools(), NO_DISK_TOOLS);
      place = await makePlace();
      disk = await makeSampleDisk(place.folder, kind);
      tape = join(place.folder, "disk.tap");
      await succeed("backup", disk.path, tape);
    });
    after(async () => {
      if ((place as Place | undefined) !== undefined) await place.remove();
    });

    /** The disk as a restore should make it: of swap space only the header. */
    async function expectedBytes(): Promise<Buffer> {
      const bytes = await readFile(disk.path);
      const swap = disk.partitions.find(({ number }) => number === numbers.swap);
      if (swap === undefined) throw new Error("the sample has no swap");
      const { startBytes, sizeBytes } = swap;
      return bytes.fill(0, startBytes + SWAP_HEADER_BYTES, startBytes + sizeBytes);
    }

    /** Every byte that is not zeros in one of them must be the same in both. */
    function sameUpTo(endBytes: number, actual: Buffer, expected: Buffer): void {
      for (let at = 0; at < endBytes; at += 512) {
        const [is, was] = [actual.subarray(at, at + 512), expected.subarray(at, at + 512)];
        if (is.compare(was) !== 0) expect.fail(`sector ${at / 512} differs`);
      }
    }

    async function checkVolumes(path: string): Promise<void> {
      for (const entry of listPartitions(path)) {
        if (entry.number === numbers.swap || entry.number === numbers.luks) continue;
        const file = await extractPartition(path, entry, place.folder);
        if (entry.number === numbers.fat) runDiskTool("fsck.fat", ["-n", file]);
        else runDiskTool("e2fsck", ["-fn", file]);
      }
      const luks = listPartitions(path).find(({ number }) => number === numbers.luks);
      if (luks !== undefined) {
        const file = await extractPartition(path, luks, place.folder);
        runDiskTool("cryptsetup", ["open", "--test-passphrase", file, "-"], "secret");
      }
    }

    it("is told from its tape, from its image and from itself", async () => {
      const { out } = await succeed("info", tape);
      expect(out).to.match(new RegExp(`disk \\(${kind}, 5 partitions\\)`));
      expect(out)
        .to.match(/p1 EFI \(fat16\)/)
        .and.match(/p2 root \(ext4\)/);
      const { header } = (await json("info", `${tape}#1`)) as {
        header: { disk: { partitions: Record<string, unknown>[] } };
      };
      const places = header.disk.partitions.map(({ number, startBytes, sizeBytes }) => ({
        ...{ number, startBytes, sizeBytes },
      }));
      const listed = disk.partitions.map(({ number, startBytes, sizeBytes }) => ({
        ...{ number, startBytes, sizeBytes },
      }));
      expect(places).to.deep.equal(listed);
      const raw = (await json("info", disk.path)) as { partitions: { kind: string }[] };
      const kinds = ["fat16", "ext4", "unknown", "unknown", "ext4"];
      expect(raw.partitions.map((partition) => partition.kind)).to.deep.equal(kinds);
    });

    it("comes back the same on a disk of its size: table, boot code, gaps, partitions", async () => {
      const target = join(place.folder, "same.img");
      await succeed("restore-image", "--disk", "--verify", tape, target);
      const [actual, expected] = [await readFile(target), await expectedBytes()];
      expect(actual.length).to.equal(expected.length);
      sameUpTo(actual.length, actual, expected);
      await checkVolumes(target);
    });

    it("fits a larger disk: sound table, the same partitions, clean filesystems", async () => {
      const target = join(place.folder, "larger.img");
      await writeFile(target, "");
      await truncate(target, 171 * MIB + 512);
      await succeed("restore-image", "--disk", tape, target);
      expect(listPartitions(target).map(({ startBytes }) => startBytes)).to.deep.equal(
        disk.partitions.map(({ startBytes }) => startBytes),
      );
      runDiskTool("sfdisk", ["--verify", target]);
      if (kind === "gpt") {
        expect(runDiskTool("sgdisk", ["-v", target])).to.match(/No problems found/);
      }
      await checkVolumes(target);
      const [actual, expected] = [await readFile(target), await expectedBytes()];
      expect(actual.subarray(0, 440).equals(expected.subarray(0, 440)), "boot code").to.be.true;
      const gap = [40 * 512, MIB] as const;
      expect(actual.subarray(...gap).equals(expected.subarray(...gap)), "boot loader").to.be.true;
    });

    it("lets its last partition grow, so that the filesystem can follow", async () => {
      const target = join(place.folder, "grown.img");
      await writeFile(target, "");
      await truncate(target, 171 * MIB + 512);
      const facts = await json("restore-image", "--disk", "--grow-last", tape, target);
      const last = listPartitions(target).find(({ number }) => number === numbers.last);
      const before = disk.partitions.find(({ number }) => number === numbers.last);
      expect(last?.startBytes).to.equal(before?.startBytes);
      expect(last?.sizeBytes).to.be.above((before?.sizeBytes ?? 0) + 50 * MIB);
      expect(facts["grown"]).to.deep.equal({ number: numbers.last, sizeBytes: last?.sizeBytes });
      expect(runDiskTool("sfdisk", ["--verify", target])).to.match(/No errors/);
      if (kind === "gpt") {
        expect(runDiskTool("sgdisk", ["-v", target])).to.match(/No problems found/);
      }
      if (last === undefined) throw new Error("the last partition is gone");
      const file = await extractPartition(target, last, place.folder);
      runDiskTool("resize2fs", [file]);
      runDiskTool("e2fsck", ["-fn", file]);
      await checkVolumes(target);
    });

    it("is not restored where it does not fit, or where something is", async () => {
      const target = join(place.folder, "small.img");
      await writeFile(target, "");
      await truncate(target, 111 * MIB);
      const small = await reelfs("restore-image", "--disk", tape, target);
      expect(small.status).to.equal(1);
      expect(small.err).to.match(/it has \d+ bytes, and \d+ are needed/);
      const full = await reelfs("restore-image", "--disk", tape, disk.path);
      expect(full.err).to.match(/it holds .*partition table.*--force/);
      const whole = await reelfs("restore-image", tape, join(place.folder, "x.img"));
      expect(whole.status).to.equal(2);
      expect(whole.err).to.match(/is a whole disk: restore it with --disk/);
      const part = await reelfs("restore-image", "--disk", `${tape}#2`, join(place.folder, "x"));
      expect(part.err).to.match(/is no backup of a whole disk/);
    });

    it("mounts with a folder for each partition, which can be written", async function () {
      requireFuse(this);
      const node = [process.execPath, "--import", import.meta.resolve("tsx"), MAIN];
      const [command = "", ...rest] = node;
      const at = { cwd: place.folder, env: place.env };
      for (const subject of [tape, disk.path]) {
        const M = place.mountpoint;
        const mounted = await runTool(command, [...rest, "mount", subject, M], at);
        expect(mounted.status, mounted.stderr).to.equal(0);
        expect(mounted.stderr)
          .to.match(/swap space/)
          .and.match(/LUKS/);
        try {
          const script = [
            ...[`ls $M`, `cat $M/p1/letter.txt`, `cmp $M/p1/big.bin $M/p${numbers.ext}/big.bin`],
            `dd if=$M/p${numbers.luks}/volume.img bs=4 count=1 status=none; echo`,
            `echo new > $M/p2/new; mv $M/p2/new $M/p1/new; cat $M/p1/new; rm -r $M/p2/lost+found`,
            `mv $M/p1 $M/p3 2>&1 || echo refused`,
          ].join("\n");
          const ran = await runTool("sh", ["-euc", script], { env: { M } });
          expect(ran.status, ran.stderr).to.equal(0);
          const folders = Object.values(numbers).map((number) => `p${number}`);
          const lines = [...folders, "dear reader", "LUKS", "new"].join("\n");
          expect(ran.stdout)
            .to.contain(lines)
            .and.match(/refused\n$/);
        } finally {
          const ended = await runTool(command, [...rest, "umount", M], at);
          expect(ended.status, ended.stderr).to.equal(0);
          expect(await isMounted(M)).to.be.false;
        }
      }
    });

    it("gives single files back, by partition", async () => {
      const to = join(place.folder, "out");
      await succeed("restore", tape, "--to", to, `/p${numbers.ext}/*.bin`, "/p1");
      for (const path of [`p${numbers.ext}/big.bin`, "p1/big.bin", "p1/letter.txt"]) {
        const name = path.slice(path.indexOf("/") + 1);
        const bytes = await readFile(join(to, path));
        expect(bytes.equals(disk.files.get(name) ?? Buffer.alloc(0)), path).to.be.true;
      }
      const nothing = await reelfs("restore", tape, "--to", to, "/p9/x");
      expect(nothing.err).to.match(/names no partition of the disk.*p1, p2/);
      const missing = await reelfs("restore", tape, "--to", join(to, "no"), "/p1", "/p*/nix");
      expect(missing.err).to.match(/matches "\/nix"/);
    });

    it("is verified with all its images, and one that is missing is told", async () => {
      const { out } = await succeed("verify", tape);
      expect(out.match(/: sound/g)).to.have.length(6);
      const cut = join(place.folder, "cut.tap");
      const third = await imageStart(tape, 5);
      await copyFile(tape, cut);
      await truncate(cut, third);
      const verified = await reelfs("verify", cut);
      expect(verified.status).to.equal(3);
      expect(verified.err).to.match(/its image is not on the tape: the backup was interrupted/);
      const refused = await reelfs("restore-image", "--disk", cut, join(place.folder, "y.img"));
      expect(refused.err).to.match(/--force to restore the others/);
      const listed = await reelfs("ls", cut);
      expect(listed.err).to.match(/cannot show partition \d+ of .*not on the tape/);
    });

    it("leaves out partitions that are not wanted, and says so", async () => {
      const partly = join(place.folder, "partly.tap");
      const facts = await json("backup", "--exclude", String(numbers.last), disk.path, partly);
      expect(facts["partitions"]).to.have.length(4);
      const target = join(place.folder, "partly.img");
      const restored = await succeed("restore-image", "--disk", partly, target);
      expect(restored.err).to.match(/partition \d is not restored: it was left out of the backup/);
      expect(listPartitions(target)).to.have.length(5);
      const only = await json("backup", "--only", "1,2", disk.path, partly);
      expect(only["partitions"]).to.have.length(2);
      const wrong = await reelfs("backup", "--only", "9", disk.path, partly);
      expect(wrong.status).to.equal(2);
      expect(wrong.err).to.match(/has no partition 9; it has 1, 2/);
    });
  });
}

/** Bytes of the tape before the header of image `number`. */
async function imageStart(tape: string, number: number): Promise<number> {
  const bytes = await readFile(tape);
  let at = -1;
  for (let seen = 0; seen < number; seen++) {
    at = bytes.indexOf('"format": "reelfs-image"', at + 1);
    if (at < 0) throw new Error(`${tape} has no image ${number}`);
  }
  return bytes.lastIndexOf("REELFS\r\n", at) - 4;
}

describe("a volume on several devices", function () {
  this.timeout(60_000);
  let folder = "";
  let remove: () => Promise<void>;

  before(async function () {
    skipUnless(this, hasDiskTools(["mke2fs"]), "mke2fs is not installed (package e2fsprogs)");
    ({ folder, remove } = await makeTempFolder());
  });
  after(async () => {
    if (folder !== "") await remove();
  });

  async function file(name: string, bytes: Uint8Array | number): Promise<string> {
    const path = join(folder, name);
    await writeFile(path, typeof bytes === "number" ? "" : bytes);
    if (typeof bytes === "number") await truncate(path, bytes);
    return path;
  }

  it("is backed up in one piece, and restored to any arrangement with enough room", async () => {
    const whole = await file("whole.img", 24 * MIB);
    runDiskTool("mke2fs", ["-q", "-t", "ext4", "-L", "spread", whole]);
    const bytes = await readFile(whole);
    const cuts = [0, 5 * MIB, 16 * MIB, 24 * MIB];
    const segments: string[] = [];
    for (const [index, from] of cuts.slice(0, -1).entries()) {
      segments.push(await file(`s${index}`, bytes.subarray(from, cuts[index + 1])));
    }
    const tape = join(folder, "segments.tap");
    const options = segments.flatMap((path) => ["--segment", path]);
    const facts = await json("backup", ...options, tape);
    expect(facts["volume"]).to.include({ kind: "ext4", label: "spread" });
    const first = await json("info", `${tape}#1`);
    const header = first["header"] as { options: { segmentBytes: number[] } };
    expect(header.options.segmentBytes).to.deep.equal([5 * MIB, 11 * MIB, 8 * MIB]);

    const [a, b] = [await file("a", 20 * MIB), await file("b", 6 * MIB)];
    await succeed("restore-image", tape, a, "--segment", b);
    const joined = Buffer.concat([await readFile(a), (await readFile(b)).subarray(0, 4 * MIB)]);
    const back = await file("joined.img", joined);
    runDiskTool("e2fsck", ["-fn", back]);
    const listed = await succeed("ls", tape);
    expect(listed.out).to.equal("lost+found/\n");

    const [c, d] = [await file("c", 3 * MIB), await file("d", 4 * MIB)];
    const small = await reelfs("restore-image", tape, "--segment", c, "--segment", d);
    expect(small.err).to.match(/together they have room for 7340032 bytes/);
    const none = await reelfs(
      "restore-image",
      tape,
      "--segment",
      join(folder, "no"),
      "--segment",
      d,
    );
    expect(none.err).to.match(/only the last of several targets can be a new file/);
  });
});

describe("a disk that is a block device", function () {
  this.timeout(60_000);

  it("is restored when its sectors are as they were, and refused when they are not", async function () {
    skipUnless(this, process.getuid?.() === 0, "loop devices need root");
    skipUnless(this, hasDiskTools(), NO_DISK_TOOLS);
    const { folder, remove } = await makeTempFolder();
    const loops: string[] = [];
    const attach = async (name: string, ...options: string[]): Promise<string> => {
      const path = join(folder, name);
      await writeFile(path, "");
      await truncate(path, 128 * MIB);
      const loop = runDiskTool("losetup", [...options, "--show", "-f", path]).trim();
      loops.push(loop);
      return loop;
    };
    try {
      const disk = await makeSampleDisk(folder, "gpt");
      const tape = join(folder, "disk.tap");
      await succeed("backup", disk.path, tape);
      const other = await attach("other.img", "--sector-size", "4096");
      const refused = await reelfs("restore-image", "--disk", tape, other);
      expect(refused.status).to.equal(1);
      expect(refused.err).to.match(/its sectors have 4096 bytes.*in sectors of 512/);
      const same = await attach("same.img");
      await succeed("restore-image", "--disk", tape, same);
      expect(runDiskTool("sgdisk", ["-v", same])).to.match(/No problems found/);
      const listed = await succeed("ls", same, "/p1");
      expect(listed.out).to.equal("big.bin\nletter.txt\n");
      const again = join(folder, "again.tap");
      const facts = await json("backup", same, again);
      expect(facts["partitions"]).to.have.length(5);
    } finally {
      for (const loop of loops) runDiskTool("losetup", ["-d", loop]);
      await remove();
    }
  });
});
