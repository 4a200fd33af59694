/**
 * Changes in a mount: the overlay of ReelFS, and fuse-overlayfs over the same image mounted for
 * reading. The overlay of the kernel is no peer: it takes no requests to user space for what is new.
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { type MountedFiles, mountReelfs } from "../mounts.ts";
import type { Contender, Row } from "../row.ts";
import type { Served } from "../workshop.ts";
import type { Bench, RowMaker } from "./bench.ts";

const CHANGE_BYTES = 1024 * 1024;
const CHANGE_BLOCK_BYTES = 4096;

export const overlayRows: readonly RowMaker[] = [
  { id: "overlay-large", make: largeRow },
  { id: "overlay-small", make: smallRow },
  { id: "overlay-change", make: changeRow },
];

type Work = (root: string) => Promise<unknown>;

async function overlays(
  bench: Bench,
  sources: readonly string[],
  work: Work,
): Promise<Contender[]> {
  const { stage, workshop, peers } = bench;
  const tape = await stage.tape();
  const ours = changing(bench, "reelfs mount", [tape, ...sources], work, async () => [
    await mountReelfs(workshop, tape),
  ]);
  if (!peers.has("fuse-overlayfs")) return [ours];
  const theirs = changing(bench, "fuse-overlayfs", [tape, ...sources], work, async () => {
    const below = await mountReelfs(workshop, tape, "--read-only");
    return [await mountOver(bench, below), below];
  });
  return [ours, theirs];
}

async function mountOver({ workshop }: Bench, below: MountedFiles): Promise<MountedFiles> {
  const [upper, work] = [workshop.at("upper"), workshop.at("work")];
  await workshop.remove(upper, work);
  await mkdir(upper);
  await mkdir(work);
  const mountpoint = await workshop.newMountpoint();
  const layers = `lowerdir=${below.root},upperdir=${upper},workdir=${work}`;
  const pid = await workshop.serve(mountpoint, "fuse-overlayfs", ["-f", "-o", layers, mountpoint]);
  return { root: mountpoint, mountpoint, pid };
}

/** `mount` gives what it has mounted, the uppermost first: that is where the work is done. */
function changing(
  { workshop }: Bench,
  name: string,
  sources: readonly string[],
  work: Work,
  mount: () => Promise<readonly MountedFiles[]>,
): Contender {
  let mounted: readonly (Served & { readonly root: string })[] = [];
  return {
    name,
    prepare: async () => {
      await workshop.settle(...sources);
      mounted = await mount();
    },
    run: async () => {
      await work(mounted[0]?.root ?? "");
      return undefined;
    },
    tidy: async () => {
      for (const each of mounted) await workshop.unmount(each);
      mounted = [];
    },
  };
}

async function largeRow(bench: Bench): Promise<Row> {
  const { path, sizeBytes } = await bench.stage.payload();
  return {
    id: "overlay-large",
    what: "write a new large file in a mount",
    unit: "seconds",
    bytes: sizeBytes,
    contenders: await overlays(bench, [path], async (root) =>
      bench.workshop.run("dd", [`if=${path}`, `of=${join(root, "new.bin")}`, "bs=1M"]),
    ),
    targets: [],
  };
}

async function smallRow(bench: Bench): Promise<Row> {
  const { folder, files } = await bench.stage.smallSet();
  return {
    id: "overlay-small",
    what: "copy new files of 4 KiB into a mount",
    unit: "seconds",
    items: { count: files, noun: "files" },
    contenders: await overlays(bench, [folder], async (root) =>
      bench.workshop.run("cp", ["-r", folder, join(root, "new")]),
    ),
    targets: [],
  };
}

async function changeRow(bench: Bench): Promise<Row> {
  const { path } = await bench.stage.payload();
  const film = (await bench.stage.films())[1];
  const seek = Math.floor((film?.sizeBytes ?? 0) / 2 / CHANGE_BLOCK_BYTES);
  const count = CHANGE_BYTES / CHANGE_BLOCK_BYTES;
  const how = [`bs=${CHANGE_BLOCK_BYTES}`, `seek=${seek}`, `count=${count}`, "conv=notrunc"];
  return {
    id: "overlay-change",
    what: "change 1 MiB in the middle of a large file",
    unit: "seconds",
    contenders: await overlays(bench, [path], async (root) =>
      bench.workshop.run("dd", [`if=${path}`, `of=${join(root, film?.path ?? "")}`, ...how]),
    ),
    targets: [],
  };
}
