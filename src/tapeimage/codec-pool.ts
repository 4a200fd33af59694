/**
 * Worker threads that pack and unpack records, one set for the whole process: more images open at
 * once do not mean more processors. An idle thread does not keep the process alive. Bytes never
 * travel in messages: both sides look at the same SharedArrayBuffers, and a message only says which
 * part of them to work on.
 */
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { ReelError, type ErrorCode } from "../errors.ts";
import type { RecordExtent } from "../tape/tape-drive.ts";

/** More threads than this gain nothing: one tape does not feed them. */
const THREADS_MAX = 4;

export interface SharedSpan {
  readonly memory: SharedArrayBuffer;
  readonly offset: number;
  readonly length: number;
}

/** Several records at once: a message costs as much as compressing some ten kilobytes. */
export interface EncodeRequest {
  readonly records: readonly EncodePart[];
  readonly codec: number;
  readonly level: number;
  /** Offset and length pairs of whole chunks in `memory`. */
  readonly chunks: readonly number[];
  readonly memory: SharedSpan;
  readonly checksums: SharedSpan;
}

export interface EncodePart {
  readonly frame: SharedSpan;
  readonly raw: SharedSpan;
  readonly out: SharedSpan;
}

/** What to store of a record: `length` bytes of its `out`, or, with codec 0, its `raw`. */
export interface EncodedPart {
  readonly codec: number;
  readonly length: number;
}

export interface DecodeRequest {
  /** The record as it came from the tape, or where the thread finds it. */
  readonly stored: SharedSpan | RecordExtent;
  readonly target: SharedSpan;
  readonly uuid: Uint8Array;
  readonly record: number;
  readonly where: string;
  /** Send the frame along. */
  readonly wantFrame: boolean;
}

export interface LoadedRecord {
  /** Bytes of the target that are the record's raw contents. */
  readonly length: number;
  readonly frame?: Uint8Array | undefined;
}

export type CodecRequest = { readonly id: number } & (
  ({ readonly kind: "encode" } & EncodeRequest) | ({ readonly kind: "decode" } & DecodeRequest)
);

export interface CodecReply {
  readonly id: number;
  readonly encoded?: readonly EncodedPart[];
  readonly loaded?: LoadedRecord;
  readonly error?: { readonly code: ErrorCode; readonly message: string };
}

interface Thread {
  readonly worker: Worker;
  /** Jobs given to this thread and not yet answered. */
  readonly jobs: Map<number, { resolve(reply: CodecReply): void; reject(error: Error): void }>;
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
  #nextId = 1;

  /** Threads start with the first job that needs them, or with `start`. */
  constructor(size: number = Math.min(availableParallelism(), THREADS_MAX)) {
    this.#size = Math.max(1, size);
  }

  /** Starts all threads now, to work as soon as there is something to do. */
  start(): void {
    while (this.#threads.length < this.#size) this.#threads.push(this.#start());
  }

  /** Compresses and seals the records, and fills `checksums`. */
  async encode(request: EncodeRequest): Promise<readonly EncodedPart[]> {
    const { encoded } = await this.#run((id) => ({ id, kind: "encode", ...request }));
    return encoded ?? [];
  }

  /** Fills `target` with the record's raw contents, once they are proven. */
  async decode(request: DecodeRequest): Promise<LoadedRecord> {
    const { loaded } = await this.#run((id) => ({ id, kind: "decode", ...request }));
    if (loaded === undefined) throw new ReelError("internal", "a thread answered nothing");
    return loaded;
  }

  async #run(request: (id: number) => CodecRequest): Promise<CodecReply> {
    const thread = this.#leastLoaded();
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      thread.jobs.set(id, { resolve, reject });
      if (thread.jobs.size === 1) thread.worker.ref();
      thread.worker.postMessage(request(id));
    });
  }

  #leastLoaded(): Thread {
    let best: Thread | undefined;
    for (const thread of this.#threads) {
      if (best === undefined || thread.jobs.size < best.jobs.size) best = thread;
    }
    if (best !== undefined && (best.jobs.size === 0 || this.#threads.length === this.#size)) {
      return best;
    }
    const started = this.#start();
    this.#threads.push(started);
    return started;
  }

  #start(): Thread {
    const worker = startWorker();
    const thread: Thread = { worker, jobs: new Map() };
    worker.unref();
    worker.on("message", (reply: CodecReply) => {
      this.#settle(thread, reply);
    });
    worker.on("error", (error) => {
      this.#drop(thread, error);
    });
    worker.on("exit", () => {
      this.#drop(thread, new Error("the thread ended"));
    });
    return thread;
  }

  #settle(thread: Thread, reply: CodecReply): void {
    const job = thread.jobs.get(reply.id);
    thread.jobs.delete(reply.id);
    // An idle thread must not keep the process alive.
    if (thread.jobs.size === 0) thread.worker.unref();
    if (reply.error === undefined) job?.resolve(reply);
    else job?.reject(new ReelError(reply.error.code, reply.error.message));
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
