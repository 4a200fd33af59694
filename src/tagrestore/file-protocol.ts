/**
 * What FileThreads and its threads say to one another. Contents never travel: both sides look at the
 * same shared memory, and a message says which part of it is which file's.
 */

/** A file all of whose bytes are at hand. */
export interface FileToWrite {
  /** Nothing may be there. */
  readonly path: string;
  /** Where in the memory its bytes are, and where in the file they go; the rest of it is a hole. */
  readonly at: number;
  readonly length: number;
  readonly offset: number;
  readonly sizeBytes: number;
  /** To create it with; the umask takes from it. */
  readonly createMode: number;
  /** To give to it when it is written; undefined: leave it as it is. */
  readonly owner: { readonly uid: number; readonly gid: number } | undefined;
  readonly mode: number | undefined;
  readonly accessedMs: number;
  readonly modifiedMs: number;
}

/** A file to be given its final name. */
export interface FileToName {
  readonly from: string;
  readonly to: string;
  /** Replace what bears that name. */
  readonly replace: boolean;
}

export type FileWork =
  | { readonly write: readonly FileToWrite[]; readonly memory: SharedArrayBuffer }
  | { readonly name: readonly FileToName[] };

export type FileRequest = FileWork & { readonly id: number };

/** What the system threw, as it travels. */
export interface SystemFailure {
  readonly code: string;
  readonly errno: number;
  readonly message: string;
}

/** "exists": the name was taken, and the file is where it was. */
export type FileOutcome = "done" | "exists" | SystemFailure;

export interface FileReply {
  readonly id: number;
  /** One for each file. */
  readonly outcomes: readonly FileOutcome[];
  /** How long that took. */
  readonly ms: number;
}
