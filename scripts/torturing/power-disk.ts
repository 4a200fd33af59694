/**
 * A disk that loses its power. It keeps what POSIX promises and no more:
 *
 * - bytes of a file are there for sure once the file was synced; of what was written since, any
 *   4 KiB may be there or not, and the file may have its new length with zeros in it;
 * - names are there for sure once their folder was synced; of what became of them since, as much as
 *   happened up to some moment, another one for each folder. A name that moves from a folder to
 *   another does so in both or in none.
 *
 * Calls are played to it from where the disk was, up to the cut; then it is written out as it could
 * be found.
 */
import { copyFile, link, lstat, mkdir, open, readFile } from "node:fs/promises";
import { readdir, readlink, rm, symlink, utimes } from "node:fs/promises";
import { join, sep } from "node:path";
import type { SeededRandom } from "../../test/support/seeded-random.ts";
import type { DiskCall } from "./power-log.ts";

type Change =
  | { readonly kind: "write"; readonly atBytes: number; readonly bytes: Buffer }
  | { readonly kind: "size"; readonly bytes: number };

interface Folder {
  readonly kind: "folder";
  readonly names: Map<string, Thing>;
  /** Names as they were at first. */
  readonly first: ReadonlyMap<string, Thing>;
}

interface File {
  readonly kind: "file";
  /** Where its first bytes lie; none for a new file. */
  readonly base: string | undefined;
  readonly changes: Change[];
  sizeBytes: number;
  /** So many changes are durable. */
  synced: number;
}

type Thing = Folder | File | { readonly kind: "symlink"; readonly target: string };

interface Edit {
  readonly folder: Folder;
  readonly name: string;
  readonly thing: Thing | undefined;
}

interface NameChange {
  readonly edits: readonly Edit[];
  isDurable: boolean;
}

const PAGE_BYTES = 4096;

export class PowerDisk {
  readonly #root: string;
  readonly #top: Folder;
  readonly #nameChanges: NameChange[] = [];
  /** By descriptor: where it stands. */
  readonly #positions = new Map<string, { atBytes: number; readonly append: boolean }>();

  private constructor(root: string, top: Folder) {
    this.#root = root;
    this.#top = top;
  }

  /** The disk mounted on `root`, whose content is that of the folder `before`. */
  static async of(root: string, before: string): Promise<PowerDisk> {
    return new PowerDisk(root, await scan(before, new Map()));
  }

  async play(call: DiskCall): Promise<void> {
    if (call.kind === "syncAll") this.#syncAll();
    else if (this.#inside(call.path)) await this.#playInside(call);
    else if (call.kind === "rename" && this.#inside(call.from)) {
      throw new Error(`${call.from} leaves the disk`);
    }
  }

  #inside(path: string): boolean {
    return path === this.#root || path.startsWith(this.#root + sep);
  }

