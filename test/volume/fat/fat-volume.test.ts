import { expect } from "chai";
import { MemoryDevice } from "../../../src/device/memory-device.ts";
import { fatFormat } from "../../../src/volume/fat/fat-format.ts";
import type { Volume, VolumeOptions } from "../../../src/volume/volume.ts";
import { expectReelError } from "../../support/expect-error.ts";
import { FatBuilder, fatDate, fatTime, longSlots } from "../../support/fat-builder.ts";
import type { FatShape } from "../../support/fat-builder.ts";
import { makeFatSample, pattern } from "../../support/fat-sample.ts";
import { readTree, volumeSuite } from "../../support/volume-suite.ts";

const SHAPES: Readonly<Record<string, FatShape>> = {
  FAT12: { bits: 12, clusters: 200 },
  "FAT12 with the most clusters there can be": { bits: 12, clusters: 4084 },
  "FAT16 with the fewest clusters there can be": { bits: 16, clusters: 4085 },
  "FAT16 with 4 FATs and clusters of 2 KiB": {
    bits: 16,
    clusters: 5000,
    fatCount: 4,
    sectorsPerCluster: 4,
  },
  "FAT16 with 1 FAT and a root of 17 entries": {
    bits: 16,
    clusters: 5000,
    fatCount: 1,
    rootEntries: 17,
  },
  "FAT32 with few clusters": { bits: 32, clusters: 100 },
  "FAT32 with 4096-byte sectors and 64 KiB clusters": {
    bits: 32,
    clusters: 60,
    bytesPerSector: 4096,
    sectorsPerCluster: 16,
  },
  "FAT32 with 1024-byte sectors and 3 FATs": {
    bits: 32,
    clusters: 300,
    bytesPerSector: 1024,
    fatCount: 3,
  },
  "FAT32 whose second FAT alone is kept": { bits: 32, clusters: 100, activeFat: 1 },
  "FAT12 with an Atari jump and no 55 AA": {
    bits: 12,
    clusters: 300,
    jump: [0x60, 0x38, 0x00],
    bootSignature: false,
    sectorsPerCluster: 2,
  },
};

for (const [name, shape] of Object.entries(SHAPES)) {
  volumeSuite(name, () => ({ format: fatFormat, ...makeFatSample(shape) }));
}

async function open(builder: FatBuilder, options?: VolumeOptions): Promise<Volume> {
  return fatFormat.open(new MemoryDevice(builder.build(), { name: "volume.img" }), options);
}

async function names(volume: Volume): Promise<string[]> {
  return (await volume.readDirectory(volume.rootId)).map(({ name }) => name);
}

async function idOf(volume: Volume, name: string): Promise<number> {
  const entries = await volume.readDirectory(volume.rootId);
  const found = entries.find((entry) => entry.name === name);
  if (found === undefined) return expect.fail(`no ${name}`);
  return found.stat.id;
}

async function problems(volume: Volume): Promise<string[]> {
  const survey = await volume.survey();
  return survey.problems.map(({ where, message }) => `${where}: ${message}`);
}

const fat16: FatShape = { bits: 16, clusters: 5000 };
const fat32: FatShape = { bits: 32, clusters: 100 };

