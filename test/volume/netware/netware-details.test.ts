import { expect } from "chai";
import type { BlockDevice } from "../../../src/device/block-device.ts";
import { MemoryDevice } from "../../../src/device/memory-device.ts";
import { openVolume } from "../../../src/volume/formats.ts";
import { netwareFormat } from "../../../src/volume/netware/netware-format.ts";
import type { Volume, VolumeEntry, VolumeOptions } from "../../../src/volume/volume.ts";
import { expectReelError } from "../../support/expect-error.ts";
import { FaultyDevice } from "../../support/faulty-device.ts";
import { dosTime, NetwareBuilder, partitionId, ROOT } from "../../support/netware-builder.ts";
import type { NetwareShape } from "../../support/netware-builder.ts";
import {
  joinVolumes,
  LONG_NAME,
  makeNetwareSample,
  NFS_NAME,
} from "../../support/netware-sample.ts";
import { patternBytes } from "../../support/pattern.ts";
import { readContents, readTree, volumeSuite } from "../../support/volume-suite.ts";

const SMALL: NetwareShape = { blockBytes: 4096, segmentBlocks: [200] };
const SHARING: NetwareShape = { ...SMALL, suballocation: true };

interface Opened {
  readonly volume: Volume;
  readonly device: MemoryDevice;
}

async function open(builder: NetwareBuilder, options: VolumeOptions = {}): Promise<Opened> {
  const { bytes, segmentBytes } = builder.build();
  const device = new MemoryDevice(bytes, { name: "netware.img" });
  return { volume: await netwareFormat.open(device, { segmentBytes, ...options }), device };
}

async function entry({ volume }: Opened, name: string): Promise<VolumeEntry> {
  const entries = await volume.readDirectory(volume.rootId);
  const found = entries.find((each) => each.name === name);
  if (found === undefined) throw new Error(`no ${name} among ${entries.map((e) => e.name).join()}`);
  return found;
}

async function contentsOf(opened: Opened, name: string): Promise<Uint8Array> {
  return readContents(opened.volume, opened.device, (await entry(opened, name)).stat.id);
}

describe("names on NetWare volumes", () => {
  it("shows the longest name and keeps the DOS name beside it", async () => {
    const builder = new NetwareBuilder(SMALL);
    builder.addFile(ROOT, "READO~E2.TEX", patternBytes(10), { long: "Read Only.text" });
    builder.addFile(ROOT, "SAME.TXT", patternBytes(10), { long: "same.txt" });
    builder.addFile(ROOT, "PLAIN.TXT", patternBytes(10));
    const { volume } = await open(builder);
    const entries = await volume.readDirectory(volume.rootId);
    expect(entries.map(({ name, shortName }) => [name, shortName])).to.deep.equal([
      ["Read Only.text", "READO~E2.TEX"],
      ["same.txt", "SAME.TXT"],
      ["PLAIN.TXT", undefined],
    ]);
  });

  it("finds the end of a long name in the extended directory", async () => {
    const builder = new NetwareBuilder(SMALL);
    builder.addFile(ROOT, "A", patternBytes(10), { long: LONG_NAME });
    builder.addFile(ROOT, "B", patternBytes(10), { nfs: NFS_NAME });
    const { volume } = await open(builder);
    const names = (await volume.readDirectory(volume.rootId)).map(({ name }) => name);
    expect(names).to.deep.equal([LONG_NAME, NFS_NAME]);
    expect(volume.info.details["extendedDirectory"]).to.be.true;
  });

  it("shows the beginning of a long name whose end is not to be found", async () => {
    const builder = new NetwareBuilder(SMALL);
    builder.addFile(ROOT, "A", patternBytes(10), { long: LONG_NAME });
    builder.extended[1]?.fill(0);
    const { volume } = await open(builder);
    const names = (await volume.readDirectory(volume.rootId)).map(({ name }) => name);
    expect(names).to.deep.equal([LONG_NAME.slice(0, 80)]);
    const { problems } = await volume.survey();
    expect(problems.map(({ message }) => message).join()).to.include("the end of its name");
  });

  it("reads the code page that it is told, and Macintosh names in their own", async () => {
    const builder = new NetwareBuilder(SMALL);
    builder.addFile(ROOT, "GR\x9a\xe1E", patternBytes(10));
    builder.addFile(ROOT, "MAC", patternBytes(10), { mac: Buffer.from([0x80, 0x8a, 0xa5, 0x61]) });
    const { volume } = await open(builder, { codePage: 850 });
    const names = (await volume.readDirectory(volume.rootId)).map(({ name }) => name);
    expect(names).to.deep.equal(["GRÜßE", "Ää•a"]);
    expect(volume.foldName("Grüße")).to.equal(volume.foldName("GRÜßE"));
  });

  it("tells two names of one directory apart", async () => {
    const builder = new NetwareBuilder(SMALL);
    builder.addFile(ROOT, "ONE.TXT", patternBytes(10), { long: "same name.txt" });
    builder.addFile(ROOT, "TWO.TXT", patternBytes(10), { long: "SAME NAME.TXT" });
    const { volume } = await open(builder);
    const names = (await volume.readDirectory(volume.rootId)).map(({ name }) => name);
    expect(names).to.deep.equal(["same name.txt", "SAME NAME (2).TXT"]);
  });
});

