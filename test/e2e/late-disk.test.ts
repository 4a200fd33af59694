/** What is written to a disk that cannot store it: the page cache takes it, and only a sync tells. */
import { expect } from "chai";
import { cp, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { makeFatVolume, needsFatTools, type MadeVolume } from "../support/fat-volume.ts";
import { outputOf, runHere } from "../support/command-in-place.ts";
import {
  lateDiskTrouble,
  withLateDisk,
  type LateDisk,
  type LateDiskOptions,
} from "../support/late-disk.ts";
import { makePlace, type Place, type Ran } from "../support/mountpoint.ts";
import { skipUnless } from "../support/skip.ts";

const VOLUME_BYTES = 4 << 20;
/** What no failed sync may pass for. */
const CAUSE = /(input\/output|i\/o) error|no space|read-only/i;

describe("a disk that fails to store what it took", function () {
  this.timeout(60_000);
  let place: Place;
  let isMade = false;
  let volume: MadeVolume;
  let tape: string;

  const reelfs = async (...args: string[]): Promise<Ran> => runHere(place, args);

  function expectFailure(ran: Ran, path: string): void {
    expect(ran.status, `${ran.stdout}${ran.stderr}`).to.equal(1);
    expect(ran.stderr).to.match(CAUSE).and.include(path);
  }

  before(async function () {
    needsFatTools(this);
    const trouble = lateDiskTrouble();
    skipUnless(this, trouble === undefined, trouble ?? "");
    place = await makePlace();
    isMade = true;
    volume = await makeFatVolume(place.folder, { sizeBytes: VOLUME_BYTES, bits: 12, files: 20 });
    tape = join(place.folder, "there.tap");
    outputOf(await reelfs("backup", "--codec", "none", volume.path, tape));
  });

  after(async () => {
    if (isMade) await place.remove();
  });

  async function onDisk(
    options: LateDiskOptions,
    use: (disk: LateDisk) => Promise<void>,
  ): Promise<void> {
    const around = await makePlace();
    try {
      await withLateDisk(around.folder, options, use);
    } finally {
      await around.remove();
    }
  }

  it("makes a backup fail, which keeps the image before it and can be given again", async () => {
    await onDisk({}, async (disk) => {
      const path = join(disk.folder, "used.tap");
      await cp(tape, path);
      await disk.leave(65_536);
      const line = ["backup", "--codec", "none", volume.path, path];
      expectFailure(await reelfs(...line), path);
      await disk.restart();
      outputOf(await reelfs("verify", `${path}#1`));
      outputOf(await reelfs(...line));
      outputOf(await reelfs("verify", `${path}#2`));
    });
  });

  it("makes the restore of an image fail, and no file has its name", async () => {
    await onDisk({}, async (disk) => {
      const target = join(disk.folder, "target.img");
      await disk.leave(65_536);
      expectFailure(await reelfs("restore-image", tape, target), target);
      const left = await stat(target).catch(() => undefined);
      expect(left).to.equal(undefined);
    });
  });

  it("is told of as well when it lets nobody write or remove anything from then on", async () => {
    await onDisk({ journalFails: true }, async (disk) => {
      const target = join(disk.folder, "target.img");
      await disk.leave(0);
      expectFailure(await reelfs("restore-image", tape, target), target);
    });
    await onDisk({ journalFails: true }, async (disk) => {
      const path = join(disk.folder, "new.tap");
      await disk.leave(0);
      const ran = await reelfs("backup", volume.path, path);
      expectFailure(ran, path);
      // Which nobody can remove there; that is not what went wrong.
      expect(ran.stderr).to.not.include(".lock");
    });
  });

  it("makes the restore of files fail, which goes on with what was lost", async () => {
    await onDisk({}, async (disk) => {
      const out = join(disk.folder, "out");
      await disk.leave(65_536);
      expectFailure(await reelfs("restore", tape, "--to", out), out);
      await disk.mend();
      outputOf(await reelfs("restore", tape, "--to", out, "--resume"));
      await disk.restart();
      for (const [path, bytes] of volume.files) {
        expect((await readFile(join(out, path))).equals(bytes), path).to.equal(true);
      }
    });
  });
});