describe("what is known of a FAT volume", () => {
  it("tells type, sizes, label and serial number", async () => {
    const builder = new FatBuilder({ ...fat32, label: "BOOTLABEL", serial: 0x1a2b3c4d });
    const { info } = await open(builder);
    expect(info).to.include({
      kind: "fat32",
      label: "BOOTLABEL",
      serial: "1A2B-3C4D",
      blockSizeBytes: 512,
      blockCount: builder.totalSectors,
      clusterSizeBytes: 512,
      clusterCount: 100,
      caseSensitive: false,
    });
  });

  it("prefers the label in the root directory, in the code page asked for", async () => {
    const builder = new FatBuilder({ ...fat16, label: "BOOTLABEL" });
    builder.addEntry(builder.root, "GR\x99SSE     ", { attributes: 0x08 });
    expect((await open(builder)).info.label).to.equal("GRÖSSE");
    expect((await open(builder, { codePage: 866 })).info.label).to.equal("GRЩSSE");
  });

  it("has no label when it is called NO NAME", async () => {
    expect((await open(new FatBuilder(fat16))).info.label).to.equal("");
  });

  it("has no more clusters than its FAT has entries for", async () => {
    const volume = await open(new FatBuilder({ ...fat16, sectorsPerFat: 17 }));
    expect(volume.info).to.include({ kind: "fat16", clusterCount: 17 * 256 - 2 });
    expect(await problems(volume)).to.deep.equal([
      "boot sector: room for 5000 clusters, but only 4350 have a FAT entry",
    ]);
  });

  it("counts bad clusters as taken, as fsck.fat does, but never reads them", async () => {
    const builder = new FatBuilder(fat16);
    builder.addFile(builder.root, "A", pattern(600, 1));
    builder.entries.set(10, builder.badMark);
    const volume = await open(builder);
    const survey = await volume.survey();
    expect(survey.clustersUsed).to.equal(3);
    expect(survey.used.total).to.equal(builder.dataSector + 2);
    expect(await volume.freeClusters()).to.equal(5000 - 3);
  });

  it("reads one FAT to walk the volume, and all FATs to back it up", async () => {
    const builder = new FatBuilder({ ...fat16, fatCount: 4 });
    const { used, control } = await (await open(builder)).survey();
    const { sectorsPerFat, rootEntries } = builder.shape;
    expect(control.total).to.equal(1 + sectorsPerFat + (rootEntries * 32) / 512);
    expect(used.total).to.equal(1 + 4 * sectorsPerFat + (rootEntries * 32) / 512);
  });

  it("keeps the boot sectors alone of a large reserved area for walking", async () => {
    const builder = new FatBuilder({ ...fat32, reservedSectors: 2000 });
    const { used, control } = await (await open(builder)).survey();
    expect([control.has(0), control.has(1), control.has(6), control.has(1000)]).to.deep.equal([
      true,
      true,
      true,
      false,
    ]);
    expect(used.has(1000)).to.be.true;
  });

  it("refuses code pages and time zones that it does not know", async () => {
    await expectReelError(open(new FatBuilder(fat16), { codePage: 932 }), "unsupported");
    await expectReelError(open(new FatBuilder(fat16), { timeZoneMinutes: 99999 }), "invalid");
    await expectReelError(open(new FatBuilder(fat16), { timeZoneMinutes: Number.NaN }), "invalid");
  });
});

