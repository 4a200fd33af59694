/**
 * What an image holds in memory once it is open: header, block map, control set. Read in one forward
 * pass over the start of the image; or, where header or map are damaged, rebuilt from the frames of
 * all its records, each of which says which blocks it holds.
 */
import { HeaderCache } from "../cache/header-cache.ts";
import { ReelError } from "../errors.ts";
import { BlockMapBuilder, type BlockMap } from "./block-map.ts";
import { chainPackings } from "./incremental/chain-reader.ts";
import { packingOf } from "./packing.ts";
import type { FoundImage } from "./find-image.ts";
import { readFrame, readRuns, RECORD_KIND, uuidText, type Frame, type Runs } from "./frame.ts";
import { FORMAT_MAJOR, FORMAT_MINOR, isWithoutNumbers, type ImageHeader } from "./header.ts";
import { decodeMapRecord } from "./map-codec.ts";
import { checkIdentity } from "./record-codec.ts";
import type { RecordReader } from "./record-reader.ts";
import { isLossOfRecord } from "./record-stream.ts";

export interface LoadedImage {
  readonly header: ImageHeader;
  readonly map: BlockMap;
  /** Raw contents of the control records, one after another. */
  readonly control: HeaderCache;
  /** Control records whose contents could not be read, and why. */
  readonly lostControl: ReadonlyMap<number, ReelError>;
  readonly rebuilt: boolean;
  /** Blocks outside the map may have been in lost records: reading them is an error, not zeros. */
  readonly unmappedIsLost: boolean;
  readonly notices: readonly string[];
}

/** Reads header, map and control set. The caller closes `control`. */
export async function loadImage(
  reader: RecordReader,
  found: FoundImage,
  headerMemoryBytes: number,
): Promise<LoadedImage> {
  const notices: string[] = [];
  let header = found.header;
  if (header !== undefined && isWithoutNumbers(header)) {
    throw new ReelError(
      "damaged",
      `${reader.name} is an incremental image without its trailer: the backup was interrupted, or ` +
        `the end of the tape is damaged; use an image before it`,
    );
  }
  let map: BlockMap | undefined;
  if (header === undefined) {
    notices.push(`the header is lost (${found.headerProblem ?? "not found"})`);
  } else {
    try {
      map = await readMap(reader, header);
    } catch (error) {
      if (!isLossOfRecord(error)) throw error;
      notices.push(`the block map is damaged (${error.message})`);
    }
  }
  let unmappedIsLost = false;
  const rebuilt = header === undefined || map === undefined;
  if (header === undefined || map === undefined) {
    const scan = await rebuild(reader, found, header);
    ({ header, map } = scan);
    unmappedIsLost = scan.incomplete;
    notices.push(scan.notice);
  }
  const control = new HeaderCache({ memoryBudgetBytes: headerMemoryBytes });
  try {
    const lostControl = await readControl(reader, header, control);
    if (lostControl.size > 0) {
      notices.push(
        `${lostControl.size} of ${header.sections.control.records} control records are damaged: ` +
          `parts of the tree cannot be shown`,
      );
    }
    return { header, map, control, lostControl, rebuilt, unmappedIsLost, notices };
  } catch (error) {
    await control.close();
    throw error;
  }
}

async function readMap(reader: RecordReader, header: ImageHeader): Promise<BlockMap> {
  const { map, control, data } = header.sections;
  const builder = new BlockMapBuilder();
  const blockCount = header.sizeBytes / header.blockSizeBytes;
  let endBlock = 0;
  let entries = 0;
  await reader.stream(range(map.firstRecord, map.records), (record, content) => {
    if (content instanceof ReelError) throw content;
    const limits = { blockCount, imageCount: header.chain.length, endBlock };
    const decoded = decodeMapRecord(content, builder, limits, reader.where(record));
    endBlock = decoded.endBlock;
    entries += decoded.entries;
  });
  const built = builder.build(header.blockSizeBytes, chainPackings(header));
  const blocks = control.items + data.items;
  if (entries !== map.items || blocksOfOwn(built) !== blocks || !packedInside(built, header)) {
    throw new ReelError("damaged", `${reader.name}: the block map does not agree with the header`);
  }
  return built;
}

function blocksOfOwn(map: BlockMap): number {
  let blocks = 0;
  for (let i = 0; i < map.length; i++) {
    const { count, image } = map.entryAt(i);
    if (image === 0) blocks += count;
  }
  return blocks;
}

