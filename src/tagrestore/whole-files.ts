/**
 * Files all of whose bytes are at hand: their bytes are gathered, and written by the file threads
 * for many files together, while the next are gathered. Nearly all files are such: they lie in one
 * record.
 *
 * Gathering copies, so that a record's buffer is free at once. Memory is bounded by the groups under
 * way, whatever the files.
 */
import { BackgroundWork } from "./background.ts";
import type { StagedFiles, WholeFile } from "./staged-files.ts";

/** A group is written when it has so many files, or bytes. */
const FILES_IN_GROUP = 64;
const GROUP_BYTES = 1 << 20;
/** As many as there can be file threads. */
const GROUPS_UNDER_WAY = 4;

/** Is told which rows were written, and for each of them why not, if it was not. */
export type WrittenFiles = (
  rows: readonly number[],
  failures: readonly (Error | undefined)[],
) => Promise<void>;

interface Group {
  readonly memory: SharedArrayBuffer;
  readonly files: WholeFile[];
  usedBytes: number;
}

export class WholeFiles {
  readonly #staged: StagedFiles;
  readonly #written: WrittenFiles;
  readonly #background = new BackgroundWork(GROUPS_UNDER_WAY);
  readonly #free: SharedArrayBuffer[] = [];
  #group: Group | undefined;

  constructor(staged: StagedFiles, written: WrittenFiles) {
    this.#staged = staged;
    this.#written = written;
  }

  /**
   * Takes a file: `bytes` at `offset`, the rest up to `sizeBytes` a hole. Its bytes are copied before
   * this returns; that it is written, or is not, is told later. Throws what failed earlier.
   */
  async add(row: number, bytes: Uint8Array, offset: number, sizeBytes: number): Promise<void> {
    while (!this.#hasRoom(bytes.length)) await this.flush();
    const group = (this.#group ??= this.#newGroup(bytes.length));
    const at = group.usedBytes;
    new Uint8Array(group.memory, at, bytes.length).set(bytes);
    group.files.push({ row, at, length: bytes.length, offset, sizeBytes });
    group.usedBytes += bytes.length;
  }

  /** Has what was gathered written, though it is no full group. */
  async flush(): Promise<void> {
    const group = this.#group;
    this.#group = undefined;
    if (group !== undefined) await this.#background.begin(async () => this.#write(group));
  }

  /** Waits until all are written and were told of. Throws what failed. */
  async end(): Promise<void> {
    await this.flush();
    await this.#background.end();
  }

  /** As `end`, however it ends: what is at hand need not be read again when the restore goes on. */
  async settle(): Promise<void> {
    await this.flush().catch(() => undefined);
    await this.#background.settle();
  }

  #hasRoom(bytes: number): boolean {
    const group = this.#group;
    if (group === undefined) return true;
    return (
      group.files.length < FILES_IN_GROUP && group.usedBytes + bytes <= group.memory.byteLength
    );
  }

  #newGroup(bytes: number): Group {
    const memory =
      bytes > GROUP_BYTES
        ? new SharedArrayBuffer(bytes)
        : (this.#free.pop() ?? new SharedArrayBuffer(GROUP_BYTES));
    return { memory, files: [], usedBytes: 0 };
  }

  async #write({ memory, files }: Group): Promise<void> {
    const failures = await this.#staged.writeTogether(files, memory);
    if (memory.byteLength === GROUP_BYTES) this.#free.push(memory);
    await this.#written(
      files.map(({ row }) => row),
      failures,
    );
  }
}
