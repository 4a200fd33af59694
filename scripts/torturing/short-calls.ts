/** Commands of which reads and writes do less than they are asked to: all must come out the same. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { hasTool } from "../../test/support/mountpoint.ts";
import { must, type Kind } from "./kind.ts";
import { OPERATIONS } from "./operations.ts";
import type { Workshop } from "./workshop.ts";

const SOURCE = fileURLToPath(new URL("short-calls.c", import.meta.url));

let built: Promise<string> | undefined;

/** The library that stands between the command and libc; built once. */
async function libraryIn(workshop: Workshop): Promise<string> {
  built ??= (async () => {
    const library = join(workshop.folder, "short-calls.so");
    const ran = await workshop.tool([
      "cc",
      "-shared",
      "-fPIC",
      "-O1",
      "-o",
      library,
      SOURCE,
      "-ldl",
    ]);
    must(ran.status === 0, `the library cannot be built: ${ran.stderr}`);
    return library;
  })();
  return built;
}

export const shortKind: Kind = {
  name: "short",
  does: "reads and writes that do less than they are asked to",
  trouble: () => (hasTool("cc") ? undefined : "cc is not installed"),
  weight: 3,
  run: async (step) => {
    const { random, workshop } = step;
    const operation = random.pick(OPERATIONS);
    const { args, after, cleanUp } = await operation.prepare(step);
    try {
      step.say(`${operation.name}, ${args.slice(0, 2).join(" ")}`);
      const env = {
        LD_PRELOAD: await libraryIn(workshop),
        REELFS_SHORT_UNDER: workshop.folder,
        REELFS_SHORT_BUT: join(workshop.folder, "compiled"),
        REELFS_SHORT_SEED: String(1 + random.below(2 ** 30)),
      };
      const ran = await workshop.apart(args, { env });
      // What was asked of a loader may be refused: its choice is made without looking.
      const isDone = ran.status === 0 || operation.name === "loader";
      must(isDone, `it ended with ${String(ran.status)}: ${ran.stderr}`);
      await after(ran);
    } finally {
      await cleanUp?.();
    }
  },
};
