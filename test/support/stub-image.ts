/**
 * A TapeImage and a Volume in memory, made from a list of files: for tests of what restores files
 * from tape without a tape, a format or a filesystem.
 *
 * Contents are cut into fragments of whole blocks that are laid on a device in shuffled order; the
 * blocks in use are packed into records as an image packs them.
 */
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
  readonly direct?: boolean;
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
  /** Records read, in order. */
  readonly log: number[];
}

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
  const fragments = files.flatMap((file) => fragmentsOf(file, blockSize));
  if (options.random !== undefined) shuffle(fragments, options.random);
  const placed = place(fragments, options.random);
  const device = new Uint8Array((placed.end + 1) * blockSize);
  for (const [fragment, block] of placed.blocks) {
    const from = fragment.fileBlock * blockSize;
    const bytes = fragment.file.content?.subarray(from, from + fragment.blocks * blockSize);
    device.set(bytes ?? new Uint8Array(0), block * blockSize);
  }
  setLayouts(nodes, placed.blocks, blockSize);
  const skipped = new Set(options.unmapped ?? []);
  const used = ExtentSet.from(
    [...placed.blocks]
      .filter(([fragment]) => !skipped.has(fragment.file.path))
      .map(([fragment, block]) => [block, fragment.blocks] as const),
  );
  const log: number[] = [];
  return {
    image: makeImage(device, used, blockSize, log, options),
    volume: makeVolume(nodes, device.length, blockSize, options),
    log,
  };
}

function buildNodes(files: readonly StubFile[], blockSize: number): Map<NodeId, Node> {
  const nodes = new Map<NodeId, Node>();
  const byPath = new Map<string, Node>();
  const add = (path: string, file: StubFile | undefined, kind: NodeKind): Node => {
    const id = nodes.size + 1;
    const sizeBytes =
      kind === "symlink" ? (file?.target?.length ?? 0) : (file?.content?.length ?? 0);
    const stat: NodeStat = {
      id,
      kind,
      sizeBytes,
      linkCount: 1,
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
    byPath.set(path, node);
    if (path !== "") {
      const parent = parentOf(path);
      parent.entries.push({ name: path.slice(path.lastIndexOf("/") + 1), stat });
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
      direct: node.file.direct ?? true,
    };
  }
}

/** A map that packs the blocks of `used` one after another. */
export function packBlocks(used: ExtentSet, blockSize: number, blocksPerRecord: number): BlockMap {
  const builder = new BlockMapBuilder();
  let packed = 0;
  for (const [start, count] of used) {
    builder.add(start, count, packed);
    packed += count;
  }
  return builder.build(blockSize, [{ firstRecord: FIRST_RECORD, blocksPerRecord }]);
}

function makeImage(
  device: Uint8Array,
  used: ExtentSet,
  blockSize: number,
  log: number[],
  options: StubOptions,
): TapeImage {
  const blocksPerRecord = options.blocksPerRecord ?? 8;
  const recordSize = blockSize * blocksPerRecord;
  const map = packBlocks(used, blockSize, blocksPerRecord);
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
      const content = packedBytes.slice(from, from + recordSize);
      await visit(record, content);
      content.fill(POISON);
    }
  };
  return {
    name: "stub.tap#1",
    tapePath: "stub.tap",
    number: 1,
    header: { uuid, chain: [uuid], recordSizeBytes: recordSize } as unknown as ImageHeader,
    map,
    state: { state: "complete", notices: [] },
    firstObject: 2,
    recordCount: FIRST_RECORD + Math.ceil(packedBytes.length / recordSize) + 1,
    sizeBytes: device.length,
    sectorSizeBytes: blockSize,
    readRecords,
    recordOffsetBytes: async (record) => 1000 + record * (recordSize + 8),
    read: async (offset, target) => {
      if (options.unmappedIsLost === true && !used.has(Math.floor(offset / blockSize))) {
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
  deviceBytes: number,
  blockSize: number,
  options: StubOptions,
): Volume {
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
    readLink: async (id) => nodeOf(id).file?.target ?? "",
    foldName: (name) => (caseSensitive ? name : name.toUpperCase()),
    freeClusters: async () => 0,
    close: async () => undefined,
  };
}
