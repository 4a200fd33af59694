/**
 * A thread of CodecPool. It may block: that it reads records itself saves the main thread a call, a
 * copy and a wait.
 */
import { parentPort } from "node:worker_threads";
import { READY, type CodecRequest } from "./codec-protocol.ts";
import { answer } from "./codec-work.ts";
import { TapeWindow } from "./tape-window.ts";

const tape = new TapeWindow();

parentPort?.on("message", (request: CodecRequest) => {
  parentPort?.postMessage(answer(request, tape));
});
parentPort?.postMessage(READY);
