/** Which fast commits of a journal count, and what is said of those that do not. */
import { expect } from "chai";
import { MemoryDevice } from "../../../../src/device/memory-device.ts";
import { FAST_NOTES_MAX } from "../../../../src/volume/ext/journal/fast-commit.ts";
import { readJournal } from "../../../../src/volume/ext/journal/journal.ts";
import type { JournalReplay } from "../../../../src/volume/ext/journal/journal.ts";
import { chance, withRandom } from "../../../support/random.ts";
import { addRange, create, deleteRange, inode, link, unlink } from "./fast-commit-writer.ts";
import type { Note } from "./fast-commit-writer.ts";
import { JournalBuilder } from "./journal-builder.ts";

const SIZE = 1024;
const AREA_BLOCKS = 200;
const BLOCKS = Float64Array.from({ length: 1024 + AREA_BLOCKS }, (_, i) => 100 + i);
const ROUNDS = 200;

function make(areaBlocks = AREA_BLOCKS): { volume: Buffer; builder: JournalBuilder } {
  const volume = Buffer.alloc((BLOCKS.length + 200) * SIZE);
  const builder = new JournalBuilder(volume, {
    blockSizeBytes: SIZE,
    blocks: BLOCKS,
    fastCommitBlocks: areaBlocks,
    checksums: 3,
  });
  builder.transaction({ writes: [[50, new Uint8Array(SIZE).fill(1)]] });
  return { volume, builder };
}

async function replay(volume: Uint8Array): Promise<JournalReplay> {
  const device = new MemoryDevice(volume, { name: "volume.img" });
  return readJournal({ device, name: "the journal", blockSizeBytes: SIZE, blocks: BLOCKS });
}

/** Notes of a length that the kernel would write. */
const NOTES: readonly Note[] = [
  inode(20, { mode: 0o100644 }),
  addRange(20, 0, 5, 700),
  create(2, 20, "a name"),
  link(2, 21, "another"),
  unlink(2, 22, "a third"),
  deleteRange(21, 7, 2 ** 31),
];

const kindsOf = ({ fastCommits }: JournalReplay): string[] =>
  fastCommits.notes.map(({ kind }) => kind);

