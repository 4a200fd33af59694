/**
 * Torture: steps, each of which damages something real and then asks the one thing that matters: is
 * nothing that was acknowledged lost, is nothing wrong served as right, and does the message name
 * what happened? docs/torture.md says what each kind does.
 *
 * Every step has random numbers of its own, from the seed of the run and its number, so that the
 * line that is printed with a finding repeats that step alone.
 */
import { rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { tmpdir } from "node:os";
import { parseArgs } from "node:util";
import { seededRandom, type SeededRandom } from "../test/support/seeded-random.ts";
import { damageKinds } from "./torturing/damaged-tapes.ts";
import { concurrencyKinds } from "./torturing/concurrency.ts";
import { crowdKinds } from "./torturing/crowds.ts";
import { fullKinds } from "./torturing/full-disks.ts";
import { fullLoaders } from "./torturing/full-loaders.ts";
import { Finding, type Kind } from "./torturing/kind.ts";
import { lateKind } from "./torturing/late-disks.ts";
import { powerKinds } from "./torturing/power.ts";
import { Samples } from "./torturing/samples.ts";
import { shortKind } from "./torturing/short-calls.ts";
import { struckKinds } from "./torturing/struck-calls.ts";
import { Workshop } from "./torturing/workshop.ts";

const KINDS: readonly Kind[] = [
  ...damageKinds,
  ...struckKinds,
  shortKind,
  ...powerKinds,
  ...fullKinds,
  fullLoaders,
  lateKind,
  ...crowdKinds,
  ...concurrencyKinds,
];

const USAGE = `scripts/torture [--minutes 5] [--only KIND[,KIND]] [--seed S] [--step N] [--verbose] [--keep]

  --minutes N   how long (default: 5); the step that is under way is finished
  --only KIND   only these kinds
  --seed S      the choices of an earlier run
  --step N      only this step of it
  --verbose     say of every step what it did
  --keep        leave the folder of the step with --step, to look into

${KINDS.map(({ name, does }) => `  ${name.padEnd(12)}  ${does}`).join("\n")}

Damages samples in a temporary folder only, and mounts there. As root it does more. A finding is
printed with the line that repeats it; the exit status is 1 when there are any.
`;

interface Tally {
  steps: number;
  findings: number;
}

interface RunOptions {
  readonly seed: number;
  readonly kinds: readonly Kind[];
  readonly workshop: Workshop;
  readonly keep: boolean;
  readonly verbose: boolean;
}

class Run {
  readonly #seed: number;
  readonly #kinds: readonly Kind[];
  readonly #workshop: Workshop;
  readonly #samples: Samples;
  readonly #tallies = new Map<string, Tally>();
  readonly #keep: boolean;
  readonly #talks: boolean;

  constructor(options: RunOptions) {
    this.#seed = options.seed;
    this.#kinds = options.kinds;
    this.#workshop = options.workshop;
    this.#keep = options.keep;
    this.#talks = options.verbose;
    this.#samples = new Samples(options.workshop);
    for (const reason of this.#samples.skipped) print(`without ${reason}`);
  }

  get findings(): number {
    return [...this.#tallies.values()].reduce((sum, { findings }) => sum + findings, 0);
  }

  async step(number: number): Promise<void> {
    const random = randomOf(this.#seed, number);
    const kind = pickKind(this.#kinds, random);
    const tally = this.#tallies.get(kind.name) ?? { steps: 0, findings: 0 };
    this.#tallies.set(kind.name, tally);
    tally.steps++;
    const folder = await this.#workshop.newFolder();
    const said: string[] = [];
    const startedMs = performance.now();
    try {
      await kind.run({
        ...{ random, folder, workshop: this.#workshop, samples: this.#samples },
        say: (what) => said.push(what),
      });
      const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
      if (this.#talks) print(`step ${number}, ${kind.name}, ${seconds} s: ${said.join("; ")}`);
      if (this.#keep) print(`  left in ${folder}`);
    } catch (error) {
      tally.findings++;
      const kept = join(tmpdir(), `reelfs-finding-${this.#seed}-${number}`);
      await rm(kept, { recursive: true, force: true });
      await rename(folder, kept).catch(() => undefined);
      print(`FINDING in step ${number}, ${kind.name}: ${said.join("; ")}\n  ${wordsOf(error)}`);
      print(`  left in ${kept}\n  repeat: ${this.#line(number)}`);
    }
    if (!this.#keep) await rm(folder, { recursive: true, force: true });
  }

  /** The kinds are part of the choice: the same ones must be given again. */
  #line(number: number): string {
    const only = this.#kinds.length === KINDS.length ? "" : ` --only ${namesOf(this.#kinds)}`;
    return `scripts/torture --seed ${this.#seed} --step ${number}${only} --keep`;
  }

  summary(): string {
    const rows = [...this.#tallies].map(
      ([name, { steps, findings }]) => `  ${name.padEnd(12)} ${steps} steps, ${findings} findings`,
    );
    const peak = (process.resourceUsage().maxRSS / 1024).toFixed(0);
    return `${rows.sort().join("\n")}\nlargest in memory: ${peak} MiB, samples and all`;
  }
}

const print = (text: string): void => void process.stdout.write(`${text}\n`);
const namesOf = (kinds: readonly Kind[]): string => kinds.map(({ name }) => name).join();

function wordsOf(error: unknown): string {
  if (error instanceof Finding) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** Numbers of one step: far from those of the next. */
function randomOf(seed: number, step: number): SeededRandom {
  return seededRandom(1 + (Math.imul(seed + step, 0x9e37_79b1) >>> 2));
}

function pickKind(kinds: readonly Kind[], random: SeededRandom): Kind {
  return random.pick(kinds.flatMap((kind) => Array<Kind>(kind.weight).fill(kind)));
}

function kindsOf(only: string | undefined): readonly Kind[] {
  const names = only?.split(",");
  const unknown = names?.filter((name) => !KINDS.some((kind) => kind.name === name)) ?? [];
  if (unknown.length > 0) throw new Error(`there is no kind ${unknown.join()}`);
  return KINDS.filter(({ name, trouble }) => {
    if (names?.includes(name) === false) return false;
    const reason = trouble?.();
    if (reason !== undefined) print(`without ${name}: ${reason}`);
    return reason === undefined;
  });
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      minutes: { type: "string", default: "5" },
      only: { type: "string" },
      seed: { type: "string" },
      step: { type: "string" },
      keep: { type: "boolean", default: false },
      verbose: { type: "boolean", default: false },
      help: { type: "boolean" },
    },
  });
  if (values.help === true) {
    process.stdout.write(USAGE);
    return;
  }
  const seed = Number(values.seed ?? seededRandom().seed);
  const kinds = kindsOf(values.only);
  print(`seed ${seed}, kinds ${namesOf(kinds)}`);
  const workshop = await Workshop.make();
  const run = new Run({ ...{ seed, kinds, workshop }, keep: values.keep, verbose: values.verbose });
  const stopped = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => {
      stopped.abort();
    });
  }
  try {
    const endMs = performance.now() + Number(values.minutes) * 60_000;
    if (values.step !== undefined) await run.step(Number(values.step));
    for (let step = 1; values.step === undefined && !stopped.signal.aborted; step++) {
      await run.step(step);
      if (performance.now() > endMs) break;
    }
    print(run.summary());
  } finally {
    if (!values.keep) await workshop.remove();
  }
  process.exitCode = run.findings === 0 ? 0 : 1;
}

await main();