/**
 * No entry may point past the packed blocks, or between the two sections: it would name a record of
 * another section, or bytes that no record has.
 */
function packedInside(map: BlockMap, header: ImageHeader): boolean {
  const { control, data } = header.sections;
  const { blocksPerRecord } = packingOf(header);
  const [first, second] =
    control.firstRecord < data.firstRecord ? [control, data] : [data, control];
  const gapStart = first.items;
  const gapEnd = first.records * blocksPerRecord;
  for (let i = 0; i < map.length; i++) {
    const { packed, count, image } = map.entryAt(i);
    const end = packed + count;
    if (image > 0) {
      const records = header.ancestors?.[image - 1]?.records ?? 0;
      if (end > records * blocksPerRecord) return false;
      continue;
    }
    // One entry may hold the end of the one section and the start of the other, where none is between.
    const meetsGap = packed < gapEnd && end > gapStart && gapStart < gapEnd;
    if (meetsGap || end > gapEnd + second.items) return false;
  }
  return true;
}

async function readControl(
  reader: RecordReader,
  header: ImageHeader,
  cache: HeaderCache,
): Promise<Map<number, ReelError>> {
  const { control } = header.sections;
  const perRecord = header.recordSizeBytes / header.blockSizeBytes;
  const lost = new Map<number, ReelError>();
  // An interrupted image may end inside its control set; what lies beyond is not asked for.
  const there = Math.max(0, Math.min(control.records, reader.endRecord - control.firstRecord));
  await reader.stream(range(control.firstRecord, there), async (record, content) => {
    const ordinal = record - control.firstRecord;
    const blocks = Math.min(perRecord, control.items - ordinal * perRecord);
    const length = blocks * header.blockSizeBytes;
    if (content instanceof ReelError || content.length !== length) {
      const why =
        content instanceof ReelError
          ? content
          : new ReelError("damaged", `${reader.where(record)} has ${content.length} bytes`);
      lost.set(record, why);
      await cache.append(new Uint8Array(length));
      return;
    }
    await cache.append(content);
  });
  if (there < control.records) {
    const first = control.firstRecord + there;
    lost.set(
      first,
      new ReelError("damaged", `${reader.where(first)} and those after it are missing`),
    );
  }
  return lost;
}

/** What a scan over the frames found. */
interface Scan {
  readonly starts: number[];
  readonly counts: number[];
  readonly packed: number[];
  /** Record that holds packed block 0. */
  firstPacked: number;
  /** Packed blocks before which everything is control. */
  controlEnd: number;
  dataEnd: number;
  records: number;
  badRecords: number;
  lastBad: number;
  blocks: number;
}

/** Scans every record of the image and builds header and map from the frames. */
async function rebuild(
  reader: RecordReader,
  found: FoundImage,
  known: ImageHeader | undefined,
): Promise<{ header: ImageHeader; map: BlockMap; incomplete: boolean; notice: string }> {
  const scan = await scanFrames(reader, found);
  if (scan.records === 0) {
    throw new ReelError("damaged", `${reader.name}: header and all data records are damaged`);
  }
  const header = known ?? headerFrom(found, scan, reader.endRecord);
  const map = mapFrom(scan, header);
  const { control, data } = header.sections;
  // Without a header only the trailer and a full row of records say that nothing is missing.
  const isFull = header.chain.length === 1;
  const whole =
    isFull &&
    (known === undefined
      ? scan.lastBad < scan.firstPacked && found.trailer !== undefined
      : map.blocksMapped === control.items + data.items);
  const notice =
    `the block map was rebuilt from ${scan.records} records` +
    (whole ? "" : `; ${scan.badRecords} are damaged or missing, and what was in them is lost`) +
    (isFull ? "" : "; what had not changed since the image before it cannot be told from it");
  return { header, map, incomplete: !whole, notice };
}

