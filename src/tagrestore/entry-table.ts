/**
 * What a restore is about, as a table: one row for each selected file and for each directory on the
 * way to one. A row knows its parent's row, so that a path costs one name, and a million files cost
 * some 60 bytes each besides their names.
 *
 * Row 0 is the root. A parent's row always comes before its children's: rising order creates
 * directories, falling order finishes them deepest first.
 */
import { createHash } from "node:crypto";

import type { NodeId, NodeKind, NodeStat } from "../volume/volume.ts";
import { float64Column, uint32Column, uint8Column } from "./columns.ts";

const KINDS: readonly NodeKind[] = [
  "file",
  "directory",
  "symlink",
  "fifo",
  "socket",
  "block",
  "character",
];

/** In the columns for mode, owner and group: the volume does not say. */
const UNKNOWN = 0xffff_ffff;

const FLAG = {
  /** Selected, or on the way to something selected. */
  needed: 1,
  /** FAT's read-only attribute and its like. */
  readOnly: 2,
  /** The name is not the one on the volume. */
  renamed: 4,
} as const;

const HASH_FLUSH_CHARS = 64 * 1024;

const NO_LINKS: readonly number[] = [];

export class EntryTable {
  readonly #names: string[] = [];
  readonly #parents = uint32Column();
  readonly #ids = float64Column();
  readonly #kinds = uint8Column();
  readonly #flags = uint8Column();
  readonly #sizes = float64Column();
  readonly #modified = float64Column();
  readonly #accessed = float64Column();
  readonly #modes = uint32Column();
  readonly #uids = uint32Column();
  readonly #gids = uint32Column();
  readonly #devices = uint32Column();
  /** Row of the first name of each node that has several, and all rows of those met again. */
  readonly #firstRows = new Map<NodeId, number>();
  readonly #links = new Map<NodeId, number[]>();

  get length(): number {
    return this.#names.length;
  }

  /** Adds a row and returns its number. The first one added is the root. */
  add(parent: number, name: string, stat: NodeStat): number {
    const row = this.#names.length;
    this.#names.push(name);
    this.#parents.push(parent);
    this.#ids.push(stat.id);
    this.#kinds.push(KINDS.indexOf(stat.kind));
    this.#flags.push(stat.readOnly === true ? FLAG.readOnly : 0);
    this.#sizes.push(stat.sizeBytes);
    this.#modified.push(Number.isFinite(stat.modifiedMs) ? stat.modifiedMs : 0);
    this.#accessed.push(Number.isFinite(stat.accessedMs) ? stat.accessedMs : 0);
    this.#modes.push(stat.mode ?? UNKNOWN);
    this.#uids.push(stat.uid ?? UNKNOWN);
    this.#gids.push(stat.gid ?? UNKNOWN);
    this.#devices.push(stat.deviceNumber ?? 0);
    if (stat.linkCount > 1 && stat.kind !== "directory") this.#noteLink(stat.id, row);
    return row;
  }

  #noteLink(id: NodeId, row: number): void {
    const first = this.#firstRows.get(id);
    if (first === undefined) this.#firstRows.set(id, row);
    else if (this.#links.get(id)?.push(row) === undefined) this.#links.set(id, [first, row]);
  }

  /** All rows of the node of `row`, rising, where it has several names in the table; else none. */
  linksOf(row: number): readonly number[] {
    return this.#links.get(this.idOf(row)) ?? NO_LINKS;
  }

  /** Marks a row, and the directories on the way to it, as part of the restore. */
  markNeeded(row: number): void {
    for (let at = row; !this.isNeeded(at); at = this.parentOf(at)) {
      this.#flags.set(at, this.#flags.at(at) | FLAG.needed);
      if (at === 0) return;
    }
  }

  /** Marks a row whose name is not the one on the volume. */
  markRenamed(row: number): void {
    this.#flags.set(row, this.#flags.at(row) | FLAG.renamed);
  }

  isRenamed(row: number): boolean {
    return (this.#flags.at(row) & FLAG.renamed) !== 0;
  }

  isNeeded(row: number): boolean {
    return (this.#flags.at(row) & FLAG.needed) !== 0;
  }

  nameOf(row: number): string {
    return this.#names[row] ?? "";
  }

  parentOf(row: number): number {
    return this.#parents.at(row);
  }

  idOf(row: number): NodeId {
    return this.#ids.at(row);
  }

  kindOf(row: number): NodeKind {
    return KINDS[this.#kinds.at(row)] ?? "file";
  }

  isDirectory(row: number): boolean {
    return this.kindOf(row) === "directory";
  }

  isReadOnly(row: number): boolean {
    return (this.#flags.at(row) & FLAG.readOnly) !== 0;
  }

  sizeOf(row: number): number {
    return this.#sizes.at(row);
  }

  modifiedMsOf(row: number): number {
    return this.#modified.at(row);
  }

  accessedMsOf(row: number): number {
    return this.#accessed.at(row);
  }

  /** Permission bits, undefined where the volume has none. */
  modeOf(row: number): number | undefined {
    const mode = this.#modes.at(row);
    return mode === UNKNOWN ? undefined : mode & 0o7777;
  }

  /** Owner and group, undefined where the volume has none. */
  ownerOf(row: number): { readonly uid: number; readonly gid: number } | undefined {
    const uid = this.#uids.at(row);
    const gid = this.#gids.at(row);
    return uid === UNKNOWN || gid === UNKNOWN ? undefined : { uid, gid };
  }

  /** Device number of a block or character node, as makedev(3) packs it into 32 bits. */
  deviceOf(row: number): number {
    return this.#devices.at(row);
  }

  /** Path on the volume: "/DCIM/A.JPG"; "/" for the root. */
  pathOf(row: number): string {
    if (row === 0) return "/";
    const names: string[] = [];
    for (let at = row; at !== 0; at = this.parentOf(at)) names.push(this.nameOf(at));
    return `/${names.reverse().join("/")}`;
  }

  /** Directory rows in the table are candidates; these are the ones of the restore. */
  *neededRows(): Generator<number> {
    for (let row = 0; row < this.length; row++) if (this.isNeeded(row)) yield row;
  }

  /** SHA-256 over what the rows are: two runs with one hash may share row numbers. */
  hash(): string {
    const hash = createHash("sha256");
    let text = "";
    for (let row = 0; row < this.length; row++) {
      const numbers = [this.parentOf(row), this.#kinds.at(row), this.sizeOf(row)];
      const flags = this.isNeeded(row) ? 1 : 0;
      text += `${numbers.join(",")},${flags},${this.modifiedMsOf(row)},${this.nameOf(row)}\0`;
      if (text.length >= HASH_FLUSH_CHARS) {
        hash.update(text);
        text = "";
      }
    }
    return hash.update(text).digest("hex");
  }
}
