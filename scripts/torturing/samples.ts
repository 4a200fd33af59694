/**
 * Tapes that are known to the last byte: real volumes of several formats, backed up as one image, as
 * chains on one tape and on several, over a set of tapes, in a loader. Made once a run, when they
 * are first asked for; steps damage copies.
 */
import { cp, mkdir, readFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { uuidBytes } from "./tap-objects.ts";
import { openTapeImage } from "../../src/tapeimage/open-image.ts";
import {
  exfatCase,
  extCases,
  fatCase,
  netwareCase,
  ntfsCase,
} from "../../test/support/format-cases.ts";
import type { FormatCase } from "../../test/support/format-cases.ts";
import { hasFatTools } from "../../test/support/fat-tools.ts";
import { makeFatVolume } from "../../test/support/fat-volume.ts";
import { patternBytes } from "../../test/support/pattern.ts";
import type { SeededRandom } from "../../test/support/seeded-random.ts";
import { appendFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { must } from "./kind.ts";
import type { Workshop } from "./workshop.ts";

/** An image, and all that it must show. */
export interface KnownImage {
  /** "chain.tap#2", in the sample's folder. */
  readonly spec: string;
  readonly uuid: string;
  readonly uuidBytes: Uint8Array;
  /** The volume, with zeros where nothing is in use. */
  readonly content: Buffer;
  /** Regular files by path. */
  readonly files: ReadonlyMap<string, Uint8Array>;
}

export interface Sample {
  readonly name: string;
  readonly folder: string;
  /** Tape files that may be damaged, in the sample's folder. */
  readonly tapes: readonly string[];
  readonly images: readonly KnownImage[];
  /** The volume that the last image is of. */
  readonly volume: string;
}

/** What a command must be told to find all of a chain; at the end of its line. */
export const ancestorsOf = ({ folder, name }: Sample): string[] =>
  name.startsWith("tapes of") ? ["--ancestors", folder] : [];

type Recipe = (folder: string, workshop: Workshop) => Promise<Omit<Sample, "name" | "folder">>;

const RECORD = ["--record-size", "64K"];
const SET_CAPACITY = "1500K";

export class Samples {
  readonly #workshop: Workshop;
  readonly #made = new Map<string, Sample>();
  readonly #recipes = new Map<string, Recipe>();
  readonly skipped: string[] = [];

  constructor(workshop: Workshop) {
    this.#workshop = workshop;
    for (const format of [fatCase, ...extCases, exfatCase(), ntfsCase, netwareCase()]) {
      const trouble = format.trouble();
      if (trouble === undefined) this.#recipes.set(format.name, oneImage(format));
      else this.skipped.push(`${format.name}: ${trouble}`);
    }
    for (const format of [extCases[0], ntfsCase]) {
      if (format === undefined || format.trouble() !== undefined) continue;
      this.#recipes.set(
        `chain of ${format.name}`,
        chain(format, () => "chain.tap"),
      );
      this.#recipes.set(
        `tapes of ${format.name}`,
        chain(format, (number) => `t${number}.tap`),
      );
    }
    if (hasFatTools()) {
      this.#recipes.set("set of tapes", setOfTapes);
      this.#recipes.set("loader", inLoader);
    }
  }

  get names(): readonly string[] {
    return [...this.#recipes.keys()];
  }

  /** The sample of that name, which belongs to all steps: damage a copy. */
  async get(name: string): Promise<Sample> {
    const known = this.#made.get(name);
    if (known !== undefined) return known;
    const recipe = this.#recipes.get(name);
    must(recipe !== undefined, `there is no sample ${name}`);
    // Made elsewhere: tapes remember where others of their set or chain were last seen, and what is
    // damaged must not be found whole there.
    const made = join(this.#workshop.folder, "making", name);
    await mkdir(made, { recursive: true });
    const facts = await recipe(made, this.#workshop);
    const folder = join(this.#workshop.folder, "samples", name);
    await mkdir(dirname(folder), { recursive: true });
    await rename(made, folder);
    const sample = { name, folder, ...facts };
    this.#made.set(name, sample);
    return sample;
  }

  /** A copy of any sample in `folder`. */
  async copyOf(random: SeededRandom, folder: string, among = this.names): Promise<Sample> {
    const sample = await this.get(random.pick(among));
    const copy = join(folder, "sample");
    await cp(sample.folder, copy, { recursive: true });
    return { ...sample, folder: copy };
  }
}

function oneImage(format: FormatCase): Recipe {
  return async (folder, workshop) => {
    const volume = join(folder, "volume.img");
    await format.make(volume);
    const codec = format.kind.length % 2 === 0 ? "none" : "zstd";
    const tape = join(folder, "one.tap");
    await workshop.succeed("backup", ...RECORD, "--codec", codec, volume, tape);
    const files = await filesOf(format, volume);
    const image = await knownImage(folder, "one.tap#1", volume, files);
    return { tapes: ["one.tap"], images: [image], volume: "volume.img" };
  };
}

const GENERATIONS = 3;

function chain(format: FormatCase, tapeOf: (number: number) => string): Recipe {
  return async (folder, workshop) => {
    const volume = join(folder, "volume.img");
    await format.make(volume);
    const images: KnownImage[] = [];
    const tapes = new Set<string>();
    for (let number = 1; number <= GENERATIONS; number++) {
      if (number > 1) await format.change?.(volume, async (root) => changeSome(root, number));
      const tape = tapeOf(number);
      tapes.add(tape);
      const last = images.at(-1);
      const parent = last === undefined ? [] : ["--parent", join(folder, last.spec)];
      await workshop.succeed("backup", ...RECORD, ...parent, volume, join(folder, tape));
      const on = images.filter(({ spec }) => spec.startsWith(`${tape}#`)).length + 1;
      const files = await filesOf(format, volume);
      images.push(await knownImage(folder, `${tape}#${on}`, volume, files));
    }
    return { tapes: [...tapes], images, volume: "volume.img" };
  };
}

async function changeSome(root: string, number: number): Promise<void> {
  await mkdir(join(root, `made for ${number}`));
  for (let file = 0; file < 4; file++) {
    const bytes = patternBytes(30_000 + file * 5000, number * 10 + file);
    await writeFile(join(root, `made for ${number}`, `file ${file}`), bytes);
  }
  if (number === 2) return;
  await appendFile(join(root, "made for 2/file 1"), patternBytes(7000, 99));
  await rm(join(root, "made for 2/file 2"));
}

const setOfTapes: Recipe = async (folder, workshop) => {
  const made = await makeFatVolume(folder, { sizeBytes: 12 << 20, files: 180 });
  const tapes = ["s1.tap", "s2.tap", "s3.tap", "s4.tap"];
  const [first = "", ...rest] = tapes.map((tape) => join(folder, tape));
  const capacity = ["--tape-capacity", SET_CAPACITY, "--tapes", rest.join(",")];
  const line = ["backup", ...RECORD, "--codec", "none", made.path, first, ...capacity];
  const ran = await workshop.here(...line);
  must(ran.status === 0, `the set of tapes cannot be made: ${ran.stderr}`);
  const used: string[] = [];
  for (const tape of tapes) {
    if ((await stat(join(folder, tape)).catch(() => undefined)) !== undefined) used.push(tape);
  }
  const image = await knownImage(folder, "s1.tap#1", made.path, made.files);
  await rm(join(folder, "tree-volume.img"), { recursive: true, force: true });
  return { tapes: used, images: [image], volume: relative(folder, made.path) };
};

const inLoader: Recipe = async (folder, workshop) => {
  const loader = join(folder, "vtl");
  const registry = ["--config", join(folder, "loaders.json")];
  const shape = ["--slots", "6", "--drives", "2", "--tapes", "3"];
  await workshop.succeed("loader", "create", "vtl", "--path", loader, ...shape, ...registry);
  const images: KnownImage[] = [];
  let volume = "";
  for (const number of [1, 2]) {
    const at = join(folder, `files-${number}`);
    await mkdir(at);
    const made = await makeFatVolume(at, { sizeBytes: 6 << 20, bits: 12, files: 60, salt: number });
    volume = made.path;
    const barcode = `REEL000${number}`;
    await workshop.succeed("backup", ...RECORD, made.path, `${loader}:${barcode}`);
    const spec = `vtl/tapes/${barcode}.tap#1`;
    images.push(await knownImage(folder, spec, made.path, made.files));
    await rm(join(at, "tree-volume.img"), { recursive: true, force: true });
  }
  const tapes = images.map(({ spec }) => spec.replace(/#1$/, ""));
  return { tapes, images, volume: relative(folder, volume) };
};

async function filesOf(format: FormatCase, volume: string): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  for (const [path, node] of await format.view(volume)) {
    if (node.kind === "file" && node.contents !== undefined) files.set(path, node.contents);
  }
  return files;
}

/** What an image serves, proven against its source block by block. */
async function knownImage(
  folder: string,
  spec: string,
  volume: string,
  files: ReadonlyMap<string, Uint8Array>,
): Promise<KnownImage> {
  const source = await readFile(volume);
  await using image = await openTapeImage(join(folder, spec));
  const content = Buffer.alloc(image.sizeBytes);
  await image.read(0, content);
  const { blockSizeBytes, uuid } = image.header;
  const wanted = Buffer.alloc(content.length);
  for (let index = 0; index < image.map.length; index++) {
    const { start, count } = image.map.entryAt(index);
    source.copy(
      wanted,
      start * blockSizeBytes,
      start * blockSizeBytes,
      (start + count) * blockSizeBytes,
    );
  }
  must(content.equals(wanted), `${spec} in ${dirname(volume)} is not what was backed up`);
  return { spec, uuid, uuidBytes: uuidBytes(uuid), content, files };
}
