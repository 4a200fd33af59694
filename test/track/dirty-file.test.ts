/** What is kept between two runs of the tracker, and everything that makes it worthless. */
import { expect } from "chai";
import {
  access,
  appendFile,
  mkdir,
  open,
  readFile,
  rename,
  utimes,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";
import { Tracker } from "../../src/track/tracker.ts";
import { expectReelError } from "../support/expect-error.ts";
import { withRandom } from "../support/random.ts";
import { withTempFolder } from "../support/temp.ts";

const UUID = "01234567-89ab-4cde-8f01-23456789abcd";
const SIZE = 40 * 4096 + 100;

interface Files {
  readonly source: string;
  readonly state: string;
}

/** A source of which block 3 has changed since the image UUID, and its tracker was stopped cleanly. */
async function withSaved(body: (files: Files) => Promise<void>): Promise<void> {
  await withTempFolder(async (folder) => {
    const runtime = process.env["XDG_RUNTIME_DIR"];
    process.env["XDG_RUNTIME_DIR"] = folder;
    try {
      const source = join(folder, "volume.img");
      await writeFile(source, Buffer.alloc(SIZE, 1));
      await trackTo(source, 3);
      await body({ source, state: `${source}.reelfs-dirty` });
    } finally {
      if (runtime === undefined) delete process.env["XDG_RUNTIME_DIR"];
      else process.env["XDG_RUNTIME_DIR"] = runtime;
    }
  });
}

/** An image is made, and then a block written. */
async function trackTo(source: string, block: number): Promise<void> {
  const tracker = await Tracker.open(source);
  const backup = await tracker.device.begin({ freeze: "wait", cacheBytes: 0 });
  await backup.done(UUID);
  await tracker.device.write(block * 4096, Buffer.from("changed"));
  await tracker.close();
}

/** What the next tracker knows, and says. */
async function taken(source: string): Promise<{ changed?: number[]; notice?: string }> {
  const tracker = await Tracker.open(source);
  const { image, bitmap } = tracker.device.dirt;
  const [notice] = tracker.notices;
  await tracker.close();
  if (image === undefined) return notice === undefined ? {} : { notice };
  expect(image).to.equal(UUID);
  return { changed: [...bitmap.extents()].flatMap(([start, count]) => [start, count]) };
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function flip(path: string, at: number): Promise<void> {
  const bytes = await readFile(path);
  bytes[at] = (bytes[at] ?? 0) ^ 0x10;
  await writeFile(path, bytes);
}

describe("the notes of a tracker between two runs", () => {
  it("are taken up where they were left, again and again", async () => {
    await withSaved(async ({ source, state }) => {
      expect(await taken(source)).to.deep.equal({ changed: [3, 1] });
      expect(await taken(source)).to.deep.equal({ changed: [3, 1] });
      expect((await readFile(state)).length).to.equal(128 + 8 + 4);
    });
  });

  it("are gone while somebody tracks, so that nothing is left when it is killed", async () => {
    await withSaved(async ({ source, state }) => {
      const tracker = await Tracker.open(source);
      expect(await isThere(state)).to.equal(false);
      const error = await expectReelError(Tracker.open(source), "busy");
      expect(error.message).to.contain(`process ${process.pid}`);
      await tracker.close();
      expect(await isThere(state)).to.equal(true);
    });
  });

  const doubts: readonly [what: string, spoil: (files: Files) => Promise<unknown>][] = [
    ["is empty", async ({ state }) => writeFile(state, "")],
    ["is cut short", async ({ state }) => writeFile(state, (await readFile(state)).subarray(1))],
    ["has more behind it", async ({ state }) => appendFile(state, "x")],
    [
      "is not there",
      async ({ state }) => {
        await rename(state, `${state}.away`);
      },
    ],
    [
      "is of a volume that was written meanwhile",
      async ({ source }) => {
        await using file = await open(source, "r+");
        await file.write("x", 5);
      },
    ],
    [
      "is of a volume that was written, and its time set back",
      async ({ source }) => {
        await using file = await open(source, "r+");
        const { atime, mtime } = await file.stat();
        await file.write("x", 5);
        await utimes(source, atime, mtime);
      },
    ],
    [
      "is of a volume that was replaced by another",
      async ({ source }) => {
        await writeFile(`${source}.new`, Buffer.alloc(SIZE, 1));
        await rename(`${source}.new`, source);
      },
    ],
    ["is of a volume that has grown", async ({ source }) => appendFile(source, Buffer.alloc(4096))],
  ];
  for (const [what, spoil] of doubts) {
    it(`mean that everything has changed when the file ${what}`, async () => {
      await withSaved(async (files) => {
        await spoil(files);
        const { notice } = await taken(files.source);
        expect(notice).to.contain("everything counts as changed");
        expect(await isThere(files.state)).to.equal(false);
      });
    });
  }

  it("mean the same when any bit of the file is another", async () => {
    await withSaved(async ({ source, state }) => {
      await withRandom(async (random) => {
        for (let i = 0; i < 20; i++) {
          await flip(state, random.below(128 + 8 + 4));
          expect(await taken(source)).to.have.property("notice");
          await trackTo(source, 3);
        }
      });
    });
  });

  it("that are a folder, and cannot be removed, are refused", async () => {
    await withSaved(async ({ source, state }) => {
      await rename(state, `${state}.away`);
      await mkdir(state);
      const error = await expectReelError(Tracker.open(source), "is-a-directory");
      expect(error.message).to.contain(state);
    });
  });
});
