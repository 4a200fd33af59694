/** What the replay does with journals of all kinds, sound and broken, built block by block. */
import { expect } from "chai";
import { MemoryDevice } from "../../../../src/device/memory-device.ts";
import { isReelError } from "../../../../src/errors.ts";
import type { JournalReplay } from "../../../../src/volume/ext/journal/journal.ts";
import { readJournal } from "../../../../src/volume/ext/journal/journal.ts";
import {
  COMPAT_CHECKSUM,
  HEADER,
  INCOMPAT,
  JOURNAL_MAGIC,
  SUPERBLOCK,
} from "../../../../src/volume/ext/journal/layout.ts";
import { blockDeviceSuite } from "../../../support/block-device-suite.ts";
import { expectReelError } from "../../../support/expect-error.ts";
import { FaultyDevice } from "../../../support/faulty-device.ts";
import { chance, randomBytes, withRandom } from "../../../support/random.ts";
import { JournalBuilder } from "./journal-builder.ts";
import type { BuilderOptions } from "./journal-builder.ts";

const SIZE = 1024;
const VOLUME_BLOCKS = 2000;
const JOURNAL_BLOCKS = 64;
const JOURNAL_AT = 100;
const ROUNDS = Number(process.env["REELFS_ROUNDS"] ?? 150);
/** In two pieces, the second one before the first. */
const BLOCKS = Float64Array.from({ length: JOURNAL_BLOCKS }, (_, i) =>
  i < 30 ? JOURNAL_AT + i : JOURNAL_AT - 90 + i,
);

interface Made {
  readonly volume: Buffer;
  readonly builder: JournalBuilder;
}

function make(options: Partial<BuilderOptions> = {}): Made {
  const volume = Buffer.alloc(VOLUME_BLOCKS * SIZE);
  for (let block = 0; block < VOLUME_BLOCKS; block++) {
    volume.fill(block & 0xff, block * SIZE, (block + 1) * SIZE);
  }
  const builder = new JournalBuilder(volume, { blockSizeBytes: SIZE, blocks: BLOCKS, ...options });
  return { volume, builder };
}

async function replay(volume: Uint8Array, blocks = BLOCKS): Promise<JournalReplay> {
  const device = new MemoryDevice(volume, { name: "volume.img" });
  return readJournal({ device, name: "the journal of volume.img", blockSizeBytes: SIZE, blocks });
}

/** A block filled with one value. */
function filled(value: number): Uint8Array {
  return new Uint8Array(SIZE).fill(value);
}

/** First byte of a block after the replay. */
async function valueOf(result: JournalReplay, block: number): Promise<number> {
  const target = new Uint8Array(1);
  await result.device.read(block * SIZE + 100, target);
  return target[0] ?? -1;
}