describe("FAT names", () => {
  it("decodes short names with the code page, the case bits and 05 for E5", async () => {
    const builder = new FatBuilder(fat16);
    builder.addEntry(builder.root, "\x8eRGER.TXT", { ntCase: 0x10 });
    builder.addEntry(builder.root, "UPPER.TXT", { ntCase: 0x08 });
    builder.addEntry(builder.root, "\x05TA.C", {});
    expect(await names(await open(builder))).to.deep.equal(["ÄRGER.txt", "upper.TXT", "σTA.C"]);
    const in1252 = await open(builder, { codePage: 1252 });
    expect(await names(in1252)).to.deep.equal(["ŽRGER.txt", "upper.TXT", "åTA.C"]);
    const in850 = await open(builder, { codePage: 850 });
    expect((await names(in850))[2]).to.equal("ÕTA.C");
  });

  it("shows long names, with the short name beside them", async () => {
    const builder = new FatBuilder(fat16);
    const longest = "x".repeat(255);
    builder.addEntry(builder.root, "LONG~1.TXT", { long: "A long name.text" });
    builder.addEntry(builder.root, "XXXXXX~1", { long: longest });
    builder.addEntry(builder.root, "THIRTE~1", { long: "thirteen unit" });
    const volume = await open(builder);
    expect(await names(volume)).to.deep.equal(["A long name.text", longest, "thirteen unit"]);
    const [first] = await volume.readDirectory(volume.rootId);
    expect(first?.shortName).to.equal("LONG~1.TXT");
  });

  it("falls back to the short name when the long one is not whole or not its own", async () => {
    const builder = new FatBuilder(fat16);
    const { slots } = builder.root;
    builder.addEntry(builder.root, "WRONG~1", { long: "wrong checksum", checksum: 1 });
    const [last] = longSlots(
      Array.from({ length: 20 }, () => 0x61),
      0,
    );
    if (last !== undefined) slots.push(last);
    builder.addEntry(builder.root, "ORPHAN~1", {});
    builder.addEntry(builder.root, "ORDER~1", { long: "this long name is out of order" });
    const order = slots.length - 4;
    [slots[order], slots[order + 1]] = [slots[order + 1], slots[order]] as [Buffer, Buffer];
    builder.addEntry(builder.root, "TOOLONG", { long: "y".repeat(256) });
    builder.addEntry(builder.root, "NOTHING", { long: [0] });
    expect(await names(await open(builder))).to.deep.equal([
      "WRONG~1",
      "ORPHAN~1",
      "ORDER~1",
      "TOOLONG",
      "NOTHING",
    ]);
  });

  it("makes names that a path cannot hold safe, and twins different", async () => {
    const builder = new FatBuilder(fat16);
    builder.addEntry(builder.root, "A", { long: "a/b" });
    builder.addEntry(builder.root, "B", { long: [0xd83c] });
    builder.addEntry(builder.root, "C", { long: ".." });
    builder.addEntry(builder.root, "TWIN.TXT", {});
    builder.addEntry(builder.root, "TWIN2.TXT", { long: "twin.txt" });
    expect(await names(await open(builder))).to.deep.equal([
      "a_b",
      "\ufffd",
      "__",
      "TWIN.TXT",
      "twin (2).txt",
    ]);
  });

  it("leaves out deleted files, labels, and what follows the end mark", async () => {
    const builder = new FatBuilder(fat16);
    builder.addEntry(builder.root, "LABEL", { attributes: 0x08 });
    builder.addEntry(builder.root, "GONE", { deleted: true, long: "gone for good" });
    builder.addEntry(builder.root, "HERE", {});
    builder.root.slots.push(Buffer.alloc(32));
    builder.addEntry(builder.root, "BEHIND", {});
    expect(await names(await open(builder))).to.deep.equal(["HERE"]);
  });

  it("folds case as FAT does", async () => {
    const volume = await open(new FatBuilder(fat16));
    expect(volume.foldName("grüße.txt")).to.equal("GRÜßE.TXT");
    expect(volume.foldName("ıſ")).to.equal("ıſ");
    expect(volume.foldName("a🎞")).to.equal("A🎞");
  });
});

