/**
 * Where everything of an image will lie, computed from the survey before a byte is written: which
 * blocks go to the control set and which to the data, packed how, in which records.
 */
import type { ExtentSet } from "../device/extents.ts";
import { BlockMapBuilder, type BlockMap } from "./block-map.ts";
import type { Runs } from "./frame.ts";
import type { ImageHeader, SectionCounts } from "./header.ts";
import { encodeMap, type EncodedMapRecord } from "./map-codec.ts";
import { CHECKSUM_BYTES } from "./record-codec.ts";

export interface ImageLayout {
  readonly map: BlockMap;
  readonly mapRecords: readonly EncodedMapRecord[];
  readonly control: ExtentSet;
  readonly data: ExtentSet;
  readonly blocksPerRecord: number;
  readonly chunkBlocks: number;
  readonly sections: ImageHeader["sections"];
}

/** Logical bytes under one checksum of the trailer. */
const CHUNK_BYTES = 64 * 1024;

export function layOutImage(options: {
  used: ExtentSet;
  control: ExtentSet;
  blockSizeBytes: number;
  recordSizeBytes: number;
}): ImageLayout {
  const { used, control, blockSizeBytes, recordSizeBytes } = options;
  const blocksPerRecord = recordSizeBytes / blockSizeBytes;
  const chunkBlocks = Math.max(1, CHUNK_BYTES / blockSizeBytes);
  const data = used.subtract(control);
  const controlRecords = Math.ceil(control.total / blocksPerRecord);
  const dataRecords = Math.ceil(data.total / blocksPerRecord);
  const draft = mapOf(control, data, controlRecords * blocksPerRecord);
  // Entries do not depend on where the map itself ends, so its length can be taken from a draft.
  const mapRecords = encodeMap(draft.build(blockSizeBytes, []), recordSizeBytes);
  const firstControl = 1 + mapRecords.length;
  const map = draft.build(blockSizeBytes, [{ firstRecord: firstControl, blocksPerRecord }]);
  const checksums = countChunks(data, chunkBlocks);
  const records: [keyof ImageHeader["sections"], number, number][] = [
    ["map", mapRecords.length, map.length],
    ["control", controlRecords, control.total],
    ["data", dataRecords, data.total],
    ["checksums", Math.ceil((checksums * CHECKSUM_BYTES) / recordSizeBytes), checksums],
    ["trailer", 1, 1],
  ];
  return {
    map,
    mapRecords,
    control,
    data,
    blocksPerRecord,
    chunkBlocks,
    sections: chainSections(records),
  };
}

/** Sections that follow one another after the header, in the order given. */
export function chainSections(
  records: readonly (readonly [keyof ImageHeader["sections"], number, number])[],
): ImageHeader["sections"] {
  let at = 1;
  const sections: Partial<Record<keyof ImageHeader["sections"], SectionCounts>> = {};
  for (const [name, count, items] of records) {
    sections[name] = { firstRecord: at, records: count, items };
    at += count;
  }
  return sections as ImageHeader["sections"];
}

/** Control blocks packed from 0, data blocks from the record after them, merged in logical order. */
function mapOf(control: ExtentSet, data: ExtentSet, firstData: number): BlockMapBuilder {
  const dataMap = new BlockMapBuilder();
  let packed = firstData;
  for (const [start, count] of data) {
    dataMap.add(start, count, packed);
    packed += count;
  }
  return mergedWithControl(control, 0, dataMap.build(0, []));
}

/** Control blocks, packed from `firstControl` on, among the entries of the data. */
function mergedWithControl(
  control: ExtentSet,
  firstControl: number,
  dataMap: BlockMap,
): BlockMapBuilder {
  const builder = new BlockMapBuilder();
  let packed = firstControl;
  let run = 0;
  const addControlBefore = (block: number): void => {
    for (; run < control.length && control.startAt(run) < block; run++) {
      builder.add(control.startAt(run), control.countAt(run), packed);
      packed += control.countAt(run);
    }
  };
  for (let index = 0; index < dataMap.length; index++) {
    const entry = dataMap.entryAt(index);
    addControlBefore(entry.start);
    builder.add(entry.start, entry.count, entry.packed, entry.image);
  }
  addControlBefore(Number.POSITIVE_INFINITY);
  return builder;
}

/** As above, for a map that is only going to be encoded. */
export function mergeMaps(control: ExtentSet, firstControl: number, dataMap: BlockMap): BlockMap {
  return mergedWithControl(control, firstControl, dataMap).build(dataMap.blockSizeBytes, []);
}

function countChunks(data: ExtentSet, chunkBlocks: number): number {
  let chunks = 0;
  let last = -1;
  for (const [start, count] of data) {
    const from = Math.floor(start / chunkBlocks);
    const to = Math.floor((start + count - 1) / chunkBlocks);
    chunks += to - from + (from === last ? 0 : 1);
    last = to;
  }
  return chunks;
}

/** The runs of a set cut into records of `blocksPerRecord` blocks, in packed order. */
export function* cutIntoRecords(set: ExtentSet, blocksPerRecord: number): Generator<Runs> {
  let runs: [number, number][] = [];
  let room = blocksPerRecord;
  for (let i = 0; i < set.length; i++) {
    let start = set.startAt(i);
    for (let rest = set.countAt(i); rest > 0;) {
      const count = Math.min(rest, room);
      runs.push([start, count]);
      start += count;
      rest -= count;
      room -= count;
      if (room === 0) {
        yield runs;
        runs = [];
        room = blocksPerRecord;
      }
    }
  }
  if (runs.length > 0) yield runs;
}
