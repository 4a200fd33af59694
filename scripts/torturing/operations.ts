/**
 * What is done to the commands that write: each is prepared in a folder of its own, killed or made
 * to fail somewhere, and afterwards asked what is there. What was acknowledged before must be there
 * and sound; the same command given again must do its work.
 */
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { checkBlocks, checkFiles, checkImage } from "./check-image.ts";
import { must, type Step } from "./kind.ts";
import { loaderOperation } from "./loader-operation.ts";
import { tagOperation } from "./mount-operations.ts";
import { ancestorsOf, type KnownImage, type Sample } from "./samples.ts";
import type { Ran, Workshop } from "./workshop.ts";

export interface Prepared {
  readonly args: readonly string[];
  /** Files that it only reads. */
  readonly reads: readonly string[];
  /** Checks what it left, whether it ended with 0, failed or was killed. */
  readonly after: (ran: Ran) => Promise<void>;
  /** In any case, at last. */
  readonly cleanUp?: () => Promise<void>;
}

export interface Operation {
  readonly name: string;
  readonly prepare: (step: Step) => Promise<Prepared>;
}

const CHAINS = ["chain of ext4", "tapes of ext4", "chain of NTFS", "tapes of NTFS"];

/** The last image of a sample again, under a UUID that is not known yet. */
const anyUuid = (image: KnownImage): KnownImage => ({ ...image, uuid: "*" });

const lastOf = ({ images }: Sample): KnownImage => {
  const image = images.at(-1);
  must(image !== undefined, "a sample without an image");
  return image;
};

interface ImageFacts {
  readonly number: number;
  readonly uuid: string;
  readonly state: string;
}

async function imagesOn(workshop: Workshop, tape: string): Promise<readonly ImageFacts[]> {
  const ran = await workshop.here("info", "--json", tape);
  if (ran.stdout.trim() === "") return [];
  return (JSON.parse(ran.stdout) as { images?: readonly ImageFacts[] }).images ?? [];
}

/** Of every tape: images acknowledged earlier are sound; others are right as far as they go. */
async function checkTapes(step: Step, tapes: readonly string[], sample: Sample): Promise<void> {
  const known = [...sample.images, anyUuid(lastOf(sample))];
  const seen = new Set<string>();
  for (const tape of tapes) {
    if ((await stat(tape).catch(() => undefined)) === undefined) continue;
    for (const { number, uuid, state } of await imagesOn(step.workshop, tape)) {
      const had = await checkImage(step.workshop, `${tape}#${number}`, step.folder, {
        ...{ known, places: [sample.folder] },
      });
      const old = sample.images.some((image) => image.uuid === uuid);
      must(!old || had.sound, `${tape}#${number} was acknowledged, and is not sound`);
      must(
        state !== "complete" || had.sound,
        `${tape}#${number} claims to be complete, and is not`,
      );
      seen.add(uuid);
    }
  }
  for (const { uuid, spec } of sample.images)
    must(seen.has(uuid), `${spec} was acknowledged and is gone`);
}

/** A command that appends an image to a tape. */
async function appending(
  step: Step,
  sample: Sample,
  line: readonly string[],
  tape: string,
): Promise<Prepared> {
  const tapes = [...new Set([...sample.tapes.map((each) => join(sample.folder, each)), tape])];
  const expectSound = async (): Promise<void> => {
    const known = [...sample.images, anyUuid(lastOf(sample))];
    const had = await checkImage(step.workshop, tape, step.folder, {
      ...{ known, places: [sample.folder] },
    });
    must(had.sound && had.whole, `${line[0] ?? ""} ended with 0, and ${tape} is not sound`);
    const isNew = sample.images.every(({ uuid }) => uuid !== (had.uuid ?? ""));
    must(isNew, `${line[0] ?? ""} ended with 0, and the last image on ${tape} is an old one`);
  };
  return {
    args: line,
    reads: [join(sample.folder, sample.volume)],
    after: async (ran) => {
      await checkTapes(step, tapes, sample);
      if (ran.status === 0) return expectSound();
      const again = await step.workshop.here(...line);
      must(again.status === 0, `given again it fails: ${again.stderr}`);
      await expectSound();
      await checkTapes(step, tapes, sample);
    },
  };
}

const RECORD = ["--record-size", "64K"];

const backup: Operation = {
  name: "backup",
  prepare: async (step) => {
    const { random, folder } = step;
    const sample = await step.samples.copyOf(random, folder, ["FAT32", "exFAT", "NTFS", "ext4"]);
    const fresh = random.below(2) === 0;
    const tape = fresh ? join(folder, "new.tap") : join(sample.folder, "one.tap");
    const serial = fresh && random.below(2) === 0 ? ["--serial", "TORT01"] : [];
    const volume = join(sample.folder, sample.volume);
    return appending(step, sample, ["backup", ...RECORD, ...serial, volume, tape], tape);
  },
};

