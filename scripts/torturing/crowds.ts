/** Mounts under load: left alone, and taken away in every way; a disk or an overlay that fills. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { setTimeout as delay } from "node:timers/promises";
import { compileScript } from "../../test/support/compiled-script.ts";
import { isMounted } from "../../test/support/mountpoint.ts";
import type { CrowdCounts } from "../../test/support/crowd.ts";
import type { CrowdOrder } from "../../test/support/crowd-worker.ts";
import { Finding, must, type Kind, type Step } from "./kind.ts";
import { clearAway, expectNoRecords } from "./mount-operations.ts";
import { ancestorsOf, type Sample } from "./samples.ts";
import { newFolder, withSmallDisk, smallDiskTrouble } from "./small-disk.ts";

const WORKER = fileURLToPath(new URL("../../test/support/crowd-worker.ts", import.meta.url));
const MOUNTABLE = ["FAT32", "ext4", "NTFS", "set of tapes", "tapes of ext4", "chain of NTFS"];
/** Longer than a worker takes to see that its mount is gone. */
const WORKER_END_MS_MAX = 60_000;

let compiled: Promise<string> | undefined;

/** The worker as JavaScript, compiled once. */
async function workerScript(step: Step): Promise<string> {
  compiled ??= (async () => {
    const folder = await newFolder(step.workshop.folder, "crowd-worker");
    return compileScript(WORKER, folder);
  })();
  return compiled;
}

interface CrowdMount {
  readonly sample: Sample;
  readonly mountpoint: string;
  readonly truth: string;
  readonly paths: readonly string[];
  readonly pid: number;
}

async function mountFor(
  step: Step,
  options: readonly string[] = [],
  env = {},
): Promise<CrowdMount> {
  const sample = await step.samples.get(step.random.pick(MOUNTABLE));
  const image = sample.images.at(-1);
  must(image !== undefined, "a sample without an image");
  const truth = await newFolder(step.folder, "truth");
  for (const [path, bytes] of image.files) {
    await mkdir(dirname(join(truth, path)), { recursive: true });
    await writeFile(join(truth, path), bytes);
  }
  const mountpoint = await newFolder(step.folder, "mnt");
  const spec = join(sample.folder, image.spec);
  const line = ["mount", "--json", ...options, spec, mountpoint, ...ancestorsOf(sample)];
  const ran = await step.workshop.apart(line, { env });
  must(ran.status === 0, `it cannot be mounted: ${ran.stderr}`);
  const { pid } = JSON.parse(ran.stdout) as { pid: number };
  return { sample, mountpoint, truth, paths: [...image.files.keys()], pid };
}

type OrderOptions = Pick<CrowdOrder, "readers" | "writers" | "seconds" | "rounds" | "mayFail">;

interface Worker {
  readonly child: ChildProcess;
  readonly counts: Promise<CrowdCounts>;
}

/** Starts processes with readers and writers each; resolves when all of them work. */
async function startCrowd(
  step: Step,
  { mountpoint, truth, paths }: CrowdMount,
  processes: number,
  options: OrderOptions,
): Promise<Worker[]> {
  const script = await workerScript(step);
  const workers: Worker[] = [];
  for (let number = 0; number < processes; number++) {
    const order: CrowdOrder = {
      ...{ root: mountpoint, truth, paths, ...options },
      name: `w${number}`,
      seed: 1 + step.random.below(2 ** 30),
    };
    const child = spawn(process.execPath, [script, JSON.stringify(order)], {
      cwd: "/",
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, UV_THREADPOOL_SIZE: "16" },
    });
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (more: string) => (text += more));
    const closed = once(child, "close");
    const counts = closed.then(() => JSON.parse(text.replace("ready\n", "")) as CrowdCounts);
    counts.catch(() => undefined);
    workers.push({ child, counts });
    await Promise.race([once(child.stdout, "data"), closed]);
  }
  return workers;
}

/** What they saw, when all have ended; a worker that does not end is in a call that hangs. */
async function endOf(workers: readonly Worker[], limitMs: number): Promise<CrowdCounts[]> {
  const limit = new AbortController();
  try {
    return await Promise.race([
      Promise.all(workers.map(async ({ counts }) => counts)),
      delay(limitMs, undefined, { signal: limit.signal }).then(() => {
        throw new Finding(`readers and writers have not ended after ${limitMs / 1000} s`);
      }),
    ]);
  } finally {
    limit.abort();
    for (const { child } of workers) child.kill("SIGKILL");
  }
}

function judge(step: Step, all: readonly CrowdCounts[]): void {
  const calls = all.reduce((sum, counts) => sum + counts.calls, 0);
  const errors = new Map<string, number>();
  for (const each of all) {
    for (const [code, count] of Object.entries(each.errors)) {
      errors.set(code, (errors.get(code) ?? 0) + count);
    }
  }
  step.say(`${calls} calls, failed: ${[...errors].map(([code, n]) => `${n} ${code}`).join() || 0}`);
  const wrong = all.flatMap((each) => each.wrong);
  must(wrong.length === 0, `${wrong.length} wrong: ${wrong.slice(0, 5).join("; ")}`);
}

