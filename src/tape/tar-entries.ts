/** The entries of a tar index, as columns: some sixty bytes each beside their names. */
import { Column, NamePool } from "./columns.ts";
import { PathTable, ROOT_NODE, nameText } from "./path-table.ts";
import { NumberList } from "./tape-index.ts";

const KINDS = [
  "file",
  "directory",
  "symlink",
  "hard-link",
  "character-device",
  "block-device",
  "fifo",
  "other",
] as const;
export type TarEntryKind = (typeof KINDS)[number];

export interface TarEntry {
  /** Number of the entry in the archive, from 0. */
  readonly index: number;
  /** Without leading "/", ".." and "."; "" for the root itself. */
  readonly path: string;
  readonly kind: TarEntryKind;
  /** Bytes of the file; of a sparse one, its holes included. */
  readonly sizeBytes: number;
  /** Bytes in the archive, from `dataOffsetBytes` of the tape file on. */
  readonly storedBytes: number;
  readonly dataOffsetBytes: number;
  /** Permission bits, set-user-id and the like. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970; may have a fraction, may be negative. */
  readonly mtimeSeconds: number;
  /** Of a symlink, as it stands; of a hard link, a name in the archive. "" for others. */
  readonly linkTarget: string;
  /** The stored bytes are a map and the parts between the holes (GNU), not the file as it is. */
  readonly isSparse: boolean;
  /** The archive has all of its bytes. */
  readonly isWhole: boolean;
}

/** An entry on its way into the columns. */
export interface TarRow extends Omit<TarEntry, "index" | "path" | "linkTarget"> {
  readonly node: number;
  readonly link: Uint8Array;
}

/** In a column, for no entry. */
const NONE = 0xffff_ffff;

/** In the column of flags, above the kind. */
const FLAG_SPARSE = 0x100;
const FLAG_WHOLE = 0x200;
const KIND_MASK = 0xff;
const ID_MAX = 0xffff_ffff;

export class TarEntries {
  readonly #tree = new PathTable();
  readonly #links = new NamePool();
  readonly #node = new Column();
  readonly #flags = new Column();
  readonly #mode = new Column();
  readonly #uid = new Column();
  readonly #gid = new Column();
  readonly #linkStart = new Column();
  readonly #linkBytes = new Column();
  /** Of a hard link: the entry that had the name it leads to when it was added. */
  readonly #linked = new Column();
  readonly #size = new NumberList();
  readonly #stored = new NumberList();
  readonly #dataOffset = new NumberList();
  readonly #mtime = new NumberList();

  get count(): number {
    return this.#node.length;
  }

  get nodes(): number {
    return this.#tree.count;
  }

  /** Bytes of all names and link targets. */
  get nameBytes(): number {
    return this.#tree.nameBytes + this.#links.sizeBytes;
  }

  /** The node of a path, made with all above it where it is not there. */
  nodeFor(components: readonly Uint8Array[]): number {
    return components.reduce((node, name) => this.#tree.add(node, name), ROOT_NODE);
  }

  find(components: readonly Uint8Array[]): number | undefined {
    let node: number | undefined = ROOT_NODE;
    for (const name of components) {
      node = this.#tree.find(node, name) ?? this.#tree.find(node, asLatin1(name));
      if (node === undefined) return undefined;
    }
    return node;
  }

  children(node: number): Iterable<number> {
    return this.#tree.children(node);
  }

  /** Adds an entry; it takes the place of an earlier one of its name. */
  add(row: TarRow): void {
    const linked = row.kind === "hard-link" ? this.find(componentsOf(row.link)) : undefined;
    this.#linked.push((linked === undefined ? undefined : this.#tree.entry(linked)) ?? NONE);
    this.#tree.setEntry(row.node, this.count);
    this.#node.push(row.node);
    const flags = (row.isSparse ? FLAG_SPARSE : 0) | (row.isWhole ? FLAG_WHOLE : 0);
    this.#flags.push(flags | KINDS.indexOf(row.kind));
    this.#mode.push(row.mode);
    this.#uid.push(idOf(row.uid));
    this.#gid.push(idOf(row.gid));
    this.#linkStart.push(this.#links.add(row.link));
    this.#linkBytes.push(row.link.length);
    this.#size.push(row.sizeBytes);
    this.#stored.push(row.storedBytes);
    this.#dataOffset.push(row.dataOffsetBytes);
    this.#mtime.push(row.mtimeSeconds);
  }

  entry(index: number): TarEntry {
    const flags = this.#flags.at(index);
    return {
      index,
      path: this.#tree.path(this.#node.at(index)),
      kind: KINDS[flags & KIND_MASK] ?? "other",
      sizeBytes: this.#size.at(index),
      storedBytes: this.#stored.at(index),
      dataOffsetBytes: this.#dataOffset.at(index),
      mode: this.#mode.at(index),
      uid: this.#uid.at(index),
      gid: this.#gid.at(index),
      mtimeSeconds: this.#mtime.at(index),
      linkTarget: nameText(this.#links.at(this.#linkStart.at(index), this.#linkBytes.at(index))),
      isSparse: (flags & FLAG_SPARSE) !== 0,
      isWhole: (flags & FLAG_WHOLE) !== 0,
    };
  }

  /** The entry that a hard link leads to, an earlier one; undefined where there is none. */
  linked(index: number): TarEntry | undefined {
    const linked = this.#linked.at(index);
    return linked < index ? this.entry(linked) : undefined;
  }

  /** What stands at a node: a directory where something lies below it. */
  child(node: number): {
    name: string;
    path: string;
    isDirectory: boolean;
    entry: TarEntry | undefined;
  } {
    const index = this.#tree.entry(node);
    const entry = index === undefined ? undefined : this.entry(index);
    return {
      name: this.#tree.name(node),
      path: this.#tree.path(node),
      isDirectory:
        entry === undefined || entry.kind === "directory" || this.#tree.hasChildren(node),
      entry,
    };
  }
}

function idOf(id: number): number {
  return Math.min(Math.max(0, Math.floor(id)), ID_MAX);
}

const SLASH = 0x2f;
const DOT = 0x2e;

/** The parts of a name; "", "." and ".." are none. */
export function componentsOf(name: Uint8Array): Uint8Array[] {
  const components: Uint8Array[] = [];
  for (let at = 0; at < name.length;) {
    const slash = name.indexOf(SLASH, at);
    const end = slash < 0 ? name.length : slash;
    const part = name.subarray(at, end);
    const isNothing = part.length <= 2 && part.every((byte) => byte === DOT);
    if (!isNothing) components.push(part);
    at = end + 1;
  }
  return components;
}

/** The bytes that `nameText` read as Latin-1, since they were no UTF-8. */
function asLatin1(utf8: Uint8Array): Uint8Array {
  return Buffer.from(nameText(utf8), "latin1");
}
