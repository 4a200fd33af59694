import { expect } from "chai";
import { ExtentSet } from "../../../src/device/extents.ts";
import { MemoryDevice } from "../../../src/device/memory-device.ts";
import { exfatFormat } from "../../../src/volume/exfat/exfat-format.ts";
import type { Volume, VolumeEntry } from "../../../src/volume/volume.ts";
import {
  BAD,
  clustersEntry,
  ExfatBuilder,
  sealBoot,
  STAMP_2001,
} from "../../support/exfat-builder.ts";
import { exfatSample } from "../../support/exfat-sample.ts";
import { expectReelError } from "../../support/expect-error.ts";
import { patternBytes } from "../../support/pattern.ts";
import { readContents } from "../../support/volume-suite.ts";

const HOUR_MS = 3_600_000;
const TIME_2001 = Date.UTC(2001, 1, 3, 4, 5, 6);

function builder(): ExfatBuilder {
  return new ExfatBuilder({ clusters: 600 });
}

async function open(bytes: Uint8Array, timeZoneMinutes = 0): Promise<Volume> {
  return exfatFormat.open(new MemoryDevice(bytes, { name: "volume.img" }), { timeZoneMinutes });
}

async function entryOf(volume: Volume, name: string, at = volume.rootId): Promise<VolumeEntry> {
  const entry = (await volume.readDirectory(at)).find((each) => each.name === name);
  if (entry === undefined) expect.fail(`no ${name}`);
  return entry;
}

async function problemsOf(volume: Volume): Promise<string[]> {
  const { problems } = await volume.survey();
  return problems.map(({ where, message }) => `${where}: ${message}`);
}

describe("an exFAT boot region", () => {
  const sound = () => exfatSample({ clusters: 700, label: "SOUND" }).bytes;

  for (const [what, damage] of [
    ["a wrong bit", (bytes: Uint8Array) => void (bytes[96] = 77)],
    ["a lost name", (bytes: Uint8Array) => void bytes.fill(0x20, 3, 11)],
    ["nothing but zeros", (bytes: Uint8Array) => void bytes.fill(0, 0, 12 * 512)],
    ["a sector size that makes no sense", (bytes: Uint8Array) => void (bytes[108] = 200)],
  ] as const) {
    it(`with ${what} gives way to its backup, and that is said`, async () => {
      const bytes = sound();
      damage(bytes);
      expect(await exfatFormat.probe(new MemoryDevice(bytes))).to.be.true;
      const volume = await open(bytes);
      expect(volume.info.label).to.equal("SOUND");
      expect(volume.info.details["bootRegion"]).to.equal("backup");
      expect(volume.info.notices?.join()).to.include("boot region is damaged");
      expect(await problemsOf(volume)).to.satisfy((all: string[]) =>
        all.some((each) => each.includes("backup in sector 12")),
      );
    });
  }

  it("and a damaged backup of it open, and that is said", async () => {
    const bytes = sound();
    bytes[12 * 512 + 72] = 1;
    expect(await problemsOf(await open(bytes))).to.match(/^backup boot region: its checksum is 0x/);
  });

  it("that is damaged twice is refused, with both places", async () => {
    const bytes = sound();
    bytes[96] = 77;
    bytes[12 * 512 + 96] = 77;
    const error = await expectReelError(open(bytes), "damaged");
    expect(error.message).to.match(
      /boot region at byte 0: its checksum is 0x.*backup boot region: its/,
    );
  });

  it("of a later revision is refused by name", async () => {
    const made = new ExfatBuilder({ clusters: 300, revision: 0x0200 });
    const error = await expectReelError(open(made.build()), "unsupported");
    expect(error.message).to.include("revision 2.00");
  });

  it("left over under another filesystem is no exFAT volume", async () => {
    const bytes = sound();
    bytes.fill(0, 0, 12 * 512);
    bytes.set(Buffer.from("NTFS    "), 3);
    expect(await exfatFormat.probe(new MemoryDevice(bytes))).to.be.false;
  });

  for (const [what, at, value] of [
    ["no cluster", 92, 0],
    ["more clusters than there is room for", 92, 10_000],
    ["a root that does not exist", 96, 702],
    ["a FAT in the boot regions", 80, 3],
    ["a FAT too small for its clusters", 84, 1],
    ["clusters inside the FAT", 88, 25],
    ["three FATs", 110, 3],
    ["clusters of a gigabyte", 109, 21],
    ["parameters where zeros must be", 20, 1],
  ] as const) {
    it(`with ${what} is refused, though its checksum is right`, async () => {
      const bytes = sound();
      for (const start of [0, 12 * 512]) {
        const region = bytes.subarray(start, start + 12 * 512);
        const view = new DataView(region.buffer, region.byteOffset);
        if (at === 109 || at === 110 || at === 20) view.setUint8(at, value);
        else view.setUint32(at, value, true);
        sealBoot(region, 512);
      }
      await expectReelError(open(bytes), "damaged");
    });
  }
});