describe("what NetWare keeps of a file", () => {
  it("shows times in the zone that it is told", async () => {
    const builder = new NetwareBuilder(SMALL);
    builder.addFile(ROOT, "A", patternBytes(10), {
      modified: dosTime(1996, 12, 31, 23, 59, 58),
      created: dosTime(1995, 1, 2, 3, 4, 6),
      accessedDate: ((1997 - 1980) << 9) | (2 << 5) | 3,
    });
    const { stat } = await entry(await open(builder, { timeZoneMinutes: 60 }), "A");
    const at = (ms: number | undefined) => new Date(ms ?? 0).toISOString();
    expect(at(stat.modifiedMs)).to.equal("1996-12-31T22:59:58.000Z");
    expect(at(stat.createdMs)).to.equal("1995-01-02T02:04:06.000Z");
    expect(at(stat.accessedMs)).to.equal("1997-02-02T23:00:00.000Z");
  });

  it("shows owner, mode and links of the NFS name space", async () => {
    const builder = new NetwareBuilder(SMALL);
    const nfs = { mode: 0o100640, uid: 501, gid: 20, links: 3 };
    builder.addFile(ROOT, "A", patternBytes(10), { ...nfs, attributes: 0x21 });
    const { stat } = await entry(await open(builder), "A");
    expect(stat).to.include({ kind: "file", mode: 0o640, uid: 501, gid: 20, linkCount: 3 });
    expect(stat).to.include({ readOnly: true, attributes: 0x21 });
  });

  it("gives trustees as text, those of further records too", async () => {
    const builder = new NetwareBuilder(SMALL);
    const trustees = [
      [0x00000001, 0x1ff],
      [0xb4000012, 0x41],
      [3, 0x0a],
      [4, 0x90],
      [5, 0x20],
      [6, 0],
    ] as const;
    builder.addFile(ROOT, "A", patternBytes(10), { trustees });
    builder.addFolder(ROOT, "D", { trustees: [[7, 0x08]] });
    const opened = await open(builder);
    const valueOf = async (name: string) => {
      const found = await opened.volume.xattrs?.((await entry(opened, name)).stat.id);
      return Buffer.from(found?.get("user.netware.trustees") ?? []).toString();
    };
    expect(await valueOf("A")).to.equal(
      "00000001 [SRWCEMFA]\nB4000012 [RF]\n00000003 [WC]\n00000004 [EM]\n00000005 [A]\n00000006 []\n",
    );
    expect(await valueOf("D")).to.equal("00000007 [C]\n");
  });

  it("gives the six trustees of a file on an older volume", async () => {
    const builder = new NetwareBuilder({ ...SMALL, newTrustees: false });
    builder.addFile(ROOT, "A", patternBytes(10), {
      trustees: [
        [1, 1],
        [2, 2],
        [3, 0x40],
      ],
    });
    const opened = await open(builder);
    const found = await opened.volume.xattrs?.((await entry(opened, "A")).stat.id);
    expect(Buffer.from(found?.get("user.netware.trustees") ?? []).toString()).to.equal(
      "00000001 [R]\n00000002 [W]\n00000003 [F]\n",
    );
  });

  it("gives Finder information and a small resource fork", async () => {
    const builder = new NetwareBuilder(SHARING);
    const finderInfo = patternBytes(32, 3);
    const resourceFork = patternBytes(5000, 4);
    builder.addFile(ROOT, "A", patternBytes(10), { mac: "A file", finderInfo, resourceFork });
    builder.addFile(ROOT, "B", patternBytes(10), { mac: "B", resourceFork: patternBytes(70_000) });
    const opened = await open(builder);
    const of = async (name: string) =>
      opened.volume.xattrs?.((await entry(opened, name)).stat.id) ?? new Map<string, Uint8Array>();
    const found = await of("A file");
    expect(found.get("user.com.apple.FinderInfo")).to.deep.equal(finderInfo);
    expect(found.get("user.com.apple.ResourceFork")).to.deep.equal(resourceFork);
    expect([...(await of("B")).keys()]).to.deep.equal([]);
    expect((await opened.volume.survey()).problems).to.deep.equal([]);
  });

  it("refuses what the server compressed or migrated, and lists it", async () => {
    const builder = new NetwareBuilder(SMALL);
    builder.addFile(ROOT, "PACKED", patternBytes(10), { attributes: 0x04000000 });
    builder.addFile(ROOT, "AWAY", patternBytes(10), { attributes: 0x00400000 });
    const opened = await open(builder);
    for (const [name, reason] of [
      ["PACKED", "compressed"],
      ["AWAY", "migrated"],
    ] as const) {
      const { id } = (await entry(opened, name)).stat;
      const error = await expectReelError(opened.volume.layout(id), "unsupported");
      expect(error.message).to.include(reason);
    }
  });

  it("refuses the contents of a pipe, and a link where there is none", async () => {
    const builder = new NetwareBuilder(SMALL);
    builder.addFile(ROOT, "PIPE", new Uint8Array(0), { mode: 0o010644 });
    builder.addFile(ROOT, "FILE", patternBytes(3));
    builder.addFile(ROOT, "LINK", patternBytes(5000), { mode: 0o120777 });
    const opened = await open(builder);
    const { volume } = opened;
    await expectReelError(volume.layout((await entry(opened, "PIPE")).stat.id), "invalid");
    const link = async (name: string) =>
      volume.readLink?.((await entry(opened, name)).stat.id) ?? "";
    await expectReelError(link("FILE"), "invalid");
    await expectReelError(link("LINK"), "damaged");
  });
});