describe("The fast commits of a journal", () => {
  it("are read in order, over several blocks, up to the last whole one", async () => {
    const { volume, builder } = make();
    const next = builder.fastCommit(0, NOTES);
    const behind = builder.fastCommit(next, [...NOTES, ...NOTES, ...NOTES, ...NOTES, ...NOTES]);
    expect(behind - next).to.be.above(1);
    const found = await replay(volume);
    expect(found.fastCommits.commits).to.equal(2);
    expect(found.notices).to.deep.equal([]);
    const kinds = ["inode", "range", "create", "link", "unlink", "range"];
    expect(kindsOf(found)).to.deep.equal(Array.from({ length: 6 }, () => kinds).flat());
    expect(found.fastCommits.notes[1]).to.deep.equal({
      kind: "range",
      inode: 20,
      logical: 0,
      count: 5,
      physical: 700,
    });
  });

  it("are read with notes of every length, which end anywhere in their blocks", async () => {
    await withRandom(async (random) => {
      for (let round = 0; round < ROUNDS; round++) {
        const { volume, builder } = make();
        const expected: string[] = [];
        let at = 0;
        for (let commit = 0; commit < 4; commit++) {
          const names = Array.from({ length: random.below(30) }, () =>
            "n".repeat(1 + random.below(255)),
          );
          at = builder.fastCommit(
            at,
            names.map((name) => link(2, 20, name)),
          );
          expected.push(...names);
        }
        const { notes } = (await replay(volume)).fastCommits;
        expect(notes.map((note) => ("name" in note ? note.name : ""))).to.deep.equal(expected);
      }
    });
  });

  it("are none where they belong to an earlier transaction, and nothing is said of that", async () => {
    const { volume, builder } = make();
    builder.fastCommit(0, NOTES, { sequence: builder.sequence - 1 });
    const found = await replay(volume);
    expect([found.fastCommits.commits, found.notices]).to.deep.equal([0, []]);
  });

  it("end before what an earlier round of the area left behind", async () => {
    const { volume, builder } = make();
    builder.fastCommit(0, NOTES);
    builder.fastCommit(1, NOTES, { sequence: builder.sequence - 1 });
    builder.fastCommit(2, NOTES);
    const found = await replay(volume);
    expect([found.fastCommits.commits, found.notices]).to.deep.equal([1, []]);
  });

  it("end before noise, zeros and the end of the area", async () => {
    for (const value of [0, 0xff, 0x5a]) {
      const { volume, builder } = make();
      builder.fastCommit(0, NOTES);
      builder.block(builder.endBlock + 2).fill(value);
      const found = await replay(volume);
      expect([found.fastCommits.commits, found.notices]).to.deep.equal([1, []]);
    }
    const { volume, builder } = make(2);
    builder.fastCommit(0, NOTES);
    expect((await replay(volume)).fastCommits.commits).to.equal(1);
  });

  const unsound: readonly (readonly [string, RegExp, (builder: JournalBuilder) => void])[] = [
    [
      "with a wrong checksum",
      /in block \d+ of the journal was cut off or is damaged/,
      (builder) => builder.fastCommit(1, NOTES, { isSound: false }),
    ],
    [
      "with a flipped bit",
      /was cut off or is damaged/,
      (builder) => {
        builder.fastCommit(1, NOTES);
        const block = builder.block(builder.endBlock + 2);
        block[9] = (block[9] ?? 0) ^ 4;
      },
    ],
    [
      "with a tag that is not known",
      /has a note of kind 10 /,
      (builder) => builder.fastCommit(1, [...NOTES, { tag: 10, value: new Uint8Array(8) }]),
    ],
    [
      "with a note that reaches beyond its block",
      /has a note of kind 4 that makes no sense/,
      (builder) => {
        builder.fastCommit(1, [link(2, 20, "x"), link(2, 20, "y")]);
        builder.block(builder.endBlock + 2).writeUInt16LE(2000, 4 + 9 + 2);
      },
    ],
    ...[
      { tag: 1, value: new Uint8Array(15) },
      { tag: 2, value: new Uint8Array(13) },
      { tag: 3, value: new Uint8Array(8) },
      { tag: 4, value: new Uint8Array(8 + 256) },
      { tag: 5, value: new Uint8Array(3) },
      { tag: 6, value: new Uint8Array(4 + 127) },
    ].map((note): (typeof unsound)[number] => [
      `with a note of kind ${note.tag} in ${note.value.length} bytes`,
      new RegExp(`has a note of kind ${note.tag} that makes no sense`),
      (builder) => builder.fastCommit(1, [...NOTES, note]),
    ]),
    [
      "with features that are not known",
      /features that are not known here \(0x4\)/,
      (builder) => builder.fastCommit(1, NOTES, { hasHead: true, features: 4 }),
    ],
  ];
  for (const [what, message, spoil] of unsound) {
    it(`end before one ${what}, and that is said`, async () => {
      const { volume, builder } = make();
      builder.fastCommit(0, NOTES);
      spoil(builder);
      builder.fastCommit(2, NOTES);
      const found = await replay(volume);
      expect(found.fastCommits.commits).to.equal(1);
      expect(found.fastCommits.notes).to.have.length(NOTES.length);
      expect(found.notices).to.have.length(1);
      expect(found.notices[0]).to.match(message).and.to.include("are not shown");
    });
  }

  it("are none when the first is cut off, and that is said", async () => {
    const { volume, builder } = make();
    builder.fastCommit(0, NOTES, { isSound: false });
    const found = await replay(volume);
    expect(found.fastCommits.notes).to.deep.equal([]);
    expect(found.notices[0]).to.match(/was cut off or is damaged/);
  });

  it("can be read again from the blocks that a backup keeps for that", async () => {
    const { volume, builder } = make();
    builder.fastCommit(0, NOTES);
    const first = await replay(volume);
    const kept = Buffer.alloc(volume.length, 0xee);
    for (const [start, count] of first.controlBlocks) {
      volume.copy(kept, start * SIZE, start * SIZE, (start + count) * SIZE);
    }
    expect((await replay(kept)).fastCommits.notes).to.deep.equal(first.fastCommits.notes);
  });

  it("are kept up to a limit, and what is beyond it is said", async function () {
    this.timeout(60_000);
    const size = 65536;
    const perBlock = 3000;
    const areaBlocks = Math.ceil(FAST_NOTES_MAX / perBlock) + 2;
    const blocks = Float64Array.from(
      { length: 1024 + areaBlocks },
      (_, i) => 1 + (i < 1024 ? i % 8 : i - 1000),
    );
    const volume = Buffer.alloc((areaBlocks + 100) * size);
    const builder = new JournalBuilder(volume, {
      blockSizeBytes: size,
      blocks,
      fastCommitBlocks: areaBlocks,
    });
    builder.transaction({ writes: [[50, new Uint8Array(size)]] });
    const notes = Array.from({ length: perBlock }, () => deleteRange(20, 1, 1));
    for (let at = 0; at < areaBlocks - 1; at++) builder.fastCommit(at, notes);
    const device = new MemoryDevice(volume, { name: "volume.img" });
    const found = await readJournal({ device, name: "j", blockSizeBytes: size, blocks });
    expect(found.fastCommits.notes.length).to.be.within(FAST_NOTES_MAX - perBlock, FAST_NOTES_MAX);
    expect(found.notices[0]).to.include(`more than ${FAST_NOTES_MAX} changes`);
  });

  it("never bring the reader down, whatever is in them", async () => {
    await withRandom(async (random) => {
      for (let round = 0; round < ROUNDS; round++) {
        const { volume, builder } = make();
        let at = builder.fastCommit(0, NOTES);
        at = builder.fastCommit(at, NOTES);
        for (let i = 0; i < 1 + random.below(4); i++) {
          const block = builder.block(builder.endBlock + 1 + random.below(at));
          const where = random.below(chance(random, 50) ? 200 : SIZE);
          block[where] = chance(random, 50) ? 0xff : random.below(256);
        }
        const { fastCommits } = await replay(volume);
        expect(fastCommits.notes.length % NOTES.length).to.equal(0);
        expect(fastCommits.commits).to.equal(fastCommits.notes.length / NOTES.length);
      }
    });
  });
});