describe("FAT times and attributes", () => {
  const builder = new FatBuilder(fat16);
  builder.addEntry(builder.root, "TIMES", {
    attributes: 0x27,
    created: [fatDate(2024, 2, 29), fatTime(13, 14, 16), 151],
    modified: [fatDate(2107, 12, 31), fatTime(23, 59, 58)],
    accessed: fatDate(2024, 3, 1),
  });
  builder.addEntry(builder.root, "ODD", { created: [0, 0, 0], modified: [0xffff, 0xffff] });
  builder.addEntry(builder.root, "ZERO", { modified: [0, 0] });

  it("are read to ten milliseconds, in the time zone asked for", async () => {
    const volume = await open(builder, { timeZoneMinutes: 120 });
    const stat = await volume.stat(await idOf(volume, "TIMES"));
    expect(new Date(stat.createdMs ?? 0).toISOString()).to.equal("2024-02-29T11:14:17.510Z");
    expect(new Date(stat.modifiedMs).toISOString()).to.equal("2107-12-31T21:59:58.000Z");
    expect(new Date(stat.accessedMs).toISOString()).to.equal("2024-02-29T22:00:00.000Z");
    expect(stat.changedMs).to.equal(stat.modifiedMs);
    expect(stat).to.include({ attributes: 0x27, readOnly: true });
    expect(stat.mode).to.equal(undefined);
  });

  it("that make no sense become the nearest that do", async () => {
    const volume = await open(builder);
    const odd = await volume.stat(await idOf(volume, "ODD"));
    expect(new Date(odd.modifiedMs).toISOString()).to.equal("2107-12-31T23:59:58.000Z");
    expect(odd.createdMs).to.equal(undefined);
    expect(odd.accessedMs).to.equal(odd.modifiedMs);
    const zero = await volume.stat(await idOf(volume, "ZERO"));
    expect(new Date(zero.modifiedMs).toISOString()).to.equal("1980-01-01T00:00:00.000Z");
  });
});

