/**
 * Open files. A handle stands for a node, not for a path: it goes on working when the file is
 * renamed. (An open file that is removed is first renamed by libfuse, out of sight, and removed
 * when it is closed.)
 */
import type { NodeId } from "../tree/file-tree.ts";

/** Handle of a file that was not opened; the addon takes it for "none". */
export const NO_HANDLE = 0;

/** More than the system's own limit on open files usually is. */
export const HANDLES_MAX = 1 << 20;

export class HandleTable {
  /** By handle; NO_HANDLE stays unused. */
  readonly #nodes: (NodeId | undefined)[] = [undefined];
  readonly #free: number[] = [];

  /** A new handle, above 0; undefined when there are too many. */
  open(id: NodeId): number | undefined {
    const handle = this.#free.pop() ?? this.#nodes.length;
    if (handle > HANDLES_MAX) return undefined;
    this.#nodes[handle] = id;
    return handle;
  }

  node(handle: number): NodeId | undefined {
    return this.#nodes[handle];
  }

  close(handle: number): void {
    if (this.#nodes[handle] === undefined) return;
    this.#nodes[handle] = undefined;
    this.#free.push(handle);
  }

  get size(): number {
    return this.#nodes.length - 1 - this.#free.length;
  }
}