async function scanFrames(reader: RecordReader, found: FoundImage): Promise<Scan> {
  const scan: Scan = {
    ...{ starts: [], counts: [], packed: [], firstPacked: -1, controlEnd: 0, dataEnd: 0 },
    ...{ records: 0, badRecords: 0, lastBad: -1, blocks: 0 },
  };
  for (let record = 0; record < reader.endRecord; record++) {
    const where = reader.where(record);
    try {
      const stored = await reader.readStored(record);
      const frame = readFrame(stored, stored.length, where);
      checkIdentity(frame, { uuid: found.frame.uuid, record }, where);
      if (!sameShape(frame, found.frame)) throw new ReelError("damaged", `${where}: another shape`);
      if (frame.kind !== RECORD_KIND.control && frame.kind !== RECORD_KIND.data) continue;
      noteFrame(scan, frame, readRuns(stored, frame, where));
    } catch (error) {
      if (!isLossOfRecord(error)) throw error;
      scan.badRecords++;
      scan.lastBad = record;
    }
  }
  return scan;
}

function sameShape(a: Frame, b: Frame): boolean {
  return a.blockSizeBytes === b.blockSizeBytes && a.recordSizeBytes === b.recordSizeBytes;
}

function noteFrame(scan: Scan, frame: Frame, runs: Runs): void {
  const perRecord = frame.recordSizeBytes / frame.blockSizeBytes;
  if (scan.firstPacked < 0) scan.firstPacked = frame.record - frame.firstItem / perRecord;
  let packed = frame.firstItem;
  for (const [start, count] of runs) {
    scan.starts.push(start);
    scan.counts.push(count);
    scan.packed.push(packed);
    packed += count;
  }
  scan.records++;
  scan.blocks += packed - frame.firstItem;
  if (frame.kind === RECORD_KIND.control) scan.controlEnd = packed;
  else scan.dataEnd = packed;
}

function mapFrom(scan: Scan, header: ImageHeader): BlockMap {
  const order = Uint32Array.from(scan.starts.keys());
  order.sort((a, b) => (scan.starts[a] ?? 0) - (scan.starts[b] ?? 0));
  const builder = new BlockMapBuilder();
  let end = 0;
  for (const index of order) {
    const start = scan.starts[index] ?? 0;
    // Two sound frames that claim one block: damage that checksums cannot see; the first holds.
    if (start < end) continue;
    const count = scan.counts[index] ?? 0;
    builder.add(start, count, scan.packed[index] ?? 0);
    end = start + count;
  }
  return builder.build(header.blockSizeBytes, chainPackings(header));
}

/** As much of a header as the frames tell. */
function headerFrom(found: FoundImage, scan: Scan, endRecord: number): ImageHeader {
  const { frame } = found;
  const uuid = uuidText(frame.uuid);
  const perRecord = frame.recordSizeBytes / frame.blockSizeBytes;
  const firstRecord = scan.firstPacked;
  const controlRecords = Math.ceil(scan.controlEnd / perRecord);
  const dataItems = Math.max(0, scan.dataEnd - controlRecords * perRecord);
  const dataRecords = Math.ceil(dataItems / perRecord);
  const firstData = firstRecord + controlRecords;
  const end = firstData + dataRecords;
  // A trailer that was found is the last record; one that was not is not any record that is there.
  const trailer = Math.max(end, found.trailer === undefined ? endRecord : endRecord - 1);
  return {
    format: "reelfs-image",
    version: [FORMAT_MAJOR, FORMAT_MINOR],
    uuid,
    number: found.number,
    chain: [uuid],
    ...{ created: "", host: "", tool: "", source: { path: "", sizeBytes: frame.sizeBytes } },
    volume: {
      ...{ kind: "unknown", label: "", serial: "", clusterSizeBytes: frame.blockSizeBytes },
      ...{ clustersUsed: scan.blocks, files: 0, directories: 0, problems: [] },
    },
    sizeBytes: frame.sizeBytes,
    blockSizeBytes: frame.blockSizeBytes,
    recordSizeBytes: frame.recordSizeBytes,
    ...{ codec: "zstd", codecLevel: 0, checksumChunkBlocks: 0 },
    sections: {
      map: { firstRecord: 1, records: firstRecord - 1, items: 0 },
      control: { firstRecord, records: controlRecords, items: scan.controlEnd },
      data: { firstRecord: firstData, records: dataRecords, items: dataItems },
      checksums: { firstRecord: end, records: trailer - end, items: 0 },
      trailer: { firstRecord: trailer, records: 1, items: 1 },
    },
    options: { includeDeleted: false },
  };
}

/** `count` numbers from `first` on. */
export function* range(first: number, count: number): Generator<number> {
  for (let i = 0; i < count; i++) yield first + i;
}
