import { expect } from "chai";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, readdir, rename, rm, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { isReelError } from "../../src/errors.ts";
import { nextOfFiles } from "../../src/tape/set/open-for-writing.ts";
import { TapeFiles } from "../../src/tape/set/set-files.ts";
import { openSimhTape } from "../../src/tape/simh-tape.ts";
import type { TapeDrive } from "../../src/tape/tape-drive.ts";
import { TapeSetDrive, type TapeRequest } from "../../src/tape/tape-set.ts";
import { backupVolume } from "../../src/tapeimage/backup.ts";
import { listImages, openTapeImage } from "../../src/tapeimage/open-image.ts";
import { restoreImage } from "../../src/tapeimage/restore-image.ts";
import type { TapeImage } from "../../src/tapeimage/tape-image.ts";
import { verifyImage } from "../../src/tapeimage/verify.ts";
import { restoreSelection } from "../../src/tagrestore/restore.ts";
import { selectEntries } from "../../src/tagrestore/select.ts";
import { openImageTree } from "../../src/tree/image-tree.ts";
import { resolvePath } from "../../src/tree/path.ts";
import { expectReelError } from "../support/expect-error.ts";
import { makeFatVolume, needsFatTools, type MadeVolume } from "../support/fat-volume.ts";
import { withRandom } from "../support/random.ts";
import { withTempFolder } from "../support/temp.ts";

const MIB = 1024 * 1024;
const RECORD_BYTES = 64 * 1024;

/** What was asked for, of tapes that lie beside the first. */
class CountingFiles extends TapeFiles {
  readonly asked: number[] = [];

  override async *candidates(request: TapeRequest): AsyncGenerator<TapeDrive> {
    this.asked.push(request.sequence);
    yield* super.candidates(request);
  }
}

interface Backup {
  readonly volume: MadeVolume;
  readonly tapes: readonly string[];
}

/** About 10 MB on tapes of these capacities, the last of which is of any length. */
async function backUp(folder: string, capacities: readonly number[], files = 340): Promise<Backup> {
  const volume = await makeFatVolume(folder, { sizeBytes: 20 * MIB, files });
  const tapes = capacities.map((_, index) => join(folder, `t${index + 1}.tap`));
  await backupVolume({
    ...{ sourcePath: volume.path, tapePath: tapes[0] ?? "", recordSizeBytes: RECORD_BYTES },
    codec: "none",
    tapes: {
      capacityBytes: capacities[0],
      nextTape: async (sequence, previous) =>
        nextOfFiles([tapes[sequence - 1] ?? ""], capacities[sequence - 1])(sequence, previous),
    },
  });
  const made = await readdir(folder);
  return { volume, tapes: tapes.filter((tape) => made.includes(basename(tape))) };
}

/** Every file that can be read is as it was; returns how many cannot. */
async function compareFiles(image: TapeImage, volume: MadeVolume): Promise<number> {
  const opened = await openImageTree(image);
  let lost = 0;
  try {
    for (const [path, bytes] of volume.files) {
      const { stat: found } = await resolvePath(opened.tree, path);
      const target = new Uint8Array(bytes.length);
      try {
        await opened.tree.read(found.id, 0, target);
      } catch (error) {
        if (!isReelError(error, "not-found")) throw error;
        lost++;
        continue;
      }
      expect(Buffer.compare(target, bytes), path).to.equal(0);
    }
  } finally {
    await opened.close();
  }
  return lost;
}

async function expectSameBlocks(image: TapeImage, disk: string, source: string): Promise<void> {
  const [wanted, restored] = [await readFile(source), await readFile(disk)];
  const { blockSizeBytes } = image.header;
  for (let index = 0; index < image.map.length; index++) {
    const { start, count } = image.map.entryAt(index);
    const [from, to] = [start * blockSizeBytes, (start + count) * blockSizeBytes];
    expect(wanted.subarray(from, to).equals(restored.subarray(from, to))).to.equal(true);
  }
}

async function openCounted(path: string): Promise<{ drive: TapeDrive; asked: number[] }> {
  const source = new CountingFiles(path);
  const first = await openSimhTape(path, { mode: "read" });
  return { drive: await TapeSetDrive.open(first, { source, name: path }), asked: source.asked };
}

