/**
 * A process that does to a loader whatever a seed says (moves, new and deleted tapes, exports and
 * imports, writes), until it is killed. It says what was acknowledged: "mark BARCODE N" when N
 * records and the filemark behind them are durable.
 */
import { join } from "node:path";
import { isReelError } from "../../src/errors.ts";
import { exportVirtualTape, importVirtualTapes } from "../../src/vtl/import-export.ts";
import { openVirtualLoader } from "../../src/vtl/manage-loaders.ts";
import type { ElementAddress } from "../../src/vtl/tape-loader.ts";
import { createVirtualTape, deleteVirtualTape } from "../../src/vtl/virtual-tapes.ts";
import { patternBytes } from "../support/pattern.ts";
import { seededRandom } from "../support/seeded-random.ts";

const RECORD_BYTES = 3000;

const [, , path = "", outside = ""] = process.argv;
const random = seededRandom();
const loader = await openVirtualLoader(path);
const say = (text: string): unknown => process.stdout.write(`${text}\n`);

async function step(): Promise<void> {
  const elements = await loader.elements();
  const full = elements.filter((each) => each.tape !== undefined);
  const empty = elements.filter((each) => each.tape === undefined);
  if (full.length === 0) {
    await createVirtualTape(loader);
    return;
  }
  const from: ElementAddress & { tape?: { barcode: string } | undefined } = random.pick(full);
  const barcode = from.tape?.barcode ?? "";
  const choice = random.below(10);
  if (choice < 4) return empty.length === 0 ? undefined : loader.move(from, random.pick(empty));
  if (choice === 4) {
    await createVirtualTape(loader);
    return;
  }
  if (choice === 5 && full.length > 4) {
    say(`deleting ${barcode}`);
    return deleteVirtualTape(loader, barcode);
  }
  if (choice === 6) {
    const file = join(outside, `${barcode}.tap`);
    await exportVirtualTape(loader, barcode, file);
    await importVirtualTapes(loader, [file]);
    return;
  }
  const loaded = full.find((each) => each.kind === "drive");
  if (loaded?.tape === undefined) return;
  const drive = loader.drive(loaded.number);
  const { object } = await drive.spaceToEndOfData();
  // Objects in threes: two records and a filemark; what a kill left over is written over.
  await drive.locate(object - (object % 3));
  const first = object - (object % 3);
  await drive.write([patternBytes(RECORD_BYTES, first)]);
  await drive.write([patternBytes(RECORD_BYTES, first + 1)]);
  await drive.writeFilemarks(1);
  say(`mark ${loaded.tape.barcode} ${first + 3}`);
}

say("ready");
for (;;) {
  try {
    await step();
  } catch (error) {
    // A full slot, a tape in a drive: what a robot refuses.
    if (!isReelError(error)) throw error;
  }
}
