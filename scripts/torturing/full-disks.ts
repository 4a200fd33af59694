/** Disks that fill while a command works: where its tape lies, its target, its temporary files. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { checkFiles, checkImage } from "./check-image.ts";
import { must, type Kind, type Step } from "./kind.ts";
import { ancestorsOf, type KnownImage, type Sample } from "./samples.ts";
import { smallDiskTrouble, withSmallDisk, type SmallDisk } from "./small-disk.ts";
import type { Ran } from "./workshop.ts";

interface Filling {
  readonly line: readonly string[];
  readonly again: readonly string[];
  readonly isDone: (ran: Ran) => Promise<void>;
}

const GROWN_MIB = 200;
const SPACE_WORDS = /space|room|full|holds|capacity|larger/i;

const lastOf = ({ images }: Sample): KnownImage => {
  const image = images.at(-1);
  must(image !== undefined, "a sample without an image");
  return image;
};

async function filling(step: Step, sample: Sample, disk: SmallDisk): Promise<Filling> {
  const { random, workshop } = step;
  const image = lastOf(sample);
  const spec = join(sample.folder, image.spec);
  const places = ancestorsOf(sample);
  const tape = join(disk.folder, "new.tap");
  const known = [...sample.images, { ...image, uuid: "*" }];
  const isSound = async (): Promise<void> => {
    const had = await checkImage(workshop, tape, step.folder, { known, places: [sample.folder] });
    must(had.sound, `it ended with 0, and ${tape} is not sound`);
  };
  const volume = join(sample.folder, sample.volume);
  const [out, target] = [join(disk.folder, "out"), join(disk.folder, "target.img")];
  const sameTarget = async (): Promise<void> => {
    must((await readFile(target)).equals(image.content), "the target is not the volume");
  };
  const backup = ["backup", volume, tape];
  const files = ["restore", "--json", spec, "--to", out, ...places];
  const whole = ["restore-image", spec, target];
  return random.pick<Filling>([
    { line: backup, again: backup, isDone: isSound },
    {
      line: ["consolidate", spec, tape, ...places],
      again: ["consolidate", spec, tape, ...places],
      isDone: isSound,
    },
    {
      line: files,
      again: [...files, "--resume"],
      isDone: async (ran) => checkFiles(out, image.files, ran, "restore"),
    },
    { line: [...whole, ...places], again: [...whole, "--force", ...places], isDone: sameTarget },
  ]);
}

const full: Kind = {
  name: "full",
  does: "disks that fill while a backup, consolidation or restore writes to them",
  trouble: smallDiskTrouble,
  weight: 3,
  run: async (step) => {
    const { random, workshop, samples } = step;
    const names = samples.names.filter((name) => !["exFAT", "loader"].includes(name));
    const sample = await samples.get(random.pick(names));
    await withSmallDisk(step, 1 + random.below(5), async (disk) => {
      const { line, again, isDone } = await filling(step, sample, disk);
      step.say(`${sample.name}: ${line[0] ?? ""} on ${disk.what}`);
      const apart = random.below(2) === 0;
      const ran = apart ? await workshop.apart(line) : await workshop.here(...line);
      step.say(`status ${String(ran.status)}: ${ran.stderr.trim()}`);
      if (ran.status === 0) return isDone(ran);
      must(SPACE_WORDS.test(ran.stderr), `it does not say that the disk is full: ${ran.stderr}`);
      await disk.grow(GROWN_MIB);
      const second = await workshop.here(...again);
      const isNew =
        second.status !== 0 && /nothing to (go on|resume)|no interrupted/i.test(second.stderr);
      const third = isNew ? await workshop.here(...line) : second;
      must(third.status === 0, `with room enough it fails: ${third.stderr}`);
      await isDone(third);
    });
  },
};

const HEAP_MIB = 96;
const PROCESS_MIB_MAX = 400;

const memory: Kind = {
  name: "memory",
  does: "commands with little memory: none needs more for a large volume or a damaged tape",
  weight: 2,
  run: async (step) => {
    const { random, workshop, samples } = step;
    const sample = await samples.get(random.pick(samples.names));
    const image = lastOf(sample);
    const spec = join(sample.folder, image.spec);
    const places = ancestorsOf(sample);
    const target = join(step.folder, "target.img");
    const line = random.pick([
      ["backup", join(sample.folder, sample.volume), join(step.folder, "new.tap")],
      ["verify", spec, ...places],
      ["restore", spec, "--to", join(step.folder, "out"), ...places],
      ["restore-image", spec, target, ...places],
      ["consolidate", spec, join(step.folder, "full.tap"), ...places],
    ]);
    step.say(`${sample.name}: ${line[0] ?? ""}`);
    let peakMib = 0;
    let watch: NodeJS.Timeout | undefined;
    const ran = await workshop.apart(line, {
      nodeOptions: [`--max-old-space-size=${HEAP_MIB}`],
      started: ({ pid }) => {
        const look = async (): Promise<void> => {
          const status = await readFile(`/proc/${pid ?? 0}/status`, "utf8").catch(() => "");
          peakMib = Math.max(peakMib, Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024);
        };
        watch = setInterval(() => void look(), 20);
      },
    });
    clearInterval(watch);
    step.say(`${peakMib.toFixed(0)} MiB`);
    must(ran.status === 0, `with ${HEAP_MIB} MiB of heap it fails: ${ran.stderr}`);
    must(peakMib < PROCESS_MIB_MAX, `${line[0] ?? ""} took ${peakMib.toFixed(0)} MiB`);
  },
};

export const fullKinds: readonly Kind[] = [full, memory];