describe("an exFAT volume", () => {
  it("shows label, serial number, GUID and what else it says of itself", async () => {
    const guid = [0x67, 0x45, 0x23, 0x01, 0xab, 0x89, 0xef, 0xcd, 1, 2, 3, 4, 5, 6, 7, 8];
    const { info } = await open(
      new ExfatBuilder({
        clusters: 300,
        label: "Großes Foto",
        guid,
        serial: 0xabcd0123,
        percentInUse: 12,
        volumeFlags: 6,
      }).build(),
    );
    expect(info).to.include({ kind: "exfat", label: "Großes Foto", serial: "ABCD-0123" });
    expect(info.details).to.include({
      volumeGuid: "01234567-89ab-cdef-0102-030405060708",
      percentInUse: 12,
      cleanlyUnmounted: false,
      mediaFailure: true,
      revision: "1.00",
    });
    expect(info.notices?.join()).to.match(/not cleanly unmounted.*failures of its medium/);
  });

  it("shows times with their 10 ms parts and UTC offsets", async () => {
    const made = builder();
    made.addFile(made.root, "east", Buffer.from("e"), {
      created: [STAMP_2001, 199, 0x84],
      modified: [STAMP_2001, 50, 0x84],
      accessed: [STAMP_2001, 0x84],
    });
    made.addFile(made.root, "west", Buffer.from("w"), { modified: [STAMP_2001, 0, 0xec] });
    made.addFile(made.root, "local", Buffer.from("l"), {
      created: [0, 0, 0],
      modified: [STAMP_2001, 0, 0],
      accessed: [0, 0],
    });
    const volume = await open(made.build(), 120);
    const east = await entryOf(volume, "east");
    expect(east.stat).to.include({
      modifiedMs: TIME_2001 + 500 - HOUR_MS,
      createdMs: TIME_2001 + 1990 - HOUR_MS,
      accessedMs: TIME_2001 - HOUR_MS,
    });
    expect((await entryOf(volume, "west")).stat.modifiedMs).to.equal(TIME_2001 + 5 * HOUR_MS);
    const local = TIME_2001 - 2 * HOUR_MS;
    expect((await entryOf(volume, "local")).stat).to.include({
      modifiedMs: local,
      accessedMs: local,
      createdMs: undefined,
    });
  });

  it("shows attributes as FAT does", async () => {
    const made = builder();
    made.addFile(made.root, "hidden", Buffer.from("h"), { attributes: 0x27 });
    const { stat } = await entryOf(await open(made.build()), "hidden");
    expect(stat).to.include({ readOnly: true, attributes: 0x27, allocatedBytes: 512 });
  });

  it("looks names up by its own table", async () => {
    const volume = await open(builder().build());
    expect(volume.foldName("Straße ñ ж")).to.equal("STRAßE Ñ Ж");
  });

  it("looks names up by a built-in table where its own is damaged, and says so", async () => {
    const made = builder();
    const bytes = made.build();
    bytes[made.clusterOffset(made.upCaseClusters[0] ?? 0) + 130] = 1;
    const volume = await open(bytes);
    expect(volume.foldName("ñ")).to.equal("Ñ");
    expect(volume.info.notices?.join()).to.include("up-case table");
    expect(await problemsOf(volume)).to.match(/up-case table: its checksum is 0x/);
  });

  it("keeps names apart that a path cannot hold or that are the same in upper case", async () => {
    const made = builder();
    for (const name of ["..", "a/b", "Same", "SAME"]) {
      made.addFile(made.root, name, Buffer.from(name));
    }
    const volume = await open(made.build());
    const names = (await volume.readDirectory(volume.rootId)).map(({ name }) => name);
    expect(names).to.deep.equal(["__", "a_b", "Same", "SAME (2)"]);
  });

  it("passes over what vendors add, and counts its clusters as used", async () => {
    const made = builder();
    const [extension, lone] = [made.allocate(2), made.allocate(1)];
    const vendor = clustersEntry(0xe1, extension[0] ?? 0, 1000);
    vendor[1] = 3;
    const benign = clustersEntry(0xa4, lone[0] ?? 0, 400);
    benign[4] = 3;
    made.addEntry(made.root, benign);
    made.addEntry(made.root, Buffer.from([0xe0, ...Buffer.alloc(31)]).fill(0, 1));
    made.addFile(made.root, "with vendor", Buffer.from("v"), {
      extra: [Buffer.from([0xe0, ...Buffer.alloc(31)]), vendor],
    });
    const bytes = made.build();
    bytes[made.clusterOffset(made.root.clusters[0] ?? 0) + 3 * 32 + 1] = 1;
    const volume = await open(bytes);
    expect((await volume.readDirectory(volume.rootId)).length).to.equal(1);
    expect(await problemsOf(volume)).to.deep.equal([]);
  });

  it("refuses a file with a critical entry that is not known, and says which", async () => {
    const made = builder();
    made.addFile(made.root, "odd", Buffer.from("o"), {
      extra: [Buffer.from([0xc5, ...Buffer.alloc(31)])],
    });
    const volume = await open(made.build());
    const { stat } = await entryOf(volume, "odd");
    const error = await expectReelError(volume.layout(stat.id), "damaged");
    expect(error.message).to.match(/odd \(entry at byte \d+ of volume.img\): .* type 0xc5/);
  });

  it("leaves deleted files out, unless their blocks are asked for", async () => {
    const made = builder();
    const gone = made.addFile(made.root, "gone", patternBytes(1500, 1), { isDeleted: true });
    const [a = 0, b = 0, c = 0] = made.allocate(3);
    made.addFile(made.root, "chained", patternBytes(900, 2), { clusters: [c, a], isDeleted: true });
    const folder = made.addFolder(made.root, "folder", { isDeleted: true });
    const inside = made.addFile(folder, "inside", patternBytes(10, 3), { isDeleted: true });
    made.addFile(made.root, "here", patternBytes(10, 4));
    const bytes = made.build();
    for (const cluster of folder.clusters) clearBit(made, bytes, cluster);
    clearBit(made, bytes, b);
    const volume = await open(bytes);
    expect((await volume.readDirectory(volume.rootId)).map(({ name }) => name)).to.eql(["here"]);
    const plain = await volume.survey();
    const all = await volume.survey({ includeDeleted: true });
    expect(all.clustersUsed).to.equal(plain.clustersUsed);
    const block = (cluster: number) => made.clusterOffset(cluster) / 512;
    const expected = ExtentSet.from(
      [...gone, a, c, ...inside, ...folder.clusters].map((cluster): [number, number] => [
        block(cluster),
        1,
      ]),
    );
    expect([...all.used.subtract(plain.used)]).to.deep.equal([...expected]);
  });

  it("does not copy bad clusters, but counts them", async () => {
    const made = builder();
    const [bad = 0] = made.allocate(1);
    made.fat.set(bad, BAD);
    const volume = await open(made.build());
    const survey = await volume.survey();
    expect(survey.used.has(made.clusterOffset(bad) / 512)).to.be.false;
    expect(survey.clustersUsed).to.equal(made.marked.size);
    expect(survey.problems).to.deep.equal([]);
  });

  it("takes for a bad mark nothing that stands at a cluster of a file in one piece", async () => {
    const made = builder();
    const [first = 0] = made.addFile(made.root, "file", patternBytes(600, 1));
    made.fat.set(first, BAD);
    const { used } = await (await open(made.build())).survey();
    expect(used.has(made.clusterOffset(first) / 512)).to.be.true;
  });

  it("leaves out blocks of the FAT that hold nothing", async () => {
    const made = new ExfatBuilder({ clusters: 60_000 });
    made.leaveFree(50_000);
    made.addFile(made.root, "far", patternBytes(5000, 1));
    const { used } = await (await open(made.build())).survey();
    const fat = ExtentSet.from([[made.fatSector, made.fatSectors]]);
    // The boot region and the pages of the FAT in which root, bitmap and table have their chains.
    expect(used.intersect(fat).total).to.equal(128);
  });

  it("finds entries that cross from one cluster of a directory into another", async () => {
    const made = builder();
    const [a = 0, b = 0, c = 0, d = 0, e = 0] = made.allocate(5);
    const folder = made.addFolder(made.root, "folder", { clusters: [d, a, e, b, c] });
    for (let i = 0; i < 5; i++) made.addFile(folder, `${i}`.repeat(200), patternBytes(i, i));
    const bytes = made.build();
    const listing = await open(bytes);
    const { stat } = await entryOf(listing, "folder");
    const entries = await listing.readDirectory(stat.id);
    expect(entries.length).to.equal(5);
    for (const volume of [listing, await open(bytes)]) {
      for (const entry of entries) expect(await volume.stat(entry.stat.id)).to.eql(entry.stat);
    }
  });

  it("has its own block size where the device is not a whole number of larger blocks", async () => {
    const { bytes } = exfatSample({ sectorShift: 12, clusters: 300 });
    expect((await open(bytes)).info.blockSizeBytes).to.equal(4096);
    const longer = new Uint8Array(bytes.length + 512);
    longer.set(bytes);
    const { info } = await open(longer);
    expect(info.blockSizeBytes).to.equal(512);
    expect(info.blockCount * 512).to.equal(bytes.length);
  });

  it("refuses a time zone that is none", async () => {
    await expectReelError(open(builder().build(), 10_000), "invalid");
  });
});

