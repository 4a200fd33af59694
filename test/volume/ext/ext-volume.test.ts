/** What single features of ext volumes lead to, and what damage does. */
import { expect } from "chai";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openFileDevice } from "../../../src/device/file-device.ts";
import { MemoryDevice } from "../../../src/device/memory-device.ts";
import { accessControlValue } from "../../../src/volume/ext/access-control.ts";
import { crc16, extCrc32c, NO_SEED } from "../../../src/volume/ext/checksums.ts";
import { DirectoryPlaces } from "../../../src/volume/ext/directory-places.ts";
import { extFormat } from "../../../src/volume/ext/ext-format.ts";
import type { JournalReplay } from "../../../src/volume/ext/journal/journal.ts";
import { nokeyName } from "../../../src/volume/ext/nokey-name.ts";
import { relocated } from "../../../src/volume/ext/replay.ts";
import { openVolume } from "../../../src/volume/formats.ts";
import type { Volume } from "../../../src/volume/volume.ts";
import { expectReelError } from "../../support/expect-error.ts";
import { makeSampleVolume } from "../../support/ext-sample.ts";
import { countBlocks, hasExtTools, makeExtImage, NO_EXT_TOOLS } from "../../support/ext-tools.ts";
import { skipUnless } from "../../support/skip.ts";
import { withTempFolder } from "../../support/temp.ts";

const MIB = 1024 * 1024;
const SUPERBLOCK = 1024;
const AT = {
  blocks: 4,
  magic: 56,
  compat: 92,
  incompat: 96,
  roCompat: 100,
  journalInode: 224,
} as const;
const PLAIN = ["-t", "ext4", "-b", "1024", "-O", "^has_journal,^metadata_csum"];
const CHECKED = ["-t", "ext4", "-b", "1024", "-O", "^has_journal"];

