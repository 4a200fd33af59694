/** Several at once on one thing: restores from one tape, loaders, and mounts by the hundred. */
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { checkFiles } from "./check-image.ts";
import { must, type Kind, type Step } from "./kind.ts";
import { clearAway, expectNoRecords } from "./mount-operations.ts";
import { ancestorsOf } from "./samples.ts";
import { newFolder } from "./small-disk.ts";

const SOURCES = ["FAT32", "ext4", "NTFS", "set of tapes", "tapes of NTFS", "chain of ext4"];

const restores: Kind = {
  name: "restores",
  does: "two restores from one tape at once, and a verify beside them, byte by byte",
  weight: 2,
  run: async (step) => {
    const { workshop, folder, samples, random } = step;
    const sample = await samples.get(random.pick(SOURCES));
    const image = sample.images.at(-1);
    must(image !== undefined, "a sample without an image");
    const spec = join(sample.folder, image.spec);
    const places = ancestorsOf(sample);
    const outs = [join(folder, "one"), join(folder, "two")];
    const target = join(folder, "target.img");
    step.say(sample.name);
    const [verified, whole, ...restored] = await Promise.all([
      workshop.apart(["verify", spec, ...places]),
      workshop.apart(["restore-image", spec, target, ...places]),
      ...outs.map((out) => workshop.apart(["restore", "--json", spec, "--to", out, ...places])),
    ]);
    must(verified.status === 0, `verify beside restores: ${verified.stderr}`);
    must(whole.status === 0, `restore-image beside others: ${whole.stderr}`);
    must((await readFile(target)).equals(image.content), "the restored image is not the volume");
    for (const [index, ran] of restored.entries()) {
      must(ran.status === 0, `restore ${index + 1}: ${ran.stderr}`);
      await checkFiles(outs[index] ?? "", image.files, ran, `restore ${index + 1}`);
    }
  },
};

const LOADERS = 10;

const loaders: Kind = {
  name: "loaders",
  does: "ten loaders at once, each backed up to and restored from, with one registry",
  weight: 1,
  run: async (step) => {
    const { workshop, folder, samples } = step;
    const sample = await samples.get("FAT32");
    const image = sample.images.at(-1);
    must(image !== undefined, "a sample without an image");
    const volume = join(sample.folder, sample.volume);
    const registry = ["--config", join(folder, "loaders.json")];
    await Promise.all(
      Array.from({ length: LOADERS }, async (_, number) => {
        const name = `vtl${number}`;
        const loader = join(folder, name);
        const shape = ["--slots", "4", "--tapes", "2", "--path", loader];
        const lines = [
          ["loader", "create", name, ...shape, ...registry],
          ["loader", "load", `${loader}/`, "1"],
          ["loader", "unload", `${loader}/`, "3"],
          ["backup", volume, `${loader}:REEL0001`],
          ["verify", join(loader, "tapes/REEL0001.tap")],
        ];
        for (const line of lines) {
          const ran = await workshop.apart(line);
          must(ran.status === 0, `reelfs ${line.join(" ")}: ${ran.stderr}`);
        }
        const out = join(folder, `out${number}`);
        const line = ["restore", "--json", join(loader, "tapes/REEL0001.tap"), "--to", out];
        const ran = await workshop.apart(line);
        await checkFiles(out, image.files, ran, `restore from ${name}`);
      }),
    );
    const listed = await workshop.here("loader", "list", "--json", ...registry);
    for (let number = 0; number < LOADERS; number++) {
      must(listed.stdout.includes(`"vtl${number}"`), `vtl${number} is not in the registry`);
    }
  },
};

/** Names in the temporary folder that are ours. */
async function temporaryFiles(folder: string): Promise<string[]> {
  return (await readdir(folder)).sort();
}

/** Processes of ours: those that run the compiled command. */
async function daemons(step: Step): Promise<number> {
  let count = 0;
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const line = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (line.includes(step.workshop.folder) && line.includes("--foreground")) count++;
  }
  return count;
}

