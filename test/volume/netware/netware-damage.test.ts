import { expect } from "chai";
import type { BlockDevice } from "../../../src/device/block-device.ts";
import { MemoryDevice } from "../../../src/device/memory-device.ts";
import { netwareFormat } from "../../../src/volume/netware/netware-format.ts";
import type { Volume } from "../../../src/volume/volume.ts";
import { expectReelError } from "../../support/expect-error.ts";
import { FaultyDevice } from "../../support/faulty-device.ts";
import { NetwareBuilder, ROOT } from "../../support/netware-builder.ts";
import type { NetwareShape } from "../../support/netware-builder.ts";
import { makeNetwareSample } from "../../support/netware-sample.ts";
import type { NetwareSample } from "../../support/netware-sample.ts";
import { patternBytes } from "../../support/pattern.ts";
import { readContents, readTree } from "../../support/volume-suite.ts";

/** Two blocks of FAT; the second of the first copy is redirected in samples. */
const SMALL: NetwareShape = { blockBytes: 4096, segmentBlocks: [700], suballocation: true };
const SECTOR = 512;
const DATA = 320 * SECTOR;
const COPIES = [0x20, 0x40, 0x60, 0x80];

/** Everything is there in spite of the damage, and the survey says what is damaged. */
async function expectAllThere(
  device: BlockDevice,
  { expected }: NetwareSample,
  where: RegExp,
): Promise<void> {
  const volume = await netwareFormat.open(device);
  expect(await readTree(volume, device)).to.deep.equal(expected);
  const survey = await volume.survey();
  expect(survey.problems.map((problem) => problem.where).join("; ")).to.match(where);
  await expectWalkable(volume, device, survey);
}

/** With the control blocks alone the same tree is found. */
async function expectWalkable(
  volume: Volume,
  device: BlockDevice,
  { control }: Awaited<ReturnType<Volume["survey"]>>,
): Promise<void> {
  const { blockSizeBytes } = volume.info;
  const blank = new Uint8Array(device.sizeBytes);
  for (const [start, count] of control) {
    const part = blank.subarray(start * blockSizeBytes, (start + count) * blockSizeBytes);
    for (let at = 0; at < part.length; at += blockSizeBytes) {
      const block = part.subarray(at, at + blockSizeBytes);
      await device.read(start * blockSizeBytes + at, block).catch(() => undefined);
    }
  }
  const again = await netwareFormat.open(new MemoryDevice(blank));
  const names = async (of: Volume) => (await of.readDirectory(of.rootId)).map(({ name }) => name);
  expect(await names(again)).to.deep.equal(await names(volume));
}

function blockRanges(sample: NetwareSample, blocks: readonly number[]): [number, number][] {
  const { builder } = sample;
  return blocks.map((block) => [builder.offsetOf(block), builder.shape.blockBytes]);
}

/** What may be lost as long as its copy is there. */
const LOSSES: Readonly<
  Record<string, { of: (sample: NetwareSample) => [number, number][]; where: RegExp }>
> = {
  "three HOTFIX and MIRROR sectors": {
    of: () => COPIES.slice(0, 3).map((sector) => [sector * SECTOR, 2 * SECTOR]),
    where: /HOTFIX sector 32; HOTFIX sector 64; HOTFIX sector 96/,
  },
  "three volume tables": {
    of: () => COPIES.slice(0, 3).map((sector) => [DATA + sector * SECTOR, SECTOR]),
    where: /volume table, sector 352; volume table, sector 384/,
  },
  "the first FAT": {
    of: (sample) => blockRanges(sample, sample.builder.fatBlocks[0] ?? []),
    where: /FAT 1/,
  },
  "the second FAT": {
    of: (sample) => blockRanges(sample, sample.builder.fatBlocks[1] ?? []),
    where: /FAT 2/,
  },
  "the first directory": {
    of: (sample) => blockRanges(sample, sample.builder.directoryBlocks[0] ?? []),
    where: /directory/,
  },
  "a block of each directory": {
    of: (sample) => [
      ...blockRanges(sample, sample.builder.directoryBlocks[0]?.slice(0, 1) ?? []),
      ...blockRanges(sample, sample.builder.directoryBlocks[1]?.slice(1, 2) ?? []),
    ],
    where: /directory/,
  },
};

