/**
 * The data of a run: sample files, a volume that holds them, and what each program makes of either.
 * Made when a row first asks for it, so that a run of few rows prepares little.
 */
import { mkdir, readdir, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Options } from "./options.ts";
import type { Environment } from "./programs.ts";
import { pickSome, randomNumbers } from "./statistics.ts";
import type { Workshop } from "./workshop.ts";

/** Folder of the large files, and how many there are. */
export const FILMS = "Films";
const FILM_COUNT = 4;
const SCATTERED_MAX = 1000;
/** Of the small files; what Python serves takes its time. */
const SMALL_READ_MAX = 4000;
const PAYLOAD_MAX_BYTES = 256 * 1024 * 1024;
const SMALL_SET_FILES = 2000;
const SMALL_SET_BYTES = 4096;
const CHANGED_SHARE = 0.01;
const MIB = 1024 * 1024;
/** Its progress, each 2 s, otherwise makes every run last a multiple of them. */
export const PARTCLONE_AT_ONCE = ["-f", "0"] as const;
const REPOSITORY_PASSWORD = "benchmark";
const VOLUME_UUID = "5eed5eed-5eed-4eed-8eed-5eed5eed5eed";

export interface SampleFile {
  /** Relative to the root of the volume. */
  readonly path: string;
  readonly sizeBytes: number;
}

/** Remembers what an asynchronous function gave, so that it runs once. */
function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => (made ??= make());
}

export class Stage {
  readonly workshop: Workshop;
  readonly options: Options;
  readonly #say: (line: string) => void;

  constructor(workshop: Workshop, options: Options, say: (line: string) => void) {
    this.workshop = workshop;
    this.options = options;
    this.#say = say;
  }

  /** Folder with the sample files. */
  readonly folder = once(async () => {
    const { files, sizeBytes, seed } = this.options;
    this.#say(`making ${files} files, seed ${seed}`);
    const folder = this.workshop.at("files");
    const amount = ["--files", String(files), "--bytes", String(sizeBytes)];
    await this.workshop.script(
      "sample-files.ts",
      folder,
      ...[...amount, "--large", String(FILM_COUNT), "--seed", String(seed)],
    );
    return folder;
  });

  /** All files, in the order of their paths. */
  readonly files = once(async (): Promise<readonly SampleFile[]> => listFiles(await this.folder()));

  readonly films = once(async () => (await this.files()).filter(({ path }) => isFilm(path)));

  /** As many small files as every program is asked to read, from all over the volume. */
  readonly smallFiles = once(async () => {
    const small = (await this.files()).filter(({ path }) => !isFilm(path));
    return byPath(pickSome(small, SMALL_READ_MAX, this.options.seed));
  });

  /** Up to a thousand files from all over the volume, in the order that a person names them: none. */
  readonly scattered = once(async () => {
    const small = (await this.files()).filter(({ path }) => !isFilm(path));
    return pickSome(small, Math.min(SCATTERED_MAX, small.length >> 1), this.options.seed + 1);
  });

  /** The volume that is backed up and mounted. */
  readonly volume = once(async () => {
    if (this.options.volume === "ext4") return this.ext4();
    const folder = await this.folder();
    const volume = this.workshop.at("volume.img");
    this.#say("making a FAT32 volume of them");
    const kib = String((await this.volumeBytes()) / 1024);
    const shape = ["--invariant", "-F", "32", "-g", "64/32", "-n", "BENCH"];
    await this.workshop.run("mkfs.fat", [...shape, "-C", volume, kib]);
    await this.workshop.shell('mcopy -s -m -Q -i "$1" "$2"/* ::/', volume, folder);
    return volume;
  });

  readonly ext4 = once(async () => {
    const folder = await this.folder();
    this.#say("making an ext4 volume of them");
    const volume = this.workshop.at("ext4.img");
    await makeExt4(this.workshop, volume, await this.volumeBytes(), {
      folder,
      inodes: Math.ceil(this.options.files * 1.2) + 1000,
    });
    return volume;
  });

  /** Room for the files, their names, and as much again: a disk that is half full. */
  async volumeBytes(): Promise<number> {
    const { sizeBytes, files } = this.options;
    return Math.ceil((sizeBytes * 2 + files * 8192) / (64 * MIB)) * 64 * MIB;
  }

  /** Bytes of all files. */
  readonly usedBytes = once(async () =>
    (await this.files()).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
  );

  readonly tape = once(async () => {
    const volume = await this.volume();
    const tape = this.workshop.at("volume.tap");
    await this.workshop.reelfs("backup", "--quiet", volume, tape);
    return tape;
  });

  readonly partclone = once(async () => {
    const image = this.workshop.at("volume.partclone");
    await this.partcloneTo(image);
    return image;
  });

  async partcloneTo(image: string): Promise<void> {
    const { workshop } = this;
    const log = workshop.at("partclone.log");
    const volume = await this.volume();
    const program = `partclone.${this.options.volume}`;
    await workshop.run(program, ["-c", ...PARTCLONE_AT_ONCE, "-L", log, "-s", volume, "-O", image]);
  }

  /** What restic needs to know, for its own process only. */
  get resticEnvironment(): Environment {
    return {
      RESTIC_REPOSITORY: this.workshop.at("restic"),
      RESTIC_PASSWORD: REPOSITORY_PASSWORD,
      RESTIC_CACHE_DIR: this.workshop.at("restic-cache"),
    };
  }

  get borgEnvironment(): Environment {
    return {
      BORG_REPO: this.workshop.at("borg"),
      BORG_PASSPHRASE: REPOSITORY_PASSWORD,
      BORG_BASE_DIR: this.workshop.at("borg-home"),
    };
  }

