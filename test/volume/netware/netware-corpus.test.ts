import { expect } from "chai";
import { execFileSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { MemoryDevice } from "../../../src/device/memory-device.ts";
import { openVolume } from "../../../src/volume/formats.ts";
import { netwareFormat } from "../../../src/volume/netware/netware-format.ts";
import { hasCorpus, NO_CORPUS, withCorpusFile } from "../../support/corpus.ts";
import { expectReelError } from "../../support/expect-error.ts";
import { splitmix64Bytes } from "../../support/netware-splitmix64.ts";
import { skipUnless } from "../../support/skip.ts";
import { readTree, volumeSuite } from "../../support/volume-suite.ts";
import type { ExpectedNode } from "../../support/volume-suite.ts";

/** All images are of disks with one partition from sector 63 on. */
const PARTITION_OFFSET = 63 * 512;
const PARTITION_BYTES = 48321 * 512;
/** The server's own directories, which the manifests leave out. */
const OWN_FOLDERS = ["/DELETED.SAV", "/_NETWARE"];

interface CorpusVolume {
  /** Images of its disks, in the order of the segments. */
  readonly disks: readonly string[];
  readonly blockBytes: number;
  readonly label: string;
  /** Blocks that the FAT has as used, counted by the reader that came with the corpus. */
  readonly blocksUsed: number;
}

const VOLUMES: readonly CorpusVolume[] = [
  { disks: ["nw3-4k"], blockBytes: 4096, label: "SYS", blocksUsed: 383 },
  { disks: ["nw4-4k-suballoc"], blockBytes: 4096, label: "VOL1", blocksUsed: 259 },
  {
    disks: ["nw4-8k-2seg", "nw4-8k-2seg-disk1"],
    blockBytes: 8192,
    label: "DATA",
    blocksUsed: 142,
  },
];

function hasXz(): boolean {
  try {
    execFileSync("xz", ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

const unpacked = new Map<string, Promise<Buffer>>();

/** The partition on a disk, unpacked once. */
async function partitionOf(disk: string): Promise<Buffer> {
  const known = unpacked.get(disk) ?? unpack(disk);
  unpacked.set(disk, known);
  return known;
}

async function unpack(disk: string): Promise<Buffer> {
  return withCorpusFile(`netware/${disk}.img.xz`, async (path) => {
    const image = execFileSync("xz", ["-dc", path], { maxBuffer: 64 * 1024 * 1024 });
    return image.subarray(PARTITION_OFFSET, PARTITION_OFFSET + PARTITION_BYTES);
  });
}

async function joined(disks: readonly string[]): Promise<Uint8Array<ArrayBuffer>> {
  const partitions: Buffer[] = [];
  for (const disk of disks) partitions.push(await partitionOf(disk));
  return new Uint8Array(Buffer.concat(partitions));
}

/** What the manifest says is there, and the folders on the way. */
async function manifest({ disks, blockBytes }: CorpusVolume): Promise<Map<string, ExpectedNode>> {
  const path = `netware/${disks[0] ?? ""}.manifest.txt`;
  const text = await withCorpusFile(path, async (copy) => readFile(copy, "utf8"));
  const found = new Map<string, ExpectedNode>();
  for (const line of text.trim().split("\n")) {
    const [name = "", ...facts] = line.split("\t");
    if (facts.includes("DELETED")) found.delete(name);
    // The writer of the corpus could not make it.
    else if (!facts.includes("dirno=0")) found.set(name, contentsOf(facts, blockBytes));
    const folders = name.split("/").slice(1, -1);
    folders.forEach((_, depth) => {
      found.set(`/${folders.slice(0, depth + 1).join("/")}`, "directory");
    });
  }
  return found;
}

function contentsOf(facts: readonly string[], blockBytes: number): ExpectedNode {
  if (facts.includes("dir")) return "directory";
  const text = facts.join(" ");
  const size = Number(/size=(\d+)/.exec(text)?.[1]);
  const seed = /splitmix64low8\(seed=(\d+)\)/.exec(text)?.[1];
  if (seed !== undefined) return splitmix64Bytes(Number(seed), size);
  const contents = new Uint8Array(size);
  for (const [, block, blockSeed, length] of text.matchAll(
    /block(\d+)=seed(\d+)\((\d+) bytes\)/g,
  )) {
    contents.set(splitmix64Bytes(Number(blockSeed), Number(length)), Number(block) * blockBytes);
  }
  return contents;
}

describe("NetWare volumes that others made", function () {
  this.timeout(60_000);
  before(function () {
    skipUnless(this, hasCorpus(), NO_CORPUS);
    skipUnless(this, hasXz(), "needs xz (Debian package xz-utils)");
  });

  for (const volumeCase of VOLUMES) {
    const { disks, label, blocksUsed } = volumeCase;
    for (const order of disks.length === 1 ? [disks] : [disks, [...disks].reverse()]) {
      it(`${order.join(" and ")}: all as its manifest says`, async () => {
        const bytes = await joined(order);
        const device = new MemoryDevice(bytes, { name: "netware.img" });
        const volume = await openVolume(device, {
          segmentBytes: order.map(() => PARTITION_BYTES),
        });
        const found = await readTree(volume, device);
        for (const folder of OWN_FOLDERS) found.delete(folder);
        const expected = await manifest(volumeCase);
        expect([...found.keys()].sort()).to.deep.equal([...expected.keys()].sort());
        for (const [path, contents] of expected)
          expect(found.get(path), path).to.deep.equal(contents);
        const survey = await volume.survey();
        expect(survey.problems).to.deep.equal([]);
        expect(survey.clustersUsed).to.equal(blocksUsed);
        expect(volume.info).to.include({ kind: "netware", label, clusterCount: 5616 });
      });
    }
  }

  it("names the segment that is missing", async () => {
    const device = new MemoryDevice(await joined(["nw4-8k-2seg"]));
    const error = await expectReelError(netwareFormat.open(device), "unsupported");
    expect(error.message).to.include("segment 2 of the 2 of volume DATA is missing");
  });
});

if (hasCorpus() && hasXz()) {
  volumeSuite("a NetWare volume that others made", async () => {
    const [first] = VOLUMES;
    if (first === undefined) throw new RangeError("no volume");
    const bytes = await joined(first.disks);
    const expected = await manifest(first);
    expected.set("/DELETED.SAV", "directory");
    const data = 3152 * 512;
    const structure: [number, number][] = [
      [0x20 * 512, 0x22 * 512],
      [data + 0x20 * 512, data + 0x20 * 512 + 96],
      // The first blocks of FAT and directory.
      [data + 160 * 512, data + 160 * 512 + 4096],
      [data + 160 * 512 + 11 * 4096, data + 160 * 512 + 13 * 4096],
    ];
    return { format: netwareFormat, bytes, expected, structure };
  });
}
