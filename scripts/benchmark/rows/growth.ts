/** How time and memory grow with the number of files, and with the size of a nearly empty volume. */
import { fuse2fsMounter, type Mounter, peakMemoryBytes, reelfsMounter } from "../mounts.ts";
import type { Contender, Row } from "../row.ts";
import { makeExt4, PARTCLONE_AT_ONCE } from "../stage.ts";
import { listingTargets, memoryTargets, timesAsFastAs, timesBestPeer } from "../targets.ts";
import type { Bench, RowMaker } from "./bench.ts";
import { inMount, mountAndList, walk } from "./reading.ts";

const FILE_STEPS = [10_000, 100_000, 1_000_000] as const;
const FILE_BYTES = 200;
/** A block for each file, its inode, and the directories. */
const ROOM_PER_FILE_BYTES = 6 * 1024;
const GB = 1e9;
const SIZE_STEPS = [
  { text: "1 GB", sizeBytes: GB },
  { text: "100 GB", sizeBytes: 100 * GB },
  { text: "10 TB", sizeBytes: 10_000 * GB },
] as const;
const FILES_ON_SPARSE = 1000;
/**
 * As `mke2fs -T largefile4`: else 10 TB have 150 GB of inodes, which count as in use. On a small volume
 * fewer, so that there are inodes enough.
 */
const BYTES_PER_INODE_MAX = 4 * 1024 * 1024;

interface Step {
  readonly id: string;
  /** "100,000 files" */
  readonly text: string;
  readonly files: number;
  readonly sizeBytes: number;
  readonly inodes?: number;
  readonly bytesPerInode?: number;
}

/** The rows of all steps up to so many files. */
export function growthRows(filesMax: number): RowMaker[] {
  const byFiles = FILE_STEPS.filter((files) => files <= filesMax).map((files) => ({
    id: `files-${files}`,
    text: `${files.toLocaleString("en")} files`,
    files,
    sizeBytes: files * ROOM_PER_FILE_BYTES + 128 * 1024 * 1024,
    inodes: Math.ceil(files * 1.2) + 1000,
  }));
  const bySize = SIZE_STEPS.map(({ text, sizeBytes }) => ({
    id: `size-${text.replace(" ", "").toLowerCase()}`,
    text: `a volume of ${text}`,
    files: FILES_ON_SPARSE,
    sizeBytes,
    bytesPerInode: Math.min(BYTES_PER_INODE_MAX, Math.floor(sizeBytes / FILES_ON_SPARSE / 2)),
  }));
  return [...byFiles, ...bySize].flatMap((step) => rowsOf(step));
}

/** The rows of a step share its volume, which is made by the first of them. */
function rowsOf(step: Step): RowMaker[] {
  let made: Promise<StepVolume> | undefined;
  const volumeOf = async (bench: Bench): Promise<StepVolume> =>
    (made ??= StepVolume.make(bench, step));
  const maker = (id: string, make: (volume: StepVolume) => Row): RowMaker => ({
    id: `${step.id}-${id}`,
    make: async (bench) => make(await volumeOf(bench)),
  });
  return [
    maker("backup", (volume) => volume.backupRow()),
    maker("listing", (volume) => volume.listingRow()),
    maker("walk", (volume) => volume.walkRow()),
    maker("memory", (volume) => volume.memoryRow()),
  ];
}

class StepVolume {
  readonly #bench: Bench;
  readonly #step: Step;
  readonly #volume: string;
  readonly #tape: string;
  /** Memory of daemons after the walks that were measured, by name. */
  readonly #peaks = new Map<string, number[]>();

  private constructor(bench: Bench, step: Step) {
    this.#bench = bench;
    this.#step = step;
    this.#volume = bench.workshop.at("growth.img");
    this.#tape = bench.workshop.at("growth.tap");
  }

