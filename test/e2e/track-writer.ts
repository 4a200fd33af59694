/**
 * Writes to a tracked volume without end: blocks at random places, each filled with its own number,
 * one after another. `track-writer.ts FILE BLOCKS SEED FIRST`
 */
import { open } from "node:fs/promises";
import { blockOf, placeOf, TRACK_BLOCK } from "./track-sequence.ts";

const [path = "", blocks = "0", seed = "1", first = "1"] = process.argv.slice(2);
const file = await open(path, "r+");
process.send?.("ready");
for (let number = Number(first); ; number++) {
  const at = placeOf(number, Number(seed), Number(blocks)) * TRACK_BLOCK;
  await file.write(blockOf(number), 0, TRACK_BLOCK, at);
  if (number % 64 === 0) await file.datasync();
}