describe("A journal", () => {
  it("that is clean changes nothing, and only its superblock is read", async () => {
    const { volume, builder } = make({ checksums: 3 });
    builder.transaction({ writes: [[500, filled(0xee)]] });
    builder.writeSuperblock((block) => {
      block.writeUInt32BE(0, SUPERBLOCK.startBlock);
    });
    const result = await replay(volume);
    expect([result.transactions, result.blocks, result.notices]).to.deep.equal([0, 0, []]);
    expect([...result.controlBlocks]).to.deep.equal([[JOURNAL_AT, 1]]);
    expect(await valueOf(result, 500)).to.equal(500 & 0xff);
    expect(result.locate(500)).to.equal(undefined);
    expect(result.firstReplacedIn(0, VOLUME_BLOCKS)).to.equal(-1);
  });

  it("of version 1 is replayed without looking for features", async () => {
    const { volume, builder } = make({ version: 1 });
    builder.writeSuperblock((block) => {
      block.writeUInt32BE(0xffffffff, SUPERBLOCK.featureIncompat);
    });
    const { copies } = builder.transaction({ writes: [[500, filled(0xee)]] });
    const result = await replay(volume);
    expect(await valueOf(result, 500)).to.equal(0xee);
    const physicalBlock = BLOCKS[copies[0] ?? 0];
    expect(result.locate(500)).to.deep.equal({ physicalBlock, escaped: false });
  });

  it("gives back blocks that begin with its own magic number", async () => {
    const { volume, builder } = make({ checksums: 3 });
    const contents = Buffer.from(filled(0xee));
    contents.writeUInt32BE(JOURNAL_MAGIC, 0);
    builder.transaction({ writes: [[500, contents]] });
    const result = await replay(volume);
    expect(result.locate(500)?.escaped).to.be.true;
    const target = Buffer.alloc(SIZE);
    await result.device.read(500 * SIZE, target);
    expect(target.equals(contents)).to.be.true;
    await result.device.read(500 * SIZE + 2, target.subarray(0, 4));
    expect([...target.subarray(0, 4)]).to.deep.equal([...contents.subarray(2, 6)]);
  });

  it("revokes older copies and copies of the same transaction, not later ones", async () => {
    const { volume, builder } = make({ bits64: true });
    builder.transaction({
      writes: [
        [500, filled(1)],
        [501, filled(1)],
      ],
    });
    builder.transaction({ writes: [[501, filled(2)]], revokes: [500, 501, 1e12] });
    builder.transaction({ writes: [[500, filled(3)]] });
    const result = await replay(volume);
    expect(await valueOf(result, 500)).to.equal(3);
    expect(await valueOf(result, 501)).to.equal(501 & 0xff);
    expect(result.blocks).to.equal(1);
  });

  it("is followed round its end, and past the highest transaction number", async () => {
    const { volume, builder } = make({ startBlock: 60, sequence: 2 ** 32 - 1, checksums: 2 });
    const writes = Array.from({ length: 9 }, (_, i) => [700 + i, filled(i)] as const);
    builder.transaction({ writes });
    builder.transaction({ writes: [[700, filled(0x77)]] });
    const result = await replay(volume);
    expect(result.transactions).to.equal(2);
    expect(await valueOf(result, 700)).to.equal(0x77);
    expect(await valueOf(result, 708)).to.equal(8);
  });

  it("leaves out what was not committed", async () => {
    const { volume, builder } = make({ checksums: 1 });
    builder.transaction({ writes: [[500, filled(1)]] });
    builder.transaction({ writes: [[500, filled(2)]], isCommitted: false });
    const result = await replay(volume);
    expect(await valueOf(result, 500)).to.equal(1);
    expect(result.notices).to.deep.equal([]);
  });

  it("may be large: thousands of blocks in one transaction, some of them revoked", async () => {
    const blocks = Float64Array.from({ length: 5000 }, (_, i) => 4000 + i);
    const volume = Buffer.alloc(9000 * SIZE);
    const builder = new JournalBuilder(volume, { blockSizeBytes: SIZE, blocks, bits64: true });
    const writes = Array.from({ length: 2200 }, (_, i) => [i, filled(1 + (i % 200))] as const);
    builder.transaction({ writes });
    for (let i = 0; i < 1100; i++) {
      builder.transaction({ revokes: i < 10 ? [100 * i] : [], tagsMax: 1 });
    }
    const result = await replay(volume, blocks);
    expect([result.transactions, result.blocks]).to.deep.equal([1101, 2190]);
    expect(await valueOf(result, 900)).to.equal(0);
    expect(await valueOf(result, 2199)).to.equal(200);
  });

  it("needs nothing but its control blocks to be replayed again", async () => {
    for (const checksums of [0, 1, 2, 3] as const) {
      const { volume, builder } = make({ checksums, startBlock: 50 });
      for (let i = 0; i < 6; i++) {
        const writes = [500 + i, 600, 601].map((block) => [block, filled(0x80 + i)] as const);
        builder.transaction({ writes, revokes: [500] });
      }
      const first = await replay(volume);
      const blank = Buffer.alloc(volume.length, 0xa5);
      for (const [start, count] of first.controlBlocks) {
        volume.copy(blank, start * SIZE, start * SIZE, (start + count) * SIZE);
      }
      const again = await replay(blank);
      expect(again.blocks).to.equal(7);
      expect([...again.controlBlocks]).to.deep.equal([...first.controlBlocks]);
      for (const block of [500, 501, 505, 600, 601]) {
        expect(again.locate(block)).to.deep.equal(first.locate(block));
      }
      expect(await valueOf(again, 601)).to.equal(0x85);
    }
  });

  it("passes on what the device reports", async () => {
    const { volume, builder } = make();
    builder.transaction({ writes: [[500, filled(1)]] });
    const device = new FaultyDevice(new MemoryDevice(volume));
    device.failReads(JOURNAL_AT * SIZE + SIZE, SIZE, "io");
    const name = "the journal";
    await expectReelError(
      readJournal({ device, name, blockSizeBytes: SIZE, blocks: BLOCKS }),
      "io",
    );
  });
});

