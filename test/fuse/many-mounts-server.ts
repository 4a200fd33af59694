/** Mounts and unmounts argv[3] times on argv[2]; says what the process holds half way and at the end. */
import { readdirSync } from "node:fs";
import { serveMount } from "../../src/fuse/serve-mount.ts";
import { ScratchTree } from "./scratch-tree.ts";

export interface Held {
  readonly descriptors: number;
  readonly threads: number;
  readonly heapBytes: number;
  readonly residentBytes: number;
}

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

const seen: Held[] = [];
for (let round = 1; round <= rounds; round++) {
  const served = await serveMount(new ScratchTree(), mountpoint, {
    name: "scratch",
    foldsCase: false,
    image: { spec: "/tapes/scratch.tap#1", uuid: "00000000-0000-0000-0000-000000000000" },
  });
  await served.unmount();
  await served.finished;
  if (round === Math.ceil(rounds / 2) || round === rounds) seen.push(held());
}
process.stdout.write(JSON.stringify(seen));