  async #playInside(call: Exclude<DiskCall, { kind: "syncAll" }>): Promise<void> {
    switch (call.kind) {
      case "open":
        this.#open(call);
        break;
      case "write":
        this.#write(call.path, call.fd, call.atBytes, call.bytes);
        break;
      case "copy": {
        const source = await this.#contentOf(call.from);
        const bytes = source.subarray(call.fromBytes, call.fromBytes + call.bytes);
        this.#write(call.path, call.fd, undefined, bytes);
        break;
      }
      case "size":
        this.#change(this.#file(call.path), { kind: "size", bytes: call.bytes });
        break;
      case "sync":
        this.#sync(this.#find(call.path));
        break;
      case "folder":
        this.#name([this.#edit(call.path, newFolder(new Map()))]);
        break;
      case "symlink":
        this.#name([this.#edit(call.path, { kind: "symlink", target: call.target })]);
        break;
      case "link":
        this.#name([this.#edit(call.path, this.#find(call.from))]);
        break;
      case "rename":
        this.#name([
          this.#edit(call.from, undefined),
          this.#edit(call.path, this.#find(call.from)),
        ]);
        break;
      case "remove":
        this.#name([this.#edit(call.path, undefined)]);
        break;
    }
  }

  // Names ----------------------------------------------------------------------------------------

  #find(path: string): Thing | undefined {
    let at: Thing | undefined = this.#top;
    for (const name of path.slice(this.#root.length).split(sep)) {
      if (name !== "") at = at?.kind === "folder" ? at.names.get(name) : undefined;
    }
    return at;
  }

  /** Undefined for one that has no name any more. */
  #file(path: string): File | undefined {
    const thing = this.#find(path);
    return thing?.kind === "file" ? thing : undefined;
  }

  #edit(path: string, thing: Thing | undefined): Edit {
    const cut = path.lastIndexOf(sep);
    const folder = this.#find(path.slice(0, cut));
    if (folder?.kind !== "folder") throw new Error(`${path} is in no folder that was seen`);
    return { folder, name: path.slice(cut + 1), thing };
  }

  #name(edits: readonly Edit[]): void {
    for (const edit of edits) applyEdit(edit.folder.names, edit);
    this.#nameChanges.push({ edits, isDurable: false });
  }

  // Bytes ----------------------------------------------------------------------------------------

  #open({ fd, path, how }: Extract<DiskCall, { kind: "open" }>): void {
    if (how.create && this.#find(path) === undefined) {
      const file: File = { kind: "file", base: undefined, changes: [], sizeBytes: 0, synced: 0 };
      this.#name([this.#edit(path, file)]);
    }
    const file = this.#file(path);
    if (how.truncate && file !== undefined && file.sizeBytes > 0) {
      this.#change(file, { kind: "size", bytes: 0 });
    }
    this.#positions.set(fd, { atBytes: 0, append: how.append });
  }

  #write(path: string, fd: string, atBytes: number | undefined, bytes: Buffer): void {
    const file = this.#file(path);
    const position = this.#positions.get(fd);
    if (file === undefined || position === undefined) return;
    const at = position.append ? file.sizeBytes : (atBytes ?? position.atBytes);
    if (atBytes === undefined) position.atBytes = at + bytes.length;
    this.#change(file, { kind: "write", atBytes: at, bytes });
  }

  #change(file: File | undefined, change: Change): void {
    if (file === undefined) return;
    file.changes.push(change);
    file.sizeBytes =
      change.kind === "size"
        ? change.bytes
        : Math.max(file.sizeBytes, change.atBytes + change.bytes.length);
  }

  async #contentOf(path: string): Promise<Buffer> {
    if (!this.#inside(path)) return readFile(path);
    const file = this.#file(path);
    if (file === undefined) return Buffer.alloc(0);
    const content = Buffer.alloc(file.sizeBytes);
    if (file.base !== undefined) (await readFile(file.base)).copy(content);
    for (const change of file.changes) {
      if (change.kind === "write") change.bytes.copy(content, change.atBytes);
      else content.fill(0, Math.min(change.bytes, content.length));
    }
    return content;
  }

  // Syncing --------------------------------------------------------------------------------------

  #sync(thing: Thing | undefined): void {
    if (thing?.kind === "file") thing.synced = thing.changes.length;
    if (thing?.kind !== "folder") return;
    const last = this.#nameChanges.findLastIndex(({ edits }) => touches(edits, thing));
    const kept = closed(this.#nameChanges, new Map([[thing, last]]));
    for (const change of kept) change.isDurable = true;
  }

  #syncAll(): void {
    for (const change of this.#nameChanges) change.isDurable = true;
    for (const file of filesUnder(this.#top)) file.synced = file.changes.length;
  }

  // The cut --------------------------------------------------------------------------------------

  /** Writes the disk out as it is found when the power comes back. */
  async writeOut(random: SeededRandom, look: WriteOutOptions = {}): Promise<void> {
    const kept = new Set(closed(this.#nameChanges, this.#chooseCuts(random)));
    const names = new Map<Folder, Map<string, Thing>>();
    const namesIn = (folder: Folder): Map<string, Thing> => {
      const known = names.get(folder) ?? new Map(folder.first);
      names.set(folder, known);
      return known;
    };
    for (const change of this.#nameChanges.filter((each) => kept.has(each))) {
      for (const edit of change.edits) applyEdit(namesIn(edit.folder), edit);
    }
    for (const name of await readdir(this.#root)) {
      await rm(join(this.#root, name), { recursive: true, force: true });
    }
    await new Writer(random, namesIn, look).folder(this.#top, this.#root);
  }

  #chooseCuts(random: SeededRandom): Map<Folder, number> {
    const cuts = new Map<Folder, number>();
    const bound = random.below(3);
    for (const [index, { edits, isDurable }] of this.#nameChanges.entries()) {
      for (const { folder } of edits) {
        // None but the durable ones, all, or up to a moment of this folder.
        const isKept = isDurable || bound === 1 || (bound === 2 && random.below(4) > 0);
        if (!cuts.has(folder)) cuts.set(folder, -1);
        if (isKept) cuts.set(folder, index);
      }
    }
    return cuts;
  }
}

const newFolder = (names: Map<string, Thing>): Folder => ({
  kind: "folder",
  names,
  first: new Map(names),
});

const touches = (edits: readonly Edit[], folder: Folder): boolean =>
  edits.some((edit) => edit.folder === folder);

function applyEdit(names: Map<string, Thing>, { name, thing }: Edit): void {
  if (thing === undefined) names.delete(name);
  else names.set(name, thing);
}

/** All changes up to the cut of a folder of theirs; what happened earlier in the same folders, too. */
function closed(
  changes: readonly NameChange[],
  cuts: ReadonlyMap<Folder, number>,
): readonly NameChange[] {
  const upTo = new Map(cuts);
  const kept: NameChange[] = [];
  for (const [index, change] of [...changes.entries()].reverse()) {
    const isKept = change.edits.some(({ folder }) => (upTo.get(folder) ?? -1) >= index);
    if (!isKept) continue;
    for (const { folder } of change.edits) {
      upTo.set(folder, Math.max(upTo.get(folder) ?? -1, index));
    }
    kept.push(change);
  }
  return kept;
}

function* filesUnder(folder: Folder): Generator<File> {
  for (const thing of folder.names.values()) {
    if (thing.kind === "file") yield thing;
    if (thing.kind === "folder") yield* filesUnder(thing);
  }
}

async function scan(path: string, byInode: Map<number, File>): Promise<Folder> {
  const names = new Map<string, Thing>();
  for (const name of await readdir(path)) {
    const at = join(path, name);
    const stats = await lstat(at);
    if (stats.isDirectory()) names.set(name, await scan(at, byInode));
    else if (stats.isSymbolicLink()) {
      names.set(name, { kind: "symlink", target: await readlink(at) });
    } else {
      const file: File = byInode.get(stats.ino) ?? {
        ...{ kind: "file", base: at, changes: [], sizeBytes: stats.size, synced: 0 },
      };
      byInode.set(stats.ino, file);
      names.set(name, file);
    }
  }
  return newFolder(names);
}

export interface WriteOutOptions {
  /** A change of what is found, by path: the time of a file, and what depends on the machine. */
  readonly settle?: (path: string) => Promise<void>;
}

class Writer {
  readonly #random: SeededRandom;
  readonly #namesIn: (folder: Folder) => ReadonlyMap<string, Thing>;
  readonly #look: WriteOutOptions;
  readonly #written = new Map<File, string>();

  constructor(
    random: SeededRandom,
    namesIn: (folder: Folder) => ReadonlyMap<string, Thing>,
    look: WriteOutOptions,
  ) {
    this.#random = random;
    this.#namesIn = namesIn;
    this.#look = look;
  }

  async folder(folder: Folder, path: string): Promise<void> {
    await mkdir(path, { recursive: true });
    for (const [name, thing] of this.#namesIn(folder)) {
      const at = join(path, name);
      if (thing.kind === "folder") await this.folder(thing, at);
      else if (thing.kind === "symlink") await symlink(thing.target, at);
      else await this.#file(thing, at);
    }
  }

  async #file(file: File, path: string): Promise<void> {
    const twin = this.#written.get(file);
    if (twin !== undefined) {
      await link(twin, path);
      return;
    }
    this.#written.set(file, path);
    if (file.base !== undefined) await copyFile(file.base, path);
    const times = file.base === undefined ? undefined : await lstat(file.base);
    await using handle = await open(path, file.base === undefined ? "wx" : "r+");
    for (const change of survivors(file, this.#random)) {
      if (change.kind === "size") await handle.truncate(change.bytes);
      else await handle.write(change.bytes, 0, change.bytes.length, change.atBytes);
    }
    if (times !== undefined) await utimes(path, times.atime, times.mtime);
    await this.#look.settle?.(path);
  }
}

/** What is left of the changes of a file: those that were synced, and of the others what the disk likes. */
function survivors(file: File, random: SeededRandom): readonly Change[] {
  const durable = file.changes.slice(0, file.synced);
  const rest = file.changes.slice(file.synced);
  switch (random.below(4)) {
    case 0:
      return durable;
    case 1:
      return [...durable, ...rest];
    case 2:
      return [...durable, ...begun(rest, random)];
    default:
      return [...durable, ...pagesOf(rest, random)];
  }
}

/** As many as came to the disk in their order, the last not whole. */
function begun(changes: readonly Change[], random: SeededRandom): Change[] {
  const kept = changes.slice(0, random.below(changes.length + 1));
  const last = kept.at(-1);
  if (last?.kind !== "write") return kept;
  const bytes = last.bytes.subarray(0, random.below(last.bytes.length + 1));
  return [...kept.slice(0, -1), { ...last, bytes }];
}

/** Any pages. A file keeps its length where its metadata came to the disk before its bytes. */
function pagesOf(changes: readonly Change[], random: SeededRandom): Change[] {
  const kept: Change[] = [];
  let endBytes = 0;
  const dropped = random.below(101);
  for (const change of changes) {
    if (change.kind === "size") {
      kept.push(change);
      continue;
    }
    const { atBytes, bytes } = change;
    endBytes = Math.max(endBytes, atBytes + bytes.length);
    for (let at = 0; at < bytes.length;) {
      const pageEnd = Math.min(bytes.length, at + PAGE_BYTES - ((atBytes + at) % PAGE_BYTES));
      const page = bytes.subarray(at, pageEnd);
      if (random.below(100) >= dropped)
        kept.push({ ...change, atBytes: atBytes + at, bytes: page });
      at = pageEnd;
    }
  }
  return kept;
}