describe("a damaged exFAT volume", () => {
  it("refuses a file whose entry set has a wrong checksum, and reads the rest", async () => {
    const made = builder();
    const spoil = (set: Buffer) => void (set[8] = 99);
    made.addFile(made.root, "spoilt", Buffer.from("s"), { afterChecksum: spoil });
    const folder = made.addFolder(made.root, "folder", { afterChecksum: spoil });
    made.addFile(folder, "inside", Buffer.from("good"));
    const bytes = made.build();
    const volume = await open(bytes);
    const { stat } = await entryOf(volume, "spoilt");
    const error = await expectReelError(volume.layout(stat.id), "damaged");
    expect(error.message).to.match(/spoilt \(entry at byte \d+ .*checksum 0x.{4}, but .* 0x.{4}/);
    const inside = await entryOf(volume, "inside", (await entryOf(volume, "folder")).stat.id);
    const contents = await readContents(volume, new MemoryDevice(bytes), inside.stat.id);
    expect(Buffer.from(contents).toString()).to.equal("good");
    const problems = await problemsOf(volume);
    expect(problems.filter((each) => each.includes("checksum")).length).to.equal(2);
  });

  it("says what is wrong with entry sets that are not whole, and lists the others", async () => {
    const made = builder();
    const edit = (change: (set: Buffer) => void) => ({ beforeChecksum: change });
    made.addFile(
      made.root,
      "no stream",
      Buffer.from("a"),
      edit((set) => void (set[32] = 0xc1)),
    );
    made.addFile(
      made.root,
      "no name",
      Buffer.from("b"),
      edit((set) => void (set[64] = 0xe5)),
    );
    made.addFile(
      made.root,
      "too long",
      Buffer.from("c"),
      edit((set) => void (set[1] = 9)),
    );
    made.addFile(
      made.root,
      "alone",
      Buffer.from("d"),
      edit((set) => void (set[1] = 0)),
    );
    made.addEntry(made.root, Buffer.from([0x8d, ...Buffer.alloc(31)]));
    made.addEntry(made.root, Buffer.from([0xc1, ...Buffer.alloc(31)]));
    made.addFile(
      made.root,
      "length",
      Buffer.from("e"),
      edit((set) => void (set[35] = 40)),
    );
    made.addFile(made.root, "good", Buffer.from("f"));
    const volume = await open(made.build());
    const names = (await volume.readDirectory(volume.rootId)).map(({ name }) => name);
    expect(names).to.include("good").and.have.length(2);
    const all = (await problemsOf(volume)).join("\n");
    for (const part of [
      "second entry is no stream extension",
      "it has no name entry",
      "it has 3 of 10 entries",
      "it has but one entry",
      "has unknown type 0x8d",
      "of type 0xc1 belongs to no entry set",
      "its name has 40 units, but 1 name entries",
    ]) {
      expect(all).to.include(part);
    }
  });

  it("names the cluster where a chain goes wrong", async () => {
    const made = builder();
    const files: [string, (clusters: readonly number[]) => void, RegExp][] = [
      ["free", ([, second = 0]) => made.fat.set(second, 0), /marked free in the FAT/],
      ["bad", ([, second = 0]) => made.fat.set(second, BAD), /marked bad/],
      ["outside", ([first = 0]) => made.fat.set(first, 5000), /to cluster 5000, which does not/],
      ["short", ([first = 0]) => made.fat.set(first, 0xffffffff), /ends after 1 clusters/],
      ["loop", ([first = 0, second = 0]) => made.fat.set(second, first), /loops back/],
    ];
    for (const [name, damage] of files) {
      const clusters = made.allocate(3);
      made.addFile(made.root, name, patternBytes(1500, 1), { clusters });
      damage(clusters);
    }
    const volume = await open(made.build());
    for (const [name, , message] of files) {
      const { stat } = await entryOf(volume, name);
      expect((await expectReelError(volume.layout(stat.id), "damaged")).message).to.match(message);
    }
    const problems = await problemsOf(volume);
    for (const [name] of files) expect(problems.join("\n")).to.include(`/${name}: its cluster`);
  });

  it("refuses files that reach beyond the last cluster or start nowhere", async () => {
    const made = builder();
    const first = (value: number) => (set: Buffer) => void set.writeUInt32LE(value, 52);
    const size = (value: bigint) => (set: Buffer) => {
      set.writeBigUInt64LE(value, 56);
    };
    const names = {
      "beyond the end": first(601),
      "no such cluster": first(602),
      "no cluster at all": first(0),
      "longer than the volume": size(2n ** 52n),
      "longer than anything": size(2n ** 63n),
    };
    for (const [name, beforeChecksum] of Object.entries(names)) {
      made.addFile(made.root, name, patternBytes(1500, 1), { beforeChecksum });
    }
    const volume = await open(made.build());
    for (const { stat } of await volume.readDirectory(volume.rootId)) {
      await expectReelError(volume.layout(stat.id), "damaged");
    }
    expect((await problemsOf(volume)).length).to.be.at.least(5);
  });

  it("lets no directory be inside itself or in two places", async () => {
    const made = builder();
    const outer = made.addFolder(made.root, "outer");
    const inner = made.addFolder(outer, "inner");
    made.addFile(inner, "leaf", Buffer.from("l"));
    const lead = (clusters: () => readonly number[]) => (set: Buffer) => {
      set.writeUInt32LE(clusters()[0] ?? 0, 52);
      set.writeBigUInt64LE(512n, 40);
      set.writeBigUInt64LE(512n, 56);
    };
    made.addFolder(inner, "loop", { beforeChecksum: lead(() => outer.clusters) });
    made.addFolder(inner, "root", { beforeChecksum: lead(() => made.root.clusters) });
    made.addFolder(made.root, "twin", { beforeChecksum: lead(() => inner.clusters) });
    const volume = await open(made.build());
    const twin = await entryOf(volume, "twin");
    const outerEntry = await entryOf(volume, "outer");
    const innerEntry = await entryOf(volume, "inner", outerEntry.stat.id);
    const listings = await Promise.allSettled([
      volume.readDirectory(innerEntry.stat.id),
      volume.readDirectory(twin.stat.id),
    ]);
    expect(listings.map(({ status }) => status).sort()).to.deep.equal(["fulfilled", "rejected"]);
    for (const name of ["loop", "root"]) {
      const found = listings.flatMap((each) => (each.status === "fulfilled" ? each.value : []));
      const id = found.find((entry) => entry.name === name)?.stat.id ?? 0;
      const error = await expectReelError(volume.readDirectory(id), "damaged");
      expect(error.message).to.match(/in two places/);
    }
    expect((await problemsOf(volume)).join("\n")).to.match(/belongs to another directory/);
  });

  it("reports clusters that two files have, nobody has, or the bitmap does not have", async () => {
    const made = builder();
    const shared = made.addFile(made.root, "one", patternBytes(1024, 1));
    made.addFile(made.root, "two", patternBytes(1024, 2), {
      beforeChecksum: (set) => void set.writeUInt32LE(shared[1] ?? 0, 52),
    });
    const unmarked = made.addFile(made.root, "unmarked", patternBytes(1024, 3));
    const bytes = made.build();
    clearBit(made, bytes, unmarked[1] ?? 0);
    const volume = await open(bytes);
    const all = (await problemsOf(volume)).join("\n");
    expect(all).to.match(/\/two: its cluster \d+ belongs to something else too/);
    expect(all).to.match(/2 clusters are in use by no file|1 cluster is in use by no file/);
    expect(all).to.include(`the first is cluster ${unmarked[1] ?? 0}`);
    const { used } = await volume.survey();
    expect(used.has(made.clusterOffset(unmarked[1] ?? 0) / 512)).to.be.true;
  });

  it("keeps what files have where the bitmap is missing or short", async () => {
    const made = builder();
    const [cluster = 0] = made.addFile(made.root, "kept", patternBytes(100, 1));
    for (const [at, value, free] of [
      [32, 0x01, 0],
      [32 + 24, 4, 32 - 32],
    ] as const) {
      const bytes = made.build();
      bytes[made.clusterOffset(made.root.clusters[0] ?? 0) + at] = value;
      const volume = await open(bytes);
      const { used } = await volume.survey();
      expect(used.has(made.clusterOffset(cluster) / 512)).to.be.true;
      expect((await problemsOf(volume)).join()).to.match(/allocation bitmap: /);
      expect(await volume.freeClusters()).to.be.at.least(free);
    }
  });

  it("uses the other bitmap of TexFAT where the one in use has no entry", async () => {
    const made = new ExfatBuilder({ clusters: 300, fatCount: 2, activeFat: 0 });
    const bytes = made.build();
    bytes[made.clusterOffset(made.root.clusters[0] ?? 0) + 32] = 0x01;
    expect((await problemsOf(await open(bytes))).join()).to.match(/bitmap 1 is missing; the other/);
  });

  it("lists what lies before the end of a device that is cut short", async () => {
    const made = builder();
    made.addFile(made.root, "near", Buffer.from("n"));
    made.leaveFree(100);
    made.addFile(made.root, "far", Buffer.from("f"));
    const bytes = made.build();
    const volume = await open(bytes.slice(0, made.clusterOffset(80)));
    const near = await entryOf(volume, "near");
    expect((await volume.layout(near.stat.id)).length).to.equal(1);
    const far = await entryOf(volume, "far");
    const error = await expectReelError(volume.layout(far.stat.id), "damaged");
    expect(error.message).to.match(/beyond the end of the device, at byte/);
    expect((await problemsOf(volume)).join()).to.match(/what lies beyond cannot be read/);
  });
});

function clearBit(made: ExfatBuilder, bytes: Uint8Array, cluster: number): void {
  const bit = cluster - 2;
  const at = made.clusterOffset(made.bitmapClusters[0] ?? 0) + (bit >>> 3);
  bytes[at] = (bytes[at] ?? 0) & ~(1 << (bit & 7));
}