describe("A damaged journal", () => {
  const superblocks: readonly (readonly [string, RegExp, "damaged" | "unsupported", Change])[] = [
    ["magic number", /no magic number/, "damaged", (b) => b.writeUInt32BE(0, HEADER.magic)],
    ["type", /block type is 5/, "damaged", (b) => b.writeUInt32BE(5, HEADER.blockType)],
    [
      "block size",
      /4096 bytes/,
      "damaged",
      (b) => b.writeUInt32BE(4096, SUPERBLOCK.blockSizeBytes),
    ],
    ["length", /claims 65 blocks/, "damaged", (b) => b.writeUInt32BE(65, SUPERBLOCK.lengthBlocks)],
    [
      "enormous length",
      /more than any journal/,
      "damaged",
      (b) => b.writeUInt32BE(0xffffffff, SUPERBLOCK.lengthBlocks),
    ],
    [
      "first block",
      /begin at block 0/,
      "damaged",
      (b) => b.writeUInt32BE(0, SUPERBLOCK.firstBlock),
    ],
    ["start", /at block 64, outside/, "damaged", (b) => b.writeUInt32BE(64, SUPERBLOCK.startBlock)],
    [
      "incompatible feature",
      /incompatible features 0x40/,
      "unsupported",
      (b) => b.writeUInt32BE(INCOMPAT.revoke | 0x40, SUPERBLOCK.featureIncompat),
    ],
    [
      "read-only feature",
      /read-only compatible features 0x1/,
      "unsupported",
      (b) => b.writeUInt32BE(1, SUPERBLOCK.featureReadOnlyCompat),
    ],
    [
      "two kinds of checksum",
      /v1 and v3 at once/,
      "damaged",
      (b) => {
        b.writeUInt32BE(COMPAT_CHECKSUM, SUPERBLOCK.featureCompat);
        b.writeUInt32BE(INCOMPAT.checksumV3, SUPERBLOCK.featureIncompat);
      },
    ],
    [
      "kind of checksum",
      /of type 0/,
      "unsupported",
      (b) => b.writeUInt32BE(INCOMPAT.checksumV3, SUPERBLOCK.featureIncompat),
    ],
  ];
  for (const [what, message, code, change] of superblocks) {
    it(`is refused by name: ${what} of the superblock`, async () => {
      const { volume, builder } = make();
      builder.writeSuperblock(change);
      expect((await expectReelError(replay(volume), code)).message).to.match(message);
    });
  }

  it("is refused by name: checksum, place and size of the superblock", async () => {
    const { volume, builder } = make({ checksums: 3 });
    const { message } = await expectReelError(
      replay(volume, Float64Array.of(VOLUME_BLOCKS, 5)),
      "damaged",
    );
    expect(message).to.include(`block ${VOLUME_BLOCKS} of volume.img`);
    await expectReelError(replay(volume, new Float64Array(2 ** 24 + 1)), "unsupported");
    builder.block(0)[SUPERBLOCK.uuid] = 0;
    expect((await expectReelError(replay(volume), "damaged")).message).to.include("checksum");
  });

  it("tells that the filesystem had noted an error", async () => {
    const { volume, builder } = make();
    builder.writeSuperblock((block) => block.writeInt32BE(-5, SUPERBLOCK.errno));
    expect((await replay(volume)).notices[0]).to.include("noted an error");
  });

  it("is shown up to the damage, and says where that is", async () => {
    for (const checksums of [1, 2, 3] as const) {
      const { volume, builder } = make({ checksums });
      builder.transaction({ writes: [[500, filled(1)]] });
      const { commit } = builder.transaction({ writes: [[500, filled(2)]] });
      builder.transaction({ writes: [[500, filled(3)]] });
      builder.block(commit)[17] = 0x99;
      const result = await replay(volume);
      expect(await valueOf(result, 500)).to.equal(1);
      expect(result.notices).to.have.length(1);
      expect(result.notices[0]).to.match(
        new RegExp(`is damaged: transaction 2 has a commit block.*journal block ${commit}\\)`),
      );
    }
  });

  it("is taken for left-overs where the times say so", async () => {
    for (const damage of ["descriptor", "commit"] as const) {
      const { volume, builder } = make({ checksums: 3 });
      builder.transaction({ writes: [[500, filled(1)]] });
      const old = builder.transaction({ writes: [[500, filled(2)]], seconds: 3n });
      builder.block(damage === "commit" ? old.commit : (old.copies[0] ?? 0) - 1)[900] = 1;
      if (damage === "commit") builder.block(old.commit)[17] = 0x99;
      const result = await replay(volume);
      expect([result.transactions, result.notices]).to.deep.equal([1, []]);
    }
  });

  it("whose last commit block was half written is still whole", async () => {
    const { volume, builder } = make({ checksums: 3 });
    const { commit } = builder.transaction({ writes: [[500, filled(1)]] });
    builder.block(commit).fill(0x55, 512);
    expect(await valueOf(await replay(volume), 500)).to.equal(1);
  });

  it("leaves out copies whose checksum does not match, and names the first", async () => {
    const { volume, builder } = make({ checksums: 3 });
    builder.transaction({ writes: [[500, filled(1)]] });
    const { copies } = builder.transaction({
      writes: [
        [500, filled(2)],
        [501, filled(2)],
        [502, filled(2)],
      ],
    });
    for (const copy of copies.slice(0, 2)) builder.block(copy)[9] = 0;
    const result = await replay(volume);
    expect(await valueOf(result, 500)).to.equal(1);
    expect(await valueOf(result, 502)).to.equal(2);
    expect(result.notices[0]).to.match(
      /transaction 2 has 2 damaged copies \(first: journal block 5\)/,
    );
  });

  it("says so at most a few times", async () => {
    const { volume, builder } = make({ checksums: 2 });
    for (let i = 0; i < 15; i++) {
      const { copies } = builder.transaction({ writes: [[500, filled(i)]] });
      builder.block(copies[0] ?? 0)[9] = 0xaa;
    }
    const { notices } = await replay(volume);
    expect(notices).to.have.length(9);
    expect(notices[8]).to.include("7 more ways");
  });

  it("names blocks outside the volume, which are left out", async () => {
    const { volume, builder } = make({ bits64: true });
    const writes = [VOLUME_BLOCKS, 2 ** 47, 500].map((block) => [block, filled(1)] as const);
    builder.transaction({ writes });
    const result = await replay(volume);
    expect(result.blocks).to.equal(1);
    expect(result.notices[0]).to.match(/names 2 blocks outside the volume \(first: block 2000\)/);
  });

  it("that runs into its own start is stopped", async () => {
    const { volume, builder } = make();
    const writes = Array.from({ length: 62 }, (_, i) => [500 + i, filled(1)] as const);
    builder.transaction({ writes, isCommitted: false });
    const result = await replay(volume);
    expect([result.transactions, result.blocks]).to.deep.equal([0, 0]);
    expect(result.notices[0]).to.include("claims more blocks than the log has");
  });

  it("that continues outside the volume is shown up to there", async () => {
    const { volume, builder } = make();
    builder.transaction({ writes: [[500, filled(1)]] });
    builder.transaction({ writes: [[501, filled(1)]] });
    const holed = BLOCKS.slice();
    holed[5] = 0;
    const missing = await replay(volume, holed);
    expect([missing.transactions, missing.blocks]).to.deep.equal([2, 1]);
    expect(missing.notices[0]).to.match(
      /transaction 2 has 1 damaged copy \(first: journal block 5/,
    );
    holed[4] = VOLUME_BLOCKS;
    const cut = await replay(volume, holed);
    expect(cut.transactions).to.equal(1);
    expect(cut.notices[0]).to.include("continues in a block outside the volume (journal block 4)");
  });

  it("never leads to anything but a replay or a refusal", async function () {
    this.timeout(60_000);
    await withRandom(async (random) => {
      for (let round = 0; round < ROUNDS; round++) {
        const checksums = random.pick([0, 1, 2, 3] as const);
        const { volume, builder } = make({ checksums, bits64: chance(random, 50) });
        for (let i = 0; i < 8; i++) {
          const block = 500 + random.below(8);
          builder.transaction({ writes: [[block, filled(i)]], revokes: [500, 501] });
        }
        for (let i = 0; i < 6; i++) {
          const index = random.below(35);
          const at = random.below(chance(random, 70) ? 40 : SIZE);
          builder.block(index)[at] = random.pick([0, 0xff, 1, random.below(256)]);
          if (chance(random, 60)) builder.resealTail(index);
        }
        if (chance(random, 50)) builder.writeSuperblock();
        try {
          await exercise(await replay(volume));
        } catch (error) {
          const isExpected = isReelError(error, "damaged") || isReelError(error, "unsupported");
          if (!isExpected) throw new Error(`round ${round}: ${String(error)}`, { cause: error });
        }
      }
    });
  });
});

type Change = (superblock: Buffer) => unknown;

async function exercise(result: JournalReplay): Promise<void> {
  expect(result.controlBlocks.end).to.be.at.most(VOLUME_BLOCKS);
  expect(result.notices.length).to.be.at.most(10);
  const all = new Uint8Array(VOLUME_BLOCKS * SIZE);
  await result.device.read(0, all);
  let found = 0;
  for (let at = 0; ; found++) {
    const block = result.firstReplacedIn(at, VOLUME_BLOCKS - at);
    if (block < 0) break;
    const place = result.locate(block)?.physicalBlock ?? -1;
    expect(BLOCKS.includes(place)).to.be.true;
    expect(result.controlBlocks.has(place)).to.be.true;
    at = block + 1;
  }
  expect(found).to.equal(result.blocks);
}

describe("The device of a replay", () => {
  const made = (): { volume: Buffer; contents: Buffer } => {
    const blocks = Float64Array.from({ length: 200 }, (_, i) => JOURNAL_AT + ((i * 7) % 200));
    const { volume, builder } = make({ blocks });
    const writes: [number, Uint8Array][] = [];
    for (let i = 0; i < 120; i++) writes.push([1000 + ((i * 37) % 160), filled(i)]);
    writes.push([0, filled(0xaa)], [VOLUME_BLOCKS - 1, filled(0xbb)]);
    builder.transaction({ writes });
    const contents = Buffer.from(volume);
    for (const [block, bytes] of writes) contents.set(bytes, block * SIZE);
    return { volume, contents };
  };
  const blocks = Float64Array.from({ length: 200 }, (_, i) => JOURNAL_AT + ((i * 7) % 200));

  blockDeviceSuite("a replayed volume", async () => {
    const { volume, contents } = made();
    return { device: (await replay(volume, blocks)).device, contents };
  });

  it("reads the volume once where no block is replaced, and copies in large pieces", async () => {
    const { volume } = made();
    const device = new FaultyDevice(new MemoryDevice(volume));
    const result = await readJournal({ device, name: "it", blockSizeBytes: SIZE, blocks });
    const readsOf = async (block: number, count: number): Promise<number> => {
      const before = device.counts.reads;
      await result.device.read(block * SIZE, new Uint8Array(count * SIZE));
      return device.counts.reads - before;
    };
    expect(await readsOf(400, 500)).to.equal(1);
    expect(await readsOf(0, 1)).to.equal(1);
    expect(await readsOf(1000, 160)).to.be.at.most(8);
    await result.device.close();
    await device.read(0, new Uint8Array(1)); // still open
  });

  it("shows the newest copy, wherever a read begins and ends", async () => {
    const { volume, contents } = made();
    const { device } = await replay(volume, blocks);
    await withRandom(async (random) => {
      for (let i = 0; i < 300; i++) {
        const start = 990 * SIZE + random.below(180 * SIZE);
        const target = Buffer.from(randomBytes(random, 1 + random.below(5 * SIZE)));
        await device.read(start, target);
        const same = target.equals(contents.subarray(start, start + target.length));
        expect(same, `${target.length} bytes at ${start}`).to.be.true;
      }
    });
  });
});
