/**
 * Threads that write and name files, one set for the whole process. A restore makes some ten system
 * calls for each file; asked for one by one from the main thread, each costs two changes of threads
 * and a promise, several times what the call itself takes. Here a message brings the calls for
 * many files, and the main thread never waits for a disk.
 *
 * A local disk takes files as fast as one thread makes them. Where a file takes long (a network, a
 * filesystem in another program) the thread only waits, and more of them wait together.
 */
import { Worker } from "node:worker_threads";

import { ReelError } from "../errors.ts";
import type { FileOutcome, FileReply, FileRequest, FileWork } from "./file-protocol.ts";

const THREADS_MAX = 4;
/**
 * A target that takes longer than this for each file has its thread wait more than work: a local
 * disk takes a tenth of a millisecond, and a busy machine makes that one or two.
 */
const SLOW_FILE_MS = 4;

interface Thread {
  readonly worker: Worker;
  /** Messages to this thread that are not yet answered. */
  readonly jobs: Map<number, Job>;
}

interface Job {
  resolve(outcomes: readonly FileOutcome[]): void;
  reject(error: Error): void;
}

export class FileThreads {
  readonly #threads: Thread[] = [];
  readonly #slowFileMs: number;
  #nextId = 1;

  constructor(slowFileMs: number = SLOW_FILE_MS) {
    this.#slowFileMs = slowFileMs;
  }

  /** Threads that are there. */
  get size(): number {
    return this.#threads.length;
  }

  /** Has one thread start while there is other work to do. An idle one does not keep the process alive. */
  start(): void {
    if (this.#threads.length === 0) this.#startOne();
  }

  /** One outcome for each file, in their order. Throws only when the thread itself fails. */
  async run(work: FileWork): Promise<readonly FileOutcome[]> {
    this.start();
    const thread = this.#threads.reduce((a, b) => (b.jobs.size < a.jobs.size ? b : a));
    const request: FileRequest = { id: this.#nextId++, ...work };
    return new Promise((resolve, reject) => {
      thread.jobs.set(request.id, { resolve, reject });
      if (thread.jobs.size === 1) thread.worker.ref();
      thread.worker.postMessage(request);
    });
  }

  #startOne(): void {
    const worker = startWorker();
    const thread: Thread = { worker, jobs: new Map() };
    worker.unref();
    // Whose start refers to it again.
    worker.once("online", () => {
      if (thread.jobs.size === 0) worker.unref();
    });
    worker.on("message", (reply: FileReply) => {
      this.#settle(thread, reply);
    });
    worker.on("error", (error) => {
      this.#drop(thread, error);
    });
    worker.on("exit", () => {
      this.#drop(thread, new Error("the thread ended"));
    });
    this.#threads.push(thread);
  }

  #settle(thread: Thread, { id, outcomes, ms }: FileReply): void {
    const job = thread.jobs.get(id);
    thread.jobs.delete(id);
    if (thread.jobs.size === 0) thread.worker.unref();
    const isSlow = ms > this.#slowFileMs * outcomes.length;
    const isWaitedFor = thread.jobs.size > 0;
    if (isSlow && isWaitedFor && this.#threads.length < THREADS_MAX) this.#startOne();
    job?.resolve(outcomes);
  }

  #drop(thread: Thread, cause: Error): void {
    const at = this.#threads.indexOf(thread);
    if (at >= 0) this.#threads.splice(at, 1);
    const jobs = [...thread.jobs.values()];
    thread.jobs.clear();
    const error = new ReelError("internal", `a thread that writes files failed: ${cause.message}`, {
      cause,
    });
    for (const job of jobs) job.reject(error);
  }
}

let shared: FileThreads | undefined;

/** The process's threads. */
export function fileThreads(): FileThreads {
  shared ??= new FileThreads();
  return shared;
}

function startWorker(): Worker {
  if (import.meta.url.endsWith(".js")) {
    return new Worker(new URL("./file-worker.js", import.meta.url));
  }
  // Run from source: the loader that strips types does not reach into threads by itself.
  const source = new URL("./file-worker.ts", import.meta.url).href;
  const loader = import.meta.resolve("tsx/esm/api");
  return new Worker(
    `import(${JSON.stringify(loader)}).then((tsx) => {
       tsx.register();
       return import(${JSON.stringify(source)});
     });`,
    { eval: true },
  );
}