  /** Folder of the repository, with one snapshot of the files. */
  readonly restic = once(async () => {
    const cwd = await this.folder();
    const env = this.resticEnvironment;
    this.#say("making a restic repository of them");
    await this.workshop.run("restic", ["init", "--quiet"], { env });
    await this.workshop.run("restic", ["backup", "--quiet", "."], { env, cwd });
    return this.workshop.at("restic");
  });

  /** Folder of the repository, with one archive of the files, "files". */
  readonly borg = once(async () => {
    const cwd = await this.folder();
    const env = this.borgEnvironment;
    this.#say("making a borg repository of them");
    await mkdir(this.workshop.at("borg-home"));
    await this.workshop.run("borg", ["init", "--encryption", "repokey-blake2"], { env });
    await this.workshop.run("borg", ["create", "::files", "."], { env, cwd });
    return this.workshop.at("borg");
  });

  readonly tar = once(async () => {
    const tar = this.workshop.at("files.tar");
    await this.workshop.run("tar", ["-C", await this.folder(), "-cf", tar, "."]);
    return tar;
  });

  /** A file of mixed bytes, to be written somewhere. */
  readonly payload = once(async () => {
    const payload = this.workshop.at("payload");
    const films = (await this.films()).map(({ path }) => path);
    const bytes = Math.min(PAYLOAD_MAX_BYTES, Math.floor((await this.usedBytes()) / 4 / MIB) * MIB);
    const folder = await this.folder();
    const paths = films.map((path) => join(folder, path));
    await this.workshop.shell('out=$1; shift; cat "$@" >"$out"', payload, ...paths);
    await truncate(payload, bytes);
    return { path: payload, sizeBytes: bytes };
  });

  /** A folder of small files that are not on the volume. */
  readonly smallSet = once(async () => {
    const folder = this.workshop.at("small-set");
    await mkdir(folder);
    const random = randomNumbers(this.options.seed + 2);
    const bytes = Buffer.from(Uint8Array.from({ length: SMALL_SET_BYTES }, () => random(256)));
    for (let i = 0; i < SMALL_SET_FILES; i++) await writeFile(join(folder, `new ${i}.bin`), bytes);
    return { folder, files: SMALL_SET_FILES, sizeBytes: SMALL_SET_FILES * SMALL_SET_BYTES };
  });

  /** The volume again, after a hundredth of its small files were written anew. */
  readonly changedVolume = once(async () => {
    const changed = this.workshop.at("changed.img");
    const small = (await this.files()).filter(({ path }) => !isFilm(path));
    const count = Math.ceil(small.length * CHANGED_SHARE);
    const chosen = pickSome(small, count, this.options.seed + 3);
    await this.workshop.run("cp", ["--sparse=always", await this.volume(), changed]);
    const { path } = await this.payload();
    const piece = this.workshop.at("piece");
    await this.workshop.shell('head -c 20000 "$1" >"$2"', path, piece);
    await this.#replace(changed, piece, chosen);
    return changed;
  });

  async #replace(volume: string, by: string, files: readonly SampleFile[]): Promise<void> {
    if (this.options.volume === "fat32") {
      for (const { path } of files) {
        await this.workshop.run("mcopy", ["-o", "-i", volume, by, `::/${path}`]);
      }
      return;
    }
    const commands = this.workshop.at("debugfs-commands");
    const lines = files.flatMap(({ path }) => [`rm "/${path}"`, `write "${by}" "/${path}"`]);
    await writeFile(commands, `${lines.join("\n")}\n`);
    await this.workshop.run("debugfs", ["-w", "-f", commands, volume]);
  }

  /** Paths, each ended by NUL, for xargs -0. */
  async listOf(name: string, files: readonly SampleFile[]): Promise<string> {
    const path = this.workshop.at(name);
    await writeFile(path, files.map((file) => `${file.path}\0`).join(""));
    return path;
  }
}

export interface Ext4Contents {
  readonly folder?: string | undefined;
  readonly inodes?: number | undefined;
  /** Instead: an inode for so many bytes of the volume. */
  readonly bytesPerInode?: number | undefined;
}

/** The same volume for the same contents: identifiers are fixed, and nothing is left to zero. */
export async function makeExt4(
  workshop: Workshop,
  volume: string,
  sizeBytes: number,
  { folder, inodes, bytesPerInode }: Ext4Contents,
): Promise<void> {
  const extended = `hash_seed=${VOLUME_UUID},lazy_itable_init=1,lazy_journal_init=1`;
  await workshop.run("mke2fs", [
    ...["-q", "-F", "-t", "ext4", "-L", "BENCH", "-U", VOLUME_UUID, "-E", extended],
    ...(inodes === undefined ? [] : ["-N", String(inodes)]),
    ...(bytesPerInode === undefined ? [] : ["-i", String(bytesPerInode)]),
    ...(folder === undefined ? [] : ["-d", folder]),
    ...[volume, `${Math.floor(sizeBytes / 1024)}k`],
  ]);
}

function isFilm(path: string): boolean {
  return path.startsWith(`${FILMS}/`);
}

export function byPath(files: readonly SampleFile[]): SampleFile[] {
  return [...files].sort((a, b) => (a.path < b.path ? -1 : 1));
}

async function listFiles(root: string): Promise<SampleFile[]> {
  const found: SampleFile[] = [];
  const waiting = [""];
  for (let folder = waiting.pop(); folder !== undefined; folder = waiting.pop()) {
    for (const entry of await readdir(join(root, folder), { withFileTypes: true })) {
      const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory()) waiting.push(path);
      else found.push({ path, sizeBytes: (await stat(join(root, path))).size });
    }
  }
  return byPath(found);
}