describe("an image over many tapes", function () {
  this.timeout(60_000);
  before(function () {
    needsFatTools(this);
  });

  it("is read, verified and restored from tapes of any capacities, each asked for once, in order", async () => {
    await withRandom(async (random) => {
      await withTempFolder(async (folder) => {
        const capacities = Array.from({ length: 60 }, () => 300_000 + random.below(1_400_000));
        const { volume, tapes } = await backUp(folder, capacities);
        expect(tapes.length).to.be.greaterThan(4);
        for (const [index, tape] of tapes.entries()) {
          expect((await stat(tape)).size).to.be.at.most(capacities[index] ?? 0);
        }
        const inOrder = tapes.slice(1).map((_, index) => index + 2);
        const [first = ""] = tapes;
        const works: readonly ((image: TapeImage) => Promise<void>)[] = [
          async (image) => {
            expect(await compareFiles(image, volume)).to.equal(0);
          },
          async (image) => {
            expect(await verifyImage(image)).to.include({ sound: true, recordsDamaged: 0 });
          },
          async (image) => {
            const disk = join(folder, "disk.img");
            const restored = await restoreImage(image, disk, { verify: true });
            expect(restored.recordsDamaged).to.equal(0);
            await expectSameBlocks(image, disk, volume.path);
          },
          async (image) => {
            await restoreFiles(image, volume, join(folder, "out"));
          },
        ];
        for (const work of works) {
          const { drive, asked } = await openCounted(first);
          await using image = await openTapeImage(first, { drive });
          expect(image.state).to.deep.include({ state: "complete", notices: [] });
          await work(image);
          expect(asked).to.deep.equal(inOrder);
        }
        // From the last tape too, and from the second image on.
        await using fromLast = await openTapeImage(tapes.at(-1) ?? "");
        expect(await compareFiles(fromLast, volume)).to.equal(0);
      });
    });
  });

  it("is followed by the next image at the end of the set, and both are listed", async () => {
    await withTempFolder(async (folder) => {
      const { volume, tapes } = await backUp(folder, [MIB, MIB, 900 * MIB], 100);
      const [first = "", second = ""] = tapes;
      const again = await backupVolume({
        ...{ sourcePath: volume.path, tapePath: first, codec: "none" },
        tapes: { nextTape: nextOfFiles([join(folder, "t4.tap")], undefined) },
      });
      expect(again.number).to.equal(2);
      const states = (await listImages(first)).map(({ number, state }) => [number, state]);
      expect(states).to.deep.equal([
        [1, "complete"],
        [2, "complete"],
      ]);
      await using image = await openTapeImage(`${first}#2`);
      expect(await compareFiles(image, volume)).to.equal(0);
      const refused = await expectReelError(
        backupVolume({ sourcePath: volume.path, tapePath: second }),
        "invalid",
      );
      expect(refused.message).to.include("tape 2 of the set that begins on");
      expect(refused.message).to.include("t1.tap");
    });
  });

  it("loses with a tape in the middle only what was on it", async () => {
    await withTempFolder(async (folder) => {
      const { volume, tapes } = await backUp(
        folder,
        Array.from({ length: 30 }, () => 2 * MIB),
      );
      const [first = ""] = tapes;
      await rm(tapes[2] ?? "");
      await using image = await openTapeImage(first);
      expect(image.state.notices.join()).to.include("tape 3 of the set");
      const lost = await compareFiles(image, volume);
      expect(lost).to.be.within(30, 100);
      const { sound, recordsDamaged, lostBlocks } = await verifyImage(image);
      expect(sound).to.equal(false);
      expect(recordsDamaged).to.be.within(20, 32);
      const disk = join(folder, "disk.img");
      const restored = await restoreImage(image, disk);
      expect(restored.recordsDamaged).to.equal(recordsDamaged);
      expect(restored.lostBlocks.total).to.equal(lostBlocks.total);
      expect(restored.damage.join()).to.include("t3.tap (serial REEL03)");
    });
  });

  it("finds its tapes under other names, in folders that are named, and says which is not there", async () => {
    await withTempFolder(async (folder) => {
      const { volume, tapes } = await backUp(folder, [MIB, MIB, 900 * MIB], 100);
      const [first = "", second = "", third = ""] = tapes;
      await mkdir(join(folder, "vault"));
      const moved = join(folder, "vault", "other name.tap");
      await rename(second, moved);
      await rename(third, join(folder, "renamed.tap"));
      await using image = await openTapeImage(`${first},${moved}`);
      expect(await compareFiles(image, volume)).to.equal(0);
      await using inFolder = await openTapeImage(first, { places: [join(folder, "vault")] });
      expect(inFolder.state.notices).to.deep.equal([]);
      await image.close();
      await rm(first);
      const alone = await expectReelError(openTapeImage(moved), "not-found");
      expect(alone.message).to.include("begins on another tape: tape 1 of the set");
      expect(alone.message).to.include("t1.tap");
    });
  });

  it("is an interrupted image when its writer is killed on the second tape", async () => {
    await withTempFolder(async (folder) => {
      const volume = await makeFatVolume(folder, { sizeBytes: 20 * MIB, files: 340 });
      const tapes = Array.from({ length: 20 }, (_, index) => join(folder, `t${index + 1}.tap`));
      const program = new URL("spanning-writer-process.ts", import.meta.url).pathname;
      const child = spawn(process.execPath, ["--import", "tsx", program, volume.path, ...tapes]);
      const exited = once(child, "exit");
      let onSecond = false;
      for await (const line of createInterface({ input: child.stdout })) {
        if (onSecond && line.startsWith("writing image")) child.kill("SIGKILL");
        if (line === "tape 2") onSecond = true;
      }
      await exited;
      const [first = ""] = tapes;
      await using image = await openTapeImage(first);
      expect(image.state.state).to.equal("interrupted");
      expect(image.state.notices.join()).to.include("the backup was interrupted");
      expect((await verifyImage(image)).sound).to.equal(false);
      const { number } = await backupVolume({ sourcePath: volume.path, tapePath: first });
      expect(number).to.equal(2);
      await using next = await openTapeImage(first);
      expect(next.state.state).to.equal("complete");
      expect(await compareFiles(next, volume)).to.equal(0);
    });
  });
});

async function restoreFiles(image: TapeImage, volume: MadeVolume, to: string): Promise<void> {
  const opened = await openImageTree(image);
  try {
    const { table } = await selectEntries(opened.volume, { paths: ["/"] });
    await restoreSelection({ image, volume: opened.volume }, table, to);
  } finally {
    await opened.close();
  }
  for (const [path, bytes] of volume.files) {
    expect((await readFile(join(to, path))).equals(bytes), path).to.equal(true);
  }
}