interface Sample {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** A copy of a sample, which is made once for each set of options. */
const samples = new Map<string, Promise<Uint8Array>>();
async function sample(options: readonly string[], sizeBytes = MIB): Promise<Sample> {
  const key = [...options, sizeBytes].join(" ");
  let made = samples.get(key);
  made ??= makeSampleVolume(sizeBytes, options).then(({ bytes }) => bytes);
  samples.set(key, made);
  const bytes = (await made).slice();
  return { bytes, view: new DataView(bytes.buffer) };
}

const open = async (bytes: Uint8Array): Promise<Volume> =>
  extFormat.open(new MemoryDevice(bytes, { name: "disk.img" }));

async function idOf(volume: Volume, path: string): Promise<number> {
  let id = volume.rootId;
  for (const name of path.split("/").slice(1)) {
    const found = (await volume.readDirectory(id)).find((entry) => entry.name === name);
    if (found === undefined) throw new Error(`no ${path}`);
    id = found.stat.id;
  }
  return id;
}

function setBits(view: DataView, at: number, bits: number): void {
  view.setUint32(SUPERBLOCK + at, view.getUint32(SUPERBLOCK + at, true) | bits, true);
}

describe("an ext volume", function () {
  this.timeout(30_000);
  before(function () {
    skipUnless(this, hasExtTools(), NO_EXT_TOOLS);
  });

  it("is refused by the name of a feature that cannot be read", async () => {
    for (const [bits, name] of [
      [0x1, /compression/],
      [0x1000, /dirdata/],
      [0x80000000, /incompat bit 31/],
    ] as const) {
      const { bytes, view } = await sample(PLAIN);
      setBits(view, AT.incompat, bits);
      expect((await expectReelError(open(bytes), "unsupported")).message).to.match(name);
    }
  });

  it("is told from the journal of another", async () => {
    const { bytes, view } = await sample(PLAIN);
    setBits(view, AT.incompat, 0x8);
    const error = await expectReelError(openVolume(new MemoryDevice(bytes)), "unsupported");
    expect(error.message).to.match(/external journal of an ext3 or ext4 volume/);
  });

  it("says what to know before trusting it", async () => {
    const { bytes, view } = await sample(PLAIN);
    expect((await open(bytes)).info.notices).to.deep.equal([]);
    setBits(view, AT.compat, 0x4);
    setBits(view, AT.roCompat, 0x40000000);
    view.setUint16(SUPERBLOCK + 58, 2, true);
    const notices = (await open(bytes)).info.notices?.join("\n");
    expect(notices)
      .to.match(/journal is on another device/)
      .and.match(/not cleanly unmounted/)
      .and.match(/marked as having errors/)
      .and.match(/ro_compat bit 30/);
  });

  it("is shown without its journal where that makes no sense, with a notice", async () => {
    const { bytes, view } = await sample(PLAIN);
    setBits(view, AT.compat, 0x4);
    setBits(view, AT.incompat, 0x4);
    view.setUint32(SUPERBLOCK + AT.journalInode, 8, true);
    const volume = await open(bytes);
    expect(volume.info.notices?.join()).to.match(/journal cannot be replayed/);
    expect((await volume.survey()).problems.map(({ where }) => where)).to.include("journal");
    expect(await idOf(volume, "/folder/hello.txt")).to.be.above(10);
  });

  it("opens by a copy of its superblock, and says so", async () => {
    const options = ["-t", "ext4", "-b", "1024", "-O", "^has_journal,^resize_inode"];
    const { bytes } = await sample(options, 9 * MIB);
    const before = await (await open(bytes)).survey();
    bytes.fill(0, SUPERBLOCK, 2 * SUPERBLOCK);
    const volume = await openVolume(new MemoryDevice(bytes));
    expect(volume.info.notices?.join()).to.match(/copy in group 1 is used instead/);
    const after = await volume.survey();
    expect(after.files).to.equal(before.files);
    expect(after.used.subtract(before.used).total).to.equal(0);
    bytes.fill(0, 8193 * 1024, 8194 * 1024);
    await expectReelError(open(bytes), "unsupported");
  });

  it("finds its inodes by copies of the group descriptors", async () => {
    const { bytes } = await sample(CHECKED, 9 * MIB);
    bytes.fill(0, 2048, 3072);
    const volume = await open(bytes);
    const { problems, files } = await volume.survey();
    expect(problems.map(({ where }) => where)).to.include("descriptor of group 0");
    expect(files).to.equal(
      (await (await open((await sample(CHECKED, 9 * MIB)).bytes)).survey()).files,
    );
  });

  it("keeps the whole group where a bitmap is damaged", async () => {
    const { bytes, view } = await sample(CHECKED);
    const bitmap = view.getUint32(2048, true);
    view.setUint8(bitmap * 1024 + 3, 0x55);
    const { problems, used } = await (await open(bytes)).survey();
    expect(problems[0]?.where).to.match(/^block bitmap of group 0 \(block \d+\)$/);
    expect(used.total).to.equal(1024);
  });

  it("reports an inode bitmap that is damaged", async () => {
    const { bytes, view } = await sample(CHECKED);
    const bitmap = view.getUint32(2048 + 4, true);
    view.setUint8(bitmap * 1024 + 3, 0x55);
    const { problems, files } = await (await open(bytes)).survey();
    expect(problems.map(({ where }) => where).join()).to.match(/^inode bitmap of group 0 \(block/);
    expect(files).to.be.above(40);
  });

  it("shows the name of a file whose inode is damaged, and only that", async () => {
    const { bytes, view } = await sample(CHECKED);
    const volume = await open(bytes);
    const id = await idOf(volume, "/folder/hello.txt");
    const table = view.getUint32(2048 + 8, true) * 1024;
    view.setUint8(table + (id - 1) * 256 + 24, 7);
    const again = await open(bytes);
    expect(await idOf(again, "/folder/hello.txt")).to.equal(id);
    const error = await expectReelError(again.stat(id), "damaged");
    expect(error.message).to.match(/cannot read inode \d+ at byte \d+ of disk.img: its checksum/);
    expect((await again.survey()).problems.map(({ where }) => where).sort()).to.deep.equal([
      "/folder/hello.txt",
      "/same.txt",
    ]);
  });

  it("lists names that lead nowhere under an id of which all is an error", async () => {
    const { bytes, view } = await sample(PLAIN);
    const volume = await open(bytes);
    const entryAt = Buffer.from(bytes).indexOf("large.bin") - 8;
    for (const number of [8, 999_999, await idOf(volume, "/folder"), 2]) {
      view.setUint32(entryAt, number, true);
      const again = await open(bytes);
      const listed = await again.readDirectory(again.rootId);
      const leadNowhere = listed.filter(({ stat }) => stat.id > 2 ** 32);
      expect(leadNowhere.length, `inode ${number}`).to.equal(1);
      for (const { stat } of leadNowhere) {
        await expectReelError(again.stat(stat.id), "damaged");
        await expectReelError(again.readDirectory(stat.id), "damaged");
      }
      expect((await again.survey()).problems.length).to.be.above(0);
    }
  });

  it("refuses an extent tree that is deeper than any", async () => {
    const { bytes, view } = await sample(PLAIN);
    const id = await idOf(await open(bytes), "/large.bin");
    const table = view.getUint32(2048 + 8, true) * 1024;
    view.setUint16(table + (id - 1) * 256 + 40 + 6, 7, true);
    const error = await expectReelError((await open(bytes)).layout(id), "damaged");
    expect(error.message).to.match(/depth 7, not at most 5/);
  });

  it("refuses what is encrypted, in plain words, and shows its name encoded", async () => {
    const { bytes, view } = await sample(PLAIN);
    const volume = await open(bytes);
    const table = view.getUint32(2048 + 8, true) * 1024;
    for (const path of ["/large.bin", "/short-link", "/folder"]) {
      const at = table + ((await idOf(volume, path)) - 1) * 256 + 32;
      view.setUint32(at, view.getUint32(at, true) | 0x800, true);
    }
    const again = await open(bytes);
    const error = await expectReelError(
      again.layout(await idOf(again, "/large.bin")),
      "unsupported",
    );
    expect(error.message).to.match(/encrypted with fscrypt/);
    await expectReelError(
      again.readLink?.(await idOf(again, "/short-link")) ?? Promise.resolve(),
      "unsupported",
    );
    const names = (await again.readDirectory(await idOf(again, "/folder"))).map(({ name }) => name);
    expect(names).to.include(nokeyName(Buffer.from("hello.txt")));
  });

  it("of 80 GB opens at once and is surveyed by what is used", async () => {
    await withTempFolder(async (folder) => {
      const image = join(folder, "scale.img");
      await makeExtImage(image, 80e9, ["-t", "ext4"]);
      await using device = await openFileDevice(image);
      const volume = await extFormat.open(device);
      const { clustersUsed, problems, control } = await volume.survey();
      const { blocks, free } = countBlocks(image);
      expect(problems).to.deep.equal([]);
      expect(clustersUsed).to.equal(blocks - free);
      expect(control.total * volume.info.blockSizeBytes).to.be.below(MIB);
    });
  });

  it("reads a device that is shorter than the volume as far as it goes", async () => {
    const { bytes } = await sample(PLAIN);
    await withTempFolder(async (folder) => {
      const image = join(folder, "short.img");
      await writeFile(image, bytes.subarray(0, MIB - 200 * 1024));
      const volume = await open(new Uint8Array(await readFile(image)));
      const { problems, used } = await volume.survey();
      expect(problems[0]?.message).to.match(/what lies beyond cannot be read/);
      expect(used.end).to.be.at.most(volume.info.blockCount);
    });
  });
});

describe("pieces of ext", () => {
  it("has the checksums of the kernel", () => {
    const digits = Buffer.from("123456789");
    expect(extCrc32c(NO_SEED, digits)).to.equal(~0xe3069283 >>> 0);
    expect(crc16(0, digits)).to.equal(0xbb3d);
  });

  it("turns stored access control lists into those that programs read", () => {
    const stored = Buffer.from("01000000" + "01000600" + "02000700d2040000" + "04000500", "hex");
    expect(Buffer.from(accessControlValue(stored) ?? []).toString("hex")).to.equal(
      "02000000" + "01000600ffffffff" + "02000700d2040000" + "04000500ffffffff",
    );
    for (const bad of ["", "02000000", "0100000001", "0100000099000600", "0100000002000700"]) {
      expect(accessControlValue(Buffer.from(bad, "hex")), bad).to.equal(undefined);
    }
  });

  it("encodes names of any length in a name of at most 255 bytes, each in its own", () => {
    const names = [16, 149, 150, 255].map((length) => nokeyName(Buffer.alloc(length, 1)));
    expect(new Set(names).size).to.equal(names.length);
    for (const name of names) expect(name).to.match(/^[\w-]{32,252}$/);
  });

  it("gives each directory one place", () => {
    const places = new DirectoryPlaces();
    const inRoot = places.list(2);
    expect([11, 12, 11, 2].map(inRoot)).to.deep.equal([true, true, false, false]);
    expect([11, 12].map(places.list(2)), "listed again").to.deep.equal([true, true]);
    expect([13, 12, 11].map(places.list(11))).to.deep.equal([true, false, false]);
    expect([11, 12].map(places.list(13))).to.deep.equal([false, false]);
  });

  it("leads layouts to the journal's copies", () => {
    const copies = new Map([
      [11, { physicalBlock: 500, escaped: false }],
      [12, { physicalBlock: 501, escaped: false }],
      [30, { physicalBlock: 502, escaped: true }],
    ]);
    const replay: Pick<JournalReplay, "locate" | "firstReplacedIn"> = {
      locate: (block) => copies.get(block),
      firstReplacedIn: (start, count) =>
        [...copies.keys()].find((block) => block >= start && block < start + count) ?? -1,
    };
    const layoutOf = (deviceOffset: number, length: number) => ({
      sizeBytes: length,
      length: 1,
      fileOffsets: Float64Array.of(0),
      deviceOffsets: Float64Array.of(deviceOffset),
      lengths: Float64Array.of(length),
      direct: true,
    });
    const plain = layoutOf(2048, 1000);
    expect(relocated(plain, replay, 1024)).to.equal(plain);
    const moved = relocated(layoutOf(10_240, 4000), replay, 1024);
    expect([...moved.fileOffsets]).to.deep.equal([0, 1024, 3072]);
    expect([...moved.deviceOffsets]).to.deep.equal([10_240, 512_000, 13_312]);
    expect([...moved.lengths]).to.deep.equal([1024, 2048, 928]);
    expect(moved.direct).to.equal(true);
    expect(relocated(layoutOf(30_720, 10), replay, 1024).direct).to.equal(false);
  });
});
