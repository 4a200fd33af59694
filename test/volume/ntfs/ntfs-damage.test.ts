import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { COMMANDS } from "../../../src/cli/commands/index.ts";
import { run } from "../../../src/cli/program.ts";
import { MemoryDevice } from "../../../src/device/memory-device.ts";
import { ntfsFormat } from "../../../src/volume/ntfs/ntfs-format.ts";
import type { NodeId, Volume } from "../../../src/volume/volume.ts";
import { FakeStream } from "../../cli/fake-stream.ts";
import { expectReelError } from "../../support/expect-error.ts";
import { hasNtfsTools, makeNtfsVolume, NO_NTFS_TOOLS } from "../../support/ntfs-volume.ts";
import { patternBytes } from "../../support/pattern.ts";
import { skipUnless } from "../../support/skip.ts";
import { withTempFolder } from "../../support/temp.ts";

const SECTOR_BYTES = 512;
const RECORD_BYTES = 1024;
const CLUSTER_BYTES = 4096;
const SEQUENCE = 16;
const FLAGS = 22;
const TYPE_DATA = 0x80;

describe("damaged NTFS volumes", function () {
  this.timeout(30_000);
  let original: Uint8Array<ArrayBuffer>;
  let bytes: Buffer;

  before(async function () {
    skipUnless(this, hasNtfsTools(), NO_NTFS_TOOLS);
    const shape = { sizeBytes: 2 * 1024 * 1024, clusterBytes: CLUSTER_BYTES };
    const made = await makeNtfsVolume(shape, async (filler) => {
      await filler.file("/small", patternBytes(100));
      await filler.file("/large", patternBytes(50_000));
      await filler.file("/folder/inside/file", patternBytes(10));
      for (let i = 0; i < 60; i++) await filler.file(`/wide/file number ${i}`, patternBytes(i));
    });
    original = made.bytes;
  });
  beforeEach(() => {
    bytes = Buffer.from(original);
  });

  async function open(): Promise<Volume> {
    return ntfsFormat.open(new MemoryDevice(bytes, { name: "volume.img" }));
  }

  async function find(volume: Volume, name: string, id = volume.rootId): Promise<NodeId> {
    const found = (await volume.readDirectory(id)).find((entry) => entry.name === name);
    expect(found, name).to.not.equal(undefined);
    return found?.stat.id ?? -1;
  }

  async function names(volume: Volume): Promise<string[]> {
    return (await volume.readDirectory(volume.rootId)).map(({ name }) => name);
  }

  async function problems(volume: Volume): Promise<string> {
    return (await volume.survey()).problems.map((p) => `${p.where}: ${p.message}`).join("\n");
  }

  function mftOffset(): number {
    return bytes.readUInt32LE(48) * CLUSTER_BYTES;
  }

  function recordOffset(id: NodeId): number {
    return mftOffset() + id * RECORD_BYTES;
  }

  /** Where an attribute's header begins. */
  function attributeOffset(id: NodeId, type: number): number {
    const record = recordOffset(id);
    let at = record + bytes.readUInt16LE(record + 20);
    while (bytes.readUInt32LE(at) !== type) at += bytes.readUInt32LE(at + 4);
    return at;
  }

  it("are read by the backup of the boot sector, and say so", async () => {
    bytes.fill(0, 0, SECTOR_BYTES);
    expect(await ntfsFormat.probe(new MemoryDevice(bytes))).to.equal(true);
    const volume = await open();
    expect(await names(volume)).to.deep.equal(["folder", "large", "small", "wide"]);
    expect(volume.info.notices?.join()).to.include("backup");
    expect(await problems(volume)).to.include("backup at the end of the volume");
  });

  it("are not taken for NTFS when another filesystem was made over them", async () => {
    bytes.fill(0, 0, SECTOR_BYTES);
    bytes.writeUInt16LE(0xef53, 1080);
    expect(await ntfsFormat.probe(new MemoryDevice(bytes))).to.equal(false);
    await expectReelError(open(), "unsupported");
  });

  it("are read by $MFTMirr when the first records are torn", async () => {
    bytes.writeUInt16LE(0x4242, mftOffset() + 2 * SECTOR_BYTES - 2);
    bytes.fill(0xff, recordOffset(3), recordOffset(3) + 8);
    const volume = await open();
    expect(volume.info.label).to.equal("REEL");
    expect(await names(volume)).to.include("large");
    expect(volume.info.notices?.join()).to.include("$MFTMirr");
  });

  it("say where the MFT should be when neither it nor its mirror is there", async () => {
    bytes.fill(0, mftOffset(), mftOffset() + 8);
    const mirror = bytes.readUInt32LE(56) * CLUSTER_BYTES;
    bytes.fill(0, mirror, mirror + 8);
    const error = await expectReelError(open(), "damaged");
    expect(error.message).to.include(`MFT record 0 (byte ${mftOffset()} of volume.img)`);
  });

  it("lose one file to a torn record, which its directory still shows", async () => {
    const id = await find(await open(), "large");
    bytes.writeUInt16LE(0x4242, recordOffset(id) + SECTOR_BYTES - 2);
    const volume = await open();
    const entry = (await volume.readDirectory(volume.rootId)).find(({ name }) => name === "large");
    expect(entry?.stat).to.include({ id, kind: "file", sizeBytes: 50_000 });
    const error = await expectReelError(volume.layout(id), "damaged");
    expect(error.message)
      .to.include(`MFT record ${id} (byte ${recordOffset(id)}`)
      .and.include("torn");
    expect(await problems(volume)).to.include(`MFT record ${id}`);
    expect((await volume.survey()).files).to.equal(63);
  });

  it("refuse runs beyond the volume", async () => {
    const id = await find(await open(), "large");
    const pairs = attributeOffset(id, TYPE_DATA) + 64;
    bytes.writeUInt8(0x7f, pairs + 3);
    const volume = await open();
    expect((await expectReelError(volume.layout(id), "damaged")).message).to.include("run 0");
    expect(await volume.stat(id)).to.include({ sizeBytes: 50_000 });
  });

  it("refuse a file that is larger than its runs", async () => {
    const id = await find(await open(), "large");
    bytes.writeUIntLE(2 ** 45, attributeOffset(id, TYPE_DATA) + 48, 6);
    const error = await expectReelError((await open()).layout(id), "damaged");
    expect(error.message).to.include("its runs are for");
  });

  it("show zeros beyond the initialized size", async () => {
    const id = await find(await open(), "large");
    bytes.writeUInt32LE(1000, attributeOffset(id, TYPE_DATA) + 56);
    const layout = await (await open()).layout(id);
    expect(layout).to.include({ sizeBytes: 50_000, length: 1, direct: true });
    expect(layout.lengths[0]).to.equal(1000);
  });

  it("refuse encrypted contents clearly", async () => {
    const id = await find(await open(), "large");
    bytes.writeUInt16LE(0x4000, attributeOffset(id, TYPE_DATA) + 12);
    const error = await expectReelError((await open()).layout(id), "unsupported");
    expect(error.message).to.include("EFS").and.include(`MFT record ${id}`);
  });

  it("leave out files that are gone, and say which directory still lists them", async () => {
    const before = await open();
    const [gone, reused] = [await find(before, "small"), await find(before, "large")];
    bytes.writeUInt16LE(0, recordOffset(gone) + FLAGS);
    bytes.writeUInt16LE(99, recordOffset(reused) + SEQUENCE);
    const volume = await open();
    expect(await names(volume)).to.deep.equal(["folder", "wide"]);
    await expectReelError(volume.stat(gone), "not-found");
    expect(await problems(volume))
      .to.include(`MFT record ${gone} `)
      .and.include("is not in use, but")
      .and.include("a file that is gone");
    const { used } = await volume.survey();
    const { used: withDeleted } = await volume.survey({ includeDeleted: true });
    expect(used.subtract(withDeleted).total).to.equal(0);
  });

  it("give a directory one place", async () => {
    const before = await open();
    const folder = await find(before, "folder");
    const inside = await find(before, "inside", folder);
    // The folder's own index leads back to the folder, as if it were inside itself.
    const root = recordOffset(folder);
    const at = bytes.indexOf(Buffer.from("inside", "utf16le"), root);
    const entry = at - 66 - 16;
    bytes.writeUIntLE(folder, entry, 6);
    bytes.writeUInt16LE(bytes.readUInt16LE(recordOffset(folder) + SEQUENCE), entry + 6);
    const volume = await open();
    expect(await volume.readDirectory(folder)).to.deep.equal([]);
    expect(await problems(volume))
      .to.include(`MFT record ${inside}`)
      .and.include("in no directory");
  });

  it("say that the root is no directory any more", async () => {
    bytes.writeUInt16LE(1, recordOffset(5) + FLAGS);
    const volume = await open();
    const error = await expectReelError(volume.readDirectory(volume.rootId), "damaged");
    expect(error.message).to.include("the root is not marked as a directory");
  });

  it("say that the MFT is too short for a volume", async () => {
    bytes.writeUInt32LE(5 * RECORD_BYTES, attributeOffset(0, TYPE_DATA) + 56);
    const error = await expectReelError(open(), "damaged");
    expect(error.message).to.include("MFT record 0").and.include("too few");
  });

  it("say that the root or $Bitmap is gone", async () => {
    for (const record of [5, 6]) bytes.writeUInt16LE(0, recordOffset(record) + FLAGS);
    const volume = await open();
    const root = await expectReelError(volume.readDirectory(volume.rootId), "damaged");
    expect(root.message).to.include("MFT record 5").and.include("not in use");
    const bitmap = await expectReelError(volume.freeClusters(), "damaged");
    expect(bitmap.message).to.include("MFT record 6").and.include("not in use");
    expect((await volume.survey()).used.total).to.equal(volume.info.blockCount);
  });

  it("name the index record that is torn", async () => {
    const wide = await find(await open(), "wide");
    const index = bytes.indexOf("INDX", bytes.indexOf("file number", 0, "utf16le") - 4096);
    expect(index).to.be.above(0);
    for (let at = bytes.indexOf("INDX"); at >= 0; at = bytes.indexOf("INDX", at + 4)) {
      bytes.writeUInt16LE(0x4242, at + SECTOR_BYTES - 2);
    }
    const volume = await open();
    const error = await expectReelError(volume.readDirectory(wide), "damaged");
    expect(error.message).to.include(`MFT record ${wide}`).and.include("index record 0");
    expect(await problems(volume)).to.include("torn");
  });

  it("are saved whole when $Bitmap cannot be read", async () => {
    bytes.fill(0xff, recordOffset(6), recordOffset(6) + 8);
    const volume = await open();
    const { used, clustersUsed } = await volume.survey();
    expect(used.total).to.equal(volume.info.blockCount);
    expect(clustersUsed).to.equal(volume.info.clusterCount);
    await expectReelError(volume.freeClusters(), "damaged");
  });

  it("keep what belongs to a file though $Bitmap has it as free", async () => {
    const before = await open();
    const { used } = await before.survey();
    const pairs = attributeOffset(6, TYPE_DATA) + 64;
    const bitmap = bytes.readUIntLE(pairs + 2, bytes.readUInt8(pairs) >> 4) * CLUSTER_BYTES;
    bytes.fill(0, bitmap, bitmap + 4);
    const survey = await (await open()).survey();
    expect(used.subtract(survey.used).total).to.equal(0);
    expect(survey.problems.map(({ message }) => message).join()).to.include("marked as free");
  });

  it("say that they are dirty, or were not shut down", async () => {
    const flags = attributeOffset(3, 0x70) + 24 + 10;
    bytes.writeUInt16LE(1, flags);
    const pairs = attributeOffset(2, TYPE_DATA) + 64;
    const counted = bytes.readUInt8(pairs) & 0x0f;
    const log = bytes.readUIntLE(pairs + 1 + counted, bytes.readUInt8(pairs) >> 4) * CLUSTER_BYTES;
    writeRestartPage(bytes.subarray(log, log + 4096));
    const { notices = [] } = (await open()).info;
    expect(notices.join()).to.include("marked dirty").and.include("not shut down properly");
    // Whoever asks about the volume, backs it up or asks about the image is told.
    await withTempFolder(async (folder) => {
      const volume = join(folder, "volume.img");
      const tape = join(folder, "volume.tap");
      await writeFile(volume, bytes);
      for (const args of [
        ["info", volume],
        ["backup", volume, tape],
        ["info", `${tape}#1`],
      ]) {
        const said = await reelfs(...args);
        for (const notice of notices) expect(said, args.join(" ")).to.include(notice);
      }
    });
  });
});

/** What a command says that ends well. */
async function reelfs(...args: string[]): Promise<string> {
  const [stdout, stderr] = [new FakeStream(), new FakeStream()];
  const { signal } = new AbortController();
  const status = await run(args, { stdout, stderr, signal }, COMMANDS);
  expect(status, stderr.text).to.equal(0);
  return stdout.text + stderr.text;
}

/** A restart page of a log that one client still has open. */
function writeRestartPage(page: Buffer): void {
  page.fill(0);
  page.write("RSTR", 0, "latin1");
  page.writeUInt16LE(30, 4);
  page.writeUInt16LE(9, 6);
  page.writeUInt32LE(4096, 16);
  page.writeUInt16LE(64, 24);
  page.writeUInt16LE(0xffff, 64 + 10);
  page.writeUInt16LE(0, 64 + 12);
}
