/** What becomes of a volume with fast commits that no kernel wrote: sound ones, odd and hostile ones. */
import { expect } from "chai";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { MemoryDevice } from "../../../src/device/memory-device.ts";
import { extFormat } from "../../../src/volume/ext/ext-format.ts";
import type { Volume } from "../../../src/volume/volume.ts";
import { expectReelError } from "../../support/expect-error.ts";
import { nodesOf } from "../../support/ext-compare.ts";
import { hasExtTools, makeExtImage, NO_EXT_TOOLS } from "../../support/ext-tools.ts";
import { chance, randomBytes, withRandom } from "../../support/random.ts";
import type { SeededRandom } from "../../support/seeded-random.ts";
import { skipUnless } from "../../support/skip.ts";
import { withTempFolder } from "../../support/temp.ts";
import { exerciseDamaged, readContents } from "../../support/volume-suite.ts";
import { debugfsWrite, journalFileOf } from "./journal/ext-tools.ts";
import {
  addRange,
  create,
  deleteRange,
  inode,
  link,
  unlink,
} from "./journal/fast-commit-writer.ts";
import type { Note } from "./journal/fast-commit-writer.ts";
import { JournalBuilder } from "./journal/journal-builder.ts";

const MIB = 1024 * 1024;
const SIZE = 1024;
const AREA_BLOCKS = 64;
const LOG_BLOCKS = 1024;
const ROOT = 2;
/** Where noise lies that nothing uses. */
const FREE_BLOCK = 5000;
const FREE_INODE = 200;
const FILE_MODE = 0o100644;
const INLINE_FLAG = 0x10000000;
const ROUNDS = Number(process.env["REELFS_ROUNDS"] ?? 30);

interface Made {
  readonly bytes: Buffer;
  readonly journal: Float64Array;
}

/** A volume with some files, unclean; inodes: 12 folder, 13 file, 14 other, 15 folder/inner, 16 link. */
async function makeVolume(options: readonly string[]): Promise<Made> {
  return withTempFolder(async (folder) => {
    const image = join(folder, "volume.img");
    const source = join(folder, "source");
    const make = ["-t", "ext4", "-b", String(SIZE), "-J", "size=2", "-O", "fast_commit"];
    await makeExtImage(image, 8 * MIB, [...make, ...options]);
    await debugfsWrite(image, "mkdir folder");
    for (const name of ["file", "other", "folder/inner"]) {
      await writeFile(source, Buffer.alloc(5000, name));
      await debugfsWrite(image, `write ${source} ${name}`);
    }
    await debugfsWrite(image, "symlink link file", "feature needs_recovery");
    const bytes = await readFile(image);
    await using device = new MemoryDevice(bytes, { name: "volume.img" });
    const journal = await journalFileOf(image, device);
    if (journal === undefined) throw new Error("no journal");
    bytes.fill(0x5a, FREE_BLOCK * SIZE, (FREE_BLOCK + 100) * SIZE);
    return { bytes, journal: journal.blocks.slice(0, LOG_BLOCKS + AREA_BLOCKS) };
  });
}

/** A copy of a volume with a commit of these notes in its journal, several where they are many. */
function withNotes({ bytes, journal }: Made, ...commits: readonly (readonly Note[])[]): Buffer {
  const copy = Buffer.from(bytes);
  const builder = new JournalBuilder(copy, {
    blockSizeBytes: SIZE,
    blocks: journal,
    checksums: 3,
    fastCommitBlocks: AREA_BLOCKS,
  });
  // Of a full commit there must be something: it writes a block that nothing uses.
  builder.transaction({ writes: [[FREE_BLOCK + 90, new Uint8Array(SIZE).fill(0x5a)]] });
  let at = 0;
  for (const notes of commits) at = builder.fastCommit(at, notes);
  return copy;
}

async function open<T>(
  bytes: Buffer,
  use: (volume: Volume, read: (path: string) => Promise<string>) => Promise<T>,
): Promise<T> {
  await using device = new MemoryDevice(bytes, { name: "volume.img" });
  const volume = await extFormat.open(device);
  try {
    return await use(volume, async (path) => {
      const id = (await nodesOf(volume)).get(path)?.id ?? 0;
      return Buffer.from(await readContents(volume, device, id)).toString("latin1");
    });
  } finally {
    await volume.close();
  }
}

const pathsOf = async (volume: Volume): Promise<string[]> =>
  [...(await nodesOf(volume)).keys()].filter((path) => path !== "" && path !== "/lost+found");

