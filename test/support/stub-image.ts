/**
 * A TapeImage and a Volume in memory, made from a list of files: for tests of what restores files
 * from tape without a tape, a format or a filesystem.
 *
 * Contents are cut into fragments of whole blocks that are laid on a device in shuffled order; the
 * blocks in use are packed into records as an image packs them. Encoded files lie on the device
 * with every bit turned over; the volume decodes them, reading the device that it was opened on.
 * Resident ones lie in one control block, which the image has in memory.
 */
import type { BlockDevice } from "../../src/device/block-device.ts";
import { ExtentSet } from "../../src/device/extents.ts";
import { ReelError, throwIfAborted } from "../../src/errors.ts";
import type { RunOptions } from "../../src/progress.ts";
import { BlockMapBuilder } from "../../src/tapeimage/block-map.ts";
import type { BlockMap } from "../../src/tapeimage/block-map.ts";
import type { ImageHeader } from "../../src/tapeimage/header.ts";
import type { RecordVisitor, TapeImage } from "../../src/tapeimage/tape-image.ts";
import type {
  FileLayout,
  NodeId,
  NodeKind,
  NodeStat,
  Volume,
  VolumeEntry,
} from "../../src/volume/volume.ts";
import type { SeededRandom } from "./seeded-random.ts";

