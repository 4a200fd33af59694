/** Some of a crowd: argv[2] is a CrowdOrder as JSON; its counts are printed as JSON at the end. */
import { crowdReader, crowdWriter, newCounts } from "./crowd.ts";
import { seededRandom, type SeededRandom } from "./seeded-random.ts";

export interface CrowdOrder {
  readonly root: string;
  readonly truth: string;
  readonly paths: readonly string[];
  readonly mayFail: boolean;
  readonly rounds: number;
  readonly seconds: number;
  readonly readers: number;
  readonly writers: number;
  /** Distinguishes the folders of this process. */
  readonly name: string;
  readonly seed: number;
}

const order = JSON.parse(process.argv[2] ?? "{}") as CrowdOrder;
const endMs = performance.now() + order.seconds * 1000;
let stopped = false;
process.on("SIGTERM", () => (stopped = true));
const task = { ...order, isOver: () => stopped || performance.now() > endMs };
const counts = newCounts();
const randomOf = (number: number): SeededRandom => seededRandom(order.seed + number * 7919);
process.stdout.write("ready\n");
await Promise.all([
  ...Array.from({ length: order.readers }, (_, i) => crowdReader(task, randomOf(1 + i), counts)),
  ...Array.from({ length: order.writers }, (_, i) =>
    crowdWriter(task, `${order.name}-${i}`, randomOf(500 + i), counts),
  ),
]);
process.stdout.write(JSON.stringify(counts));
