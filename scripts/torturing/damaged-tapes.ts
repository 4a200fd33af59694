/** Bytes, records and whole tapes that are flipped, cut, duplicated and put in another order. */
import { readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { RAW_BYTES_MAX } from "../../src/tapeimage/frame.ts";
import { decodeRecord } from "../../src/tapeimage/record-codec.ts";
import type { SeededRandom } from "../../test/support/seeded-random.ts";
import { checkImage, missingRecords } from "./check-image.ts";
import { must, type Kind, type Step } from "./kind.ts";
import type { KnownImage, Sample } from "./samples.ts";
import { joinTap, parseTap, tapMarker, tapRecord, type TapObject } from "./tap-objects.ts";

/** Changes the bytes of one tape file; says what it did. */
type Damage = (tap: Buffer, random: SeededRandom) => readonly [damaged: Buffer, what: string];

const FLIPS_MAX = 12;
const STRETCH_BYTES_MAX = 200_000;
const BAD_DATA_CLASS = 0x8000_0000;
const HEAD_BYTES = 8 * 1024;

const byteDamages: Readonly<Record<string, Damage>> = {
  flip: (tap, random) => {
    const damaged = Buffer.from(tap);
    const flips = 1 + random.below(FLIPS_MAX);
    const within = random.below(4) === 0 ? Math.min(HEAD_BYTES, tap.length) : tap.length;
    for (let i = 0; i < flips; i++) {
      const at = random.below(within);
      damaged[at] = (damaged[at] ?? 0) ^ (1 << random.below(8));
    }
    return [damaged, `${flips} bits flipped`];
  },
  fill: (tap, random) => {
    const [from, to] = stretch(tap, random);
    const value = random.pick([0, 0xff, 0x5a]);
    return [Buffer.from(tap).fill(value, from, to), `bytes ${from} to ${to} filled with ${value}`];
  },
  cut: (tap, random) => {
    const at = random.below(tap.length);
    return [tap.subarray(0, at), `cut at ${at}`];
  },
  remove: (tap, random) => {
    const [from, to] = stretch(tap, random);
    return [Buffer.concat([tap.subarray(0, from), tap.subarray(to)]), `${from} to ${to} removed`];
  },
  duplicate: (tap, random) => {
    const [from, to] = stretch(tap, random);
    const parts = [tap.subarray(0, to), tap.subarray(from)];
    return [Buffer.concat(parts), `bytes ${from} to ${to} twice`];
  },
  reorder: (tap, random) => {
    const [from, to] = stretch(tap, random);
    const damaged = Buffer.from(tap);
    const at = random.below(tap.length);
    damaged.copyWithin(at, from, to);
    return [damaged, `bytes ${from} to ${to} over those at ${at}`];
  },
  append: (tap, random) => {
    const more = Buffer.alloc(1 + random.below(STRETCH_BYTES_MAX), random.below(256));
    return [Buffer.concat([tap, more]), `${more.length} bytes behind its end`];
  },
};

function stretch(tap: Buffer, random: SeededRandom): readonly [number, number] {
  const from = random.below(tap.length);
  return [from, Math.min(tap.length, from + 1 + random.below(STRETCH_BYTES_MAX))];
}

const ofRecords =
  (change: (objects: TapObject[], at: number, random: SeededRandom) => string): Damage =>
  (tap, random) => {
    const objects = parseTap(tap);
    const what = change(objects, random.below(objects.length), random);
    return [joinTap(objects), what];
  };

const recordDamages: Readonly<Record<string, Damage>> = {
  remove: ofRecords((objects, at, random) => {
    const count = 1 + random.below(3);
    objects.splice(at, count);
    return `${count} objects from ${at} removed`;
  }),
  duplicate: ofRecords((objects, at, random) => {
    const copy = objects.slice(at, at + 1 + random.below(3));
    objects.splice(random.below(objects.length), 0, ...copy);
    return `${copy.length} objects from ${at} a second time`;
  }),
  swap: ofRecords((objects, at, random) => {
    const other = random.below(objects.length);
    const [one, two] = [objects[at], objects[other]];
    if (one !== undefined && two !== undefined) [objects[at], objects[other]] = [two, one];
    return `objects ${at} and ${other} exchanged`;
  }),
  reverse: ofRecords((objects, at, random) => {
    const part = objects.splice(at, 2 + random.below(6));
    objects.splice(at, 0, ...part.reverse());
    return `${part.length} objects from ${at} in reverse`;
  }),
  flip: ofRecords((objects, at, random) => {
    const data = Buffer.from(objects[at]?.data ?? Buffer.alloc(1));
    const byte = random.below(data.length);
    data[byte] = (data[byte] ?? 0) ^ (1 << random.below(8));
    objects[at] = tapRecord(data);
    return `byte ${byte} of object ${at} flipped`;
  }),
  shorten: ofRecords((objects, at, random) => {
    const data = objects[at]?.data ?? Buffer.alloc(4);
    const length = 1 + random.below(data.length);
    objects[at] = tapRecord(data.subarray(0, length));
    return `object ${at} cut to ${length} bytes`;
  }),
  flaw: ofRecords((objects, at) => {
    const data = objects[at]?.data;
    if (data !== undefined) objects[at] = tapRecord(data, BAD_DATA_CLASS);
    return `object ${at} marked as read with errors`;
  }),
  mark: ofRecords((objects, at, random) => {
    const word = random.pick([0, 0, 0xffff_fffe, 0xffff_ffff]);
    objects.splice(at, 0, tapMarker(word));
    return `marker ${word.toString(16)} before object ${at}`;
  }),
  foreign: ofRecords((objects, at, random) => {
    objects.splice(at, 0, tapRecord(Buffer.alloc(1 + random.below(70_000), random.below(256))));
    return `a strange record before object ${at}`;
  }),
};

/** Damages one or two tapes of a sample. */
function damageKind(name: string, does: string, damages: Readonly<Record<string, Damage>>): Kind {
  return {
    name,
    does,
    weight: 6,
    run: async (step) => {
      const { random } = step;
      const sample = await step.samples.copyOf(random, step.folder);
      const before = await readTapes(sample);
      for (let i = 1 + random.below(2); i > 0; i--) {
        const tape = random.pick(sample.tapes);
        const [which, damage] = random.pick(Object.entries(damages));
        const path = join(sample.folder, tape);
        const tap = await readFile(path);
        if (tap.length === 0) continue;
        const [damaged, what] = damage(tap, random);
        step.say(`${sample.name}, ${tape}: ${which}: ${what}`);
        await writeFile(path, damaged);
      }
      await checkSample(step, sample, before);
    },
  };
}

async function readTapes({ folder, tapes }: Sample): Promise<Buffer[]> {
  const read = tapes.map((tape) => readFile(join(folder, tape)).catch(() => Buffer.alloc(0)));
  return Promise.all(read);
}

async function checkSample(
  step: Step,
  sample: Sample,
  before: readonly Buffer[],
  strange: readonly KnownImage[] = [],
): Promise<void> {
  const { workshop, random } = step;
  const after = await readTapes(sample);
  const known = sample.images;
  for (const image of random.below(3) === 0 ? known : [random.pick(known)]) {
    const spec = join(sample.folder, image.spec);
    const had = await checkImage(workshop, spec, step.folder, {
      known: [...known, ...strange],
      places: [sample.folder],
    });
    const found = known.find(({ uuid }) => uuid === had.uuid);
    if (!had.sound || found === undefined) continue;
    const missing = missingRecords(before, after, found);
    must(missing === 0, `verify says that ${spec} is sound, and ${missing} records are not there`);
  }
  const tape = join(sample.folder, random.pick(sample.tapes));
  for (const command of [["info"], ["tape", "check"], ["tape", "ls"], ["tape", "dump"]]) {
    await workshop.here(...command, tape);
  }
  if (sample.tapes.some((each) => each.startsWith("vtl/"))) await checkLoader(step, sample);
  if (random.below(3) === 0) await checkAppended(step, sample);
}

async function checkLoader({ workshop }: Step, { folder }: Sample): Promise<void> {
  await workshop.here("loader", "status", join(folder, "vtl"));
  await workshop.here("loader", "inventory", join(folder, "vtl"));
}

/** A backup to a damaged tape is refused, or costs nothing of what is there. */
async function checkAppended(step: Step, sample: Sample): Promise<void> {
  const { workshop } = step;
  const tape = join(sample.folder, step.random.pick(sample.tapes));
  const before = await readFile(tape).catch(() => undefined);
  if (before === undefined || tape.includes("/vtl/")) return;
  step.say(`then a backup to ${tape}`);
  const ran = await workshop.here("backup", join(sample.folder, sample.volume), tape);
  const after = await readFile(tape);
  if (ran.status === 0) {
    const lost = recordsOf(before).filter((data) => !hasRecord(after, data)).length;
    must(lost === 0, `a backup to the damaged ${tape} has written over ${lost} records`);
    const verified = await workshop.here("verify", tape);
    must(
      verified.status === 0,
      `the backup to the damaged ${tape} is not sound: ${verified.stderr}`,
    );
  } else {
    must(after.equals(before), `a backup that was refused has changed ${tape}: ${ran.stderr}`);
  }
}

/** Whole records of images: a torn one at the end may be written over. */
const recordsOf = (tap: Buffer): Buffer[] =>
  parseTap(tap).flatMap(({ data }) => (isImageRecord(data) ? [data] : []));

const contents = Buffer.alloc(RAW_BYTES_MAX);

/** One that proves itself: what cannot be read is no loss. */
function isImageRecord(data: Buffer | undefined): data is Buffer {
  if (data === undefined) return false;
  try {
    decodeRecord(data, undefined, contents, "a record");
    return true;
  } catch {
    return false;
  }
}

const hasRecord = (tap: Buffer, data: Buffer): boolean => tap.includes(data);

const tapeDamages: Readonly<
  Record<string, (sample: Sample, other: Sample, random: SeededRandom) => Promise<string>>
> = {
  remove: async ({ folder, tapes }, _, random) => {
    const tape = random.pick(tapes);
    await rm(join(folder, tape));
    return `${tape} removed`;
  },
  empty: async ({ folder, tapes }, _, random) => {
    const tape = random.pick(tapes);
    await writeFile(join(folder, tape), "");
    return `${tape} emptied`;
  },
  swap: async ({ folder, tapes }, _, random) => {
    const [one, two] = [random.pick(tapes), random.pick(tapes)];
    const [a, b] = [await readFile(join(folder, one)), await readFile(join(folder, two))];
    await writeFile(join(folder, one), b);
    await writeFile(join(folder, two), a);
    return `${one} and ${two} exchanged`;
  },
  copy: async ({ folder, tapes }, _, random) => {
    const [one, two] = [random.pick(tapes), random.pick(tapes)];
    await writeFile(join(folder, two), await readFile(join(folder, one)));
    return `${two} is a copy of ${one}`;
  },
  double: async ({ folder, tapes }, _, random) => {
    const tape = random.pick(tapes);
    const copy = join(folder, dirname(tape), "REEL0009.tap");
    await writeFile(copy, await readFile(join(folder, tape)));
    return `${tape} is there twice`;
  },
  exchange: async ({ folder, tapes }, other, random) => {
    const [tape, strange] = [random.pick(tapes), random.pick(other.tapes)];
    await writeFile(join(folder, tape), await readFile(join(other.folder, strange)));
    return `${tape} is ${strange} of ${other.name}`;
  },
  older: async ({ folder, tapes }, _, random) => {
    const tape = random.pick(tapes);
    const objects = parseTap(await readFile(join(folder, tape)));
    const marks = objects.flatMap(({ data }, index) => (data === undefined ? [index] : []));
    const end = marks.length === 0 ? 0 : random.pick(marks) + 1;
    await writeFile(join(folder, tape), joinTap(objects.slice(0, end)));
    return `${tape} as it was after its object ${end}`;
  },
};

const tapes: Kind = {
  name: "tapes",
  does: "whole tapes of sets, chains and loaders removed, emptied, exchanged, copied, put back",
  weight: 4,
  run: async (step) => {
    const { random, samples } = step;
    const many = samples.names.filter((name) => /tapes|loader/.test(name));
    const sample = await samples.copyOf(random, step.folder, many);
    const other = await samples.get(random.pick(samples.names));
    const before = await readTapes(sample);
    const [which, damage] = random.pick(Object.entries(tapeDamages));
    step.say(`${sample.name}: ${which}: ${await damage(sample, other, random)}`);
    await checkSample(step, sample, before, other.images);
  },
};

export const damageKinds: readonly Kind[] = [
  damageKind("bytes", "bytes of tapes flipped, filled, cut, removed, doubled, moved", byteDamages),
  damageKind("records", "records and filemarks removed, doubled, moved, marked", recordDamages),
  tapes,
];
