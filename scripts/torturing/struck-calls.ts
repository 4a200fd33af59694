/** Commands killed between any two system calls that write, and commands whose calls fail. */
import { rm } from "node:fs/promises";
import { seededRandom } from "../../test/support/seeded-random.ts";
import { must, type Kind, type Step } from "./kind.ts";
import { newFolder } from "./small-disk.ts";
import { OPERATIONS, type Operation } from "./operations.ts";
import {
  CALLS,
  countCalls,
  pathRules,
  pickCall,
  straced,
  straceTrouble,
  wasKilled,
} from "./strace.ts";

/** How often the command that this seed prepares makes calls of a family: tried on another copy. */
async function countOf(
  step: Step,
  operation: Operation,
  calls: string,
  seed: number,
): Promise<ReadonlyMap<string, number>> {
  const folder = await newFolder(step.folder, "count");
  const random = seededRandom(seed);
  const { args, cleanUp } = await operation.prepare({ ...step, random, folder });
  try {
    return await countCalls(step.workshop, args, calls);
  } finally {
    await cleanUp?.();
    await rm(folder, { recursive: true, force: true });
  }
}

const KILLING = ["writes", "writes", "plainWrites", "syncs", "names", "sizes"] as const;

const kills: Kind = {
  name: "kills",
  does: "commands killed between any two system calls that write, and given again",
  trouble: straceTrouble,
  weight: 8,
  run: async (step) => {
    const { random, workshop } = step;
    const operation = random.pick(OPERATIONS);
    const family = random.pick(KILLING);
    const seed = 1 + random.below(2 ** 30);
    const counts = [...(await countOf(step, operation, CALLS[family], seed))];
    if (counts.length === 0) {
      step.say(`${operation.name} makes none of ${CALLS[family]}`);
      return;
    }
    const [call, count] = random.pick(counts);
    const when = pickCall(random, count);
    step.say(`${operation.name} killed at ${call} ${when} of ${count}`);
    const { args, after, cleanUp } = await operation.prepare({
      ...step,
      random: seededRandom(seed),
    });
    try {
      const rule = ["-e", `trace=${call}`, "-e", `inject=${call}:signal=KILL:when=${when}`];
      const ran = await straced(workshop, args, rule);
      if (!wasKilled(ran)) step.say(`it ended before, with ${String(ran.status)}`);
      await after(wasKilled(ran) ? { ...ran, status: null, stdout: "" } : ran);
    } finally {
      await cleanUp?.();
    }
  },
};

interface Fault {
  readonly calls: string;
  readonly what: string;
  readonly onlyReads?: boolean;
  /** It may end with 0 all the same. */
  readonly mayPass: boolean;
}

const FAULTS: readonly Fault[] = [
  { calls: CALLS.writes, what: "error=EIO", mayPass: true },
  { calls: CALLS.writes, what: "error=ENOSPC", mayPass: true },
  { calls: CALLS.writes, what: "error=EDQUOT", mayPass: true },
  { calls: CALLS.writes, what: "delay_exit=20000", mayPass: true },
  { calls: CALLS.syncs, what: "error=EIO", mayPass: false },
  { calls: CALLS.syncs, what: "error=ENOSPC", mayPass: false },
  { calls: CALLS.names, what: "error=EIO", mayPass: true },
  { calls: CALLS.names, what: "error=ENOSPC", mayPass: true },
  { calls: CALLS.sizes, what: "error=EIO", mayPass: true },
  { calls: CALLS.sizes, what: "error=ENOSPC", mayPass: true },
  { calls: CALLS.reads, what: "error=EIO", onlyReads: true, mayPass: true },
  { calls: CALLS.reads, what: "delay_exit=20000", onlyReads: true, mayPass: true },
];

const ERRORS_COUNTED_MAX = 40;

const errors: Kind = {
  name: "errors",
  does: "calls of commands that fail, once or from then on, or are slow: device and disk errors",
  trouble: straceTrouble,
  weight: 6,
  run: async (step) => {
    const { random, workshop } = step;
    const operation = random.pick(OPERATIONS);
    const { calls, what, onlyReads, mayPass } = random.pick(FAULTS);
    const isSlow = what.startsWith("delay");
    const seed = 1 + random.below(2 ** 30);
    const prepared = await operation.prepare({ ...step, random: seededRandom(seed) });
    const { args, reads, after, cleanUp } = prepared;
    try {
      const when = 1 + random.below(random.pick([3, ERRORS_COUNTED_MAX]));
      const onwards = isSlow || random.below(2) === 0 ? "+" : "";
      if (onlyReads === true && reads.length === 0) return;
      const paths = onlyReads === true ? [random.pick(reads)] : [];
      step.say(`${operation.name}: ${what} at call ${when}${onwards} of ${calls} ${paths.join()}`);
      const rule = ["-e", `trace=${calls}`, "-e", `inject=${calls}:${what}:when=${when}${onwards}`];
      const ran = await straced(workshop, args, [...pathRules(paths), ...rule]);
      step.say(`status ${String(ran.status)}: ${ran.stderr.trim()}`);
      must(ran.status !== 130, `it says that it was interrupted: ${ran.stderr}`);
      // What was asked of a loader may be refused: its choice is made without looking.
      const mustPass = isSlow && operation.name !== "loader";
      must(!mustPass || ran.status === 0, `it was slow, and ended with ${String(ran.status)}`);
      const isPassed = ran.status === 0 && !mayPass && onwards === "+" && when === 1;
      if (isPassed && (await countOf(step, operation, calls, seed)).size > 0) {
        must(operation.name === "tag", "no sync succeeds, and it ends with 0");
      }
      await after(ran);
    } finally {
      await cleanUp?.();
    }
  },
};

export const struckKinds: readonly Kind[] = [kills, errors];
