/** Tags set in a real mount, and a mount as the place to restore to. */
import { mkdir, readFile, readdir, rename, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

import { expect } from "chai";

import { backupVolume } from "../../src/tapeimage/backup.ts";
import { hasFatTools, NO_FAT_TOOLS, runTool as runFatTool } from "../support/fat-tools.ts";
import { makePlace, requireFuse, runTool } from "../support/mountpoint.ts";
import type { Place, Ran } from "../support/mountpoint.ts";
import { patternBytes } from "../support/pattern.ts";
import { skipUnless } from "../support/skip.ts";

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
const NODE = [process.execPath, "--import", import.meta.resolve("tsx"), MAIN];

const FILES: Readonly<Record<string, Uint8Array>> = {
  "DCIM/A.JPG": patternBytes(100_000, 1),
  "DCIM/B.JPG": patternBytes(3000, 2),
  "more/C.JPG": patternBytes(3000, 3),
  "README.TXT": patternBytes(40, 4),
};

describe("reelfs restore and a mount", function () {
  this.timeout(60_000);
  let place: Place;
  let tape = "";

  async function reelfs(...args: string[]): Promise<Ran> {
    const [command = "", ...rest] = [...NODE, ...args];
    return runTool(command, rest, { cwd: place.folder, env: place.env });
  }

  before(async function () {
    requireFuse(this);
    skipUnless(this, hasFatTools(), NO_FAT_TOOLS);
    place = await makePlace();
    const source = join(place.folder, "source");
    for (const [name, content] of Object.entries(FILES)) {
      await mkdir(join(source, name, ".."), { recursive: true });
      await writeFile(join(source, name), content);
    }
    const volume = join(place.folder, "volume.img");
    runFatTool("mkfs.fat", ["-C", "-F", "12", volume, "2048"]);
    const names = (await readdir(source)).map((name) => join(source, name));
    runFatTool("mcopy", ["-s", "-i", volume, ...names, "::"]);
    tape = join(place.folder, "photos.tap");
    await backupVolume({ sourcePath: volume, tapePath: tape });
    const { status, stderr } = await reelfs("mount", tape, place.mountpoint);
    expect(status, stderr).to.equal(0);
  });

  after(async () => (place as Place | undefined)?.remove());

  async function expectFiles(directory: string, names: readonly string[]): Promise<void> {
    const found = await readdir(directory, { recursive: true, withFileTypes: true });
    const files = found.filter((entry) => entry.isFile());
    expect(files.map((entry) => join(entry.parentPath, entry.name))).to.have.members(
      names.map((name) => join(directory, name)),
    );
    for (const name of names) {
      const bytes = await readFile(join(directory, name));
      expect(bytes.equals(FILES[name] ?? new Uint8Array(0)), `${name} differs`).to.be.true;
    }
  }

  it("says so when nothing is tagged", async () => {
    const { status, stderr } = await reelfs("restore", "--tagged", place.mountpoint, "--to", "no");
    expect(status).to.equal(1);
    expect(stderr).to.contain("nothing is tagged").and.to.contain("reelfs tag");
  });

  it("restores what is tagged, under its name in the image", async () => {
    const paths = ["DCIM/B.JPG", "more"].map((name) => join(place.mountpoint, name));
    const tagged = await reelfs("tag", ...paths);
    expect(tagged.status, tagged.stderr).to.equal(0);
    await rename(join(place.mountpoint, "DCIM/B.JPG"), join(place.mountpoint, "renamed"));
    const out = join(place.folder, "out");
    const { status, stderr } = await reelfs("restore", "--tagged", place.mountpoint, "--to", out);
    expect(status, stderr).to.equal(0);
    await expectFiles(out, ["DCIM/B.JPG", "more/C.JPG"]);
  });

  it("refuses what is tagged in a history of images, and says what to do", async () => {
    const history = join(place.folder, "history");
    await mkdir(history);
    const name = basename(tape);
    const mounted = await reelfs("mount", "--history", name, history);
    expect(mounted.status, mounted.stderr).to.equal(0);
    try {
      const tagged = await reelfs("tag", join(history, "latest", "README.TXT"));
      expect(tagged.status, tagged.stderr).to.equal(0);
      const { status, stderr } = await reelfs("restore", "--tagged", history, "--to", "no");
      expect(status).to.equal(1);
      // Where it is from everywhere, not as it was typed.
      expect(stderr).to.contain(`it shows ${tape}, and not one image`).and.to.contain("TAPE#N");
    } finally {
      await reelfs("umount", history);
    }
  });

  it("restores into a mount, where files have no second name", async () => {
    const out = join(place.mountpoint, "again");
    const first = await reelfs("restore", tape, "--to", out, "/DCIM", "/README.TXT");
    expect(first.status, first.stderr).to.equal(0);
    const names = ["DCIM/A.JPG", "DCIM/B.JPG", "README.TXT"];
    await expectFiles(out, names);
    await writeFile(join(out, "README.TXT"), FILES["README.TXT"]?.subarray(1) ?? "");
    const second = await reelfs("restore", tape, "--to", out, "/README.TXT");
    expect(second.stderr).to.contain("/README.TXT is there already");
    const third = await reelfs("restore", tape, "--to", out, "--overwrite", "/README.TXT");
    expect(third.status, third.stderr).to.equal(0);
    await expectFiles(out, names);
  });
});
