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

/** How a file with holes is stored; "unread": what says so is damaged or too large. */
const SPARSE_FORMATS = ["unread", "gnu", "pax-0.0", "pax-0.1", "pax-1.0"] as const;
export type SparseFormat = (typeof SPARSE_FORMATS)[number];

/** Where in the tape file the map of a sparse file stands (pax 1.0: where it and the data stand). */
export interface SparsePlace {
  readonly format: SparseFormat;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

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
  /** The stored bytes are the parts between the holes (GNU), not the file as it is. */
  readonly sparse: SparsePlace | undefined;
  /** Of a device, in Linux' 32-bit encoding; 0 for others. */
  readonly deviceNumber: number;
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

/** In the column of flags, above the kind. Of the format of a sparse file its number and one. */
const FLAG_WHOLE = 0x100;
const SPARSE_SHIFT = 9;
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
  /**
   * Of a hard link: the entry that had the name it leads to when it was added. Of a sparse file: its
   * row in the two lists of maps. Of a device: its number.
   */
  readonly #detail = new Column();
  readonly #size = new NumberList();
  readonly #stored = new NumberList();
  readonly #dataOffset = new NumberList();
  readonly #mtime = new NumberList();
  readonly #mapOffset = new NumberList();
  readonly #mapLength = new NumberList();

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
    this.#detail.push(this.#detailOf(row));
    this.#tree.setEntry(row.node, this.count);
    this.#node.push(row.node);
    const sparse = row.sparse === undefined ? 0 : SPARSE_FORMATS.indexOf(row.sparse.format) + 1;
    const flags = (sparse << SPARSE_SHIFT) | (row.isWhole ? FLAG_WHOLE : 0);
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

  #detailOf(row: TarRow): number {
    if (row.kind === "hard-link") {
      const linked = this.find(componentsOf(row.link));
      return (linked === undefined ? undefined : this.#tree.entry(linked)) ?? NONE;
    }
    if (row.sparse === undefined) return row.deviceNumber;
    this.#mapOffset.push(row.sparse.offsetBytes);
    this.#mapLength.push(row.sparse.lengthBytes);
    return this.#mapOffset.length - 1;
  }

  entry(index: number): TarEntry {
    const flags = this.#flags.at(index);
    const sparse = this.#sparseOf(index, flags);
    const kind = KINDS[flags & KIND_MASK] ?? "other";
    const isDevice = kind === "character-device" || kind === "block-device";
    return {
      index,
      path: this.#tree.path(this.#node.at(index)),
      kind,
      sizeBytes: this.#size.at(index),
      storedBytes: this.#stored.at(index),
      dataOffsetBytes: this.#dataOffset.at(index),
      mode: this.#mode.at(index),
      uid: this.#uid.at(index),
      gid: this.#gid.at(index),
      mtimeSeconds: this.#mtime.at(index),
      linkTarget: nameText(this.#links.at(this.#linkStart.at(index), this.#linkBytes.at(index))),
      sparse,
      deviceNumber: isDevice ? this.#detail.at(index) : 0,
      isWhole: (flags & FLAG_WHOLE) !== 0,
    };
  }

  #sparseOf(index: number, flags: number): SparsePlace | undefined {
    const format = SPARSE_FORMATS[(flags >> SPARSE_SHIFT) - 1];
    if (format === undefined) return undefined;
    const row = this.#detail.at(index);
    return {
      format,
      offsetBytes: this.#mapOffset.at(row),
      lengthBytes: this.#mapLength.at(row),
    };
  }

  /** The entry that a hard link leads to, an earlier one; undefined where there is none. */
  linked(index: number): TarEntry | undefined {
    const linked = this.#detail.at(index);
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
