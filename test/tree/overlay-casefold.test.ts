/** Changes on an ext4 volume with directories that fold names: the overlay folds in those, too. */
import { expect } from "chai";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openFileDevice } from "../../src/device/file-device.ts";
import { OverlayTree } from "../../src/tree/overlay-tree.ts";
import { VolumeTree } from "../../src/tree/volume-tree.ts";
import { extFormat } from "../../src/volume/ext/ext-format.ts";
import { expectReelError } from "../support/expect-error.ts";
import { hasExtTools, makeExtImage, NO_EXT_TOOLS, runTool } from "../support/ext-tools.ts";
import { skipUnless } from "../support/skip.ts";
import { withTempFolder } from "../support/temp.ts";

const MIB = 1024 * 1024;
const FILE = { mode: 0o644 };
const DIRECTORY = { mode: 0o755 };

/** An overlay on a volume with the directories "folding" and "exact", with "Read Me" in both. */
async function withOverlay(use: (tree: OverlayTree) => Promise<void>): Promise<void> {
  await withTempFolder(async (folder) => {
    const [image, files] = [join(folder, "volume.img"), join(folder, "files")];
    for (const name of ["folding", "exact"]) {
      await mkdir(join(files, name), { recursive: true });
      await writeFile(join(files, name, "Read Me"), "contents");
    }
    await makeExtImage(image, 8 * MIB, ["-t", "ext4", "-O", "casefold"], files);
    runTool("debugfs", "-w", "-R", "sif folding flags 0x40080000", image);
    await using device = await openFileDevice(image);
    const volume = await extFormat.open(device);
    const tree = await OverlayTree.open(new VolumeTree(volume, device), {
      budgetBytes: 16 * MIB,
      foldName: (name, directory) => volume.foldName(name, directory),
    });
    await use(tree).finally(async () => tree.close());
  });
}

describe("an overlay on ext4 directories that fold names", () => {
  before(function () {
    skipUnless(this, hasExtTools(), NO_EXT_TOOLS);
  });

  const idOf = async (tree: OverlayTree, parent: number, name: string): Promise<number> =>
    (await tree.lookup(parent, name))?.stat.id ?? -1;

  it("finds a new file under its name in either case, in those directories alone", async () => {
    await withOverlay(async (tree) => {
      const folding = await idOf(tree, tree.rootId, "folding");
      const exact = await idOf(tree, tree.rootId, "exact");
      for (const parent of [folding, exact]) await tree.createFile(parent, "Straße", FILE);
      expect((await tree.lookup(folding, "STRASSE"))?.name).to.equal("Straße");
      expect(await tree.lookup(exact, "STRASSE")).to.equal(undefined);
      await expectReelError(tree.createFile(folding, "strasse", FILE), "exists");
      await expectReelError(tree.createFile(folding, "READ ME", FILE), "exists");
      await tree.createFile(exact, "READ ME", FILE);
      const names = (await tree.readDirectory(exact)).map(({ name }) => name).sort();
      expect(names).to.deep.equal(["READ ME", "Read Me", "Straße"]);
    });
  });

  it("makes directories in them that fold as they do, wherever those are moved", async () => {
    await withOverlay(async (tree) => {
      const folding = await idOf(tree, tree.rootId, "folding");
      const exact = await idOf(tree, tree.rootId, "exact");
      const { id } = (await tree.createDirectory(folding, "New", DIRECTORY)).stat;
      await tree.createFile(id, "Inside", FILE);
      expect(await idOf(tree, id, "INSIDE")).to.be.above(0);
      await tree.rename(folding, "NEW", exact, "New");
      expect(await idOf(tree, exact, "NEW")).to.equal(-1);
      expect(await idOf(tree, id, "INSIDE")).to.be.above(0);
    });
  });

  it("replaces, renames and deletes files by their name in another case", async () => {
    await withOverlay(async (tree) => {
      const folding = await idOf(tree, tree.rootId, "folding");
      await tree.rename(folding, "read me", folding, "READ ME");
      expect((await tree.readDirectory(folding)).map(({ name }) => name)).to.deep.equal([
        "READ ME",
      ]);
      await tree.unlink(folding, "Read me");
      expect(await tree.readDirectory(folding)).to.deep.equal([]);
    });
  });
});
