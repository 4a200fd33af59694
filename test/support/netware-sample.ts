/** A small, sound NetWare volume with some of everything, in whatever shape. */
import type { ExpectedNode } from "./volume-suite.ts";
import { NetwareBuilder, ROOT } from "./netware-builder.ts";
import type { BuiltNetware, NetwareShape } from "./netware-builder.ts";
import { patternBytes as pattern } from "./pattern.ts";

export interface NetwareSample extends BuiltNetware {
  readonly builder: NetwareBuilder;
  readonly expected: ReadonlyMap<string, ExpectedNode>;
  /** Where its structure lies, [start, end) in bytes of the device in the order of the segments. */
  readonly structure: readonly (readonly [number, number])[];
}

export const LONG_NAME = `${"A long name that goes on and on ".repeat(6)}to the end.text`;
export const NFS_NAME = `${"nfs-".repeat(30)}name`;

export function makeNetwareSample(shape: NetwareShape): NetwareSample {
  const builder = new NetwareBuilder(shape);
  const { blockBytes } = shape;
  const expected = new Map<string, ExpectedNode>();

  const add = (
    folder: { readonly record: number; readonly path: string },
    dosName: string,
    contents: Uint8Array,
    options: Parameters<NetwareBuilder["addFile"]>[3] = {},
  ): void => {
    builder.addFile(folder.record, dosName, contents, options);
    if (options.deleted !== undefined) return;
    expected.set(`${folder.path}/${options.long ?? options.nfs ?? dosName}`, contents);
  };
  const addFolder = (parent: { record: number; path: string }, name: string, long?: string) => {
    const record = builder.addFolder(parent.record, name, long === undefined ? {} : { long });
    const path = `${parent.path}/${long ?? name}`;
    expected.set(path, "directory");
    return { record, path };
  };

  const root = { record: ROOT, path: "" };
  add(root, "HELLO.TXT", pattern(13, 1));
  add(root, "EMPTY", new Uint8Array(0));
  const folder = addFolder(root, "LETTERS", "Letters of 1994");
  add(folder, "LARGE.DAT", pattern(blockBytes * 3 + 5, 2));
  add(folder, "WHOLE.DAT", pattern(blockBytes * 2, 3));
  for (let i = 0; i < 12; i++) add(folder, `SMALL${i}.BIN`, pattern(700 * i + 1, i));
  add(folder, "LONG.TXT", pattern(100, 20), { long: LONG_NAME });
  add(folder, "NFS", pattern(200, 21), { nfs: NFS_NAME, mode: 0o100644, uid: 500, gid: 100 });
  const deep = addFolder(addFolder(folder, "DEEP"), "DEEPER");

  // Blocks in turns, one file backwards, one with holes in the middle and at its start.
  const [a = 0, b = 0, c = 0, d = 0, e = 0] = builder.allocate(5);
  add(deep, "FORWARD", pattern(blockBytes * 2, 4), { blocks: [a, c], attributes: 0x800 });
  add(deep, "BACKWARD", pattern(blockBytes * 3, 5), { blocks: [e, d, b], attributes: 0x800 });
  const sparse = pattern(blockBytes * 6 - 17, 6);
  sparse.fill(0, 0, blockBytes);
  sparse.fill(0, blockBytes * 2, blockBytes * 4);
  add(deep, "SPARSE", sparse, { holes: [0, 2, 3], attributes: 0x800 });
  builder.addFile(folder.record, "LINK", Buffer.from("../HELLO.TXT"), { mode: 0o120777 });
  expected.set(`${folder.path}/LINK`, { linkTo: "../HELLO.TXT" });
  builder.addFile(folder.record, "PIPE", new Uint8Array(0), { mode: 0o010644 });
  expected.set(`${folder.path}/PIPE`, { kind: "fifo" });
  add(folder, "GONE.TXT", pattern(blockBytes + 1, 7), { deleted: 4 });
  add(root, "GONE3.TXT", pattern(10, 8), { deleted: 3 });
  // Redirected: a piece of a file, and a block of the first FAT.
  builder.redirect(c);
  builder.redirect(builder.fatBlocks[0]?.at(-1) ?? 0);

  const built = builder.build();
  const structure: [number, number][] = [[0x20 * 512, 0x22 * 512]];
  for (const block of [
    builder.fatBlocks[0]?.[0] ?? 0,
    ...(builder.directoryBlocks[0] ?? []),
    ...(builder.extendedBlocks[0] ?? []),
  ]) {
    const start = builder.offsetOf(block);
    structure.push([start, start + Math.min(blockBytes, 4096)]);
  }
  structure.push([(320 + 0x20) * 512, (320 + 0x20) * 512 + 128]);
  return { ...built, builder, expected, structure };
}

const DATA_SECTOR = 320;
const HEAD_SECTORS = 160;
const TABLE_COPIES = [0x20, 0x40, 0x60, 0x80];

/** Two volumes of one segment each on one partition. The second must have no redirected blocks. */
export function joinVolumes(
  first: NetwareSample,
  second: NetwareSample,
): { readonly bytes: Uint8Array<ArrayBuffer>; readonly secondOffset: number } {
  const headBytes = (DATA_SECTOR + HEAD_SECTORS) * 512;
  const other = Buffer.from(second.bytes);
  unredirect(other);
  const bytes = Buffer.concat([first.bytes, other.subarray(headBytes)]);
  const secondOffset = first.bytes.length;
  for (const sector of TABLE_COPIES) {
    bytes.writeUInt32LE(bytes.length / 512 - DATA_SECTOR, sector * 512 + 20);
    const table = (DATA_SECTOR + sector) * 512;
    bytes.writeUInt32LE(2, table + 16);
    other.copy(bytes, table + 32 + 60, table + 32, table + 32 + 60);
    bytes.writeUInt32LE(secondOffset / 512 - DATA_SECTOR, table + 32 + 60 + 24);
  }
  return { bytes: new Uint8Array(bytes), secondOffset };
}

/** Puts redirected blocks back where they were. */
function unredirect(partition: Buffer): void {
  for (let spare = 0; spare < (DATA_SECTOR * 512) / 4096; spare++) {
    const sector = partition.readUInt32LE(160 * 512 + spare * 4);
    if (sector === 0 || sector === 0xffffffff) continue;
    partition.copy(partition, (DATA_SECTOR + sector) * 512, spare * 4096, (spare + 1) * 4096);
  }
}
