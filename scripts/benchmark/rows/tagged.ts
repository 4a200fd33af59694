/** Scattered files come back: in one pass, by `cp` from the mount, and on the model of a real drive. */
import { mkdir, writeFile } from "node:fs/promises";
import { type MountedFiles, mountReelfs } from "../mounts.ts";
import { reelfsArguments } from "../programs.ts";
import type { Contender, Row } from "../row.ts";
import { byPath } from "../stage.ts";
import { timesAsFastAs, timesBestPeer } from "../targets.ts";
import type { Bench, RowMaker } from "./bench.ts";

const MODEL = "LTO-9";
const BY_FILE = "file by file, as tagged";

export const taggedRows: readonly RowMaker[] = [
  { id: "tagged", make: taggedRow },
  { id: "tagged-model", make: modelRow },
];

/** Both write to a new folder, and what they wrote is synced within the time. */
function restoring(
  { workshop }: Bench,
  name: string,
  tape: string,
  mount: () => Promise<MountedFiles>,
  run: (root: string, out: string) => Promise<unknown>,
): Contender {
  const out = workshop.at("out");
  let mounted: MountedFiles | undefined;
  return {
    name,
    prepare: async () => {
      await workshop.settle(tape);
      mounted = await mount();
      await mkdir(out);
    },
    run: async () => {
      await run(mounted?.root ?? "", out);
      await workshop.run("sync", ["-f", out]);
      return undefined;
    },
    tidy: async () => {
      if (mounted !== undefined) await workshop.unmount(mounted);
      mounted = undefined;
      await workshop.remove(out);
    },
  };
}

async function taggedRow(bench: Bench): Promise<Row> {
  const { stage, workshop } = bench;
  const tape = await stage.tape();
  const files = byPath(await stage.scattered());
  const list = await stage.listOf("tagged-list", files);
  const ours = restoring(
    bench,
    "reelfs restore --tagged",
    tape,
    async () => {
      const mounted = await mountReelfs(workshop, tape, "--read-only");
      const tag = 'cd "$1" && xargs -0 "$2" "$3" tag --quiet <"$4"';
      await workshop.shell(tag, mounted.root, process.execPath, ...reelfsArguments(), list);
      return mounted;
    },
    async (root, out) => workshop.reelfs("restore", "--quiet", "--tagged", root, "--to", out),
  );
  const copied = restoring(
    bench,
    "cp from the mount",
    tape,
    async () => mountReelfs(workshop, tape, "--read-only"),
    async (root, out) =>
      workshop.shell('cd "$1" && xargs -0 cp --parents -pt "$2" <"$3"', root, out, list),
  );
  return {
    id: "tagged",
    what: "restore scattered files",
    unit: "seconds",
    items: { count: files.length, noun: "files" },
    contenders: [ours, copied],
    targets: [timesBestPeer(1)],
  };
}

interface ModelSeconds {
  readonly onePass: number;
  readonly asTagged: number;
  readonly asWalked: number;
}

/** Nothing is measured here but the order: the time is what the model of the drive says. */
async function modelRow({ stage, workshop }: Bench): Promise<Row> {
  const tape = await stage.tape();
  const files = await stage.scattered();
  const list = workshop.at("model-list");
  await writeFile(list, JSON.stringify(files.map(({ path }) => `/${path}`)));
  const said = await workshop.script("benchmark/programs/tape-model.ts", tape, list, MODEL);
  const seconds = JSON.parse(said) as ModelSeconds;
  const contender = (name: string, value: number): Contender => ({ name, run: async () => value });
  return {
    id: "tagged-model",
    what: `restore scattered files from ${MODEL}, by the time model`,
    unit: "seconds",
    items: { count: files.length, noun: "files" },
    contenders: [
      contender("reelfs restore, in tape order", seconds.onePass),
      contender(BY_FILE, seconds.asTagged),
      contender("file by file, as the volume lists them", seconds.asWalked),
    ],
    targets: [timesAsFastAs(BY_FILE, 5)],
  };
}
