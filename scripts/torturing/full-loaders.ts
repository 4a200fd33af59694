/**
 * Loaders on a disk that is nearly full: what each command acknowledged stays as it was, whatever
 * the next ones cannot do; and with room again they do it.
 */
import { access, readdir, readFile, rm, statfs, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { sizeOf } from "../../src/vtl/pending-change.ts";
import { patternBytes } from "../../test/support/pattern.ts";
import { checkImage } from "./check-image.ts";
import { must, type Kind, type Step } from "./kind.ts";
import { clearAway } from "./mount-operations.ts";
import type { KnownImage, Sample } from "./samples.ts";
import { newFolder, smallDiskTrouble, withSmallDisk, type SmallDisk } from "./small-disk.ts";
import type { Ran } from "./workshop.ts";

const DISK_MIB = 24;
const FREE_BYTES_MAX = 1_500_000;
const GROWN_MIB = 100;
const KEPT_BYTES = 200_000;
const COMMANDS = 6;
/** Of a write that was taken in part, tar says no more than how much. */
const SPACE_WORDS = /space|room|full|holds|capacity|larger|Wrote only/i;

interface Place {
  readonly step: Step;
  readonly sample: Sample;
  readonly image: KnownImage;
  readonly disk: SmallDisk;
  /** With a / at its end. */
  readonly loader: string;
  readonly mountpoint: string;
  /** Bytes that a tape is known to hold, by barcode. */
  readonly holds: Map<string, Buffer>;
  /** Tapes with a sound image. */
  readonly images: Set<string>;
  /** Tapes that were to be copied in: whole, or not at all. */
  readonly copied: Set<string>;
  /** A barcode for the next tape. */
  next: number;
}

interface Attempt {
  readonly what: string;
  /** With room enough it ends with 0. */
  readonly run: () => Promise<Ran>;
  readonly done?: () => void;
}

type Offer = () => Promise<Attempt>;

const commandOf = ({ step }: Place, ...line: string[]): Attempt => ({
  what: line.slice(0, 2).join(" "),
  run: async () => step.workshop.here(...line),
});

/** A barcode that no tape has. */
const blank = (place: Place): string => `NEW${String(place.next++).padStart(5, "0")}`;

/** A sound tape beside the loader. */
async function outside({ step, sample }: Place, barcode: string): Promise<string> {
  const path = join(step.folder, `${barcode}.tap`);
  await writeFile(path, await readFile(join(sample.folder, "one.tap")));
  return path;
}

/** Each works on a tape of its own. */
const attempts = (place: Place): readonly Offer[] => [
  ...writes(place),
  ...copies(place),
  ...orders(place),
];

function writes(place: Place): readonly Offer[] {
  const { step, loader, sample } = place;
  const { workshop, random, folder } = step;
  return [
    async () => {
      const barcode = blank(place);
      const args = ["backup", join(sample.folder, sample.volume), `${loader}:${barcode}`];
      await workshop.here("tape", "create", loader, barcode);
      const made = await exists(join(loader, "tapes", `${barcode}.tap`));
      const line = made ? args : ["loader", "inventory", loader];
      const done = (): void => {
        if (made) place.images.add(barcode);
      };
      return { ...commandOf(place, ...line), done };
    },
    async () => {
      const content = patternBytes(100_000 + random.below(1_500_000), place.next);
      const source = join(folder, "source.bin");
      await writeFile(source, content);
      // Into drive 0, where a tape lies that nothing is known of.
      await workshop.here("tape", "erase", loader, "REEL0003");
      place.holds.delete("REEL0003");
      const done = (): void => void place.holds.set("REEL0003", Buffer.from(content));
      return { ...commandOf(place, "tape", "write", loader, source), done };
    },
  ];
}

function copies(place: Place): readonly Offer[] {
  const { step, loader } = place;
  const into = (what: string, lineOf: CopyLine): Offer => {
    return async () => {
      const barcode = blank(place);
      const path = await outside(place, barcode);
      place.copied.add(barcode);
      const run = async (): Promise<Ran> => copyIn(place, barcode, lineOf(path));
      return { what, run, done: () => void place.images.add(barcode) };
    };
  };
  return [
    async () => {
      const barcode = blank(place);
      const path = await outside(place, barcode);
      place.copied.add(barcode);
      const attempt = commandOf(place, "tape", "import", loader, path);
      return { ...attempt, done: () => void place.images.add(barcode) };
    },
    into("cp into a slot", (path) => async (slot) => ["cp", path, slot]),
    into("tar -x into a slot", (path) => async (slot) => {
      const [archive, name] = [`${path}.tar`, basename(path)];
      const made = await step.workshop.tool(["tar", "-cf", archive, "-C", dirname(path), name]);
      must(made.status === 0, `tar: ${made.stderr}`);
      return ["tar", "-xf", archive, "-C", slot];
    }),
    async () => tarIntoSlot(place),
  ];
}

/** The line of a program that copies a tape into a slot of the mounted loader. */
type CopyLine = (path: string) => (slot: string) => Promise<string[]>;

async function copyIn(
  place: Place,
  barcode: string,
  lineOf: (slot: string) => Promise<string[]>,
): Promise<Ran> {
  const { step, loader, mountpoint } = place;
  // Another one each time: what failed before may have got in meanwhile.
  const slot = join(mountpoint, "vtl/slots", await emptySlot(place));
  const copied = await step.workshop.tool(await lineOf(slot));
  await untilTakenIn(loader);
  const isIn = await exists(join(loader, "tapes", `${barcode}.tap`));
  return copied.status === 0 && !isIn ? { ...copied, status: 1, stderr: "full" } : copied;
}

/**
 * GNU tar, which takes a slot for a file: an archive without the frames of a tape. It hears that
 * the disk is full; else its bytes are no tape, which nobody can tell it: they are put aside, whole.
 */
async function tarIntoSlot(place: Place): Promise<Attempt> {
  const { step, loader, mountpoint } = place;
  const barcode = blank(place);
  const tree = await newFolder(step.folder, barcode);
  const sizeBytes = 20_000 + step.random.below(1_500_000);
  await writeFile(join(tree, "content"), patternBytes(sizeBytes, place.next));
  place.copied.add(barcode);
  const tar = ["tar", "-C", tree, "--mtime=@0", "-cf"];
  const run = async (): Promise<Ran> => {
    const slot = join(mountpoint, "vtl/slots", await emptySlot(place), `${barcode}.tap`);
    const ran = await step.workshop.tool([...tar, slot, "content"]);
    await untilTakenIn(loader);
    if (ran.status !== 0) return ran;
    const whole = join(step.folder, `${barcode}.tar`);
    await step.workshop.tool([...tar, whole, "content"]);
    const aside = await asideOf(loader, `${barcode}.tap`);
    const isWhole = aside?.equals(await readFile(whole)) === true;
    must(isWhole, `tar ended with 0, and its archive is not in ${loader}refused`);
    return ran;
  };
  return { what: "tar -c into a slot", run };
}

/** What was not taken in under this name. */
async function asideOf(loader: string, name: string): Promise<Buffer | undefined> {
  const refused = join(loader, "refused");
  for (const folder of await readdir(refused).catch((): string[] => [])) {
    const found = await readFile(join(refused, folder, name)).catch(() => undefined);
    if (found !== undefined) return found;
  }
  return undefined;
}

function orders(place: Place): readonly Offer[] {
  const { step, loader } = place;
  return [
    async () => commandOf(place, "tape", "create", loader, blank(place)),
    async () => commandOf(place, "tape", "protect", loader, "REEL0001"),
    async () => {
      const [from, to] = [await slotOf(place, "REEL0002"), await emptySlot(place)];
      return commandOf(place, "loader", "transfer", loader, String(from), to);
    },
    async () => {
      const warning = `${1 + step.random.below(60)}K`;
      return commandOf(place, "loader", "set", loader, "--early-warning", warning);
    },
  ];
}

const LOOK_MS = 20;
const LOOKS_MAX = 500;

/** A copy is taken in after cp has ended: nobody waits for the end of a closed file. */
async function untilTakenIn(loader: string): Promise<void> {
  for (let look = 0; await exists(join(loader, "incoming")); look++) {
    must(look < LOOKS_MAX, "a copy that has ended is not taken in");
    await delay(LOOK_MS);
  }
}

const exists = async (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

interface Element {
  readonly kind: string;
  readonly number: number;
  readonly tape?: { readonly barcode: string };
}

async function elementsOf({ step, loader }: Place): Promise<readonly Element[]> {
  const ran = await step.workshop.here("loader", "status", "--json", loader);
  must(ran.status === 0, `the loader cannot be opened: ${ran.stderr}`);
  return (JSON.parse(ran.stdout) as { elements: readonly Element[] }).elements;
}

async function emptySlot(place: Place): Promise<string> {
  const elements = await elementsOf(place);
  const found = elements.find(({ kind, tape }) => kind === "storage" && tape === undefined);
  must(found !== undefined, "the loader has no empty slot left");
  return String(found.number).padStart(3, "0");
}

async function slotOf(place: Place, barcode: string): Promise<number> {
  const found = (await elementsOf(place)).find(({ tape }) => tape?.barcode === barcode);
  must(found?.kind === "storage", `${barcode} is in no slot`);
  return found.number;
}

/** All that was acknowledged is there. */
async function checkAll(place: Place): Promise<void> {
  const { step, loader, image, sample } = place;
  const barcodes = (await elementsOf(place)).flatMap(({ tape }) => tape?.barcode ?? []);
  must(new Set(barcodes).size === barcodes.length, `tapes are doubled: ${barcodes.join()}`);
  for (const barcode of barcodes) {
    const size = await sizeOf(join(loader, "tapes", `${barcode}.tap`));
    if (place.copied.has(barcode) && !place.images.has(barcode)) {
      // The blank tape that was made for it may be going at this moment.
      must((size ?? 0) === 0, `${barcode} was not copied in, and has ${size ?? 0} bytes`);
    } else must(size !== undefined, `the file of ${barcode} is gone`);
  }
  for (const [barcode, content] of place.holds) {
    const read = join(step.folder, "read.bin");
    await rm(read, { force: true });
    const ran = await step.workshop.here("tape", "cat", `${loader}:${barcode}`, "--output", read);
    const found = await readFile(read).catch(() => Buffer.alloc(0));
    must(found.equals(content), `${barcode} does not hold what was written: ${ran.stderr}`);
  }
  for (const barcode of place.images) {
    must(barcodes.includes(barcode), `${barcode} was acknowledged, and is not in the loader`);
    const tape = join(loader, "tapes", `${barcode}.tap`);
    const known = [...sample.images, { ...image, uuid: "*" }];
    const had = await checkImage(step.workshop, tape, step.folder, { known });
    must(had.sound && had.whole, `${tape} was acknowledged, and is not sound`);
  }
}

async function makePlace(step: Step, disk: SmallDisk): Promise<Place> {
  const { workshop, folder, random } = step;
  const sample = await step.samples.get(random.pick(["FAT32", "ext4", "NTFS"]));
  const image = sample.images.at(-1);
  must(image !== undefined, "a sample without an image");
  const loader = join(disk.folder, "vtl/");
  const registry = ["--config", join(folder, "loaders.json")];
  const shape = ["--slots", "24", "--drives", "2", "--tapes", "3"];
  await workshop.succeed("loader", "create", "vtl", "--path", loader, ...shape, ...registry);
  // As full as the disk gets; or the loader stops before it is.
  const stop = random.below(2) === 0 ? "0" : "2";
  await workshop.succeed("loader", "set", loader, "--stop-below", stop);
  const kept = Buffer.from(patternBytes(KEPT_BYTES, 5));
  await writeFile(join(folder, "kept.bin"), kept);
  await workshop.succeed("loader", "load", loader, "1", "0");
  await workshop.succeed("tape", "write", loader, join(folder, "kept.bin"));
  await workshop.succeed("loader", "unload", loader, "1", "0");
  await workshop.succeed("loader", "load", loader, "3", "0");
  const mountpoint = await newFolder(folder, "mnt");
  const mounted = await workshop.apart(["loader", "mount", loader, mountpoint]);
  must(mounted.status === 0, `the loader cannot be mounted: ${mounted.stderr}`);
  const holds = new Map([["REEL0001", kept]]);
  return {
    ...{ step, sample, image, disk, loader, mountpoint, holds, next: 1 },
    ...{ images: new Set(), copied: new Set() },
  };
}

async function fill(disk: SmallDisk, step: Step): Promise<() => Promise<void>> {
  const ballast = join(disk.folder, "ballast");
  const { bavail, bsize } = await statfs(disk.folder);
  const free = step.random.below(FREE_BYTES_MAX);
  await writeFile(ballast, Buffer.alloc(Math.max(0, bavail * bsize - free)));
  step.say(`${free} bytes are free`);
  return async () => rm(ballast, { force: true });
}

export const fullLoaders: Kind = {
  name: "full-loaders",
  does: "loaders on a full disk: backups, imports, labels, moves, copies through the mount",
  trouble: smallDiskTrouble,
  weight: 3,
  run: async (step) =>
    withSmallDisk(step, DISK_MIB, async (disk) => {
      const place = await makePlace(step, disk);
      try {
        await torment(place);
      } finally {
        await clearAway(step, place.mountpoint);
      }
    }),
};

async function torment(place: Place): Promise<void> {
  const { step, disk } = place;
  const failed: Attempt[] = [];
  const makeRoom = await fill(disk, step);
  for (let count = 0; count < COMMANDS; count++) {
    const attempt = await step.random.pick(attempts(place))();
    const ran = await attempt.run();
    step.say(`${attempt.what}: ${String(ran.status)} ${ran.stderr.trim()}`);
    if (ran.status === 0) attempt.done?.();
    else {
      must(SPACE_WORDS.test(ran.stderr), `it does not say that the disk is full: ${ran.stderr}`);
      // A tape that was written to half is not blank; a slot that was empty may be full.
      if (!["tape write", "loader transfer"].includes(attempt.what)) failed.push(attempt);
    }
    await checkAll(place);
  }
  await makeRoom();
  await disk.grow(GROWN_MIB);
  for (const attempt of failed) {
    const again = await attempt.run();
    must(again.status === 0, `with room enough ${attempt.what} fails: ${again.stderr}`);
    attempt.done?.();
  }
  await checkAll(place);
}
