/**
 * Inode numbers for nodes. All names of a file must show one number, and no two files the same: cp,
 * tar, rsync and du take files for one another by it. The addon has 32 bits for a number, node ids
 * have 50 and more:
 *
 *     ids below 2^31               are their own numbers: inode numbers of ext and NTFS are
 *     ids from 2^50 on             new nodes of an overlay, numbered from 0: from 2^31 on
 *     all others                   numbered from 3 x 2^30 on as they are met
 *
 * Of those others a limited number is remembered. One that was forgotten gets a new number when it
 * is met again; a number is not used twice before all of them were.
 */
import type { NodeId } from "../tree/file-tree.ts";

const OWN_NUMBERS_MAX = 2 ** 31;
const FIRST_NEW_ID = 2 ** 50;
const FIRST_MET = 3 * 2 ** 30;
/** libfuse has a meaning for 2^32 - 1. */
const MET_NUMBERS = 2 ** 30 - 1;
/** About 16 MiB. */
const REMEMBERED_MAX = 262_144;

export class InodeNumbers {
  readonly #rememberedMax: number;
  readonly #met = new Map<NodeId, number>();
  #next = 0;

  constructor(rememberedMax = REMEMBERED_MAX) {
    this.#rememberedMax = rememberedMax;
  }

  /** Above 0: programs pass over directory entries with the number 0. */
  of(id: NodeId): number {
    if (id > 0 && id < OWN_NUMBERS_MAX) return id;
    const fromNew = id - FIRST_NEW_ID;
    if (fromNew >= 0 && fromNew < FIRST_MET - OWN_NUMBERS_MAX) return OWN_NUMBERS_MAX + fromNew;
    const known = this.#met.get(id);
    if (known !== undefined) return known;
    const number = FIRST_MET + (this.#next++ % MET_NUMBERS);
    this.#met.set(id, number);
    if (this.#met.size > this.#rememberedMax) {
      const oldest = this.#met.keys().next();
      if (oldest.done !== true) this.#met.delete(oldest.value);
    }
    return number;
  }
}
