/**
 * A tree of names for archives of very many files: about thirty bytes a name beside the name itself,
 * all in typed arrays. Each node is one component under its parent; the nodes of a directory are a
 * chain, and a hash table over (parent, name) finds one at once. Nothing is sorted or rebuilt, so
 * adding never holds up the event loop for long.
 */
import { randomInt } from "node:crypto";
import { Column, NamePool } from "./columns.ts";

export const ROOT_NODE = 0;
const NONE = 0xffff_ffff;
const FIRST_SLOTS = 1024;

export class PathTable {
  readonly #names = new NamePool();
  readonly #nameStart = new Column();
  readonly #nameBytes = new Column();
  readonly #parent = new Column();
  readonly #firstChild = new Column();
  readonly #lastChild = new Column();
  readonly #nextSibling = new Column();
  readonly #hash = new Column();
  readonly #entry = new Column();
  #slots = new Uint32Array(FIRST_SLOTS).fill(NONE);
  /** So that nobody can prepare names that all fall into one slot. */
  readonly #seed = randomInt(2 ** 32);

  constructor() {
    this.#append(NONE, new Uint8Array(0), 0);
  }

  /** Nodes, the root included. */
  get count(): number {
    return this.#parent.length;
  }

  /** Bytes of all names. */
  get nameBytes(): number {
    return this.#names.sizeBytes;
  }

  /** The child of that name; undefined where there is none. */
  find(parent: number, name: Uint8Array): number | undefined {
    const node = this.#slots[this.#slotOf(parent, name, this.#hashOf(parent, name))] ?? NONE;
    return node === NONE ? undefined : node;
  }

  /** The child of that name, made where there is none. */
  add(parent: number, name: Uint8Array): number {
    const hash = this.#hashOf(parent, name);
    const slot = this.#slotOf(parent, name, hash);
    const found = this.#slots[slot] ?? NONE;
    if (found !== NONE) return found;
    const node = this.#append(parent, name, hash);
    this.#slots[slot] = node;
    const last = this.#lastChild.at(parent);
    if (last === NONE) this.#firstChild.set(parent, node);
    else this.#nextSibling.set(last, node);
    this.#lastChild.set(parent, node);
    if (this.count * 2 > this.#slots.length) this.#grow();
    return node;
  }

  hasChildren(node: number): boolean {
    return this.#firstChild.at(node) !== NONE;
  }

  /** The children in the order they were added. */
  *children(node: number): Generator<number, void> {
    let child = this.#firstChild.at(node);
    while (child !== NONE) {
      yield child;
      child = this.#nextSibling.at(child);
    }
  }

  /** What was last put at the node; undefined where nothing was. */
  entry(node: number): number | undefined {
    const entry = this.#entry.at(node);
    return entry === NONE ? undefined : entry;
  }

  setEntry(node: number, entry: number): void {
    this.#entry.set(node, entry);
  }

  name(node: number): string {
    return nameText(this.#nameOf(node));
  }

  /** Names from the root down, joined by "/"; "" for the root. */
  path(node: number): string {
    const names: string[] = [];
    for (let at = node; at !== ROOT_NODE; at = this.#parent.at(at)) names.push(this.name(at));
    return names.reverse().join("/");
  }

  #nameOf(node: number): Uint8Array {
    return this.#names.at(this.#nameStart.at(node), this.#nameBytes.at(node));
  }

  #append(parent: number, name: Uint8Array, hash: number): number {
    const node = this.#parent.length;
    this.#nameStart.push(this.#names.add(name));
    this.#nameBytes.push(name.length);
    this.#parent.push(parent);
    this.#hash.push(hash);
    for (const links of [this.#firstChild, this.#lastChild, this.#nextSibling, this.#entry]) {
      links.push(NONE);
    }
    return node;
  }

  /** FNV-1a over the name, begun with the parent. */
  #hashOf(parent: number, name: Uint8Array): number {
    let hash = Math.imul(this.#seed ^ parent, 0x0100_0193);
    for (const byte of name) hash = Math.imul(hash ^ byte, 0x0100_0193);
    return (hash ^ (hash >>> 15)) >>> 0;
  }

  /** The slot of the name, or the free one where it belongs. */
  #slotOf(parent: number, name: Uint8Array, hash: number): number {
    const mask = this.#slots.length - 1;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const node = this.#slots[slot] ?? NONE;
      if (node === NONE) return slot;
      if (this.#hash.at(node) !== hash || this.#parent.at(node) !== parent) continue;
      if (Buffer.compare(this.#nameOf(node), name) === 0) return slot;
    }
  }

  #grow(): void {
    this.#slots = new Uint32Array(this.#slots.length * 2).fill(NONE);
    const mask = this.#slots.length - 1;
    for (let node = ROOT_NODE + 1; node < this.count; node++) {
      let slot = this.#hash.at(node) & mask;
      while (this.#slots[slot] !== NONE) slot = (slot + 1) & mask;
      this.#slots[slot] = node;
    }
  }
}

const UTF8 = new TextDecoder("utf-8", { fatal: true });

/** A name as text: UTF-8, or Latin-1 where it is none. */
export function nameText(bytes: Uint8Array): string {
  try {
    return UTF8.decode(bytes);
  } catch {
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
  }
}