describe("contents on NetWare volumes", () => {
  it("reads pieces of bins that lie in two blocks, of many files", async () => {
    const builder = new NetwareBuilder(SHARING);
    const contents = Array.from({ length: 40 }, (_, i) => patternBytes(1025 + i * 11, i));
    contents.forEach((bytes, i) => builder.addFile(ROOT, `F${i}`, bytes));
    const opened = await open(builder);
    for (const [i, bytes] of contents.entries()) {
      expect(await contentsOf(opened, `F${i}`), `F${i}`).to.deep.equal(bytes);
    }
  });

  it("shows zeros after the last block and after the last piece", async () => {
    const builder = new NetwareBuilder(SHARING);
    builder.addFile(ROOT, "A", patternBytes(4096), { sizeBytes: 20_000 });
    builder.addFile(ROOT, "B", patternBytes(100), { sizeBytes: 9_000 });
    builder.addFile(ROOT, "C", new Uint8Array(0), { sizeBytes: 5_000 });
    const opened = await open(builder);
    const padded = (bytes: Uint8Array, length: number) => {
      const all = new Uint8Array(length);
      all.set(bytes);
      return all;
    };
    expect(await contentsOf(opened, "A")).to.deep.equal(padded(patternBytes(4096), 20_000));
    expect(await contentsOf(opened, "B")).to.deep.equal(padded(patternBytes(100), 9_000));
    expect(await contentsOf(opened, "C")).to.deep.equal(new Uint8Array(5_000));
  });

  it("leaves out the blocks of salvageable files unless it is asked for them", async () => {
    const builder = new NetwareBuilder(SMALL);
    builder.addFile(ROOT, "KEPT", patternBytes(4096 * 2));
    const blocks = builder.allocate(3);
    builder.addFile(ROOT, "GONE", patternBytes(4096 * 3), { deleted: 4, blocks });
    const { volume } = await open(builder);
    const unit = volume.info.blockSizeBytes;
    const at = builder.offsetOf(blocks[1] ?? 0) / unit;
    const plain = await volume.survey();
    const all = await volume.survey({ includeDeleted: true });
    expect(plain.used.has(at)).to.be.false;
    expect(all.used.has(at)).to.be.true;
    expect(all.used.total - plain.used.total).to.equal((3 * 4096) / unit);
    expect(plain.clustersUsed).to.equal(all.clustersUsed);
    expect(plain.files).to.equal(1);
    expect(plain.problems).to.deep.equal([]);
  });

  it("keeps a block that a salvageable file shares with another", async () => {
    const builder = new NetwareBuilder(SMALL);
    const blocks = builder.allocate(2);
    builder.addFile(ROOT, "KEPT", patternBytes(4096 * 2), { blocks });
    builder.addFile(ROOT, "GONE", patternBytes(0), { deleted: 3, firstBlock: blocks[0] ?? 0 });
    const { volume } = await open(builder);
    const { used } = await volume.survey();
    expect(used.has(builder.offsetOf(blocks[0] ?? 0) / volume.info.blockSizeBytes)).to.be.true;
  });

  it("keeps blocks in use by nothing, and says so", async () => {
    const builder = new NetwareBuilder(SMALL);
    const [lost = 0] = builder.allocate(1);
    builder.chain([lost]);
    const { volume } = await open(builder);
    const { used, problems } = await volume.survey();
    expect(used.has(builder.offsetOf(lost) / volume.info.blockSizeBytes)).to.be.true;
    expect(problems.map(({ message }) => message)).to.deep.equal([
      "1 block is in use by no file or directory",
    ]);
  });
});

