/**
 * Worker threads that pack and unpack records, one set for the whole process: more images open at
 * once do not mean more processors. An idle thread does not keep the process alive.
 *
 * A message wakes a thread, and its answer wakes this one: where threads share few processors, that
 * costs as much as unpacking a record. So records travel together: who packs hands over a batch, and
 * what is asked to be unpacked in one turn of the event loop is divided among the threads.
 *
 * To start a thread takes as long as to unpack some ten megabytes. So the first records are done by
 * the thread that asks, until others are there; a command that looks only at the start of an image
 * never needs them.
 */
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { fromSystem, ReelError } from "../errors.ts";
import {
  READY,
  type CodecReply,
  type CodecRequest,
  type CodecWork,
  type DecodeRequest,
  type EncodedPart,
  type EncodeRequest,
  type LoadedRecord,
  type SharedSpan,
} from "./codec-protocol.ts";
import { answer } from "./codec-work.ts";

/** More threads than this gain nothing: one tape does not feed them. */
const THREADS_MAX = 4;
/** Raw bytes that are packed or unpacked here before threads are started for it. */
const HERE_BYTES_MAX = 8 * 1024 * 1024;
/** Records unpacked for one message; the first is answered with the last. */
const DECODES_PER_MESSAGE_MAX = 8;

interface Thread {
  readonly worker: Worker;
  isReady: boolean;
  /** Messages to this thread that are not yet answered. */
  readonly jobs: Map<number, Waiting<CodecReply>>;
}

interface Waiting<T> {
  resolve(result: T): void;
  reject(error: Error): void;
}

interface WaitingDecode extends Waiting<LoadedRecord> {
  readonly request: DecodeRequest;
}

/** The part of shared memory that a Buffer or Uint8Array over a SharedArrayBuffer covers. */
export function sharedSpan(bytes: Uint8Array): SharedSpan {
  if (!(bytes.buffer instanceof SharedArrayBuffer)) {
    throw new ReelError("internal", "codec memory must be shared");
  }
  return { memory: bytes.buffer, offset: bytes.byteOffset, length: bytes.length };
}

export function sharedBuffer(length: number): Buffer {
  return Buffer.from(new SharedArrayBuffer(length));
}

export class CodecPool {
  readonly #threads: Thread[] = [];
  readonly #size: number;
  /** Asked for in this turn of the event loop. */
  readonly #waiting: WaitingDecode[] = [];
  readonly #hereBytesMax: number;
  #hereBytes = 0;
  #nextId = 1;

  /**
   * A thread starts when `hereBytesMax` have been worked on without one, and another when those that
   * are there have enough to do; or all of them with `start`.
   */
  constructor(
    size: number = Math.min(availableParallelism(), THREADS_MAX),
    hereBytesMax: number = HERE_BYTES_MAX,
  ) {
    this.#size = Math.max(1, size);
    this.#hereBytesMax = hereBytesMax;
  }

  /** Can a thread work now? If not, to read a record where it is unpacked would block this one. */
  get hasThreads(): boolean {
    return this.#leastLoaded() !== undefined;
  }