describe("A volume with fast commits", function () {
  this.timeout(60_000);
  let made: Made;
  before(async function () {
    skipUnless(this, hasExtTools(), NO_EXT_TOOLS);
    made = await makeVolume([]);
  });

  it("shows files that were made, from blocks that the bitmaps have as free", async () => {
    const bytes = withNotes(made, [
      inode(FREE_INODE, { mode: FILE_MODE, sizeBytes: 2500 }),
      addRange(FREE_INODE, 0, 1, FREE_BLOCK),
      addRange(FREE_INODE, 2, 1, FREE_BLOCK + 7),
      create(ROOT, FREE_INODE, "new"),
    ]);
    await open(bytes, async (volume, read) => {
      expect(await read("/new")).to.equal("Z".repeat(1024) + "\0".repeat(1024) + "Z".repeat(452));
      const { used, problems } = await volume.survey();
      expect(problems).to.deep.equal([]);
      for (const block of [FREE_BLOCK, FREE_BLOCK + 7]) {
        const at = used.indexFrom(block);
        expect(used.startAt(at), `block ${block} is used`).to.be.at.most(block);
      }
      expect(volume.info.notices?.join()).to.include("fast commits: 1 with 4 changes");
    });
  });

  it("goes by what names led to before", async () => {
    const bytes = withNotes(made, [
      link(ROOT, 14, "file"), // is there, and leads to 13
      unlink(ROOT, 13, "other"), // leads to 14
      unlink(12, 15, "inner"),
      link(ROOT, 15, "moved"),
      link(ROOT, 14, "twice"),
      link(ROOT, 14, "twice"),
      link(ROOT, 14, "not for long"),
      unlink(ROOT, 14, "not for long"),
      unlink(ROOT, 14, "never there"),
    ]);
    await open(bytes, async (volume, read) => {
      const paths = ["/folder", "/file", "/other", "/link", "/moved", "/twice"];
      expect(await pathsOf(volume)).to.have.members(paths);
      expect(await read("/file")).to.match(/^(file)+$/);
      expect(await read("/moved")).to.match(/^(folder\/inner)+/);
    });
  });

  it("shows a symbolic link, a device and data in an inode as they were noted", async () => {
    const target = Buffer.from("to/somewhere");
    const inline = Buffer.from("in the inode");
    const bytes = withNotes(await makeVolume(["-O", "inline_data"]), [
      inode(200, { mode: 0o120777, sizeBytes: target.length, flags: 0, blockField: target }),
      create(ROOT, 200, "short"),
      inode(201, { mode: 0o020600, flags: 0, blockField: Buffer.from([1, 5]) }),
      create(ROOT, 201, "device"),
      inode(202, {
        mode: FILE_MODE,
        sizeBytes: inline.length,
        flags: INLINE_FLAG,
        blockField: inline,
      }),
      create(ROOT, 202, "inline"),
    ]);
    await open(bytes, async (volume, read) => {
      const nodes = await nodesOf(volume);
      expect(await volume.readLink?.(nodes.get("/short")?.id ?? 0)).to.equal("to/somewhere");
      expect(nodes.get("/device")?.deviceNumber).to.equal(0x501);
      expect(await read("/inline")).to.equal("in the inode");
      expect((await volume.layout(202)).direct, "that is not where its inode is").to.equal(false);
    });
  });

  it("shows nothing of a file that had the inode before", async () => {
    const bytes = withNotes(
      made,
      [deleteRange(13, 1, 1)],
      [
        unlink(ROOT, 13, "file"),
        inode(13, { mode: FILE_MODE, sizeBytes: 5000 }),
        addRange(13, 4, 1, FREE_BLOCK),
        create(ROOT, 13, "next"),
      ],
    );
    await open(bytes, async (_, read) => {
      expect(await read("/next")).to.equal("\0".repeat(4096) + "Z".repeat(904));
    });
  });

  it("finds names in either case where directories do", async () => {
    const folding = await makeVolume(["-O", "casefold", "-E", "encoding=utf8"]);
    await withTempFolder(async (folder) => {
      const image = join(folder, "v.img");
      await writeFile(image, folding.bytes);
      await debugfsWrite(image, "set_inode_field <12> flags 0x40080000");
      const bytes = withNotes({ ...folding, bytes: await readFile(image) }, [
        link(12, 14, "INNER"),
        link(12, 14, "Über"),
        unlink(12, 14, "üBER"),
      ]);
      await open(bytes, async (volume) => {
        expect(await pathsOf(volume))
          .to.include("/folder/inner")
          .and.have.length(5);
      });
      const renamed = withNotes({ ...folding, bytes: await readFile(image) }, [
        unlink(12, 15, "Inner"),
        link(12, 15, "iNNER"),
      ]);
      await open(renamed, async (volume) => {
        expect(await pathsOf(volume))
          .to.include("/folder/iNNER")
          .and.have.length(5);
      });
    });
  });

  it("has a damaged file where a range leads outside, and the rest is well", async () => {
    const bytes = withNotes(made, [addRange(13, 2, 100, 8190), addRange(13, 0, 1, 2 ** 47)]);
    await open(bytes, async (volume, read) => {
      const { message } = await expectReelError(read("/file"), "damaged");
      expect(message).to.include("outside the volume");
      expect(await read("/other")).to.match(/^(other)+$/);
      const { problems, used } = await volume.survey();
      expect(problems.map(({ where }) => where)).to.deep.equal(["/file"]);
      expect(used.end).to.be.at.most(8192);
    });
  });

  it("says how many changes are of inodes that no file can have", async () => {
    const bytes = withNotes(made, [
      inode(8, { mode: FILE_MODE }),
      deleteRange(0xffffffff, 0, 1),
      link(7, 14, "x"),
      link(ROOT, 0, "y"),
      link(ROOT, 14, "z"),
    ]);
    await open(bytes, async (volume) => {
      expect(volume.info.notices?.[1]).to.include("4 changes of inodes that no file can have");
      expect(await pathsOf(volume)).to.include("/z");
    });
  });

  it("lists names as it can where they could not be", async () => {
    const bytes = withNotes(made, [
      link(ROOT, 14, "."),
      link(ROOT, 14, ".."),
      link(ROOT, 14, "a/b"),
      link(ROOT, 14, Buffer.from([0xff, 0xfe])),
      link(ROOT, ROOT, "round"),
      link(12, 12, "and round"),
      link(ROOT, 777, "nothing"),
    ]);
    await open(bytes, async (volume) => {
      const { problems } = await volume.survey();
      expect(problems.length).to.be.above(1);
      expect(await pathsOf(volume)).to.have.length(5 + 5);
    });
  });

  it("never brings the reader down, whatever its notes say", async () => {
    await withRandom(async (random) => {
      for (let round = 0; round < ROUNDS; round++) {
        const commits = Array.from({ length: 1 + random.below(3) }, () =>
          Array.from({ length: random.below(40) }, () => randomNote(random)),
        );
        const bytes = withNotes(made, ...commits);
        const volume = { format: extFormat, bytes, structure: [], expected: new Map() };
        await exerciseDamaged(volume, new Uint8Array(bytes), random.seedNote);
      }
    });
  });
});

