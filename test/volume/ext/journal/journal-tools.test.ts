/** The replay against e2fsck, on journals that debugfs wrote and on random ones of every layout. */
import { expect } from "chai";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { withRandom, chance } from "../../../support/random.ts";
import type { SeededRandom } from "../../../support/seeded-random.ts";
import { skipUnless } from "../../../support/skip.ts";
import { withTempFolder } from "../../../support/temp.ts";
import {
  debugfsWrite,
  expectSameAsE2fsck,
  hasExtTools,
  journalFileOf,
  makeVolume,
  NO_EXT_TOOLS,
} from "./ext-tools.ts";
import { JournalBuilder } from "./journal-builder.ts";
import { MemoryDevice } from "../../../../src/device/memory-device.ts";
import { JOURNAL_MAGIC } from "../../../../src/volume/ext/journal/layout.ts";

const MIB = 1024 * 1024;

describe("The journal of an ext volume, as debugfs writes it", function () {
  this.timeout(60_000);
  before(function () {
    skipUnless(this, hasExtTools(), NO_EXT_TOOLS);
  });

  for (const { title, features, open } of [
    { title: "without checksums", features: "^metadata_csum,^64bit", open: "jo" },
    { title: "with 64-bit numbers", features: "^metadata_csum,64bit", open: "jo" },
    { title: "with checksums v2", features: "metadata_csum,^64bit", open: "jo -c -v 2" },
    { title: "with checksums v2 and 64 bits", features: "metadata_csum,64bit", open: "jo -c -v 2" },
    { title: "with checksums v3", features: "metadata_csum,^64bit", open: "jo -c -v 3" },
    { title: "with checksums v3 and 64 bits", features: "metadata_csum,64bit", open: "jo -c -v 3" },
  ]) {
    it(`is replayed as e2fsck does, ${title}`, async () => {
      await withTempFolder(async (folder) => {
        const image = join(folder, "volume.img");
        await makeVolume(image, 8 * MIB, "-t", "ext4", "-O", features, "-b", "1024");
        const contents = join(folder, "contents");
        const bytes = Buffer.alloc(6 * 1024, "journalled ");
        bytes.writeUInt32BE(JOURNAL_MAGIC, 1024); // the second block must be escaped
        await writeFile(contents, bytes);
        await debugfsWrite(
          image,
          open,
          `jw -b 4000,4001,4002 ${contents}`,
          `jw -b 4003,4004,4005,4006 ${contents}`,
          `jw -r 4001 ${contents}`,
          `jw -b 4001 ${contents}`,
          `jw -r 4004,4005 ${contents}`,
          `jw -b 4007,4008 -c ${contents}`,
          "jc",
        );
        const { replay, changed } = await expectSameAsE2fsck(image);
        expect(replay.transactions).to.equal(5);
        expect(replay.blocks).to.equal(5);
        expect(changed).to.equal(5);
        expect(replay.notices).to.deep.equal([]);
        expect(replay.locate(4004)).to.equal(undefined);
        expect(replay.firstReplacedIn(3000, 1005)).to.equal(4000);
        expect(replay.firstReplacedIn(4004, 2)).to.equal(-1);
        expect(replay.firstReplacedIn(4007, 1e6)).to.equal(-1);
      });
    });
  }
});

describe("Random journals of every layout", function () {
  this.timeout(120_000);
  before(function () {
    skipUnless(this, hasExtTools(), NO_EXT_TOOLS);
  });

  const rounds = Number(process.env["REELFS_ROUNDS"] ?? 12);
  it(`are replayed as e2fsck does (${rounds} of them)`, async () => {
    await withRandom(async (random) => {
      await withTempFolder(async (folder) => {
        const image = join(folder, "volume.img");
        await makeVolume(image, 8 * MIB, "-t", "ext4", "-O", "^metadata_csum", "-b", "1024");
        await debugfsWrite(image, "feature needs_recovery");
        const blank = await readFile(image);
        for (let round = 0; round < rounds; round++) {
          const device = new MemoryDevice(blank.subarray(), { name: image });
          const journal = await journalFileOf(image, device);
          const volume = Buffer.from(blank);
          const note = buildRandom(volume, journal?.blocks ?? [], random);
          await writeFile(image, volume);
          try {
            await expectSameAsE2fsck(image);
          } catch (error) {
            throw new Error(`round ${round} (${note}): ${String(error)}`, { cause: error });
          }
        }
      });
    });
  });
});

/** Fills the journal with transactions on a few blocks, so that they meet; says what it made. */
function buildRandom(volume: Buffer, blocks: ArrayLike<number>, random: SeededRandom): string {
  const asyncCommit = chance(random, 20);
  // Where commits are asynchronous, e2fsck notes the number of the first that does not check and goes
  // on looking; 0 it takes for none noted, and replays what lies behind.
  const wraps = chance(random, 20) && !asyncCommit;
  const options = {
    blockSizeBytes: 1024,
    blocks,
    checksums: random.pick([0, 1, 2, 3] as const),
    bits64: chance(random, 50),
    asyncCommit,
    sameUuid: chance(random, 70),
    startBlock: chance(random, 50) ? 1 + random.below(900) : blocks.length - 1 - random.below(20),
    sequence: wraps ? 2 ** 32 - 1 - random.below(3) : 1 + random.below(2 ** 31),
  };
  // Left-overs of an earlier round, with older times and numbers that will be reached.
  if (chance(random, 30)) {
    const old = new JournalBuilder(volume, options);
    for (let i = 0; i < 10; i++) {
      old.transaction({ ...randomTransaction(random), seconds: 10n });
    }
  }
  const builder = new JournalBuilder(volume, options);
  const transactions = random.below(12);
  const commits: number[] = [];
  const copies: number[] = [];
  for (let i = 0; i < transactions; i++) {
    const written = builder.transaction(randomTransaction(random));
    commits.push(written.commit);
    copies.push(...written.copies);
  }
  const isUnfinished = chance(random, 30);
  if (isUnfinished) builder.transaction({ ...randomTransaction(random), isCommitted: false });
  // The kernel stops at a commit block whose checksum does not match.
  const damaged = chance(random, 20) ? commits[random.below(commits.length + 1)] : undefined;
  if (damaged !== undefined) builder.block(damaged)[20] = 1;
  // And leaves out single copies, or the whole transaction (v1), where theirs does not.
  const copy = chance(random, 40) ? copies[random.below(copies.length + 1)] : undefined;
  if (copy !== undefined) builder.block(copy)[700] = 0x5a;
  return JSON.stringify({
    ...options,
    blocks: blocks.length,
    transactions,
    isUnfinished,
    damaged,
    copy,
  });
}

function randomTransaction(random: SeededRandom): {
  writes: [number, Uint8Array][];
  revokes: number[];
  tagsMax: number;
} {
  const target = (): number => 3000 + random.below(40);
  const writes = Array.from({ length: random.below(12) }, (): [number, Uint8Array] => {
    const contents = Buffer.alloc(1024, random.below(256));
    contents.writeUInt32BE(random.below(2 ** 32), 512);
    if (chance(random, 20)) contents.writeUInt32BE(JOURNAL_MAGIC, 0);
    return [target(), contents];
  });
  const revokes = Array.from({ length: chance(random, 40) ? random.below(6) : 0 }, target);
  return { writes, revokes, tagsMax: 1 + random.below(8) };
}
