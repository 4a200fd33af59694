/** What power is cut from: the commands that kills and errors strike, and some more. */
import { mkdir, open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { sizeOf } from "../../src/vtl/pending-change.ts";
import { join } from "node:path";
import { patternBytes } from "../../test/support/pattern.ts";
import { checkFiles, checkImage } from "./check-image.ts";
import { must, type Step } from "./kind.ts";
import { checkLoader } from "./loader-operation.ts";
import { clearAway } from "./mount-operations.ts";
import { OPERATIONS, type Operation, type Prepared } from "./operations.ts";
import { ancestorsOf, type KnownImage, type Sample } from "./samples.ts";
import type { Ran, RunOptions } from "./workshop.ts";

interface PowerPrepared extends Prepared {
  /** Runs the command where there is more to do than that. */
  readonly record?: (options: RunOptions) => Promise<Ran>;
}

interface PowerOperation {
  readonly name: string;
  readonly prepare: (step: Step) => Promise<PowerPrepared>;
}

/** As `restore`; but what it had not said to be done may be half there until it goes on. */
const restore: PowerOperation = {
  name: "restore",
  prepare: async (step) => {
    const { workshop, samples, folder, random } = step;
    const sample = await samples.get(
      random.pick(samples.names.filter((name) => name !== "loader")),
    );
    const image = sample.images.at(-1);
    must(image !== undefined, "a sample without an image");
    const out = join(folder, "out");
    const line = ["restore", "--json", join(sample.folder, image.spec), "--to", out];
    const places = ancestorsOf(sample);
    await mkdir(out);
    return {
      args: [...line, ...places],
      reads: [],
      after: async (ran) => {
        if (ran.status === 0) return checkFiles(out, image.files, ran, "restore");
        const begun = await readdir(out);
        const notes = begun.some((name) => name.startsWith(".reelfs-restore"));
        const how = notes ? ["--resume"] : begun.length > 0 ? ["--overwrite"] : [];
        let again = await workshop.here(...line, ...how, ...places);
        // What its journal has lost with the power is left as it was, and named.
        if (again.stderr.includes("was left as it is")) {
          must(!again.stderr.includes("is not restored"), `with ${how.join("")}: ${again.stderr}`);
          again = await workshop.here(...line, "--overwrite", ...places);
        }
        must(again.status === 0, `given again with ${how.join("")} it fails: ${again.stderr}`);
        await checkFiles(out, image.files, again, `restore ${how.join("")}`);
      },
    };
  },
};

const createLoader: PowerOperation = {
  name: "loader create",
  prepare: async ({ workshop, folder, random }) => {
    const nested = random.below(2) === 0 ? "a/b/vtl" : "vtl";
    const loader = join(folder, nested, "/");
    const registry = ["--config", join(folder, "loaders.json")];
    const shape = ["--slots", "4", "--tapes", "2"];
    const args = ["loader", "create", "vtl", "--path", loader, ...shape, ...registry];
    const isThere = async (what: string): Promise<void> => {
      const status = await workshop.here("loader", "status", "--json", loader);
      must(status.status === 0, `${what}, and the loader is not there: ${status.stderr}`);
      for (const barcode of ["REEL0001", "REEL0002"]) {
        must(status.stdout.includes(barcode), `${what}, and ${barcode} is not in the loader`);
      }
      const listed = await workshop.here("loader", "list", "--json", ...registry);
      must(listed.stdout.includes(`"vtl"`), `${what}, and it is not registered: ${listed.stderr}`);
    };
    return {
      args,
      reads: [],
      after: async (ran) => {
        if (ran.status === 0) return isThere("it was made");
        const again = await workshop.here(...args);
        if (again.status === 0) return isThere("it was made again");
        // It was made, and only its registration or a tape is missing.
        const adopted = await workshop.here("loader", "adopt", loader, ...registry);
        must(
          adopted.status === 0,
          `it can neither be made (${again.stderr}) nor adopted: ${adopted.stderr}`,
        );
      },
    };
  },
};

const WRITTEN_BYTES = 300_000;

const tapeWrite: PowerOperation = {
  name: "tape write",
  prepare: async (step) => {
    const { workshop, random, folder } = step;
    const sample = await step.samples.copyOf(random, folder, ["loader"]);
    const loader = join(sample.folder, "vtl/");
    const content = patternBytes(WRITTEN_BYTES, 1 + random.below(1000));
    const source = join(folder, "source.bin");
    await writeFile(source, content);
    await workshop.succeed("loader", "load", loader, "3", "0");
    const mark = random.below(2) === 0 ? [] : ["--no-filemark"];
    const args = ["tape", "write", loader, source, ...mark];
    const check = async (what: string): Promise<void> => {
      const read = join(folder, "read.bin");
      await rm(read, { force: true });
      const ran = await workshop.here("tape", "cat", `${loader}:REEL0003`, "--output", read);
      const found = await readFile(read).catch(() => Buffer.alloc(0));
      must(found.equals(content), `${what}, and is not on the tape: ${ran.stderr}`);
    };
    return {
      args,
      reads: [],
      after: async (ran) => {
        await checkLoader(step, sample, undefined, ran.status === 0);
        if (ran.status === 0) return check("it was written");
        const again = await workshop.here(...args);
        must(again.status === 0, `given again it fails: ${again.stderr}`);
        await check("it was written again");
        await checkLoader(step, sample, undefined, false);
      },
    };
  },
};

const CHANGED_BYTES = 512;
/** The image with some bytes of one of its files changed; where they lie. */
function changedImage(step: Step, image: KnownImage): { atBytes: number; changed: KnownImage } {
  const candidates = [...image.files].filter(([, bytes]) => bytes.length >= CHANGED_BYTES);
  for (;;) {
    const [, bytes] = step.random.pick(candidates);
    const start = Buffer.from(bytes.subarray(0, CHANGED_BYTES));
    const atBytes = image.content.indexOf(start);
    if (atBytes < 0 || image.content.indexOf(start, atBytes + 1) >= 0) continue;
    const fresh = patternBytes(CHANGED_BYTES, 77);
    const content = Buffer.from(image.content);
    content.set(fresh, atBytes);
    const file = Buffer.from(bytes);
    file.set(fresh);
    // The same file may be there under other names.
    const files = new Map(
      [...image.files].map(
        ([each, had]) => [each, Buffer.compare(had, bytes) === 0 ? file : had] as const,
      ),
    );
    return { atBytes, changed: { ...image, uuid: "*", content, files } };
  }
}

const commit: PowerOperation = {
  name: "commit",
  prepare: async (step) => {
    const { workshop, random, folder } = step;
    const sample = await step.samples.copyOf(random, folder, ["FAT32", "ext4"]);
    const image = sample.images.at(-1);
    must(image !== undefined, "a sample without an image");
    const tape = join(sample.folder, random.below(2) === 0 ? "one.tap" : "new.tap");
    // Beside what is cut: the mount is no part of the disk.
    const mountpoint = await newMountpoint(step);
    const { atBytes, changed } = changedImage(step, image);
    const spec = join(sample.folder, image.spec);
    return {
      args: ["commit"],
      reads: [],
      cleanUp: async () => {
        await clearAway(step, mountpoint);
        await rm(mountpoint, { recursive: true, force: true });
      },
      record: async (options) => {
        const exposed = await workshop.apart(["expose", spec, mountpoint]);
        must(exposed.status === 0, `it cannot be exposed: ${exposed.stderr}`);
        await using volume = await open(join(mountpoint, "volume.img"), "r+");
        await volume.write(changed.content, atBytes, CHANGED_BYTES, atBytes);
        await volume.close();
        const ran = await workshop.apart(["commit", "--json", mountpoint, tape], options);
        must(ran.status === 0, `commit fails: ${ran.stderr}`);
        await clearAway(step, mountpoint);
        return ran;
      },
      after: async (ran) => checkCommitted(step, { sample, tape, changed }, ran.status === 0),
    };
  },
};

async function newMountpoint({ folder }: Step): Promise<string> {
  const mountpoint = `${folder}-mnt`;
  await mkdir(mountpoint);
  return mountpoint;
}

async function checkCommitted(
  { workshop, folder }: Step,
  what: { sample: Sample; tape: string; changed: KnownImage },
  done: boolean,
): Promise<void> {
  const { sample, tape, changed } = what;
  const known = [...sample.images, changed];
  const checked = { known, places: [sample.folder] };
  const first = await checkImage(workshop, join(sample.folder, "one.tap#1"), folder, checked);
  must(first.sound, "the image that was exposed is not sound any more");
  if (!done && (await sizeOf(tape)) === undefined) return;
  const had = await checkImage(workshop, tape, folder, checked);
  must(!done || (had.sound && had.whole), `it was committed, and ${tape} is not sound`);
  const isNew = sample.images.every(({ uuid }) => uuid !== had.uuid);
  must(!done || isNew, `it was committed, and the last image on ${tape} is an old one`);
}

const isStruck = ({ name }: Operation): boolean => name !== "tag" && name !== "restore";

export const POWER_OPERATIONS: readonly PowerOperation[] = [
  ...OPERATIONS.filter(isStruck),
  restore,
  createLoader,
  tapeWrite,
  commit,
];
