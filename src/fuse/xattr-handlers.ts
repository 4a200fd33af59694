/**
 * Extended attributes of a FileTree in a mount, and among them the one that tags what is to be
 * restored.
 */
import type { FileTree, NodeId, WritableFileTree } from "../tree/file-tree.ts";
import { ENODATA, EOPNOTSUPP, EROFS, type Errno } from "./errno.ts";
import type { Answer, Done } from "./fuse-handlers.ts";
import type { NodeCache } from "./node-cache.ts";
import type { SharedNodes } from "./shared-nodes.ts";
import { TAG_VALUE, TAG_XATTR, type TagSet } from "./tags.ts";

const XATTR_CREATE = 1;
const XATTR_REPLACE = 2;
/**
 * Asked for before every write and by every ls -l. They are shown where a tree has them; they
 * cannot be set, for nothing here would enforce them.
 */
const KERNEL_XATTR = /^(security|system)\./;
/**
 * What a tree says of itself under this prefix cannot be set, nor removed: it would say something
 * wrong. The answer is the one that cp and mv take for a folder which has no such attributes.
 */
const FACT_PREFIX = "user.reelfs.";

export interface XattrSources {
  readonly tree: FileTree;
  /** Undefined: nothing can be changed. */
  readonly writable: WritableFileTree | undefined;
  readonly cache: NodeCache;
  readonly shared: SharedNodes;
  readonly tags: TagSet;
}

export class XattrHandlers {
  readonly #from: XattrSources;

  constructor(from: XattrSources) {
    this.#from = from;
  }

  get(path: string, name: string): Answer<Uint8Array> {
    const { cache } = this.#from;
    const isKernels = KERNEL_XATTR.test(name);
    return cache.use(path, ({ id }) => {
      if (!isKernels) return this.#value(id, name);
      return cache.hasNoKernelXattrs(id) ? ENODATA : this.#kernelValue(id, name);
    });
  }

  async #value(id: NodeId, name: string): Promise<Uint8Array | Errno> {
    const { tree, tags } = this.#from;
    if (name === TAG_XATTR) return tags.has(id) ? TAG_VALUE : ENODATA;
    return (await tree.getXattr(id, name)) ?? ENODATA;
  }

  async #kernelValue(id: NodeId, name: string): Promise<Uint8Array | Errno> {
    const { tree, cache } = this.#from;
    const asked = cache.now();
    const names = await tree.listXattrs(id);
    if (names.some((each) => KERNEL_XATTR.test(each))) return this.#value(id, name);
    cache.keepNoKernelXattrs(id, asked);
    return ENODATA;
  }

  list(path: string): Answer<readonly string[]> {
    const { cache, tree, tags } = this.#from;
    return cache.use(path, async ({ id }) => {
      const names = await tree.listXattrs(id);
      return tags.has(id) ? [...names, TAG_XATTR] : names;
    });
  }

  /** Any but the tag, which goes by names. `flags`: those of setxattr(2). */
  set(path: string, name: string, value: Uint8Array, flags: number): Done {
    if (KERNEL_XATTR.test(name) || name.startsWith(FACT_PREFIX)) return EOPNOTSUPP;
    const { writable } = this.#from;
    if (writable === undefined) return EROFS;
    const mode = flags === XATTR_CREATE ? "create" : flags === XATTR_REPLACE ? "replace" : "any";
    return this.#change(path, async (id) => writable.setXattr(id, name, value, mode));
  }

  remove(path: string, name: string): Done {
    const { writable, cache, tags } = this.#from;
    if (name === TAG_XATTR) {
      return cache.use(path, ({ id }) => (tags.delete(id) ? 0 : ENODATA));
    }
    if (name.startsWith(FACT_PREFIX)) return EOPNOTSUPP;
    if (writable === undefined) return EROFS;
    return this.#change(path, async (id) => writable.removeXattr(id, name));
  }

  #change(path: string, change: (id: NodeId) => Promise<void>): Done {
    const { cache, shared } = this.#from;
    return cache.use(path, async ({ id }) => {
      try {
        await change(id);
      } finally {
        cache.xattrsChanged(id);
      }
      await shared.changed(id);
      return 0;
    });
  }
}