  /** Takes the place of the step before: a volume of a million files is not small. */
  static async make(bench: Bench, step: Step): Promise<StepVolume> {
    const { workshop, stage } = bench;
    const made = new StepVolume(bench, step);
    const folder = workshop.at("growth-files");
    await workshop.remove(folder, made.#volume, made.#tape);
    await workshop.script(
      "sample-files.ts",
      ...[folder, "--files", String(step.files), "--bytes", String(step.files * FILE_BYTES)],
      ...["--large", "0", "--large-share", "0", "--seed", String(stage.options.seed)],
    );
    const { inodes, bytesPerInode } = step;
    await makeExt4(workshop, made.#volume, step.sizeBytes, { folder, inodes, bytesPerInode });
    await workshop.remove(folder);
    await workshop.reelfs("backup", "--quiet", made.#volume, made.#tape);
    return made;
  }

  #mounters(): Mounter[] {
    const { workshop, peers } = this.#bench;
    return [
      reelfsMounter(workshop, async () => this.#tape),
      ...(peers.has("fuse2fs") ? [fuse2fsMounter(workshop, async () => this.#volume)] : []),
    ];
  }

  #row(id: string, what: string, rest: Pick<Row, "unit" | "contenders" | "targets">): Row {
    return { id: `${this.#step.id}-${id}`, what: `${this.#step.text}: ${what}`, ...rest };
  }

  backupRow(): Row {
    const { workshop, peers } = this.#bench;
    const contender = (name: string, path: string, run: () => Promise<unknown>): Contender => ({
      name,
      run: async () => {
        await run();
        await workshop.run("sync", [path]);
        return undefined;
      },
      tidy: async () => workshop.remove(path),
    });
    const [tape, image] = [workshop.at("new.tap"), workshop.at("new.partclone")];
    const ours = contender("reelfs backup", tape, async () =>
      workshop.reelfs("backup", "--quiet", this.#volume, tape),
    );
    const log = workshop.at("partclone.log");
    const args = ["-c", ...PARTCLONE_AT_ONCE, "-L", log, "-s", this.#volume, "-O", image];
    const theirs = contender("partclone", image, async () => workshop.run("partclone.ext4", args));
    return this.#row("backup", "image backup", {
      unit: "seconds",
      contenders: peers.has("partclone") ? [ours, theirs] : [ours],
      targets: [timesAsFastAs("partclone", 2)],
    });
  }

  listingRow(): Row {
    return this.#row("listing", "mount, and list the root", {
      unit: "seconds",
      contenders: this.#mounters().map((each) => mountAndList(this.#bench, each)),
      targets: listingTargets(this.#step.files),
    });
  }

  walkRow(): Row {
    const contenders = this.#mounters().map((each) =>
      inMount(this.#bench, each, [], async (mounted) => {
        const startedMs = performance.now();
        await walk(this.#bench, mounted);
        const seconds = (performance.now() - startedMs) / 1000;
        const peaks = this.#peaks.get(each.name) ?? [];
        peaks.push(await peakMemoryBytes(mounted.pid));
        this.#peaks.set(each.name, peaks);
        return seconds;
      }),
    );
    return this.#row("walk", "walk", {
      unit: "seconds",
      contenders,
      targets: [timesBestPeer(1)],
    });
  }

  /** Of the daemons of the walks just measured, or of new ones. */
  memoryRow(): Row {
    const contenders = this.#mounters().map((each): Contender => {
      const anew = inMount(this.#bench, each, [], async (mounted) => {
        await walk(this.#bench, mounted);
        return peakMemoryBytes(mounted.pid);
      });
      return {
        name: each.name,
        run: async () => {
          const known = this.#peaks.get(each.name)?.shift();
          if (known !== undefined) return known;
          try {
            await anew.prepare?.();
            return await anew.run();
          } finally {
            await anew.tidy?.();
          }
        },
      };
    });
    return this.#row("memory", "most memory of the daemon, after a walk", {
      unit: "bytes",
      contenders,
      targets: memoryTargets(this.#step.files),
    });
  }
}
