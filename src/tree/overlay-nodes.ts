/**
 * The overlay's nodes: which node ids it knows, which are gone, and how long each one lives.
 *
 *     state       in #nodes  in #gone   who answers for it
 *     untouched   no         no         the base
 *     changed     yes        no         the node here; unchanged contents come from the base
 *     new         yes        no         the node here (id from 2^50 on)
 *     unlinked    yes        no         as before, names = 0: still open somewhere (retained)
 *     gone        no         yes (*)    nobody: "not-found"
 *
 * (*) Ids of new nodes that are gone need no mark: they are never given out again, and what is not
 * in #nodes is not there.
 */
import type { OverlayStore } from "../cache/overlay-store.ts";
import { ReelError } from "../errors.ts";
import type { NodeId, NodeStat } from "../volume/volume.ts";
import type { FileTree } from "./file-tree.ts";
import { OverlayFile } from "./overlay-file.ts";
import type { NewNodeValues } from "./overlay-node.ts";
import { OverlayNode } from "./overlay-node.ts";

/** Volumes use ids below. */
const FIRST_NEW_ID = 2 ** 50;

/** Memory of one node with its place in the map and, for a file, its block index. */
export const NODE_COST_BYTES = 768;
/** Memory of a name in a directory's changes, beside its characters. */
export const NAME_COST_BYTES = 192;
/** Memory of the mark that a node of the base is gone. */
const GONE_COST_BYTES = 64;

const CHARACTER_BYTES = 2;

/** Memory charged for a string. */
export function textCostBytes(text: string): number {
  return text.length * CHARACTER_BYTES;
}

export class OverlayNodes {
  readonly store: OverlayStore;
  readonly #base: FileTree;
  readonly #nodes = new Map<NodeId, OverlayNode>();
  readonly #gone = new Set<NodeId>();
  /** How often each open node was retained. */
  readonly #retained = new Map<NodeId, number>();
  #nextId = FIRST_NEW_ID;
  #created = 0;

  constructor(base: FileTree, store: OverlayStore) {
    this.#base = base;
    this.store = store;
  }

  /** True while the base alone can answer for everything. */
  get isEmpty(): boolean {
    return this.#nodes.size === 0 && this.#gone.size === 0;
  }

  /** New nodes that are there, less nodes of the base that are gone. */
  get countChange(): number {
    return this.#created - this.#gone.size;
  }

  /** The node, undefined when only the base knows it; throws "not-found" when it is gone. */
  get(id: NodeId): OverlayNode | undefined {
    const node = this.#nodes.get(id);
    if (node !== undefined) return node;
    if (id >= FIRST_NEW_ID || this.#gone.has(id)) throw notFound(id);
    return undefined;
  }

  /** The stat of a node of the base, with the overlay's changes. */
  merged(stat: NodeStat): NodeStat {
    return this.#nodes.get(stat.id)?.stat() ?? stat;
  }

  /**
   * The node to change; a node of the base becomes the overlay's here. Throws "no-space", unless
   * `force`d: deleting must work on a full overlay.
   */
  async change(id: NodeId, force = false): Promise<OverlayNode> {
    const known = this.get(id);
    if (known !== undefined) return known;
    const stat = await this.#base.stat(id);
    // Somebody else may have changed or deleted it while the base was asked.
    const meanwhile = this.get(id);
    if (meanwhile !== undefined) return meanwhile;
    if (force) this.store.forceMetadata(NODE_COST_BYTES);
    else this.store.chargeMetadata(NODE_COST_BYTES);
    const node = OverlayNode.ofBase(stat, NODE_COST_BYTES);
    this.#nodes.set(id, node);
    return node;
  }

  /** A new node, with one name that the caller is about to enter. Throws "no-space". */
  create(values: Omit<NewNodeValues, "id">): OverlayNode {
    const costBytes = NODE_COST_BYTES + textCostBytes(values.linkTarget ?? "");
    this.store.chargeMetadata(costBytes);
    const node = OverlayNode.create({ ...values, id: this.#nextId }, costBytes);
    this.#nextId++;
    this.#created++;
    this.#nodes.set(node.id, node);
    return node;
  }

  /**
   * Throws "not-found" if the node went while its owner awaited something: what was charged to it
   * now would never be given back.
   */
  checkPresent(node: OverlayNode): void {
    if (this.#nodes.get(node.id) !== node) throw notFound(node.id);
  }

  /** The contents of a file that are about to change. */
  contents(node: OverlayNode): OverlayFile {
    this.checkPresent(node);
    node.file ??= new OverlayFile(
      this.store,
      node.base?.sizeBytes ?? 0,
      async (offsetBytes, target) => this.#base.read(node.id, offsetBytes, target),
    );
    return node.file;
  }

  /** A name of the node was removed; with the last one it goes, unless somebody holds it open. */
  removeName(node: OverlayNode, nowMs: number): void {
    node.names = node.kind === "directory" ? 0 : node.names - 1;
    node.changedMs = nowMs;
    this.#dropUnused(node);
  }

  retain(id: NodeId): void {
    this.get(id);
    this.#retained.set(id, (this.#retained.get(id) ?? 0) + 1);
  }

  release(id: NodeId): void {
    const count = this.#retained.get(id);
    if (count === undefined) {
      throw new ReelError("internal", `node ${id} is released more often than it was retained`);
    }
    if (count > 1) {
      this.#retained.set(id, count - 1);
      return;
    }
    this.#retained.delete(id);
    const node = this.#nodes.get(id);
    if (node !== undefined) this.#dropUnused(node);
  }

  #dropUnused(node: OverlayNode): void {
    if (node.names > 0 || this.#retained.has(node.id)) return;
    this.#nodes.delete(node.id);
    this.store.refundMetadata(node.costBytes);
    if (node.base !== undefined) {
      this.#gone.add(node.id);
      this.store.forceMetadata(GONE_COST_BYTES);
    } else {
      this.#created--;
    }
    // Its room is free at once, or as soon as a read under way is done with it.
    void node.file?.discard();
  }
}

export function notFound(id: NodeId): ReelError {
  return new ReelError("not-found", `cannot use node ${id}: it was deleted or never was`);
}
