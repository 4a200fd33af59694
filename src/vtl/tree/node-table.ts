/**
 * Ids for the nodes of many branches. They are handed out in blocks, each block to one branch, so
 * that an id leads to its branch by one division, and a node costs some fifty bytes. An id is never
 * used again; a branch that is dropped takes its ids with it.
 */
import { ReelError } from "../../errors.ts";
import type { NodeKind } from "../../tree/file-tree.ts";
import type { Branch, Key } from "./branch.ts";

const BLOCK_IDS = 256;
/** Node ids stay below 2^50. */
const BLOCKS_MAX = 2 ** 50 / BLOCK_IDS;
/** About 100 MiB; above it, transient branches that were not used for longest lose their ids. */
const NODES_MAX = 2_000_000;

interface Block {
  readonly branch: Branch;
  readonly keys: Key[];
  /** As they were last seen. */
  readonly kinds: NodeKind[];
}

export interface KnownNode {
  readonly branch: Branch;
  readonly key: Key;
  readonly kind: NodeKind;
}

interface BranchIds {
  readonly ids: Map<Key, number>;
  readonly blocks: number[];
}

export class NodeTable {
  readonly #blocks = new Map<number, Block>();
  readonly #branches = new Map<Branch, BranchIds>();
  readonly #nodesMax: number;
  #nextBlock = 1;
  #nodes = 0;

  constructor(nodesMax = NODES_MAX) {
    this.#nodesMax = nodesMax;
  }

  /** Nodes that have an id now. */
  get size(): number {
    return this.#nodes;
  }

  /** The id of a node, which is of that kind now. */
  idOf(branch: Branch, key: Key, kind: NodeKind): number {
    const id = this.#branches.get(branch)?.ids.get(key);
    if (id === undefined) return this.#add(branch, key, kind);
    const block = this.#blocks.get(Math.floor(id / BLOCK_IDS));
    if (block !== undefined) block.kinds[id % BLOCK_IDS] = kind;
    return id;
  }

  #add(branch: Branch, key: Key, kind: NodeKind): number {
    if (this.#nodes >= this.#nodesMax) this.#makeRoom(branch);
    const of = this.#branches.get(branch) ?? { ids: new Map<Key, number>(), blocks: [] };
    this.#branches.set(branch, of);
    let number = of.blocks.at(-1) ?? 0;
    let block = this.#blocks.get(number);
    if (block === undefined || block.keys.length >= BLOCK_IDS) {
      if (this.#nextBlock >= BLOCKS_MAX) {
        throw new ReelError("internal", "there are no more numbers for files; mount again");
      }
      number = this.#nextBlock++;
      block = { branch, keys: [], kinds: [] };
      this.#blocks.set(number, block);
      of.blocks.push(number);
    }
    const id = number * BLOCK_IDS + block.keys.length;
    block.keys.push(key);
    block.kinds.push(kind);
    of.ids.set(key, id);
    this.#nodes++;
    return id;
  }

  find(id: number): KnownNode | undefined {
    const block = this.#blocks.get(Math.floor(id / BLOCK_IDS));
    const key = block?.keys[id % BLOCK_IDS];
    const kind = block?.kinds[id % BLOCK_IDS];
    if (block === undefined || key === undefined || kind === undefined) return undefined;
    if (block.branch.isTransient === true) this.#touch(block.branch);
    return { branch: block.branch, key, kind };
  }

  /** Forgets the nodes of a branch. */
  drop(branch: Branch): void {
    const of = this.#branches.get(branch);
    if (of === undefined) return;
    for (const number of of.blocks) this.#blocks.delete(number);
    this.#branches.delete(branch);
    this.#nodes -= of.ids.size;
  }

  /** Puts a branch behind those that were used before it. */
  #touch(branch: Branch): void {
    const of = this.#branches.get(branch);
    if (of === undefined) return;
    this.#branches.delete(branch);
    this.#branches.set(branch, of);
  }

  /** The branch that needs room keeps its own, unless it has taken all there is. */
  #makeRoom(branch: Branch): void {
    for (const each of [...this.#branches.keys()]) {
      if (this.#nodes < this.#nodesMax / 2) return;
      if (each.isTransient === true && each !== branch) this.drop(each);
    }
    if (this.#nodes >= this.#nodesMax && branch.isTransient === true) this.drop(branch);
  }
}
