/**
 * Builds a block map of many extents and looks blocks up in random order. Prints JSON: seconds of a
 * lookup, and bytes that an extent takes. Arguments: extents, and a seed.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { BlockMapBuilder } from "../../../src/tapeimage/block-map.ts";
import { randomNumbers } from "../statistics.ts";

const LOOKUPS = 2_000_000;
const WARM_UP = 100_000;
const BLOCK_BYTES = 4096;
/** 256 KiB of records. */
const BLOCKS_PER_RECORD = 64;
/** Blocks of an extent and the gap behind it: no two extents are joined. */
const EXTENT_BLOCKS_MAX = 16;

const COLLECTIONS = 3;
const COLLECTION_PAUSE_MS = 50;

const [, , extentsText = "0", seedText = "0"] = process.argv;
const random = randomNumbers(Number(seedText));

function buildMap(extents: number): { map: ReturnType<BlockMapBuilder["build"]>; blocks: number } {
  const builder = new BlockMapBuilder();
  let block = 0;
  let packed = 0;
  for (let i = 0; i < extents; i++) {
    block += 1 + random(EXTENT_BLOCKS_MAX);
    const count = 1 + random(EXTENT_BLOCKS_MAX);
    builder.add(block, count, packed);
    block += count;
    packed += count;
  }
  const packing = { firstRecord: 1, blocksPerRecord: BLOCKS_PER_RECORD };
  return { map: builder.build(BLOCK_BYTES, [packing]), blocks: block };
}

/** What the builder held is garbage by now; it is given back a moment after it was collected. */
async function settledBytes(): Promise<number> {
  for (let tries = 0; tries < COLLECTIONS; tries++) {
    globalThis.gc?.();
    await sleep(COLLECTION_PAUSE_MS);
  }
  return process.memoryUsage().arrayBuffers;
}

const before = await settledBytes();
const { map, blocks } = buildMap(Number(extentsText));
// A few bytes of something else are no hundredth of a byte of an extent.
const bytesPerExtent = Number((((await settledBytes()) - before) / map.length).toFixed(2));

const wanted = Float64Array.from({ length: LOOKUPS }, () => random(blocks));
let found = 0;
const visit = (): void => {
  found++;
};
for (let i = 0; i < WARM_UP; i++) map.visitPieces(wanted[i] ?? 0, 1, visit);
const startedMs = performance.now();
for (const block of wanted) map.visitPieces(block, 1, visit);
const lookupSeconds = (performance.now() - startedMs) / 1000 / LOOKUPS;
if (found !== LOOKUPS + WARM_UP) throw new Error(`${found} pieces for ${LOOKUPS} blocks`);
process.stdout.write(`${JSON.stringify({ lookupSeconds, bytesPerExtent })}\n`);
