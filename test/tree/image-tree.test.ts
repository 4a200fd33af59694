/** A real FAT volume, made by mkfs.fat and mtools, backed up and browsed on its tape. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { backupVolume } from "../../src/tapeimage/backup.ts";
import { openTapeImage } from "../../src/tapeimage/open-image.ts";
import type { OpenedImageTree } from "../../src/tree/image-tree.ts";
import { openImageTree } from "../../src/tree/image-tree.ts";
import { OverlayTree } from "../../src/tree/overlay-tree.ts";
import { expectReelError } from "../support/expect-error.ts";
import { hasFatTools, NO_FAT_TOOLS, runTool } from "../support/fat-tools.ts";
import { fileTreeSuite, SUITE_FILES, writableFileTreeSuite } from "../support/file-tree-suite.ts";
import type { LiteralNode, TreeLiteral } from "../support/memory-tree.ts";
import { idOf, literalNode } from "../support/memory-tree.ts";
import { skipUnless } from "../support/skip.ts";
import { makeTempFolder } from "../support/temp.ts";

const MIB = 1024 * 1024;
async function fillVolume(image: string, folder: string, literal: TreeLiteral): Promise<void> {
  const add = async (node: LiteralNode, path: string): Promise<void> => {
    if (node.kind === "directory") {
      if (path !== "") runTool("mmd", ["-i", image, `::${path}`]);
      for (const [name, child] of Object.entries(node.children)) {
        await add(literalNode(child), `${path}/${name}`);
      }
      return;
    }
    const source = join(folder, "contents");
    await writeFile(source, node.content);
    runTool("mcopy", ["-i", image, source, `::${path}`]);
  };
  await add(literalNode(literal), "");
}

describe("the tree of a tape image", function () {
  this.timeout(20_000);
  let temp: Awaited<ReturnType<typeof makeTempFolder>> | undefined;
  let tape: string;

  before(async function () {
    skipUnless(this, hasFatTools(), NO_FAT_TOOLS);
    temp = await makeTempFolder();
    const volume = join(temp.folder, "volume.img");
    tape = join(temp.folder, "photos.tap");
    runTool("mkfs.fat", ["-C", "-F", "16", volume, "16384"]);
    await fillVolume(volume, temp.folder, SUITE_FILES);
    await backupVolume({ sourcePath: volume, tapePath: tape, recordSizeBytes: 64 * 1024 });
  });
  after(async () => temp?.remove());

  const open = async (): Promise<OpenedImageTree> =>
    openImageTree(await openTapeImage(tape), { closeImage: true });

  fileTreeSuite("VolumeTree over FAT on a tape", async () => ({ tree: (await open()).tree }));

  writableFileTreeSuite("OverlayTree over FAT on a tape", async () => {
    const { tree, volume } = await open();
    const foldName = (name: string): string => volume.foldName(name);
    return { tree: await OverlayTree.open(tree, { budgetBytes: 16 * MIB, foldName }) };
  });

  it("reads no data record for names, sizes and where files lie", async () => {
    const image = await openTapeImage(tape);
    const opened = await openImageTree(image);
    const { tree } = opened;
    for (const { stat } of await tree.readDirectory(tree.rootId)) {
      for (const name of await tree.listXattrs(stat.id)) await tree.getXattr(stat.id, name);
    }
    await tree.readDirectory(await idOf(tree, "FOLDER/DEEP"));
    await tree.statfs();
    expect(image.statistics().dataRecordsRead).to.equal(0);
    await opened.close();
    await image.read(0, new Uint8Array(1));
    await image.close();
  });

  it("names the records that hold a file", async () => {
    const image = await openTapeImage(tape);
    const opened = await openImageTree(image, { closeImage: true });
    const { tree } = opened;
    const id = await idOf(tree, "big.bin");
    const value = await tree.getXattr(id, "user.reelfs.tape-records");
    const ranges = JSON.parse(Buffer.from(value ?? []).toString()) as [number, number][];
    const { firstRecord, records } = image.header.sections.data;
    expect(ranges).to.have.length.at.least(1);
    for (const [first, last] of ranges) {
      expect(first).to.be.within(firstRecord, last);
      expect(last).to.be.lessThan(firstRecord + records);
    }
    const uuid = await tree.getXattr(id, "user.reelfs.image");
    expect(Buffer.from(uuid ?? []).toString()).to.equal(image.header.uuid);
    await opened.close();
    await expectReelError(image.read(0, new Uint8Array(1)), "closed");
  });
});