export interface StubFile {
  /** "/DIR/A.TXT"; directories on the way are made. */
  readonly path: string;
  readonly kind?: NodeKind;
  readonly content?: Uint8Array;
  /** Target of a symbolic link. */
  readonly target?: string;
  /** Longest fragment in blocks; default: the file is in one piece. */
  readonly fragmentBlocks?: number;
  /** Numbers of content blocks (0 is the first) that are holes. */
  readonly holes?: readonly number[];
  /** Blocks of this earlier file are this one's too. */
  readonly sharesBlocksOf?: string;
  /** What `layout` throws. */
  readonly failure?: ReelError;
  /** The volume must decode it: its layout is not direct. */
  readonly encoded?: boolean;
  /** Encoded, and in a control block: it takes nothing from the tape. One block at most. */
  readonly resident?: boolean;
  /** Another name of this earlier file. */
  readonly linkTo?: string;
  readonly deviceNumber?: number;
  readonly xattrs?: Readonly<Record<string, Uint8Array | string>>;
  readonly modifiedMs?: number;
  readonly accessedMs?: number;
  readonly readOnly?: boolean;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

export interface StubOptions {
  readonly random?: SeededRandom;
  readonly blockSizeBytes?: number;
  readonly blocksPerRecord?: number;
  readonly caseSensitive?: boolean;
  readonly uuid?: string;
  /** Records that cannot be read. */
  readonly damaged?: ReadonlySet<number>;
  /** Called before each record is delivered. */
  readonly beforeRecord?: (record: number, delivered: number) => void | Promise<void>;
  /** Files whose blocks the map does not have. */
  readonly unmapped?: readonly string[];
  /** Reading unmapped blocks is an error: the image was rebuilt from a damaged tape. */
  readonly unmappedIsLost?: boolean;
}

export interface StubImage {
  readonly image: TapeImage;
  readonly volume: Volume;
  /** The same volume, reading its device through another. */
  readonly openVolume: (device: BlockDevice) => Volume;
  /** Records read, in order. */
  readonly log: number[];
  /** Data blocks that were read one by one, not in the pass. */
  readonly blockReads: number[];
}

/** First record of data; the control blocks, if any, are in the records before it. */
const FIRST_RECORD = 7;
const DEVICE_START_BLOCK = 11;
/** What a record's buffer holds once its visitor has returned. */
const POISON = 0xee;

interface Node {
  readonly stat: NodeStat;
  readonly entries: VolumeEntry[];
  readonly file: StubFile | undefined;
  layout: FileLayout | undefined;
}

interface Fragment {
  readonly file: StubFile;
  readonly fileBlock: number;
  readonly blocks: number;
}

export function stubImage(files: readonly StubFile[], options: StubOptions = {}): StubImage {
  const blockSize = options.blockSizeBytes ?? 512;
  const nodes = buildNodes(files, blockSize);
  const fragments = files
    .filter((file) => file.resident !== true && file.linkTo === undefined)
    .flatMap((file) => fragmentsOf(file, blockSize));
  if (options.random !== undefined) shuffle(fragments, options.random);
  const placed = place(fragments, options.random);
  const controlStart = placed.end + 1;
  const residents = files.filter((file) => file.resident === true);
  for (const [index, file] of residents.entries()) {
    placed.blocks.set({ file, fileBlock: 0, blocks: 1 }, controlStart + index);
  }
  const device = new Uint8Array((controlStart + residents.length) * blockSize);
  for (const [fragment, block] of placed.blocks) {
    const from = fragment.fileBlock * blockSize;
    const bytes = fragment.file.content?.subarray(from, from + fragment.blocks * blockSize);
    const isEncoded = fragment.file.encoded === true || fragment.file.resident === true;
    device.set((isEncoded ? bytes?.map(turned) : bytes) ?? [], block * blockSize);
  }
  setLayouts(nodes, placed.blocks, blockSize);
  const skipped = new Set(options.unmapped ?? []);
  const used = ExtentSet.from(
    [...placed.blocks]
      .filter(([fragment]) => !skipped.has(fragment.file.path) && fragment.file.resident !== true)
      .map(([fragment, block]) => [block, fragment.blocks] as const),
  );
  const control = ExtentSet.from([[controlStart, residents.length]]);
  const log: number[] = [];
  const blockReads: number[] = [];
  const image = makeImage({ device, used, control, blockSize, log, blockReads }, options);
  const openVolume = (from: BlockDevice): Volume => makeVolume(nodes, from, blockSize, options);
  return { image, volume: openVolume(image), openVolume, log, blockReads };
}

/** How encoded files are encoded, and decoded. */
function turned(byte: number): number {
  return byte ^ 0xff;
}

function buildNodes(files: readonly StubFile[], blockSize: number): Map<NodeId, Node> {
  const nodes = new Map<NodeId, Node>();
  const byPath = new Map<string, Node>();
  const names = new Map<string, number>();
  for (const { path, linkTo } of files) {
    names.set(linkTo ?? path, (names.get(linkTo ?? path) ?? 0) + 1);
  }
  const add = (path: string, file: StubFile | undefined, kind: NodeKind): Node => {
    const linked = byPath.get(file?.linkTo ?? "");
    if (file?.linkTo !== undefined && linked !== undefined) return addName(path, linked);
    const id = nodes.size + 1;
    const sizeBytes =
      kind === "symlink" ? (file?.target?.length ?? 0) : (file?.content?.length ?? 0);
    const stat: NodeStat = {
      id,
      kind,
      sizeBytes,
      linkCount: names.get(path) ?? 1,
      deviceNumber: file?.deviceNumber,
      mode: file?.mode,
      uid: file?.uid,
      gid: file?.gid,
      readOnly: file?.readOnly,
      modifiedMs: file?.modifiedMs ?? Date.UTC(2001, 1, 3, 4, 5, 6),
      accessedMs: file?.accessedMs ?? Date.UTC(2002, 1, 3),
      changedMs: 0,
      allocatedBytes: Math.ceil(sizeBytes / blockSize) * blockSize,
    };
    const node: Node = { stat, entries: [], file, layout: undefined };
    nodes.set(id, node);
    return addName(path, node);
  };
  const addName = (path: string, node: Node): Node => {
    byPath.set(path, node);
    if (path !== "") {
      const parent = parentOf(path);
      parent.entries.push({ name: path.slice(path.lastIndexOf("/") + 1), stat: node.stat });
    }
    return node;
  };
  const parentOf = (path: string): Node => {
    const folder = path.slice(0, path.lastIndexOf("/"));
    return byPath.get(folder) ?? add(folder, undefined, "directory");
  };
  add("", undefined, "directory");
  for (const file of files) add(file.path, file, file.kind ?? "file");
  return nodes;
}

function fragmentsOf(file: StubFile, blockSize: number): Fragment[] {
  if (file.sharesBlocksOf !== undefined) return [];
  const holes = new Set(file.holes ?? []);
  const blocks = Math.ceil((file.content?.length ?? 0) / blockSize);
  const max = file.fragmentBlocks ?? Infinity;
  const found: { file: StubFile; fileBlock: number; blocks: number }[] = [];
  for (let block = 0; block < blocks; block++) {
    if (holes.has(block)) continue;
    const last = found.at(-1);
    const continues = last !== undefined && last.fileBlock + last.blocks === block;
    if (continues && last.blocks < max) last.blocks++;
    else found.push({ file, fileBlock: block, blocks: 1 });
  }
  return found;
}

function shuffle(items: Fragment[], random: SeededRandom): void {
  for (let i = items.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    const held = items[i];
    const other = items[j];
    if (held === undefined || other === undefined) continue;
    items[i] = other;
    items[j] = held;
  }
}

function place(
  fragments: readonly Fragment[],
  random: SeededRandom | undefined,
): { blocks: Map<Fragment, number>; end: number } {
  const blocks = new Map<Fragment, number>();
  let at = DEVICE_START_BLOCK;
  for (const fragment of fragments) {
    at += random === undefined ? 0 : Math.max(0, random.below(8) - 4);
    blocks.set(fragment, at);
    at += fragment.blocks;
  }
  return { blocks, end: at };
}

function setLayouts(
  nodes: Map<NodeId, Node>,
  blocks: ReadonlyMap<Fragment, number>,
  blockSize: number,
): void {
  const byPath = new Map<string, [fileBlock: number, block: number, count: number][]>();
  for (const [fragment, block] of blocks) {
    const runs = byPath.get(fragment.file.path) ?? [];
    runs.push([fragment.fileBlock, block, fragment.blocks]);
    byPath.set(fragment.file.path, runs);
  }
  for (const node of nodes.values()) {
    if (node.file === undefined) continue;
    const runs = byPath.get(node.file.sharesBlocksOf ?? node.file.path) ?? [];
    runs.sort((a, b) => a[0] - b[0]);
    node.layout = {
      sizeBytes: node.stat.sizeBytes,
      length: runs.length,
      fileOffsets: Float64Array.from(runs, (run) => run[0] * blockSize),
      deviceOffsets: Float64Array.from(runs, (run) => run[1] * blockSize),
      lengths: Float64Array.from(runs, (run) => run[2] * blockSize),
      direct: node.file.encoded !== true && node.file.resident !== true,
    };
  }
}

/** A map that packs `control`, from a record of its own on, and `used` one block after another. */
function packBlocks(
  control: ExtentSet,
  used: ExtentSet,
  blockSize: number,
  blocksPerRecord: number,
): BlockMap {
  const controlRecords = Math.ceil(control.total / blocksPerRecord);
  const runs: [start: number, count: number, packed: number][] = [];
  let packed = 0;
  for (const [start, count] of control) {
    runs.push([start, count, packed]);
    packed += count;
  }
  packed = controlRecords * blocksPerRecord;
  for (const [start, count] of used) {
    runs.push([start, count, packed]);
    packed += count;
  }
  const builder = new BlockMapBuilder();
  for (const run of runs.sort((a, b) => a[0] - b[0])) builder.add(...run);
  return builder.build(blockSize, [
    { firstRecord: FIRST_RECORD - controlRecords, blocksPerRecord },
  ]);
}

interface StubContents {
  readonly device: Uint8Array;
  readonly used: ExtentSet;
  readonly control: ExtentSet;
  readonly blockSize: number;
  readonly log: number[];
  readonly blockReads: number[];
}

function makeImage(contents: StubContents, options: StubOptions): TapeImage {
  const { device, used, control, blockSize, log, blockReads } = contents;
  const blocksPerRecord = options.blocksPerRecord ?? 8;
  const recordSize = blockSize * blocksPerRecord;
  const map = packBlocks(control, used, blockSize, blocksPerRecord);
  const packedBytes = new Uint8Array(used.total * blockSize);
  let packed = 0;
  for (const [start, count] of used) {
    packedBytes.set(device.subarray(start * blockSize, (start + count) * blockSize), packed);
    packed += count * blockSize;
  }
  const uuid = options.uuid ?? "0badcafe-0000-4000-8000-000000000001";
  const readRecords = async (
    records: Iterable<number>,
    visit: RecordVisitor,
    run: RunOptions = {},
  ): Promise<void> => {
    for (const record of records) {
      await options.beforeRecord?.(record, log.length);
      throwIfAborted(run.signal, "reading stub.tap#1");
      log.push(record);
      if (options.damaged?.has(record) === true) {
        await visit(record, new ReelError("damaged", `record ${record} of stub.tap#1 is damaged`));
        continue;
      }
      const from = (record - FIRST_RECORD) * recordSize;
      // A Buffer, as of real images: its slice is no copy.
      const content = Buffer.from(packedBytes.subarray(from, from + recordSize));
      await visit(record, content);
      content.fill(POISON);
    }
  };
  const header = {
    uuid,
    chain: [uuid],
    recordSizeBytes: recordSize,
    sections: { control: { firstRecord: 0, records: FIRST_RECORD } },
  };
  return {
    name: "stub.tap#1",
    tapePath: "stub.tap",
    number: 1,
    header: header as unknown as ImageHeader,
    map,
    state: { state: "complete", notices: [] },
    firstObject: 2,
    recordCount: FIRST_RECORD + Math.ceil(packedBytes.length / recordSize) + 1,
    sizeBytes: device.length,
    sectorSizeBytes: blockSize,
    readRecords,
    recordOffsetBytes: async (record) => 1000 + record * (recordSize + 8),
    imagesInTapeOrder: async () => map.packings.map((_, image) => image),
    tapeOf: async () => 0,
    missingAncestors: async () => new Map(),
    read: async (offset, target) => {
      const block = Math.floor(offset / blockSize);
      if (used.has(block)) blockReads.push(block);
      if (options.unmappedIsLost === true && !used.has(block) && !control.has(block)) {
        throw new ReelError("damaged", "the block was in a record that is lost");
      }
      target.set(device.subarray(offset, offset + target.length));
    },
    statistics: () => {
      throw new ReelError("unsupported", "a stub counts nothing");
    },
    close: async () => undefined,
    [Symbol.asyncDispose]: async () => undefined,
  };
}

function makeVolume(
  nodes: Map<NodeId, Node>,
  device: BlockDevice,
  blockSize: number,
  options: StubOptions,
): Volume {
  const deviceBytes = device.sizeBytes;
  const nodeOf = (id: NodeId): Node => {
    const node = nodes.get(id);
    if (node === undefined) throw new ReelError("not-found", `no node ${id}`);
    return node;
  };
  const caseSensitive = options.caseSensitive ?? false;
  return {
    info: {
      kind: "stub",
      label: "STUB",
      serial: "0000-0000",
      blockSizeBytes: blockSize,
      blockCount: deviceBytes / blockSize,
      clusterSizeBytes: blockSize,
      clusterCount: deviceBytes / blockSize,
      caseSensitive,
      nameMaxBytes: 255,
      details: {},
    },
    rootId: 1,
    survey: async () => {
      throw new ReelError("unsupported", "a stub has no survey");
    },
    readDirectory: async (id) => {
      const node = nodeOf(id);
      if (node.file?.failure !== undefined) throw node.file.failure;
      return node.entries;
    },
    stat: async (id) => nodeOf(id).stat,
    layout: async (id) => {
      const node = nodeOf(id);
      if (node.file?.failure !== undefined) throw node.file.failure;
      if (node.layout === undefined) throw new ReelError("is-a-directory", "no layout");
      return node.layout;
    },
    read: async (id, offset, target) => readEncoded(device, nodeOf(id).layout, offset, target),
    readLink: async (id) => nodeOf(id).file?.target ?? "",
    xattrs: async (id) => {
      const xattrs = Object.entries(nodeOf(id).file?.xattrs ?? {});
      return new Map(xattrs.map(([name, value]) => [name, Buffer.from(value)]));
    },
    foldName: (name) => (caseSensitive ? name : name.toUpperCase()),
    freeClusters: async () => 0,
    close: async () => undefined,
  };
}

async function readEncoded(
  device: BlockDevice,
  layout: FileLayout | undefined,
  offset: number,
  target: Uint8Array,
): Promise<number> {
  if (layout === undefined) throw new ReelError("is-a-directory", "no contents");
  const count = Math.max(0, Math.min(target.length, layout.sizeBytes - offset));
  target.fill(0, 0, count);
  for (let run = 0; run < layout.length; run++) {
    const start = layout.fileOffsets[run] ?? 0;
    const from = Math.max(start, offset);
    const to = Math.min(start + (layout.lengths[run] ?? 0), offset + count);
    if (from >= to) continue;
    const bytes = new Uint8Array(to - from);
    await device.read((layout.deviceOffsets[run] ?? 0) + (from - start), bytes);
    target.set(bytes.map(turned), from - offset);
  }
  return count;
}
