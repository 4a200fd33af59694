/**
 * The volume of a ReelFS image on a tape, as `reelfs mount --read-only` shows it: a tree of its own,
 * opened at the first look. Where it cannot be opened, problem.txt stands in its place.
 */
import { ReelError, closeAll, isReelError } from "../../errors.ts";
import { openTapeImage } from "../../tapeimage/open-image.ts";
import type { TapeImage } from "../../tapeimage/tape-image.ts";
import type { FileTree, NodeStat } from "../../tree/file-tree.ts";
import { openImageTree } from "../../tree/image-tree.ts";
import {
  madeStat,
  readText,
  type Branch,
  type BranchStat,
  type Found,
  type Key,
} from "./branch.ts";
import type { Content, ContentSource } from "./content-cache.ts";
import { fileStamp, isSameStamp, openToRead, type FileStamp } from "./tape-content.ts";
import type { OwningTape, TreeContext } from "./tree-context.ts";

const ROOT_KEY = 0;
/** Above the id of any node of a volume. */
const PROBLEM_KEY = 2 ** 51;
const CACHE_BYTES = 16 * 1024 * 1024;
const HEADER_MEMORY_BYTES = 8 * 1024 * 1024;
const DIRECTORY_ENTRIES = 16_384;
const LAYOUT_BYTES = 4 * 1024 * 1024;
const BYTES_PER_DIRECTORY_ENTRY = 512;
const BASE_BYTES = 1024 * 1024;
/** Another attempt at an image that could not be opened, at the earliest. */
const RETRY_MS = 5000;

interface ImageContent extends Content {
  readonly tree: FileTree | ReelError;
  /** The backup was complete: nothing will come behind. */
  readonly isComplete: boolean;
  readonly stamp: FileStamp | undefined;
  readonly openedAtMs: number;
}

export class ImageBranch implements Branch, ContentSource<ImageContent> {
  readonly isTransient = true;
  /** Number of the image on its tape, from 1. */
  readonly number: number;
  readonly #tape: OwningTape;
  readonly #context: TreeContext;

  constructor(tape: OwningTape, number: number, context: TreeContext) {
    this.#tape = tape;
    this.number = number;
    this.#context = context;
  }

  async open(): Promise<ImageContent> {
    const stamp = fileStamp(this.#tape.file.path);
    const opened = await this.#openTree().catch((error: unknown) => {
      if (isReelError(error)) return error;
      throw error;
    });
    const facts = { stamp, openedAtMs: performance.now() };
    if (opened instanceof ReelError) {
      return {
        ...facts,
        tree: opened,
        isComplete: false,
        costBytes: 0,
        close: async () => undefined,
      };
    }
    const { image, tree } = opened;
    return {
      ...facts,
      tree,
      isComplete: image.state.state === "complete",
      get costBytes() {
        const { cacheBytes, headerCacheBytes } = image.statistics();
        const directories = DIRECTORY_ENTRIES * BYTES_PER_DIRECTORY_ENTRY;
        return BASE_BYTES + cacheBytes + headerCacheBytes + directories;
      },
      close: async () => closeAll(tree, image),
    };
  }

  async #openTree(): Promise<{ image: TapeImage; tree: FileTree }> {
    const { file } = this.#tape;
    const drive = await openToRead(file);
    const image = await openTapeImage(`${file.path}#${this.number}`, {
      drive,
      cacheBytes: CACHE_BYTES,
      headerMemoryBytes: HEADER_MEMORY_BYTES,
    });
    try {
      const { tree } = await openImageTree(image, {
        directoryCacheEntries: DIRECTORY_ENTRIES,
        layoutCacheBytes: LAYOUT_BYTES,
      });
      return { image, tree };
    } catch (error) {
      await image.close();
      throw error;
    }
  }

  isCurrent(content: ImageContent): boolean {
    if (content.isComplete) return true;
    const isUnchanged = isSameStamp(content.stamp, fileStamp(this.#tape.file.path));
    if (content.tree instanceof ReelError) {
      return isUnchanged && performance.now() - content.openedAtMs < RETRY_MS;
    }
    return isUnchanged;
  }

  async #content<T>(body: (tree: FileTree | ReelError) => T | Promise<T>): Promise<T> {
    await this.#tape.check(this);
    return this.#context.cache.use(this, ({ tree }) => body(tree));
  }

  /** As above, for what needs the tree. */
  async #use<T>(key: Key, body: (tree: FileTree, id: number) => T | Promise<T>): Promise<T> {
    return this.#content((tree) => {
      if (tree instanceof ReelError) throw tree;
      return body(tree, innerId(tree, key));
    });
  }

  async stat(key: Key): Promise<BranchStat> {
    return this.#content(async (tree) => {
      if (key === PROBLEM_KEY) return problemStat(tree);
      if (tree instanceof ReelError) return madeStat("directory", Date.now());
      return withoutId(await tree.stat(innerId(tree, key)));
    });
  }

  async lookup(key: Key, name: string): Promise<Found | undefined> {
    return this.#content(async (tree) => {
      if (tree instanceof ReelError) {
        return name === "problem.txt" ? this.#problem(tree) : undefined;
      }
      const entry = await tree.lookup(innerId(tree, key), name);
      return entry === undefined ? undefined : this.#found(tree, entry.name, entry.stat);
    });
  }

  async list(key: Key): Promise<readonly Found[]> {
    return this.#content(async (tree) => {
      if (tree instanceof ReelError) return [this.#problem(tree)];
      const entries = await tree.readDirectory(innerId(tree, key));
      return entries.map(({ name, stat }) => this.#found(tree, name, stat));
    });
  }

  async read(key: Key, offsetBytes: number, target: Uint8Array): Promise<number> {
    if (key === PROBLEM_KEY) {
      return this.#content((tree) => readText(problemText(tree), offsetBytes, target));
    }
    return this.#use(key, async (tree, id) => tree.read(id, offsetBytes, target));
  }

  async readLink(key: Key): Promise<string> {
    return this.#use(key, async (tree, id) => tree.readLink(id));
  }

  async listXattrs(key: Key): Promise<readonly string[]> {
    return this.#content(async (tree) => {
      if (tree instanceof ReelError) return [];
      return tree.listXattrs(innerId(tree, key));
    });
  }

  async getXattr(key: Key, name: string): Promise<Uint8Array | undefined> {
    return this.#content(async (tree) => {
      if (tree instanceof ReelError) return undefined;
      return tree.getXattr(innerId(tree, key), name);
    });
  }

  #found(tree: FileTree, name: string, stat: NodeStat): Found {
    const key = stat.id === tree.rootId ? ROOT_KEY : stat.id + 1;
    return { name, branch: this, key, stat: withoutId(stat) };
  }

  #problem(tree: ReelError): Found {
    return { name: "problem.txt", branch: this, key: PROBLEM_KEY, stat: problemStat(tree) };
  }
}

/** Keys are the ids of the image's tree and one, so that the root can be 0. */
function innerId(tree: FileTree, key: Key): number {
  return key === ROOT_KEY ? tree.rootId : key - 1;
}

function problemText(tree: FileTree | ReelError): Uint8Array {
  if (tree instanceof ReelError) return Buffer.from(`${tree.message}\n`);
  throw new ReelError("not-found", "the image has no problem now");
}

function problemStat(tree: FileTree | ReelError): BranchStat {
  return madeStat("file", Date.now(), problemText(tree).length);
}

function withoutId(stat: NodeStat): BranchStat {
  const rest: BranchStat & { id?: number } = { ...stat };
  delete rest.id;
  return rest;
}