describe("NetWare volumes with damaged copies", () => {
  for (const [what, { of, where }] of Object.entries(LOSSES)) {
    it(`are read without ${what}`, async () => {
      const sample = makeNetwareSample(SMALL);
      const bytes = sample.bytes.slice();
      for (const [offset, length] of of(sample)) bytes.fill(0, offset, offset + length);
      await expectAllThere(new MemoryDevice(bytes), sample, where);
    });

    it(`are read when ${what} cannot be`, async () => {
      const sample = makeNetwareSample(SMALL);
      const device = new FaultyDevice(new MemoryDevice(sample.bytes.slice()));
      for (const [offset, length] of of(sample)) device.failReads(offset, length);
      await expectAllThere(device, sample, where);
    });
  }

  it("are read when an entry of the first FAT is wrong", async () => {
    const sample = makeNetwareSample(SMALL);
    const bytes = sample.bytes.slice();
    // The entry of a block in the middle of /Letters of 1994/LARGE.DAT, found by its chain.
    const [block = 0] = [...sample.builder.entries].find(([, [number]]) => number === 2) ?? [];
    bytes.fill(
      0xee,
      sample.builder.offsetOf(0) + block * 8,
      sample.builder.offsetOf(0) + block * 8 + 8,
    );
    await expectAllThere(new MemoryDevice(bytes), sample, /FAT 2/);
  });

  it("are refused, by name, when all copies are gone", async () => {
    const open = async (spoil: (bytes: Uint8Array, sample: NetwareSample) => void) => {
      const sample = makeNetwareSample(SMALL);
      const bytes = sample.bytes.slice();
      spoil(bytes, sample);
      return netwareFormat.open(new MemoryDevice(bytes));
    };
    const zero = (bytes: Uint8Array, ranges: readonly (readonly [number, number])[]) => {
      for (const [offset, length] of ranges) bytes.fill(0, offset, offset + length);
    };
    const messages = await Promise.all([
      expectReelError(
        open((bytes) => bytes.fill(0, 0, 0xa0 * SECTOR)),
        "damaged",
      ),
      expectReelError(
        open((bytes) => bytes.fill(0, DATA, DATA + 0xa0 * SECTOR)),
        "damaged",
      ),
      expectReelError(
        open((bytes, sample) => {
          zero(bytes, blockRanges(sample, sample.builder.fatBlocks.flat()));
        }),
        "damaged",
      ),
      expectReelError(
        open((bytes, sample) => {
          zero(bytes, blockRanges(sample, sample.builder.directoryBlocks.flat()));
        }),
        "damaged",
      ),
    ]);
    const texts = messages.map(({ message }) => message);
    expect(texts[0]).to.include("HOTFIX");
    expect(texts[1]).to.include("volume table");
    expect(texts[2]).to.include("FAT");
    expect(texts[3]).to.include("directory");
  });

  it("say when redirected blocks cannot be found", async () => {
    const { bytes } = makeNetwareSample(SMALL);
    const device = new FaultyDevice(new MemoryDevice(bytes));
    device.failReads(160 * SECTOR, 4096);
    const { info } = await netwareFormat.open(device);
    expect(info.details["redirectedBlocks"]).to.equal(2);
    device.failReads(176 * SECTOR, 4096);
    const volume = await netwareFormat.open(device);
    expect(volume.info.notices?.join()).to.include("redirection table");
    expect((await volume.survey()).problems[0]?.where).to.equal("redirection table");
  });
});

