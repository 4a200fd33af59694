/** The command and what its threads run: all that a process of its own needs, compiled. */
import { runAsProcess } from "../../src/cli/process.ts";

/** Never called: the threads are started by their file's name. */
export const codecWorker = async (): Promise<unknown> =>
  import("../../src/tapeimage/codec-worker.ts");

await runAsProcess();
