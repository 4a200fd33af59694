import { memoryTree } from "../support/memory-tree.ts";
import { fileTreeSuite, SUITE_FILES } from "../support/file-tree-suite.ts";

fileTreeSuite("memory tree", async () => ({ tree: memoryTree(SUITE_FILES) }));
