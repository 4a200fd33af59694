/**
 * Worker threads that pack and unpack records, one set for the whole process: more images open at
 * once do not mean more processors. An idle thread does not keep the process alive. Bytes never
 * travel in messages: both sides look at the same SharedArrayBuffers, and a message only says which
 * part of them to work on.
 *
 * A message wakes a thread, and its answer wakes this one: where threads share few processors, that
 * costs as much as unpacking a record. So records travel together: who packs hands over a batch, and
 * what is asked to be unpacked in one turn of the event loop is divided among the threads.
 */
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { fromSystem, ReelError, type ErrorCode } from "../errors.ts";
import type { RecordExtent } from "../tape/tape-drive.ts";

/** More threads than this gain nothing: one tape does not feed them. */
const THREADS_MAX = 4;
/** Records unpacked for one message; the first is answered with the last. */
const DECODES_PER_MESSAGE_MAX = 8;

export interface SharedSpan {
  readonly memory: SharedArrayBuffer;
  readonly offset: number;
  readonly length: number;
}

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

export type CodecWork =
  | { readonly encode: EncodeRequest }
  /** In the order in which they lie on the tape, as far as there is one. */
  | { readonly decode: readonly DecodeRequest[] };

export type CodecRequest = CodecWork & { readonly id: number };

/** A ReelError, as it travels. */
export interface CodecError {
  readonly code: ErrorCode;
  readonly message: string;
}

export type CodecReply = { readonly id: number } & (
  | { readonly encoded: readonly EncodedPart[] }
  /** One answer for each record. */
  | { readonly decoded: readonly (LoadedRecord | CodecError)[] }
  | { readonly error: CodecError }
);

interface Thread {
  readonly worker: Worker;
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
    const reply = await this.#run({ encode: request });
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
      const reply = await this.#run({ decode: records.map(({ request }) => request) });
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

  async #run(work: CodecWork): Promise<CodecReply> {
    const thread = this.#leastLoaded();
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      thread.jobs.set(id, { resolve, reject });
      if (thread.jobs.size === 1) thread.worker.ref();
      thread.worker.postMessage({ id, ...work } satisfies CodecRequest);
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
