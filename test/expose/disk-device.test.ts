/** Whole disks: put together again from the images of their backup, or raw. */
import { expect } from "chai";
import { readFileSync } from "node:fs";
import { open, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { COMMANDS } from "../../src/cli/commands/index.ts";
import { run } from "../../src/cli/program.ts";
import { openExposedSource } from "../../src/expose/expose-source.ts";
import { backupDisk } from "../../src/tapeimage/backup-disk.ts";
import { FakeStream } from "../cli/fake-stream.ts";
import { expectReelError } from "../support/expect-error.ts";
import { hasTool, runTool } from "../support/mountpoint.ts";
import { patternBytes } from "../support/pattern.ts";
import { skipUnless } from "../support/skip.ts";
import { makeTempFolder } from "../support/temp.ts";

const MIB = 1 << 20;
/** Where its partitions begin and end, in MiB; behind the last there is room. */
const PARTITIONS = [
  [1, 5],
  [5, 9],
  [10, 14],
] as const;

describe("exposing a whole disk", function () {
  this.timeout(60_000);
  let folder: string;
  let remove: (() => Promise<void>) | undefined;
  let disk: string;

  before(async function () {
    skipUnless(this, hasTool("sfdisk"), "sfdisk is missing: install fdisk");
    ({ folder, remove } = await makeTempFolder());
    disk = join(folder, "disk.img");
    await writeFile(disk, "");
    await truncate(disk, 16 * MIB);
    const lines = PARTITIONS.map(([from, to]) => `${from}MiB,${to - from}MiB`);
    const script = join(folder, "table");
    await writeFile(script, ["label: gpt", ...lines, ""].join("\n"));
    const made = await runTool("sh", [
      "-c",
      'sfdisk -q --no-tell-kernel "$0" < "$1"',
      disk,
      script,
    ]);
    expect(made.stderr).to.equal("");
    const file = await open(disk, "r+");
    for (const [from, to] of PARTITIONS) {
      // The middle is left as zeros: it will not be on the tape.
      await file.write(patternBytes(MIB, from), 0, MIB, from * MIB);
      await file.write(patternBytes(5000, to), 0, 5000, to * MIB - 5000);
    }
    // A boot loader between table and partition.
    await file.write(patternBytes(4000, 99), 0, 4000, 40 * 512);
    await file.close();
  });

  after(async () => remove?.());

  async function bytesOf(spec: string, partition?: number): Promise<Buffer> {
    const source = await openExposedSource(spec, { partition });
    await using device = source.device;
    const bytes = Buffer.alloc(device.sizeBytes);
    await device.read(0, bytes);
    return bytes;
  }

  it("joins table, gaps and partitions as they were", async () => {
    const tapePath = join(folder, "disk.tap");
    await backupDisk({ sourcePath: disk, tapePath });
    const source = await openExposedSource(tapePath);
    expect(source).to.include({ fileName: "disk.img", name: `${tapePath}#1` });
    expect(source.partitions).to.deep.equal([1, 2, 3]);
    expect(source.notices).to.deep.equal([]);
    await source.device.close();
    await expectReelError(source.device.read(0, new Uint8Array(1)), "closed");
    const whole = readFileSync(disk);
    expect((await bytesOf(tapePath)).equals(whole)).to.be.true;
    expect((await bytesOf(`${tapePath}#1`)).equals(whole)).to.be.true;
    for (const [index, [from, to]] of PARTITIONS.entries()) {
      const part = whole.subarray(from * MIB, to * MIB);
      expect((await bytesOf(tapePath, index + 1)).equals(part), `partition ${index + 1}`).to.be
        .true;
      expect((await bytesOf(disk, index + 1)).equals(part), `raw ${index + 1}`).to.be.true;
    }
  });

  it("reads zeros where a partition was left out, and says so", async () => {
    const tapePath = join(folder, "some.tap");
    await backupDisk({ sourcePath: disk, tapePath, exclude: [2] });
    const source = await openExposedSource(tapePath);
    expect(source.notices).to.have.length(1);
    expect(source.notices[0]).to.contain("partition 2 reads as zeros: it was left out");
    await source.device.close();
    const expected = readFileSync(disk).fill(0, 5 * MIB, 9 * MIB);
    expect((await bytesOf(tapePath)).equals(expected)).to.be.true;
    await expectReelError(openExposedSource(tapePath, { partition: 2 }), "not-found");
  });

  it("tells a disk from a volume, and which partitions there are", async () => {
    const source = await openExposedSource(disk);
    expect(source).to.include({ fileName: "disk.img", name: "disk.img" });
    expect(source.partitions).to.deep.equal([1, 2, 3]);
    await source.device.close();
    const none = await expectReelError(openExposedSource(disk, { partition: 4 }), "not-found");
    expect(none.message).to.contain("has no partition 4; it has 1, 2, 3");
    const volume = join(folder, "volume.img");
    await writeFile(volume, patternBytes(MIB));
    const raw = await openExposedSource(volume);
    expect(raw).to.include({ fileName: "volume.img", partitions: undefined });
    await raw.device.close();
    await expectReelError(openExposedSource(volume, { partition: 1 }), "invalid");
    await expectReelError(openExposedSource(join(folder, "nothing")), "not-found");
    await expectReelError(openExposedSource(join(folder, "nothing.tap#3")), "not-found");
  });

  it("does not mount a whole disk: one of its partitions must be named", async () => {
    const [stdout, stderr] = [new FakeStream(), new FakeStream()];
    const { signal } = new AbortController();
    const args = ["expose", "--foreground", "--loop", disk, folder];
    const status = await run(args, { stdout, stderr, signal }, COMMANDS);
    expect(status).to.equal(2);
    expect(stderr.text).to.contain("choose one of its partitions (1, 2, 3) with --partition");
  });

  it("shows a disk whose table is damaged, with a notice", async () => {
    const damaged = join(folder, "damaged.img");
    const bytes = readFileSync(disk);
    bytes.fill(0xee, 512, 40 * 512);
    bytes.fill(0xee, bytes.length - 34 * 512);
    await writeFile(damaged, bytes);
    const source = await openExposedSource(damaged);
    expect(source.notices.join()).to.contain("cannot read the partition table");
    await source.device.close();
    await expectReelError(openExposedSource(damaged, { partition: 1 }), "damaged");
  });
});
