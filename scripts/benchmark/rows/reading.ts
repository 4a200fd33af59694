/** Reading through a mount, which is fresh each time: nothing is left of what was read before. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { allMounters, type MountedFiles, type Mounter, peakMemoryBytes } from "../mounts.ts";
import { scriptArguments } from "../programs.ts";
import type { Contender, Row } from "../row.ts";
import { randomNumbers } from "../statistics.ts";
import { listingTargets, memoryTargets, timesAsFastAs, timesBestPeer } from "../targets.ts";
import type { Served } from "../workshop.ts";
import type { Bench, RowMaker } from "./bench.ts";

const RANDOM_READS = 2000;
const RANDOM_READ_BYTES = 4096;
const FIRST_BYTES = 16;
const ZEROS_NAME = "an empty filesystem";

export const readingRows: readonly RowMaker[] = [
  { id: "listing", make: listingRow },
  { id: "walk", make: walkRow },
  { id: "sequential", make: sequentialRow },
  { id: "binding", make: bindingRow },
  { id: "small", make: smallRow },
  { id: "random", make: randomRow },
  { id: "first-byte", make: firstByteRow },
  { id: "memory", make: memoryRow },
];

/** Mounts, measures `work` within the mount, unmounts. */
export function inMount(
  { workshop }: Bench,
  mounter: Pick<Mounter, "name" | "mount">,
  backing: readonly string[],
  work: (mounted: MountedFiles) => Promise<number | undefined>,
): Contender {
  let mounted: MountedFiles | undefined;
  return {
    name: mounter.name,
    prepare: async () => {
      await workshop.settle(...backing);
      mounted = await mounter.mount();
    },
    run: async () => {
      if (mounted === undefined) throw new Error(`${mounter.name} is not mounted`);
      return work(mounted);
    },
    tidy: async () => {
      if (mounted !== undefined) await workshop.unmount(mounted);
      mounted = undefined;
    },
  };
}

async function inEachMount(
  bench: Bench,
  work: (mounted: MountedFiles) => Promise<number | undefined>,
): Promise<Contender[]> {
  const contenders: Contender[] = [];
  for (const mounter of allMounters(bench.stage, bench.peers)) {
    contenders.push(inMount(bench, mounter, [await mounter.backing()], work));
  }
  return contenders;
}

/** From the command to the names in the root, with their sizes and dates. */
export function mountAndList(
  { workshop }: Bench,
  mounter: Mounter,
  ...backing: readonly string[]
): Contender {
  let mounted: Served | undefined;
  return {
    name: mounter.name,
    prepare: async () => workshop.settle(...backing),
    run: async () => {
      const { root, ...served } = await mounter.mount();
      mounted = served;
      await workshop.run("ls", ["-l", `${root}/`]);
      return undefined;
    },
    tidy: async () => {
      if (mounted !== undefined) await workshop.unmount(mounted);
      mounted = undefined;
    },
  };
}

/** Names, sizes and times of all there is. */
export async function walk({ workshop }: Bench, { root }: MountedFiles): Promise<undefined> {
  await workshop.shell('find "$1/" -printf "%s %t %p\\n" >/dev/null', root);
  return undefined;
}

async function listingRow(bench: Bench): Promise<Row> {
  const { stage, peers } = bench;
  const contenders: Contender[] = [];
  for (const mounter of allMounters(stage, peers)) {
    contenders.push(mountAndList(bench, mounter, await mounter.backing()));
  }
  return {
    id: "listing",
    what: "mount, and list the root",
    unit: "seconds",
    contenders,
    targets: listingTargets(stage.options.files),
  };
}

async function walkRow(bench: Bench): Promise<Row> {
  return {
    id: "walk",
    what: "walk: every name, size and date",
    unit: "seconds",
    items: { count: (await bench.stage.files()).length, noun: "files" },
    contenders: await inEachMount(bench, async (mounted) => walk(bench, mounted)),
    targets: [timesBestPeer(1)],
  };
}

/** The first large file wakes the daemon up, the others count. */
async function sequentialRow(bench: Bench): Promise<Row> {
  const films = await bench.stage.films();
  const contenders = await inEachMount(bench, async ({ root }) =>
    timeOfReading(
      bench,
      films.map(({ path }) => join(root, path)),
    ),
  );
  return {
    id: "sequential",
    what: "sequential read",
    unit: "seconds",
    bytes: sumOf(films.slice(1)),
    contenders,
    targets: [timesAsFastAs("fuse2fs", 2)],
  };
}

