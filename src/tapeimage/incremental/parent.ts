/**
 * What an incremental backup needs of its parent: where each block of data lies, and the checksum of
 * each chunk. Read before anything is written, so that both may be on one tape.
 */
import { resolve } from "node:path";
import { HeaderCache } from "../../cache/header-cache.ts";
import { ExtentSetBuilder, type ExtentSet } from "../../device/extents.ts";
import { ReelError } from "../../errors.ts";
import type { RunOptions } from "../../progress.ts";
import type { BlockMap } from "../block-map.ts";
import type { ImageHeader } from "../header.ts";
import { range } from "../load-image.ts";
import { packedStart } from "../packing.ts";
import { CHECKSUM_BYTES } from "../record-codec.ts";
import { CHECKSUM_MEMORY_BYTES } from "../record-pump.ts";
import type { TapeImage } from "../tape-image.ts";
import { CHAIN_MAX, type AncestorFacts } from "./ancestor-facts.ts";

export interface Parent {
  readonly header: ImageHeader;
  readonly map: BlockMap;
  /** Blocks under checksums: all that are mapped but the control set. */
  readonly data: ExtentSet;
  readonly checksums: HeaderCache;
  /** The chain of an image that has this one as its parent, itself left out. */
  readonly chain: readonly AncestorFacts[];
}

/**
 * Reads from an open image what its child needs; the image can be closed then. The caller closes
 * `checksums`.
 *
 * @throws ReelError "unsupported" for an image that cannot be a parent, "damaged" when its checksums
 *   cannot be read: a full backup is needed then.
 */
export async function readParent(image: TapeImage, run: RunOptions = {}): Promise<Parent> {
  const { header, map } = image;
  if (image.state.state !== "complete") {
    throw new ReelError(
      "unsupported",
      `cannot make a backup against ${image.name}: it is ${image.state.state}; make a full backup`,
    );
  }
  if (header.chain.length >= CHAIN_MAX) {
    throw new ReelError(
      "unsupported",
      `cannot make a backup against ${image.name}: its chain has ${CHAIN_MAX} images; ` +
        `consolidate it, or make a full backup`,
    );
  }
  const data = dataBlocks(map, header);
  const checksums = new HeaderCache({ memoryBudgetBytes: CHECKSUM_MEMORY_BYTES });
  try {
    await readChecksums(image, checksums, run);
    const chunks = chunksOf(data, header.checksumChunkBlocks).total;
    if (checksums.sizeBytes !== chunks * CHECKSUM_BYTES) {
      throw new ReelError(
        "damaged",
        `${image.name} has ${checksums.sizeBytes / CHECKSUM_BYTES} checksums for ${chunks} chunks ` +
          `of data; make a full backup`,
      );
    }
  } catch (error) {
    await checksums.close();
    throw error;
  }
  return { header, map, data, checksums, chain: [factsOf(image), ...(header.ancestors ?? [])] };
}

function factsOf(image: TapeImage): AncestorFacts {
  return {
    uuid: image.header.uuid,
    created: image.header.created,
    tape: resolve(image.tapePath),
    number: image.number,
    firstObject: image.firstObject,
    records: image.recordCount,
    firstPacked: packedStart(image.header),
  };
}

/** Control blocks of an image are always its own; whatever else it maps is data. */
function dataBlocks(map: BlockMap, header: ImageHeader): ExtentSet {
  const { control } = header.sections;
  const perRecord = header.recordSizeBytes / header.blockSizeBytes;
  const controlStart = (control.firstRecord - packedStart(header)) * perRecord;
  const controlEnd = controlStart + control.items;
  const data = new ExtentSetBuilder();
  for (let index = 0; index < map.length; index++) {
    const { start, count, image, packed } = map.entryAt(index);
    if (image > 0) {
      data.add(start, count);
      continue;
    }
    // One entry may hold the end of the one section and the start of the other.
    const before = Math.min(count, Math.max(0, controlStart - packed));
    const after = Math.min(count, Math.max(0, packed + count - controlEnd));
    data.add(start, before);
    data.add(start + count - after, after);
  }
  return data.build();
}

/** Numbers of the chunks that hold a block of the set. */
export function chunksOf(blocks: ExtentSet, chunkBlocks: number): ExtentSet {
  const chunks = new ExtentSetBuilder();
  for (const [start, count] of blocks) {
    const first = Math.floor(start / chunkBlocks);
    chunks.add(first, Math.floor((start + count - 1) / chunkBlocks) - first + 1);
  }
  return chunks.build();
}

async function readChecksums(image: TapeImage, into: HeaderCache, run: RunOptions): Promise<void> {
  const { firstRecord, records } = image.header.sections.checksums;
  await image.readRecords(
    range(firstRecord, records),
    async (_record, content) => {
      if (content instanceof ReelError) throw content;
      await into.append(content);
    },
    { signal: run.signal },
  );
}