describe("NetWare volumes that do not make sense", () => {
  async function openSmall(
    change: (builder: NetwareBuilder) => void,
  ): Promise<{ volume: Volume; device: MemoryDevice }> {
    const builder = new NetwareBuilder(SMALL);
    builder.addFile(ROOT, "GOOD", patternBytes(5000));
    change(builder);
    const device = new MemoryDevice(builder.build().bytes);
    return { volume: await netwareFormat.open(device), device };
  }

  async function idOf(volume: Volume, name: string): Promise<number> {
    const entries = await volume.readDirectory(volume.rootId);
    return entries.find((entry) => entry.name === name)?.stat.id ?? -1;
  }

  /** File chains that are wrong in both copies, and a word of what is said of them. */
  const CHAINS: Readonly<Record<string, readonly [RegExp, (builder: NetwareBuilder) => void]>> = {
    "that loops": [
      /as number 0 after number 1/,
      (builder) => {
        const blocks = builder.allocate(2);
        builder.addFile(ROOT, "BAD", patternBytes(8192), { blocks });
        builder.entries.set(blocks[1] ?? 0, [1, blocks[0] ?? 0]);
      },
    ],
    "that runs into a free block": [
      /marked free/,
      (builder) => {
        const blocks = builder.allocate(2);
        builder.addFile(ROOT, "BAD", patternBytes(8192), { blocks });
        builder.entries.delete(blocks[1] ?? 0);
      },
    ],
    "that leaves the volume": [
      /does not exist/,
      (builder) => {
        const blocks = builder.allocate(2);
        builder.addFile(ROOT, "BAD", patternBytes(8192), { blocks });
        builder.entries.set(blocks[0] ?? 0, [0, 0x7000_0000]);
      },
    ],
    "that starts outside the volume": [
      /starts at block 5000/,
      (builder) => builder.addFile(ROOT, "BAD", patternBytes(10), { firstBlock: 5000 }),
    ],
    "without a first block": [
      /no first block/,
      (builder) => builder.addFile(ROOT, "BAD", patternBytes(10), { firstBlock: 0 }),
    ],
    "whose tail is in no bin": [
      /no such bin/,
      (builder) => builder.addFile(ROOT, "BAD", patternBytes(10), { firstBlock: 0x87000000 }),
    ],
    "whose tail is beyond its bin": [
      /beyond the end of the bin/,
      (builder) => {
        builder.addFile(ROOT, "ONE", patternBytes(100));
        builder.addFile(ROOT, "BAD", patternBytes(10), { firstBlock: 0x81ffffff });
      },
    ],
  };

  for (const [what, [message, change]] of Object.entries(CHAINS)) {
    it(`have a file ${what}: it is damaged, the others are not`, async () => {
      const { volume, device } = await openSmall(change);
      const error = await expectReelError(volume.layout(await idOf(volume, "BAD")), "damaged");
      expect(error.message).to.match(message).and.include("directory record");
      const good = await readContents(volume, device, await idOf(volume, "GOOD"));
      expect(good).to.deep.equal(patternBytes(5000));
      const { problems } = await volume.survey();
      expect(problems.map(({ where }) => where)).to.include("/BAD");
    });
  }

  it("have directories that contain each other: nothing of them is shown, and it is said", async () => {
    const { volume } = await openSmall((builder) => {
      const one = builder.addFolder(ROOT, "ONE");
      const two = builder.addFolder(one, "TWO");
      builder.addFile(two, "INSIDE", patternBytes(10));
      builder.record(one).writeUInt32LE(two, 0);
    });
    const names = (await volume.readDirectory(volume.rootId)).map(({ name }) => name);
    expect(names).to.deep.equal(["GOOD"]);
    const { problems } = await volume.survey();
    expect(problems[0]?.message).to.equal("3 entries are in no directory that can be reached");
  });

  it("have names that lead in a circle: the DOS name is shown, and it is said", async () => {
    const { volume } = await openSmall((builder) => {
      const file = builder.addFile(ROOT, "A", patternBytes(10), { long: "Aa" });
      builder.record(file + 1).writeUInt32LE(file + 1, 124);
      const other = builder.addFile(ROOT, "B", patternBytes(10));
      builder.record(other).writeUInt32LE(other, 124);
    });
    const names = (await volume.readDirectory(volume.rootId)).map(({ name }) => name);
    expect(names).to.deep.equal(["GOOD", "Aa", "B"]);
    const { problems } = await volume.survey();
    expect(problems.map(({ where }) => where)).to.deep.equal(["/Aa", "/B"]);
  });

  it("have trustee lists that lead in a circle", async () => {
    const { volume } = await openSmall((builder) => {
      const trustees = Array.from({ length: 6 }, (_, i): [number, number] => [i + 1, 1]);
      const file = builder.addFile(ROOT, "A", patternBytes(10), { trustees });
      const list = builder.record(file).readUInt32LE(56);
      builder.record(list).writeUInt32LE(list, 16);
    });
    const found = await volume.xattrs?.(await idOf(volume, "A"));
    expect(found?.get("user.netware.trustees")?.length).to.be.below(4096);
  });

  it("have two files with the same blocks: both are read, and it is said", async () => {
    const { volume, device } = await openSmall((builder) => {
      const blocks = builder.allocate(2);
      builder.addFile(ROOT, "ONE", patternBytes(8192), { blocks });
      builder.addFile(ROOT, "TWO", new Uint8Array(0), {
        sizeBytes: 8192,
        firstBlock: blocks[0] ?? 0,
      });
    });
    const two = await readContents(volume, device, await idOf(volume, "TWO"));
    expect(two).to.deep.equal(patternBytes(8192));
    const { problems } = await volume.survey();
    expect(problems.map(({ message }) => message).join()).to.include("in a chain already");
  });

  it("have a suballocation table that is none", async () => {
    const { volume } = await openSmall((builder) => {
      builder.build();
      builder.record(ROOT).writeUInt32LE(1, 120);
    });
    expect((await volume.survey()).problems).to.deep.equal([]);
  });
});