function randomNote(random: SeededRandom): Note {
  const number = (): number =>
    random.pick([ROOT, 12, 13, 14, 15, 16, 200, 201, 8, 0, 0xffffffff, random.below(3000)]);
  const block = (): number => random.pick([0, 1, 5, random.below(20), 2 ** 31, 0xffffffff]);
  const name = (): Uint8Array =>
    chance(random, 70)
      ? Buffer.from(random.pick(["file", "other", "folder", "link", "inner", "a", "b", "."]))
      : randomBytes(random, 1 + random.below(255));
  switch (random.below(7)) {
    case 0:
      return addRange(
        number(),
        block(),
        random.below(32768),
        random.below(9000),
        chance(random, 80),
      );
    case 1:
      return addRange(
        number(),
        block(),
        random.below(5),
        random.below(2 ** 31) * 2 ** random.below(17),
      );
    case 2:
      return deleteRange(number(), block(), block());
    case 3:
      return create(number(), number(), name());
    case 4:
      return link(number(), number(), name());
    case 5:
      return unlink(number(), number(), name());
    default:
      return inode(number(), {
        mode: random.pick([0o100644, 0o040755, 0o120777, 0o020600, random.below(65536)]),
        sizeBytes: random.pick([0, 10, 5000, 2 ** 31, random.below(100_000)]),
        links: random.below(3),
        flags: random.pick([0, 0x80000, 0x10000000, 0x10080000, 0x1000, random.below(2 ** 31)]),
        generation: random.below(2),
        blockField: randomBytes(random, 60),
      });
  }
}