describe("damaged FAT volumes", () => {
  const contents = pattern(512 * 4, 9);

  /** A volume with one sound file and one whose chain of clusters 10 to 13 is then spoilt. */
  function spoilt(spoil: (builder: FatBuilder) => void): FatBuilder {
    const builder = new FatBuilder(fat16);
    builder.addFile(builder.root, "SOUND", contents);
    builder.addFile(builder.root, "SPOILT", contents, { clusters: [10, 11, 12, 13] });
    spoil(builder);
    return builder;
  }

  async function expectSpoilt(builder: FatBuilder, reason: RegExp): Promise<void> {
    const volume = await open(builder);
    const error = await expectReelError(volume.layout(await idOf(volume, "SPOILT")), "damaged");
    expect(error.message)
      .to.match(reason)
      .and.match(/SPOILT/);
    expect((await problems(volume)).join("\n"))
      .to.match(/\/SPOILT: /)
      .and.match(reason);
    expect((await volume.layout(await idOf(volume, "SOUND"))).sizeBytes).to.equal(contents.length);
  }

  it("a chain that ends too early", async () => {
    const builder = spoilt(({ entries, endMark }) => entries.set(11, endMark));
    await expectSpoilt(builder, /ends after 2 clusters, at cluster 11, but its 2048 bytes need 4/);
  });

  it("a chain that runs into free space", async () => {
    await expectSpoilt(
      spoilt(({ entries }) => entries.delete(12)),
      /runs into cluster 12, which is marked free/,
    );
  });

  it("a chain that runs into a bad cluster", async () => {
    await expectSpoilt(
      spoilt(({ entries, badMark }) => entries.set(13, badMark)),
      /runs into cluster 13, which is marked bad/,
    );
  });

  it("a chain that points outside", async () => {
    await expectSpoilt(
      spoilt(({ entries }) => entries.set(11, 5002)),
      /points from cluster 11 to cluster 5002, which does not exist/,
    );
    await expectSpoilt(
      spoilt(({ entries }) => entries.set(11, 1)),
      /points from cluster 11 to cluster 1, which does not exist/,
    );
  });

  it("a chain that loops, even where the loop is longer than the file needs", async () => {
    for (const [from, to] of [
      [13, 10],
      [13, 12],
      [10, 10],
      [12, 11],
    ] as const) {
      await expectSpoilt(
        spoilt(({ entries }) => entries.set(from, to)),
        /loops back to cluster/,
      );
    }
  });

  it("a file without a first cluster, or with one that does not exist", async () => {
    const make = (firstCluster: number) => {
      const builder = new FatBuilder(fat16);
      builder.addFile(builder.root, "SOUND", contents);
      builder.addEntry(builder.root, "SPOILT", { sizeBytes: 5, firstCluster });
      return builder;
    };
    await expectSpoilt(make(0), /has 5 bytes but no first cluster/);
    await expectSpoilt(make(60000), /starts at cluster 60000, which does not exist/);
  });

  it("a chain longer than its file is read as far as the file goes, and told", async () => {
    const builder = new FatBuilder(fat16);
    builder.addFile(builder.root, "SHORT", contents, { sizeBytes: 600 });
    builder.addFile(builder.root, "EMPTY", contents, { sizeBytes: 0 });
    const volume = await open(builder);
    expect((await volume.layout(await idOf(volume, "SHORT"))).lengths).to.deep.equal(
      Float64Array.of(600),
    );
    expect((await volume.layout(await idOf(volume, "EMPTY"))).length).to.equal(0);
    expect(await problems(volume)).to.deep.equal([
      "/SHORT: its cluster chain has 4 clusters, its 600 bytes need 2",
      "/EMPTY: its cluster chain has 4 clusters, its 0 bytes need 0",
    ]);
  });

  it("files that share clusters stay readable, and the sharing is told", async () => {
    const builder = spoilt(() => undefined);
    builder.addEntry(builder.root, "THIEF", { sizeBytes: 1000, firstCluster: 12 });
    const volume = await open(builder);
    const shared = (await problems(volume)).join("\n");
    expect(shared).to.match(/cluster 12, which belongs to something else too/);
    const layout = await volume.layout(await idOf(volume, "THIEF"));
    expect(layout.deviceOffsets[0]).to.equal(builder.clusterOffset(12));
  });

  it("lost clusters are backed up and told", async () => {
    const builder = new FatBuilder(fat16);
    builder.allocate(3);
    const volume = await open(builder);
    expect(await problems(volume)).to.deep.equal([
      "FAT: 3 clusters are in use by no file or directory",
    ]);
    expect((await volume.survey()).clustersUsed).to.equal(3);
  });

  it("FATs that differ are told", async () => {
    const builder = new FatBuilder(fat16);
    const bytes = builder.build();
    const second = (1 + builder.shape.sectorsPerFat) * 512;
    bytes[second + 77 * 2] = 5;
    const volume = await fatFormat.open(new MemoryDevice(bytes));
    expect(await problems(volume)).to.deep.equal([
      "FAT 2: differs from FAT 1, which is used, from entry 77 on",
    ]);
  });

  it("a broken boot sector is replaced by its backup", async () => {
    for (const bytesPerSector of [512, 4096]) {
      const sample = makeFatSample({ ...fat32, bytesPerSector });
      sample.bytes.fill(0xf6, 0, 512);
      const device = new MemoryDevice(sample.bytes);
      expect(await fatFormat.probe(device)).to.be.true;
      const volume = await fatFormat.open(device);
      expect([...(await readTree(volume, device)).keys()]).to.have.members([
        ...sample.expected.keys(),
      ]);
      expect((await problems(volume))[0]).to.match(
        /^boot sector: its first sector .*its backup in sector 6 is used instead$/,
      );
    }
  });

  it("a backup boot sector or FSInfo sector that is wrong is told", async () => {
    const bytes = new FatBuilder(fat32).build();
    bytes[6 * 512 + 13] = 2;
    bytes[512] = 0;
    const volume = await fatFormat.open(new MemoryDevice(bytes));
    expect(await problems(volume)).to.deep.equal([
      "backup boot sector: differs from the boot sector",
      "FSInfo sector: has no FSInfo signature",
    ]);
  });

  it("a device that is too short gives what lies on it", async () => {
    const builder = spoilt(() => undefined);
    builder.addFile(builder.root, "FAR", contents, { clusters: [4000, 4001, 4002, 4003] });
    const whole = builder.build();
    const device = new MemoryDevice(whole.slice(0, builder.clusterOffset(4002)));
    const volume = await fatFormat.open(device);
    const error = await expectReelError(volume.layout(await idOf(volume, "FAR")), "damaged");
    expect(error.message).to.match(/beyond the end of the device/);
    await volume.layout(await idOf(volume, "SOUND"));
    const { used, problems: found } = await volume.survey();
    expect(used.end * 512).to.equal(device.sizeBytes);
    expect(found.map(({ where }) => where)).to.deep.equal(["boot sector", "volume"]);
  });

  it("a FAT that is not all on the device", async () => {
    const builder = new FatBuilder({ ...fat32, clusters: 70_000, fatCount: 1 });
    const device = new MemoryDevice(builder.build().slice(0, 40 * 512));
    const volume = await fatFormat.open(device);
    await expectReelError(volume.readDirectory(volume.rootId), "damaged");
    expect((await volume.survey()).used.end).to.equal(40);
    expect(await volume.freeClusters()).to.be.below(1024);
  });

  it("more problems than anyone reads are counted", async () => {
    const builder = new FatBuilder({ ...fat32, clusters: 500, sectorsPerCluster: 4 });
    const folder = builder.addFolder(builder.root, "MANY", { length: 40 });
    for (let i = 0; i < 1200; i++) builder.addEntry(folder, `F${i}`, { sizeBytes: 1 });
    const found = await problems(await open(builder));
    expect(found.length).to.equal(1001);
    expect(found.at(-1)).to.equal("volume: 200 more problems");
  });
});

