import { OverlayTree } from "../../src/tree/overlay-tree.ts";
import { VolumeTree } from "../../src/tree/volume-tree.ts";
import { writableFileTreeSuite, SUITE_FILES } from "../support/file-tree-suite.ts";
import { memoryTree } from "../support/memory-tree.ts";
import { MemoryVolume } from "../support/memory-volume.ts";

const MIB = 1024 * 1024;
const upper = (name: string): string => name.toUpperCase();

writableFileTreeSuite("OverlayTree over a memory tree", async () => ({
  tree: await OverlayTree.open(memoryTree(SUITE_FILES), { budgetBytes: 16 * MIB }),
}));

writableFileTreeSuite("OverlayTree over a volume that folds case", async () => {
  const volume = new MemoryVolume(SUITE_FILES, { foldName: upper });
  const base = new VolumeTree(volume, volume.device);
  return { tree: await OverlayTree.open(base, { budgetBytes: 16 * MIB, foldName: upper }) };
});
