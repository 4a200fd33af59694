/** A thread of FileThreads. */
import { parentPort } from "node:worker_threads";

import type { FileReply, FileRequest } from "./file-protocol.ts";
import { perform } from "./file-work.ts";

parentPort?.on("message", ({ id, ...work }: FileRequest) => {
  const startMs = performance.now();
  const outcomes = perform(work);
  const reply: FileReply = { id, outcomes, ms: performance.now() - startMs };
  parentPort?.postMessage(reply);
});
