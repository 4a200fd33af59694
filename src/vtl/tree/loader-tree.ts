/** The tree of several loaders under one root: `MOUNTPOINT/LOADER/…` (docs/loader-tree.md). */
import { ReelError, closeAll } from "../../errors.ts";
import type { FileTree, TreeStats } from "../../tree/file-tree.ts";
import { sampleSpace } from "../space-guard.ts";
import type { VirtualLoader } from "../virtual-loader.ts";
import { BranchTree } from "./branch-tree.ts";
import { madeStat, type Branch, type BranchStat, type Found } from "./branch.ts";
import { CONTENT_BUDGET_BYTES_DEFAULT, ContentCache } from "./content-cache.ts";
import { LoaderBranch } from "./loader-branch.ts";
import { NodeTable } from "./node-table.ts";
import type { TreeContext } from "./tree-context.ts";

export interface LoaderTreeOptions {
  /** Tapes and what is on them, without slots, drives and import/export. Nothing can be changed. */
  readonly simple?: boolean | undefined;
  /** Nothing can be changed. */
  readonly readOnly?: boolean | undefined;
  /** Memory for indexes and caches of tapes that are looked at. Default 256 MiB. */
  readonly cacheBytes?: number | undefined;
  /** Gets a sentence for everything that is refused, and what else a person should know. */
  readonly log?: ((message: string) => void) | undefined;
}

export interface LoaderTree {
  readonly tree: FileTree;
  statistics(): LoaderTreeStatistics;
}

export interface LoaderTreeStatistics {
  /** Tapes, archives and images held open. */
  readonly open: number;
  readonly openBytes: number;
  /** Files and folders that have a number. */
  readonly nodes: number;
}

const BLOCK_BYTES = 4096;
const NAME_MAX_BYTES = 255;
const NOBODY_LISTENS = (): void => undefined;

/**
 * Makes the tree of loaders. They are the tree's from now on: closing it closes them, and takes in
 * first what was copied to them.
 * @throws "invalid" for two loaders of one name; the loaders are then closed.
 */
export async function openLoaderTree(
  loaders: readonly VirtualLoader[],
  options: LoaderTreeOptions = {},
): Promise<LoaderTree> {
  const names = new Set(loaders.map(({ name }) => name));
  if (names.size < loaders.length) {
    await closeAll(...loaders);
    throw new ReelError("invalid", "cannot show two loaders of the same name under one root");
  }
  const table = new NodeTable();
  const cache = new ContentCache(options.cacheBytes ?? CONTENT_BUDGET_BYTES_DEFAULT);
  const closing = new AbortController();
  const context: TreeContext = {
    cache,
    forget: (branch) => {
      table.drop(branch);
    },
    signal: closing.signal,
  };
  const simple = options.simple === true;
  const log = options.log ?? NOBODY_LISTENS;
  const readOnly = simple || options.readOnly === true;
  const branches = loaders.map(
    (loader) => new LoaderBranch(loader, context, { simple, readOnly, log }),
  );
  for (const branch of branches) if (!readOnly) await branch.sweep();
  const tree = new BranchTree({
    name: `the tree of ${[...names].join(", ")}`,
    root: new RootBranch(branches),
    table,
    isWritable: true,
    statfs: async () => statfsOf(loaders[0]),
    closing: () => {
      closing.abort();
    },
    close: async () => closeAll(...branches, cache),
  });
  return {
    tree,
    statistics: () => ({ open: cache.count, openBytes: cache.costBytes, nodes: table.size }),
  };
}

/** Room on the file system of the first loader. */
async function statfsOf(loader: VirtualLoader | undefined): Promise<TreeStats> {
  const { totalBytes, freeBytes } =
    loader === undefined ? { totalBytes: 0, freeBytes: 0 } : await sampleSpace(loader.path);
  return {
    blockSizeBytes: BLOCK_BYTES,
    blocks: Math.floor(totalBytes / BLOCK_BYTES),
    blocksFree: Math.floor(freeBytes / BLOCK_BYTES),
    files: 0,
    filesFree: 0,
    nameMaxBytes: NAME_MAX_BYTES,
  };
}

class RootBranch implements Branch {
  readonly #loaders: readonly LoaderBranch[];
  readonly #openedMs = Date.now();

  constructor(loaders: readonly LoaderBranch[]) {
    this.#loaders = loaders;
  }

  async stat(): Promise<BranchStat> {
    return madeStat("directory", this.#openedMs);
  }

  async lookup(_key: number, name: string): Promise<Found | undefined> {
    return (await this.list()).find((each) => each.name === name);
  }

  async list(): Promise<readonly Found[]> {
    const stat = madeStat("directory", this.#openedMs);
    return this.#loaders.map((branch) => ({ name: branch.name, branch, key: 0, stat }));
  }

  async read(): Promise<number> {
    throw new ReelError("is-a-directory", "the root is a directory");
  }
}
