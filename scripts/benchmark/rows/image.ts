/** Whole images: backup, restore, and the backup of what has changed. */
import { truncate, writeFile } from "node:fs/promises";
import type { Contender, Row } from "../row.ts";
import { PARTCLONE_AT_ONCE, type Stage } from "../stage.ts";
import { timesAsFastAs } from "../targets.ts";
import type { Bench, RowMaker } from "./bench.ts";

const MIB = 1024 * 1024;

export const imageRows: readonly RowMaker[] = [
  { id: "backup", make: backupRow },
  { id: "restore", make: restoreRow },
  { id: "incremental", make: incrementalRow },
];

async function backupRow({ stage, workshop, peers }: Bench): Promise<Row> {
  const volume = await stage.volume();
  const [tape, image, copy] = ["new.tap", "new.partclone", "copy"].map((name) => workshop.at(name));
  const contender = (
    name: string,
    path = "",
    run: (path: string) => Promise<unknown>,
  ): Contender => ({
    name,
    prepare: async () => workshop.settle(volume),
    run: async () => {
      await run(path);
      await workshop.run("sync", [path]);
      return undefined;
    },
    tidy: async () => workshop.remove(path, `${path}.idx`),
  });
  const ours = (name: string, ...options: readonly string[]): Contender =>
    contender(name, tape, async (path) =>
      workshop.reelfs("backup", "--quiet", ...options, volume, path),
    );
  return {
    id: "backup",
    what: "image backup",
    unit: "seconds",
    bytes: await stage.usedBytes(),
    contenders: [
      ours("reelfs backup"),
      // partclone does not compress: this compares like with like.
      ours("reelfs backup, not compressed", "--codec", "none"),
      ...(peers.has("partclone")
        ? [contender("partclone", image, async (path) => stage.partcloneTo(path))]
        : []),
      contender("dd, as many bytes", copy, async (path) => copyUsed(stage, path)),
    ],
    targets: [timesAsFastAs("partclone", 2)],
  };
}

/** As many bytes as the files have: what no program that copies them can do without. */
async function copyUsed(stage: Stage, path: string): Promise<void> {
  const count = Math.ceil((await stage.usedBytes()) / MIB);
  const from = await stage.volume();
  await stage.workshop.run("dd", [`if=${from}`, `of=${path}`, "bs=1M", `count=${count}`]);
}

async function restoreRow({ stage, workshop, peers }: Bench): Promise<Row> {
  const target = workshop.at("restored.img");
  const contender = (
    name: string,
    from: string,
    run: () => Promise<unknown>,
    before?: () => Promise<void>,
  ): Contender => ({
    name,
    prepare: async () => {
      await before?.();
      await workshop.settle(from);
    },
    run: async () => {
      await run();
      await workshop.run("sync", [target]);
      return undefined;
    },
    tidy: async () => workshop.remove(target),
  });
  const tape = await stage.tape();
  const ours = contender("reelfs restore-image", tape, async () =>
    workshop.reelfs("restore-image", "--quiet", tape, target),
  );
  const contenders = [ours];
  if (peers.has("partclone")) {
    const image = await stage.partclone();
    const log = workshop.at("partclone.log");
    const args = [...PARTCLONE_AT_ONCE, "-L", log, "-s", image, "-O", target];
    const restore = async (): Promise<string> => workshop.run("partclone.restore", args);
    const volumeBytes = await stage.volumeBytes();
    const before = async (): Promise<void> => {
      await writeFile(target, "");
      await truncate(target, volumeBytes);
    };
    contenders.push(contender("partclone", image, restore, before));
  }
  const volume = await stage.volume();
  contenders.push(contender("dd, as many bytes", volume, async () => copyUsed(stage, target)));
  return {
    id: "restore",
    what: "image restore",
    unit: "seconds",
    bytes: await stage.usedBytes(),
    contenders,
    targets: [timesAsFastAs("partclone", 2)],
  };
}

/** After a hundredth of the small files were written anew. */
async function incrementalRow({ stage, workshop }: Bench): Promise<Row> {
  const changed = await stage.changedVolume();
  const parent = await stage.tape();
  const next = workshop.at("next.tap");
  const contender = (name: string, ...options: readonly string[]): Contender => ({
    name,
    prepare: async () => workshop.settle(changed, parent),
    run: async () => {
      await workshop.reelfs("backup", "--quiet", ...options, changed, next);
      await workshop.run("sync", [next]);
      return undefined;
    },
    tidy: async () => workshop.remove(next, `${next}.idx`),
  });
  return {
    id: "incremental",
    what: "backup after 1 % of the files have changed",
    unit: "seconds",
    contenders: [
      contender("reelfs backup --parent", "--parent", parent),
      contender("reelfs backup, full"),
    ],
    targets: [],
  };
}
