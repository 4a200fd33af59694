/** A loader in a folder of its own, and its tree; tapes are filled behind the tree's back. */
import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { openSimhTape } from "../../../src/tape/simh-tape.ts";
import type { TapeDrive } from "../../../src/tape/tape-drive.ts";
import type { FileTree, NodeId, WritableFileTree } from "../../../src/tree/file-tree.ts";
import { openLoaderTree, type LoaderTreeStatistics } from "../../../src/vtl/tree/loader-tree.ts";
import type { CreateLoaderOptions } from "../../../src/vtl/manage-loaders.ts";
import type { SampleSpace } from "../../../src/vtl/space-guard.ts";
import type { VirtualLoader } from "../../../src/vtl/virtual-loader.ts";
import { contentOf, idOf, type TreeLiteral } from "../../support/memory-tree.ts";
import { makeLoader } from "../loader-fixture.ts";

export interface TreeInFolder {
  /** Holds the loader's folder and whatever else a test makes. */
  readonly folder: string;
  /** The loader's folder; its name is "vtl". */
  readonly path: string;
  readonly loader: VirtualLoader;
  readonly tree: FileTree;
  readonly writable: WritableFileTree;
  /** What was refused, as it was logged. */
  readonly log: string[];
  statistics(): LoaderTreeStatistics;
  /** Names in a folder, "slots/001". */
  names(path: string): Promise<string[]>;
  text(path: string): Promise<string>;
  id(path: string): Promise<NodeId>;
  move(from: string, to: string): Promise<void>;
  /** As `cp`: opens, writes in pieces, closes; and waits until it was taken in. */
  copy(bytes: Uint8Array, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  /** The file of a tape. */
  tapePath(barcode: string): string;
  /** Closes the tree and removes the folder. */
  close(): Promise<void>;
}

export interface TreeWishes extends Partial<CreateLoaderOptions> {
  readonly simple?: boolean;
  readonly cacheBytes?: number;
  readonly sampleSpace?: SampleSpace;
}

export async function makeTree({
  simple,
  cacheBytes,
  sampleSpace,
  ...wishes
}: TreeWishes = {}): Promise<TreeInFolder> {
  const made = await makeLoader({ slots: 5, drives: 2, importExport: 2, tapes: 3, ...wishes });
  const loader = await made.open(sampleSpace === undefined ? {} : { sampleSpace });
  const log: string[] = [];
  const opened = await openLoaderTree([loader], {
    simple,
    cacheBytes,
    log: (message) => log.push(message),
  });
  const { tree } = opened;
  const { writable } = tree;
  if (writable === undefined) throw new Error("the tree is not writable");
  const parent = async (path: string): Promise<NodeId> => idOf(tree, `vtl/${dirname(path)}`);
  const nameIn = (path: string): string => path.slice(path.lastIndexOf("/") + 1);
  return {
    ...{ folder: made.folder, path: made.path, loader, tree, writable, log },
    statistics: () => opened.statistics(),
    names: async (path) => {
      const entries = await tree.readDirectory(await idOf(tree, `vtl/${path}`));
      return entries.map(({ name }) => name);
    },
    text: async (path) => (await contentOf(tree, `vtl/${path}`)).toString(),
    id: async (path) => idOf(tree, `vtl/${path}`),
    move: async (from, to) =>
      writable.rename(await parent(from), nameIn(from), await parent(to), nameIn(to)),
    copy: async (bytes, to) => {
      const { stat } = await writable.createFile(await parent(to), nameIn(to), { mode: 0o644 });
      writable.retain?.(stat.id);
      for (let at = 0; at < bytes.length; at += 70_000) {
        await writable.write(stat.id, at, bytes.subarray(at, at + 70_000));
      }
      writable.release?.(stat.id);
      // Whatever asks for the tape next waits; "not-found" when it was refused.
      await tree.stat(stat.id).catch(() => undefined);
    },
    remove: async (path) => writable.unlink(await parent(path), nameIn(path)),
    tapePath: (barcode) => join(made.path, "tapes", `${barcode}.tap`),
    close: async () => {
      await tree.close();
      await made.remove();
    },
  };
}

export type TapeObject = Uint8Array | string;
export const FILEMARK = "filemark";

/** Writes records and filemarks behind what is on a tape. */
export async function writeTape(path: string, objects: readonly TapeObject[]): Promise<void> {
  const drive = await openSimhTape(path, { mode: "write" });
  try {
    await drive.spaceToEndOfData();
    await writeObjects(drive, objects);
  } finally {
    await drive.close();
  }
}

export async function writeObjects(
  drive: TapeDrive,
  objects: readonly TapeObject[],
): Promise<void> {
  for (const object of objects) {
    if (object === FILEMARK) await drive.writeFilemarks(1);
    else await drive.write([Buffer.from(object)]);
  }
}

/** Bytes as records of one size, with a filemark behind. */
export function recordsOf(bytes: Uint8Array, recordBytes = 10_240): TapeObject[] {
  const records: TapeObject[] = [];
  for (let at = 0; at < bytes.length; at += recordBytes) {
    records.push(bytes.subarray(at, at + recordBytes));
  }
  return [...records, FILEMARK];
}

/** What GNU tar makes of some files. */
export async function tarOf(folder: string, files: TreeLiteral): Promise<Buffer> {
  const place = await mkdtemp(join(folder, "tar-"));
  await writeFiles(place, files);
  return execFileSync("tar", ["-c", "-C", place, "."], { maxBuffer: 64 * 1024 * 1024 });
}

async function writeFiles(place: string, files: TreeLiteral): Promise<void> {
  for (const [name, value] of Object.entries(files)) {
    const path = join(place, name);
    if (typeof value === "string" || value instanceof Uint8Array) await writeFile(path, value);
    else {
      await mkdir(path);
      await writeFiles(path, value as TreeLiteral);
    }
  }
}

/** A part of a tree as a tree. */
export function subTree(tree: FileTree, rootId: NodeId): FileTree {
  return {
    rootId,
    lookup: async (parent, name) => tree.lookup(parent, name),
    stat: async (id) => tree.stat(id),
    readDirectory: async (id) => tree.readDirectory(id),
    read: async (id, offsetBytes, target) => tree.read(id, offsetBytes, target),
    readLink: async (id) => tree.readLink(id),
    listXattrs: async (id) => tree.listXattrs(id),
    getXattr: async (id, name) => tree.getXattr(id, name),
    statfs: async () => tree.statfs(),
    close: async () => tree.close(),
  };
}
