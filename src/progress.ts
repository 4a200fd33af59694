/** How a long operation tells what it has done; cancellation goes the other way, by AbortSignal. */

export interface ProgressEvent {
  /** What is going on, in a word or two: "writing image", "verifying". */
  readonly phase: string;
  /** Units done so far in this phase; bytes unless `unit` says otherwise. */
  readonly done: number;
  /** Units in all, where known. */
  readonly total?: number;
  readonly unit?: "bytes" | "files" | "records";
}

/** Called often (once a record or so); must be cheap and must not throw. */
export type Progress = (event: ProgressEvent) => void;

/** What every long-running call of the library takes. */
export interface RunOptions {
  readonly progress?: Progress | undefined;
  readonly signal?: AbortSignal | undefined;
}