describe("damaged FAT directories", () => {
  it("a directory inside itself is refused at the second time", async () => {
    const builder = new FatBuilder(fat32);
    const a = builder.addFolder(builder.root, "A");
    const b = builder.addFolder(a, "B");
    builder.addEntry(b, "AGAIN", { attributes: 0x10, firstCluster: a.firstCluster });
    builder.addEntry(b, "ROOT", { attributes: 0x10, firstCluster: 2 });
    builder.addEntry(b, "SELF", { attributes: 0x10, firstCluster: b.firstCluster });
    const volume = await open(builder);
    const [entryA] = await volume.readDirectory(volume.rootId);
    const [entryB] = await volume.readDirectory(entryA?.stat.id ?? 0);
    const inB = await volume.readDirectory(entryB?.stat.id ?? 0);
    expect(inB.map(({ name }) => name)).to.deep.equal(["AGAIN", "ROOT", "SELF"]);
    for (const { stat } of inB) {
      const error = await expectReelError(volume.readDirectory(stat.id), "damaged");
      expect(error.message).to.match(/two places/);
    }
    const survey = await volume.survey();
    expect(survey.directories).to.equal(2);
    expect(survey.problems.map(({ where }) => where)).to.deep.equal([
      "/A/B/AGAIN",
      "/A/B/ROOT",
      "/A/B/SELF",
    ]);
  });

  it("a directory whose .. is wrong is still listed", async () => {
    const builder = new FatBuilder(fat16);
    const a = builder.addFolder(builder.root, "A", { parentCluster: 77 });
    builder.addFile(a, "INSIDE", pattern(5, 5));
    const volume = await open(builder);
    const entries = await volume.readDirectory(await idOf(volume, "A"));
    expect(entries.map(({ name }) => name)).to.deep.equal(["INSIDE"]);
  });

  it("directories that share a cluster cannot make a loop", async () => {
    const builder = new FatBuilder(fat16);
    const d1 = builder.addFolder(builder.root, "D1", { clusters: [10, 20] });
    const d2 = builder.addFolder(d1, "D2", { clusters: [11, 12] });
    const d3 = builder.addFolder(d2, "D3", { clusters: [13] });
    // D1's second cluster holds the entry of D2; D3 is made to run into that cluster.
    const entryOfD2 = d1.slots.pop();
    for (let i = d1.slots.length; i < 16; i++) builder.addEntry(d1, `FILL${i}`, {});
    if (entryOfD2 !== undefined) d1.slots.push(entryOfD2);
    for (let i = d3.slots.length; i < 16; i++) builder.addEntry(d3, `FILL${i}`, {});
    builder.entries.set(13, 20);
    const volume = await open(builder);
    const in1 = await volume.readDirectory(await idOf(volume, "D1"));
    const in2 = await volume.readDirectory(in1.at(-1)?.stat.id ?? 0);
    expect(in2.map(({ name }) => name)).to.deep.equal(["D3"]);
    await expectReelError(volume.readDirectory(in2[0]?.stat.id ?? 0), "damaged");
    expect((await problems(volume))[0]).to.match(/^\/D1\/D2\/D3: .*shares cluster 20/);
  });

  it("a directory's chain may be wrong behind its end mark, not before", async () => {
    const builder = new FatBuilder(fat16);
    const good = builder.addFolder(builder.root, "GOOD", { length: 2 });
    builder.addFile(good, "INSIDE", pattern(5, 5));
    builder.entries.set(good.clusters[1] ?? 0, good.firstCluster);
    const bad = builder.addFolder(builder.root, "BAD");
    for (let i = bad.slots.length; i < 16; i++) builder.addEntry(bad, `FILE${i}`, {});
    builder.entries.set(bad.firstCluster, bad.firstCluster);
    const volume = await open(builder);
    expect((await volume.readDirectory(await idOf(volume, "GOOD"))).length).to.equal(1);
    const error = await expectReelError(volume.readDirectory(await idOf(volume, "BAD")), "damaged");
    expect(error.message).to.match(/BAD .*loops back/);
    expect((await volume.survey()).files).to.equal(15);
  });

  it("a directory without a first cluster, or with one that does not exist", async () => {
    const builder = new FatBuilder(fat16);
    builder.addEntry(builder.root, "NONE", { attributes: 0x10 });
    builder.addEntry(builder.root, "FAR", { attributes: 0x10, firstCluster: 55555 });
    const volume = await open(builder);
    for (const name of ["NONE", "FAR"]) {
      await expectReelError(volume.readDirectory(await idOf(volume, name)), "damaged");
    }
  });

  it("a directory longer than any may be", async () => {
    const builder = new FatBuilder({ ...fat32, clusters: 300, sectorsPerCluster: 128 });
    const long = builder.addFolder(builder.root, "LONG", { length: 257 });
    while (long.slots.length * 32 < 257 * 65536) long.slots.push(long.slots[0] ?? Buffer.alloc(32));
    const volume = await open(builder);
    const error = await expectReelError(
      volume.readDirectory(await idOf(volume, "LONG")),
      "damaged",
    );
    expect(error.message).to.match(/goes on after 256 clusters/);
  });
});

describe("deleted files on FAT", () => {
  it("are backed up when asked for, as far as nothing lies over them", async () => {
    const builder = new FatBuilder(fat16);
    builder.addFile(builder.root, "GONE", pattern(2000, 1), {
      deleted: true,
      clusters: [100, 101, 102, 103],
    });
    builder.addFile(builder.root, "OVER", pattern(500, 1), { clusters: [102] });
    builder.addFile(builder.root, "REUSED", pattern(2000, 1), { deleted: true, firstCluster: 102 });
    const folder = builder.addFolder(builder.root, "FOLDER", { deleted: true, clusters: [200] });
    builder.addFile(folder, "BELOW", pattern(700, 2), { deleted: true, clusters: [300, 301] });
    const volume = await open(builder);
    const usual = await volume.survey();
    expect(usual.used.total).to.equal(builder.dataSector + 1);
    const { used, clustersUsed } = await volume.survey({ includeDeleted: true });
    const extra = [...used.subtract(usual.used)].map(([start, count]) => [
      start - builder.dataSector + 2,
      count,
    ]);
    expect(extra).to.deep.equal([
      [100, 2],
      [200, 1],
      [300, 2],
    ]);
    expect(clustersUsed).to.equal(1);
  });
});
