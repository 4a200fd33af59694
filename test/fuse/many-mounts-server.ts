/**
 * Mounts and unmounts argv[3] times on argv[2]; says what the process holds half way and at the end.
 *
 * The thread of libfuse that served the last mount may still be on its way out: at the end it is
 * given the time for that, so that only what stays is counted.
 */
import { readdirSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";
import { serveMount } from "../../src/fuse/serve-mount.ts";
import { ScratchTree } from "./scratch-tree.ts";

export interface Held {
  readonly descriptors: number;
  readonly threads: number;
  readonly heapBytes: number;
  readonly residentBytes: number;
}

const LEAVING_MS_MAX = 10_000;
const LOOK_AGAIN_MS = 20;

const [, , mountpoint = "", roundsText = "0"] = process.argv;
const rounds = Number(roundsText);

function held(): Held {
  globalThis.gc?.();
  const { heapUsed, rss } = process.memoryUsage();
  return {
    descriptors: readdirSync("/proc/self/fd").length,
    threads: readdirSync("/proc/self/task").length,
    heapBytes: heapUsed,
    residentBytes: rss,
  };
}

async function heldAtRest(before: Held | undefined): Promise<Held> {
  const until = performance.now() + LEAVING_MS_MAX;
  for (;;) {
    const now = held();
    const isAtRest = before === undefined || holdsNoMore(now, before);
    if (isAtRest || performance.now() > until) return now;
    await wait(LOOK_AGAIN_MS);
  }
}

function holdsNoMore(now: Held, before: Held): boolean {
  return now.descriptors <= before.descriptors && now.threads <= before.threads;
}

const seen: Held[] = [];
for (let round = 1; round <= rounds; round++) {
  const served = await serveMount(new ScratchTree(), mountpoint, {
    name: "scratch",
    foldsCase: false,
    image: { spec: "/tapes/scratch.tap#1", uuid: "00000000-0000-0000-0000-000000000000" },
  });
  await served.unmount();
  await served.finished;
  if (round === Math.ceil(rounds / 2)) seen.push(held());
}
seen.push(await heldAtRest(seen[0]));
process.stdout.write(JSON.stringify(seen));