  /** Starts all threads now: much is to come. */
  start(): void {
    while (this.#threads.length < this.#size) this.#startOne();
  }

  /** Compresses and seals the records, and fills `checksums`. */
  async encode(request: EncodeRequest): Promise<readonly EncodedPart[]> {
    const rawBytes = request.records.reduce((sum, { raw }) => sum + raw.length, 0);
    const reply = await this.#run({ encode: request }, rawBytes);
    return "encoded" in reply ? reply.encoded : [];
  }

  /** Fills `target` with the record's raw contents, once they are proven. */
  async decode(request: DecodeRequest): Promise<LoadedRecord> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ request, resolve, reject });
      if (this.#waiting.length > 1) return;
      setImmediate(() => {
        this.#decodeWaiting();
      });
    });
  }

  /** Neighbours go to one thread, which can read them at once. */
  #decodeWaiting(): void {
    const waiting = this.#waiting.splice(0);
    const share = Math.min(DECODES_PER_MESSAGE_MAX, Math.ceil(waiting.length / this.#size));
    for (let from = 0; from < waiting.length; from += share) {
      void this.#decodeTogether(waiting.slice(from, from + share));
    }
  }

  async #decodeTogether(records: readonly WaitingDecode[]): Promise<void> {
    try {
      const rawBytes = records.reduce((sum, { request }) => sum + request.target.length, 0);
      const reply = await this.#run({ decode: records.map(({ request }) => request) }, rawBytes);
      const decoded = "decoded" in reply ? reply.decoded : [];
      for (const [index, record] of records.entries()) {
        const result = decoded[index] ?? { code: "internal", message: "a thread answered nothing" };
        if ("code" in result) record.reject(new ReelError(result.code, result.message));
        else record.resolve(result);
      }
    } catch (error) {
      const failure = fromSystem(error, "cannot unpack records");
      for (const record of records) record.reject(failure);
    }
  }

  async #run(work: CodecWork, rawBytes: number): Promise<CodecReply> {
    const thread = this.#leastLoaded();
    const request: CodecRequest = { id: this.#nextId++, ...work };
    if (thread === undefined) return this.#runHere(request, rawBytes);
    if (thread.jobs.size > 0 && this.#threads.length < this.#size) this.#startOne();
    return new Promise((resolve, reject) => {
      thread.jobs.set(request.id, { resolve, reject });
      if (thread.jobs.size === 1) thread.worker.ref();
      thread.worker.postMessage(request);
    });
  }

  #runHere(request: CodecRequest, rawBytes: number): CodecReply {
    this.#hereBytes += rawBytes;
    if (this.#hereBytes > this.#hereBytesMax && this.#threads.length === 0) this.#startOne();
    const reply = answer(request);
    if ("error" in reply) throw new ReelError(reply.error.code, reply.error.message);
    return reply;
  }

  /** Of those that are ready. */
  #leastLoaded(): Thread | undefined {
    let best: Thread | undefined;
    for (const thread of this.#threads) {
      if (!thread.isReady) continue;
      if (best === undefined || thread.jobs.size < best.jobs.size) best = thread;
    }
    return best;
  }

  #startOne(): void {
    const worker = startWorker();
    const thread: Thread = { worker, isReady: false, jobs: new Map() };
    worker.unref();
    worker.on("message", (reply: CodecReply | typeof READY) => {
      if (reply === READY) {
        thread.isReady = true;
        // Its start referred to it again.
        worker.unref();
      } else this.#settle(thread, reply);
    });
    worker.on("error", (error) => {
      this.#drop(thread, error);
    });
    worker.on("exit", () => {
      this.#drop(thread, new Error("the thread ended"));
    });
    this.#threads.push(thread);
  }

  #settle(thread: Thread, reply: CodecReply): void {
    const job = thread.jobs.get(reply.id);
    thread.jobs.delete(reply.id);
    // An idle thread must not keep the process alive.
    if (thread.jobs.size === 0) thread.worker.unref();
    if ("error" in reply) job?.reject(new ReelError(reply.error.code, reply.error.message));
    else job?.resolve(reply);
  }

  #drop(thread: Thread, cause: Error): void {
    const at = this.#threads.indexOf(thread);
    if (at >= 0) this.#threads.splice(at, 1);
    const jobs = [...thread.jobs.values()];
    thread.jobs.clear();
    const error = new ReelError("internal", `a compression thread failed: ${cause.message}`, {
      cause,
    });
    for (const job of jobs) job.reject(error);
  }
}

let shared: CodecPool | undefined;

/** The process's pool. */
export function codecPool(): CodecPool {
  shared ??= new CodecPool();
  return shared;
}

function startWorker(): Worker {
  if (import.meta.url.endsWith(".js")) {
    return new Worker(new URL("./codec-worker.js", import.meta.url));
  }
  // Run from source: the loader that strips types does not reach into threads by itself.
  const source = new URL("./codec-worker.ts", import.meta.url).href;
  const loader = import.meta.resolve("tsx/esm/api");
  return new Worker(
    `import(${JSON.stringify(loader)}).then((tsx) => {
       tsx.register();
       return import(${JSON.stringify(source)});
     });`,
    { eval: true },
  );
}
