/** Commands that move, make and delete the tapes of a loader. */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { SeededRandom } from "../../test/support/seeded-random.ts";
import { checkImage } from "./check-image.ts";
import { must, type Step } from "./kind.ts";
import type { Prepared } from "./operations.ts";
import type { Sample } from "./samples.ts";

const HOLDING = ["REEL0001", "REEL0002"];

interface Action {
  readonly args: readonly string[];
  /** A tape that it may take away, or write over. */
  readonly consumes?: string;
  /** First, and not killed. */
  readonly before?: readonly string[];
}

function actionOn(loader: string, folder: string, random: SeededRandom): Action {
  const barcode = random.pick([...HOLDING, "REEL0003"]);
  const slot = String(1 + random.below(3));
  const file = join(folder, "outside.tap");
  const load = ["loader", "load", loader, slot, "0"];
  return random.pick<Action>([
    { args: load },
    { args: ["loader", "unload", loader, slot, "0"], before: load },
    { args: ["loader", "transfer", loader, slot, "5"] },
    { args: ["tape", "create", loader, "--count", "2"] },
    { args: ["tape", "delete", loader, barcode], consumes: barcode },
    { args: ["tape", "erase", loader, barcode], consumes: barcode },
    { args: ["tape", "label", loader, "REEL0003"], consumes: "REEL0003" },
    { args: ["tape", "protect", loader, barcode] },
    { args: ["tape", "export", loader, barcode, file], consumes: barcode },
    {
      args: ["tape", "import", loader, file],
      before: ["tape", "export", loader, barcode, file],
      consumes: barcode,
    },
    { args: ["loader", "set", loader, "--early-warning", "64K"] },
    { args: ["loader", "inventory", loader] },
  ]);
}

export async function loaderOperation(step: Step): Promise<Prepared> {
  const { workshop, random, folder } = step;
  const sample = await step.samples.copyOf(random, folder, ["loader"]);
  const loader = join(sample.folder, "vtl/");
  const { args, before, consumes } = actionOn(loader, folder, random);
  if (before !== undefined) await workshop.here(...before);
  step.say(args.slice(0, 2).join(" "));
  return {
    args,
    reads: [join(sample.folder, "vtl/loader.json")],
    after: async (ran) => {
      await checkLoader(step, sample, consumes, ran.status === 0);
      // What it had begun may be finished or undone by now; it must answer in good words.
      if (ran.status !== 0) await workshop.here(...args);
      await checkLoader(step, sample, consumes, false);
    },
  };
}

interface Element {
  readonly kind: string;
  readonly number: number;
  readonly tape?: { readonly barcode: string };
}

/** Every tape is in one place, its file is there, and what is on it is sound. */
export async function checkLoader(
  step: Step,
  sample: Sample,
  consumes: string | undefined,
  done: boolean,
): Promise<void> {
  const { workshop, folder } = step;
  const loader = join(sample.folder, "vtl/");
  const ran = await workshop.here("loader", "status", "--json", loader);
  must(ran.status === 0, `the loader cannot be opened: ${ran.stderr}`);
  const { elements } = JSON.parse(ran.stdout) as { elements: readonly Element[] };
  const barcodes = elements.flatMap(({ tape }) => tape?.barcode ?? []).sort();
  must(new Set(barcodes).size === barcodes.length, `tapes are doubled: ${barcodes.join()}`);
  const files = (await readdir(join(loader, "tapes"))).filter((name) => name.endsWith(".tap"));
  const wanted = barcodes.map((barcode) => `${barcode}.tap`);
  must(
    files.sort().join() === wanted.join(),
    `${files.join()} lie there, listed: ${wanted.join()}`,
  );
  for (const [index, barcode] of HOLDING.entries()) {
    const known = [sample.images[index]].flatMap((image) => image ?? []);
    const outside = join(folder, "outside.tap");
    const inside = join(loader, "tapes", `${barcode}.tap`);
    const isConsumed = barcode === consumes;
    const isThere = async (path: string): Promise<boolean> =>
      stat(path).then(
        ({ size }) => size > 0,
        () => false,
      );
    const at = (await isThere(inside)) ? inside : (await isThere(outside)) ? outside : undefined;
    if (at === undefined) {
      const mayGo = isConsumed && (await isGone(step, consumes));
      must(mayGo, `${barcode} is nowhere`);
      continue;
    }
    if (isConsumed && done) continue;
    const had = await checkImage(workshop, at, folder, { known });
    must(had.sound || (isConsumed && !at.endsWith("outside.tap")), `${at} is not sound any more`);
  }
}

/** Deleting and erasing were asked for; exporting must not lose a tape. */
async function isGone({ folder }: Step, barcode: string | undefined): Promise<boolean> {
  const outside = await stat(join(folder, "outside.tap")).catch(() => undefined);
  return barcode !== undefined && outside === undefined;
}