interface Usage {
  readonly mebibytes: number;
  readonly descriptors: number;
}

const wordsOf = ({ mebibytes, descriptors }: Usage): string =>
  `${mebibytes.toFixed(0)} MiB, ${descriptors} descriptors`;

/** Of a process: its memory now, and what it has open. */
async function usageOf(pid: number): Promise<Usage> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  const mebibytes = Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024;
  return { mebibytes, descriptors: (await readdir(`/proc/${pid}/fd`)).length };
}

class MostUsed implements Usage {
  mebibytes = 0;
  descriptors = 0;

  take({ mebibytes, descriptors }: Usage): void {
    this.mebibytes = Math.max(this.mebibytes, mebibytes);
    this.descriptors = Math.max(this.descriptors, descriptors);
  }
}

const MOUNTS_DEFAULT = 10;
/** How often what stays behind is looked for, in rounds. */
const LOOK_ROUNDS = 50;

/** Nothing of mounts that have ended is left: no record, temporary file or process. */
async function expectNothingLeft(step: Step, temporary: string): Promise<void> {
  await expectNoRecords(step);
  const left = await temporaryFiles(temporary);
  must(left.length === 0, `temporary files are left: ${left.join()}`);
  const alive = await daemons(step);
  must(alive === 0, `${alive} daemons are left`);
}

const mounts: Kind = {
  name: "mounts",
  does: "mount and unmount over and over (REELFS_ROUNDS, REELFS_MINUTES): nothing stays behind",
  weight: 1,
  run: async (step) => {
    const { workshop, folder, samples, random } = step;
    const mountpoint = await newFolder(folder, "mnt");
    const temporary = join(folder, "tmp");
    await mkdir(temporary);
    const rounds = Number(process.env["REELFS_ROUNDS"] ?? MOUNTS_DEFAULT);
    const endMs = performance.now() + Number(process.env["REELFS_MINUTES"] ?? Infinity) * 60_000;
    let round = 0;
    const most = new MostUsed();
    let early: Usage | undefined;
    try {
      while (round < rounds && performance.now() < endMs) {
        round++;
        const sample = await samples.get(random.pick(SOURCES));
        const image = sample.images.at(-1);
        const spec = join(sample.folder, image?.spec ?? "");
        const line = ["mount", "--json", spec, mountpoint, ...ancestorsOf(sample)];
        const ran = await workshop.apart(line, { env: { TMPDIR: temporary } });
        must(ran.status === 0, `round ${round}: mount: ${ran.stderr}`);
        const [path, wanted] = random.pick([...(image?.files ?? [])]);
        const found = await readFile(join(mountpoint, path));
        must(found.equals(wanted), `round ${round}: ${path} is not right`);
        most.take(await usageOf((JSON.parse(ran.stdout) as { pid: number }).pid));
        const ended = await workshop.here("umount", mountpoint);
        must(ended.status === 0, `round ${round}: umount: ${ended.stderr}`);
        if (round % LOOK_ROUNDS !== 0) continue;
        await expectNothingLeft(step, temporary);
        const now = await usageOf(process.pid);
        // What is loaded and compiled once is there by now.
        early ??= now;
        const opened = now.descriptors - early.descriptors;
        must(opened <= 0, `round ${round}: ${opened} descriptors stay open in who unmounts`);
      }
      await expectNothingLeft(step, temporary);
    } finally {
      const now = await usageOf(process.pid);
      step.say(`${round} mounts; of a daemon at most ${wordsOf(most)}`);
      step.say(
        `who unmounts: ${wordsOf(now)}${early === undefined ? "" : `, at first ${wordsOf(early)}`}`,
      );
      await clearAway(step, mountpoint);
    }
  },
};

export const concurrencyKinds: readonly Kind[] = [restores, loaders, mounts];
