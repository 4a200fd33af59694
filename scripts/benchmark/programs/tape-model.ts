/**
 * How long a restore would take on a real drive, by the model of its times: in one pass, file by file
 * in the order of a list, and file by file as the volume lists them. Prints JSON with seconds.
 * Arguments: an image, a JSON file with an array of paths, and the name of a drive.
 */
import { readFileSync } from "node:fs";
import { locateRecords, planStatistics } from "../../../src/tagrestore/plan-statistics.ts";
import type { RestorePlan } from "../../../src/tagrestore/plan.ts";
import { planSelection } from "../../../src/tagrestore/restore.ts";
import { selectEntries } from "../../../src/tagrestore/select.ts";
import { tapeModel } from "../../../src/tape/time-model.ts";
import { openTapeImage } from "../../../src/tapeimage/open-image.ts";
import { openImageTree } from "../../../src/tree/image-tree.ts";

const [, , spec = "", list = "", drive = ""] = process.argv;
const paths = JSON.parse(readFileSync(list, "utf8")) as string[];
const model = tapeModel(drive);
const image = await openTapeImage(spec);
const opened = await openImageTree(image);
const { volume } = opened;

async function planOf(wanted: readonly string[]): Promise<RestorePlan> {
  const { table } = await selectEntries(volume, { paths: wanted });
  return (await planSelection(volume, image, table)).plan;
}

/** Each file by itself, where the head stands after the one before. */
async function secondsAsListed(): Promise<number> {
  let seconds = 0;
  let atBytes = 0;
  for (const path of paths) {
    const plan = await planOf([path]);
    const offsetOf = await locateRecords(plan, image);
    for (const { image: index, needed } of plan.images) {
      for (const [run, first] of needed.firstRecords.entries()) {
        const startBytes = offsetOf(index, first);
        const endBytes = offsetOf(index, first + (needed.counts[run] ?? 0));
        const gapBytes = startBytes - atBytes;
        const isReadThrough = gapBytes >= 0 && gapBytes <= model.readThroughGapBytes;
        seconds += isReadThrough
          ? model.transferSeconds(gapBytes)
          : model.locateSeconds(atBytes, startBytes);
        seconds += model.transferSeconds(endBytes - startBytes);
        atBytes = endBytes;
      }
    }
  }
  return seconds;
}

const plan = await planOf(paths);
const { tapeOrder, fileOrder } = planStatistics(plan, await locateRecords(plan, image), model);
const asTagged = await secondsAsListed();
await opened.close();
await image.close();
process.stdout.write(
  `${JSON.stringify({ onePass: tapeOrder.seconds, asTagged, asWalked: fileOrder.seconds })}\n`,
);