const incremental: Operation = {
  name: "incremental",
  prepare: async (step) => {
    const sample = await step.samples.copyOf(step.random, step.folder, CHAINS);
    const tape = join(sample.folder, step.random.pick(sample.tapes));
    const parent = join(sample.folder, lastOf(sample).spec);
    const volume = join(sample.folder, sample.volume);
    const places = ["--ancestors", sample.folder];
    const line = ["backup", ...RECORD, "--parent", parent, volume, tape, ...places];
    return appending(step, sample, line, tape);
  },
};

const consolidate: Operation = {
  name: "consolidate",
  prepare: async (step) => {
    const sample = await step.samples.copyOf(step.random, step.folder, CHAINS);
    const image = join(sample.folder, lastOf(sample).spec);
    const tape = join(step.folder, "full.tap");
    return appending(step, sample, ["consolidate", image, tape, ...ancestorsOf(sample)], tape);
  },
};

const setOfTapes: Operation = {
  name: "set of tapes",
  prepare: async (step) => {
    const { folder, workshop } = step;
    const sample = await step.samples.get("set of tapes");
    const volume = join(sample.folder, sample.volume);
    const names = (run: string): string[] =>
      [1, 2, 3, 4].map((n) => join(folder, `${run}${n}.tap`));
    const line = (run: string): string[] => {
      const [first = "", ...rest] = names(run);
      const capacity = ["--tape-capacity", "1500K", "--tapes", rest.join(",")];
      return ["backup", ...RECORD, "--codec", "none", volume, first, ...capacity];
    };
    const known = [anyUuid(lastOf(sample))];
    const check = async (run: string, done: boolean): Promise<void> => {
      const [first = ""] = names(run);
      if ((await stat(first).catch(() => undefined)) === undefined) return;
      const had = await checkImage(workshop, `${first}#1`, folder, { known });
      must(!done || had.sound, `the backup ended with 0, and the set of ${first} is not sound`);
    };
    return {
      args: line("a"),
      reads: [volume],
      after: async (ran) => {
        await check("a", ran.status === 0);
        if (ran.status === 0) return;
        const again = await workshop.here(...line("b"));
        must(again.status === 0, `on other tapes it fails: ${again.stderr}`);
        await check("b", true);
      },
    };
  },
};

const restore: Operation = {
  name: "restore",
  prepare: async (step) => {
    const { workshop, samples, folder } = step;
    const names = samples.names.filter((name) => name !== "loader");
    const sample = await samples.get(step.random.pick(names));
    const image = lastOf(sample);
    const out = join(folder, "out");
    const line = ["restore", "--json", join(sample.folder, image.spec), "--to", out];
    const places = ancestorsOf(sample);
    return {
      args: [...line, ...places],
      reads: sample.tapes.map((tape) => join(sample.folder, tape)),
      after: async (ran) => {
        if (ran.status === 0) return checkFiles(out, image.files, ran, "restore");
        await checkFiles(out, image.files, { ...ran, status: 1, stdout: "" }, "what was restored");
        const begun = await readdir(out).catch((): string[] => []);
        const notes = begun.some((name) => name.startsWith(".reelfs-restore"));
        const how = notes ? ["--resume"] : begun.length > 0 ? ["--overwrite"] : [];
        const again = await workshop.here(...line, ...how, ...places);
        must(again.status === 0, `given again with ${how.join("")} it fails: ${again.stderr}`);
        await checkFiles(out, image.files, again, "restore, given again");
      },
    };
  },
};

const restoreImage: Operation = {
  name: "restore-image",
  prepare: async (step) => {
    const { workshop, samples, folder, random } = step;
    const sample = await samples.get(random.pick(samples.names));
    const { spec, content } = lastOf(sample);
    const target = join(folder, "target.img");
    const verify = random.below(2) === 0 ? ["--verify"] : [];
    const line = ["restore-image", join(sample.folder, spec), target, ...verify];
    const places = ancestorsOf(sample);
    const isDone = async (what: string): Promise<void> => {
      const found = await readFile(target);
      must(found.equals(content), `${what} ended with 0, and the target is not the volume`);
    };
    return {
      args: [...line, ...places],
      reads: sample.tapes.map((tape) => join(sample.folder, tape)),
      after: async (ran) => {
        if (ran.status === 0) return isDone("restore-image");
        const left = await readFile(target).catch(() => undefined);
        if (left !== undefined) checkBlocks(left, content, "what was restored");
        const again = await workshop.here(...line, "--force", ...places);
        must(again.status === 0, `given again it fails: ${again.stderr}`);
        await isDone("restore-image, given again,");
      },
    };
  },
};

export const OPERATIONS: readonly Operation[] = [
  backup,
  incremental,
  consolidate,
  setOfTapes,
  restore,
  restoreImage,
  { name: "loader", prepare: loaderOperation },
  { name: "tag", prepare: tagOperation },
];