async function umountWell(step: Step, { mountpoint }: CrowdMount): Promise<void> {
  const ran = await step.workshop.here("umount", mountpoint);
  must(ran.status === 0, `umount: ${ran.stderr}`);
  await expectNoRecords(step);
}

async function isAlive(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  return stat !== undefined && !/\) [ZX] /.test(stat);
}

/** Of a mount that has ended, its daemon must end by itself. */
async function expectEnd(pid: number): Promise<void> {
  for (let i = 0; i < 300; i++) {
    if (!(await isAlive(pid))) return;
    await delay(100);
  }
  throw new Finding(`the daemon ${pid} lives on without its mount`);
}

const crowd: Kind = {
  name: "crowd",
  does: "64 readers and writers on one mount, against a model",
  weight: 1,
  run: async (step) => {
    const mount = await mountFor(step);
    try {
      const seconds = Number(process.env["REELFS_CROWD_SECONDS"] ?? 20);
      const options = { readers: 8, writers: 8, seconds, rounds: 1e6, mayFail: false };
      const workers = await startCrowd(step, mount, 4, options);
      judge(step, await endOf(workers, seconds * 1000 + WORKER_END_MS_MAX));
      await checkPeak(mount.pid);
      await umountWell(step, mount);
      await expectEnd(mount.pid);
    } finally {
      await clearAway(step, mount.mountpoint);
    }
  },
};

const DAEMON_MIB_MAX = 300;

/** The most memory that the daemon ever had. */
async function checkPeak(pid: number): Promise<void> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  const peakMib = Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024;
  must(peakMib < DAEMON_MIB_MAX, `the daemon took ${peakMib.toFixed(0)} MiB`);
}

type Ending = (step: Step, mount: CrowdMount) => Promise<unknown>;

const ENDINGS: Readonly<Record<string, Ending>> = {
  "fusermount3 -u -z": ({ workshop }, { mountpoint }) =>
    workshop.tool(["fusermount3", "-u", "-z", mountpoint]),
  "umount -l": ({ workshop }, { mountpoint }) => workshop.tool(["umount", "-l", mountpoint]),
  "umount -f": ({ workshop }, { mountpoint }) => workshop.tool(["umount", "-f", mountpoint]),
  "reelfs umount": ({ workshop }, { mountpoint }) => workshop.here("umount", mountpoint),
  "reelfs umount --lazy": ({ workshop }, { mountpoint }) =>
    workshop.here("umount", "--lazy", mountpoint),
  "two SIGTERM": async (_, { pid }) => {
    process.kill(pid, "SIGTERM");
    await delay(300);
    process.kill(pid, "SIGTERM");
  },
  SIGKILL: async (_, { pid }) => process.kill(pid, "SIGKILL"),
};

const unmounts: Kind = {
  name: "unmounts",
  does: "mounts taken away, and daemons killed, while they are read and written",
  weight: 3,
  run: async (step) => {
    const { random, workshop } = step;
    const mount = await mountFor(step);
    try {
      const [how, ending] = random.pick(Object.entries(ENDINGS));
      step.say(`${mount.sample.name}: ${how}`);
      const options = { readers: 6, writers: 4, seconds: 8, rounds: 1e6, mayFail: true };
      const workers = await startCrowd(step, mount, 2, options);
      await delay(random.below(2000));
      await ending(step, mount);
      judge(step, await endOf(workers, WORKER_END_MS_MAX));
      // What refused because it was busy is free now; what was killed is cleared away.
      if (await isMounted(mount.mountpoint)) await umountWell(step, mount);
      await expectEnd(mount.pid);
      await expectNoRecords(step);
      const { sample } = mount;
      const spec = join(sample.folder, sample.images.at(-1)?.spec ?? "");
      const again = await workshop.apart(["mount", spec, mount.mountpoint, ...ancestorsOf(sample)]);
      must(again.status === 0, `it cannot be mounted again: ${again.stderr}`);
      await umountWell(step, mount);
    } finally {
      await clearAway(step, mount.mountpoint);
    }
  },
};

const overlay: Kind = {
  name: "overlay",
  does: "a mount that is written to until its overlay, or the disk below it, is full",
  trouble: smallDiskTrouble,
  weight: 2,
  run: async (step) =>
    withSmallDisk(step, 1 + step.random.below(6), async (disk) => {
      const byBudget = step.random.below(2) === 0;
      const size = byBudget ? ["--overlay-size", "1M"] : [];
      const mount = await mountFor(step, size, byBudget ? {} : { TMPDIR: disk.folder });
      try {
        step.say(`${mount.sample.name}, ${byBudget ? "1 MiB of overlay" : disk.what}`);
        const options = { readers: 4, writers: 8, seconds: 10, rounds: 200, mayFail: true };
        const counts = await endOf(await startCrowd(step, mount, 2, options), WORKER_END_MS_MAX);
        judge(step, counts);
        for (const code of counts.flatMap(({ errors }) => Object.keys(errors))) {
          must(["ENOSPC", "ENOENT"].includes(code), `a full overlay answers with ${code}`);
        }
        await umountWell(step, mount);
      } finally {
        await clearAway(step, mount.mountpoint);
      }
    }),
};

export const crowdKinds: readonly Kind[] = [crowd, unmounts, overlay];