describe("segments, mirrors and several volumes", () => {
  it("finds the segments in any order", async () => {
    const shape = { blockBytes: 8192, segmentBlocks: [20, 60, 30], suballocation: true };
    const { builder, expected } = makeNetwareSample(shape);
    for (const order of [
      [2, 0, 1],
      [1, 2, 0],
    ]) {
      const { bytes, segmentBytes } = builder.build(order);
      const device = new MemoryDevice(bytes);
      const volume = await openVolume(device, { segmentBytes });
      expect(await readTree(volume, device)).to.deep.equal(expected);
      expect((await volume.survey()).problems).to.deep.equal([]);
    }
  });

  it("names the segments that are missing", async () => {
    const shape = { blockBytes: 8192, segmentBlocks: [20, 60, 30] };
    const { builder } = makeNetwareSample(shape);
    const { bytes, segmentBytes } = builder.build([1]);
    const opening = netwareFormat.open(new MemoryDevice(bytes), { segmentBytes });
    const error = await expectReelError(opening, "unsupported");
    expect(error.message).to.include("segments 1, 3 of the 3 of volume SYS are missing");
  });

  it("refuses segments that cannot be", async () => {
    const { bytes } = makeNetwareSample(SMALL);
    for (const segmentBytes of [[0], [-5], [Number.NaN], Array<number>(300).fill(512)]) {
      const opening = netwareFormat.open(new MemoryDevice(bytes), { segmentBytes });
      await expectReelError(opening, "invalid");
    }
    const opening = netwareFormat.open(new MemoryDevice(bytes), { timeZoneMinutes: 10_000 });
    await expectReelError(opening, "invalid");
  });

  it("opens one member of a mirror, and says when it is out of sync", async () => {
    const builder = new NetwareBuilder(SMALL);
    builder.addFile(ROOT, "A", patternBytes(10));
    builder.mirror = { members: [partitionId(0), 99] };
    expect((await open(builder)).volume.info.notices).to.equal(undefined);
    builder.mirror = { members: [partitionId(0), 99], isOutOfSync: true };
    const { volume } = await open(builder);
    expect(volume.info.notices?.join()).to.include("out of sync");
    expect(volume.info.details["mirrored"]).to.be.true;
  });

  it("reads the member of a mirror that is in sync, and keeps both", async () => {
    const builder = new NetwareBuilder(SMALL);
    const [block = 0] = builder.allocate(1);
    builder.addFile(ROOT, "A", patternBytes(100, 1), { blocks: [block] });
    builder.mirror = { members: [partitionId(0), 99], isOutOfSync: true };
    const old = builder.build().bytes.slice();
    builder.mirror = { members: [partitionId(0), 99] };
    builder.setBlock(block, patternBytes(100, 2));
    const { bytes } = builder.build();
    const device = new MemoryDevice(new Uint8Array(Buffer.concat([old, bytes])));
    const volume = await netwareFormat.open(device, { segmentBytes: [old.length, bytes.length] });
    expect(await contentsOf({ volume, device }, "A")).to.deep.equal(patternBytes(100, 2));
    const { used } = await volume.survey();
    const { blockSizeBytes } = volume.info;
    const offset = builder.offsetOf(block);
    expect(used.has(offset / blockSizeBytes)).to.be.true;
    expect(used.has((old.length + offset) / blockSizeBytes)).to.be.true;
  });

  describe("of which one member fails", () => {
    const FILES = 30;

    /** Two members in sync, end to end; where a block is on the first. */
    function mirrored(isOutOfSync = false): {
      bytes: Uint8Array<ArrayBuffer>;
      segmentBytes: readonly number[];
      builder: NetwareBuilder;
    } {
      const builder = new NetwareBuilder(SMALL);
      for (let i = 0; i < FILES; i++) builder.addFile(ROOT, `FILE${i}`, patternBytes(5000, i));
      builder.mirror = { members: [partitionId(0), 99] };
      const first = builder.build().bytes.slice();
      builder.mirror = { members: [partitionId(0), 99], isOutOfSync };
      const second = builder.build().bytes;
      const bytes = new Uint8Array(Buffer.concat([first, second]));
      return { bytes, segmentBytes: [first.length, second.length], builder };
    }

    async function expectWhole(opened: { volume: Volume; device: BlockDevice }): Promise<void> {
      const { volume, device } = opened;
      const entries = await volume.readDirectory(volume.rootId);
      expect(entries.map(({ name }) => name)).to.have.members(
        Array.from({ length: FILES }, (_, i) => `FILE${i}`),
      );
      for (const { name, stat } of entries) {
        const expected = patternBytes(5000, Number(name.slice(4)));
        expect(await readContents(volume, device, stat.id)).to.deep.equal(expected);
      }
    }

    /** Where on the first member blocks of the FAT and the directory are. */
    async function structures(volume: Volume, builder: NetwareBuilder): Promise<number[]> {
      const { control } = await volume.survey();
      const { blockSizeBytes } = volume.info;
      const blocks = [...control].flatMap(([start, count]) =>
        Array.from({ length: count }, (_, i) => (start + i) * blockSizeBytes),
      );
      // Before are the heads of the partition, which say that there is a mirror at all.
      const [from, end] = [builder.offsetOf(0), builder.partitionBytes(0)];
      return blocks.filter((offset) => offset >= from && offset < end);
    }

    for (const [how, spoil] of [
      ["cannot be read", "failReads"],
      ["makes no sense", "corrupt"],
    ] as const) {
      it(`takes what ${how} from the other, wherever it is`, async () => {
        const { bytes, segmentBytes, builder } = mirrored();
        const clean = await netwareFormat.open(new MemoryDevice(bytes), { segmentBytes });
        const offsets = await structures(clean, builder);
        // A block of the FAT and one of the directory, both of the first copy.
        expect(offsets).to.have.length(2);
        for (const offset of offsets) {
          const device = new FaultyDevice(new MemoryDevice(bytes));
          device[spoil](offset, clean.info.blockSizeBytes);
          const volume = await netwareFormat.open(device, { segmentBytes });
          await expectWhole({ volume, device });
          const { problems } = await volume.survey();
          expect(problems.map(({ message }) => message).join()).to.include(
            "the mirror's copy is used",
          );
        }
      });
    }

    it("says so, and does not take anything from a member that is out of sync", async () => {
      for (const isOutOfSync of [false, true]) {
        const { bytes, segmentBytes, builder } = mirrored(isOutOfSync);
        const clean = await netwareFormat.open(new MemoryDevice(bytes), { segmentBytes });
        const device = new FaultyDevice(new MemoryDevice(bytes));
        for (const offset of await structures(clean, builder)) {
          device.failReads(offset, clean.info.blockSizeBytes);
        }
        const opening = netwareFormat.open(device, { segmentBytes });
        if (isOutOfSync) {
          const said = await opening.then(
            async (volume) => (await volume.survey()).problems.map(({ message }) => message).join(),
            (error: unknown) => String(error),
          );
          expect(said)
            .to.match(/injected/)
            .and.not.to.match(/mirror's copy/);
        } else {
          const volume = await opening;
          expect(volume.info.notices?.join()).to.match(/one of the members is failing/);
          await expectWhole({ volume, device });
        }
      }
    });
  });

  volumeSuite("two volumes on one partition", () => {
    const first = makeNetwareSample({ ...SMALL, name: "SYS" });
    const second = makeNetwareSample({ blockBytes: 8192, segmentBlocks: [60], name: "VOL1" });
    const { bytes } = joinVolumes(first, second);
    const expected = new Map([
      ["/SYS", "directory" as const],
      ["/VOL1", "directory" as const],
      ...[...first.expected].map(([path, node]) => [`/SYS${path}`, node] as const),
      ...[...second.expected].map(([path, node]) => [`/VOL1${path}`, node] as const),
    ]);
    return { format: netwareFormat, bytes, expected, structure: first.structure };
  });

  it("shows the other volumes when one is damaged, and keeps all of that one", async () => {
    const first = makeNetwareSample({ ...SMALL, name: "SYS" });
    const second = makeNetwareSample({ blockBytes: 8192, segmentBlocks: [60], name: "VOL1" });
    const { bytes, secondOffset } = joinVolumes(first, second);
    bytes.fill(0, secondOffset, secondOffset + 8192 * 60);
    const device = new MemoryDevice(bytes);
    const volume = await openVolume(device);
    const [sys, vol1] = await volume.readDirectory(volume.rootId);
    expect(await volume.readDirectory(sys?.stat.id ?? -1)).to.have.length.above(2);
    const error = await expectReelError(volume.readDirectory(vol1?.stat.id ?? -1), "damaged");
    expect(error.message).to.include("volume VOL1").and.include("FAT");
    const { used, problems } = await volume.survey();
    expect(used.has(secondOffset / volume.info.blockSizeBytes + 50)).to.be.true;
    expect(problems.map(({ where }) => where)).to.include("volume VOL1");
    expect(volume.info.notices?.join()).to.include("VOL1");
    expect(await volume.stat(volume.rootId)).to.include({ kind: "directory" });
    expect((await volume.xattrs?.(volume.rootId))?.size).to.equal(0);
  });
});