async function timeOfReading({ workshop }: Bench, paths: readonly string[]): Promise<number> {
  const [first = "", ...rest] = paths;
  await workshop.run("dd", [`if=${first}`, "of=/dev/null", "bs=1M"]);
  const startedMs = performance.now();
  await workshop.shell('cat "$@" >/dev/null', ...rest);
  return (performance.now() - startedMs) / 1000;
}

/** Beside the same number of bytes from a mount that has no work to do. */
async function bindingRow(bench: Bench): Promise<Row> {
  const { workshop, stage, peers } = bench;
  const films = await stage.films();
  const bytes = sumOf(films.slice(1));
  const [reelfs] = allMounters(stage, peers);
  if (reelfs === undefined) throw new Error("nothing to mount");
  const ours = inMount(bench, reelfs, [await reelfs.backing()], async ({ root }) =>
    timeOfReading(
      bench,
      films.map(({ path }) => join(root, path)),
    ),
  );
  const zeros = inMount(
    bench,
    {
      name: ZEROS_NAME,
      mount: async () => {
        const mountpoint = await workshop.newMountpoint();
        const args = scriptArguments(
          "benchmark/programs/zero-server.ts",
          ...[mountpoint, String(bytes)],
        );
        const pid = await workshop.serve(mountpoint, process.execPath, args);
        return { root: mountpoint, mountpoint, pid };
      },
    },
    [],
    async ({ root }) => timeOfReading(bench, ["/dev/null", join(root, "zeros")]),
  );
  return {
    id: "binding",
    what: "sequential read, beside zeros through the same binding",
    unit: "seconds",
    bytes,
    contenders: [ours, zeros],
    targets: [timesAsFastAs(ZEROS_NAME, 0.6)],
  };
}

async function smallRow(bench: Bench): Promise<Row> {
  const files = await bench.stage.smallFiles();
  const list = await bench.stage.listOf("small-list", files);
  return {
    id: "small",
    what: "read small files",
    unit: "seconds",
    items: { count: files.length, noun: "files" },
    contenders: await inEachMount(bench, async ({ root }) => {
      await bench.workshop.shell('cd "$1" && xargs -0 cat <"$2" >/dev/null', root, list);
      return undefined;
    }),
    targets: [timesBestPeer(0.6)],
  };
}

type Place = readonly [path: string, offsetBytes: number, lengthBytes: number];

async function readPlaces(
  { workshop }: Bench,
  name: string,
  places: readonly Place[],
): Promise<(mounted: MountedFiles) => Promise<number>> {
  const list = workshop.at(name);
  await writeFile(list, JSON.stringify(places));
  return async ({ root }) =>
    Number(await workshop.script("benchmark/programs/read-places.ts", root, list));
}

async function randomRow(bench: Bench): Promise<Row> {
  const films = await bench.stage.films();
  const random = randomNumbers(bench.stage.options.seed);
  const places = Array.from({ length: RANDOM_READS }, (): Place => {
    const film = films[random(films.length)] ?? { path: "", sizeBytes: RANDOM_READ_BYTES };
    const block = random(Math.floor(film.sizeBytes / RANDOM_READ_BYTES));
    return [film.path, block * RANDOM_READ_BYTES, RANDOM_READ_BYTES];
  });
  return {
    id: "random",
    what: "read 4 KiB at a random place of a large file",
    unit: "seconds",
    contenders: await inEachMount(bench, await readPlaces(bench, "random-places", places)),
    targets: [],
  };
}

async function firstByteRow(bench: Bench): Promise<Row> {
  const files = (await bench.stage.scattered()).filter(({ sizeBytes }) => sizeBytes > 0);
  const places = files.slice(0, FIRST_BYTES).map(({ path }): Place => [path, 0, 1]);
  return {
    id: "first-byte",
    what: `first byte of a file in a cold mount, mean of ${places.length} files`,
    unit: "seconds",
    contenders: await inEachMount(bench, await readPlaces(bench, "first-bytes", places)),
    targets: [],
  };
}

/** The most that the daemon has had after a walk and some reading. */
async function memoryRow(bench: Bench): Promise<Row> {
  const [film] = await bench.stage.films();
  const contenders = await inEachMount(bench, async (mounted) => {
    await walk(bench, mounted);
    await bench.workshop.shell('cat "$1" >/dev/null', join(mounted.root, film?.path ?? ""));
    return peakMemoryBytes(mounted.pid);
  });
  return {
    id: "memory",
    what: "most memory of the daemon, after a walk and a large file",
    unit: "bytes",
    contenders,
    targets: memoryTargets(bench.stage.options.files),
  };
}

function sumOf(files: readonly { readonly sizeBytes: number }[]): number {
  return files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}
