/**
 * Readers and writers on one mount, each writer with a folder of its own and a model of what is in
 * it. They run in processes of their own (crowd-worker.ts): never in the one that serves the mount.
 */
import { mkdir, open, readdir, readFile, rename, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { randomBytes } from "./random.ts";
import type { SeededRandom } from "./seeded-random.ts";

export interface CrowdTask {
  /** In the mount. */
  readonly root: string;
  /** The same files outside of it. */
  readonly truth: string;
  /** Of files in both. */
  readonly paths: readonly string[];
  /** Calls may fail: the mount is taken away, or the disk is full. Never with wrong bytes. */
  readonly mayFail: boolean;
  readonly rounds: number;
  readonly isOver: () => boolean;
}

export interface CrowdCounts {
  calls: number;
  /** Of failed calls, by code. */
  readonly errors: Record<string, number>;
  /** What must not be: bytes that are not those of the model, calls that failed. */
  readonly wrong: string[];
}

/** The mount is gone: nothing more is to be had of it. */
const GONE = ["ENOTCONN", "ENODEV", "ECONNABORTED"];
const READ_BYTES_MAX = 100_000;
const FILES_MAX = 12;
const FILE_BYTES_MAX = 60_000;

export const newCounts = (): CrowdCounts => ({ calls: 0, errors: {}, wrong: [] });

/** Runs a call and counts it; undefined when it failed, as it may. */
async function tried<T>(
  what: string,
  task: CrowdTask,
  counts: CrowdCounts,
  call: () => Promise<T>,
): Promise<T | undefined> {
  counts.calls++;
  try {
    return await call();
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
    counts.errors[code] = (counts.errors[code] ?? 0) + 1;
    if (!task.mayFail) counts.wrong.push(`${what}: ${String(error)}`);
    return undefined;
  }
}

const isGone = ({ errors }: CrowdCounts): boolean =>
  GONE.some((code) => errors[code] !== undefined);

/** Reads files that nobody changes, whole and in pieces. */
export async function crowdReader(
  task: CrowdTask,
  random: SeededRandom,
  counts: CrowdCounts,
): Promise<void> {
  for (let round = 0; round < task.rounds && !task.isOver() && !isGone(counts); round++) {
    const path = random.pick(task.paths);
    const wanted = await readFile(join(task.truth, path));
    const from = random.below(2) === 0 ? 0 : random.below(wanted.length + 1);
    const length = from === 0 ? wanted.length : random.below(READ_BYTES_MAX);
    const part = wanted.subarray(from, from + length);
    const read = await tried(path, task, counts, () =>
      readPart(join(task.root, path), from, part.length),
    );
    if (read === undefined || read.equals(part)) continue;
    counts.wrong.push(`${path}: ${length} bytes at ${from} are not those of the file`);
  }
}

async function readPart(path: string, from: number, length: number): Promise<Buffer> {
  const file = await open(path);
  try {
    const target = Buffer.alloc(length);
    let done = 0;
    while (done < length) {
      const { bytesRead } = await file.read(target, done, length - done, from + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return target.subarray(0, done);
  } finally {
    await file.close();
  }
}

/** Undefined: a call on it failed, and nothing is known of its content. */
type Model = Map<string, Buffer | undefined>;

/** Makes, writes, cuts, renames, deletes and reads back files of its own. */
export async function crowdWriter(
  task: CrowdTask,
  name: string,
  random: SeededRandom,
  counts: CrowdCounts,
): Promise<void> {
  const folder = join(task.root, name);
  const made = await tried(name, task, counts, async () => mkdir(folder).then(() => true));
  const model: Model = new Map();
  for (let round = 0; round < task.rounds && made === true; round++) {
    if (task.isOver() || isGone(counts)) break;
    await writerStep(task, folder, model, random, counts);
  }
  if (isGone(counts) || made !== true) return;
  for (const file of model.keys()) await checkOwn(task, folder, file, model, counts);
  const listed = await tried(name, task, counts, () => readdir(folder));
  const known = [...model].flatMap(([file, bytes]) => (bytes === undefined ? [] : [file]));
  const missing = listed === undefined ? [] : known.filter((file) => !listed.includes(file));
  const strange = (listed ?? []).filter(
    (file) => !model.has(file) && !file.startsWith(".fuse_hidden"),
  );
  if (missing.length > 0) counts.wrong.push(`${name} lacks ${missing.join()}`);
  if (strange.length > 0) counts.wrong.push(`${name} has ${strange.join()}, which were removed`);
}

async function writerStep(
  task: CrowdTask,
  folder: string,
  model: Model,
  random: SeededRandom,
  counts: CrowdCounts,
): Promise<void> {
  const names = [...model.keys()];
  const file = names.length < FILES_MAX ? `file ${random.below(FILES_MAX)}` : random.pick(names);
  const path = join(folder, file);
  const before = model.get(file);
  if (model.has(file) && random.below(3) === 0) return checkOwn(task, folder, file, model, counts);
  const step = chooseStep(path, before, random);
  const done = await tried(`${step.what} ${path}`, task, counts, async () =>
    step.call().then(() => true),
  );
  if (step.renamedTo !== undefined) {
    model.delete(file);
    model.set(step.renamedTo, done === true ? before : undefined);
    if (done !== true) model.set(file, undefined);
  } else if (done === true && step.after === undefined) model.delete(file);
  else model.set(file, done === true ? step.after : undefined);
}

interface WriterStep {
  readonly what: string;
  readonly call: () => Promise<unknown>;
  /** What the file then holds; undefined: it is gone. */
  readonly after: Buffer | undefined;
  readonly renamedTo?: string;
}

function chooseStep(path: string, before: Buffer | undefined, random: SeededRandom): WriterStep {
  const data = Buffer.from(randomBytes(random, random.below(FILE_BYTES_MAX)));
  if (before === undefined || random.below(4) === 0) {
    return { what: "write", call: async () => writeFile(path, data), after: data };
  }
  const at = random.below(before.length + 1);
  switch (random.below(5)) {
    case 0:
      return { what: "remove", call: async () => rm(path), after: undefined };
    case 1: {
      const after = Buffer.concat([
        before.subarray(0, at),
        Buffer.alloc(Math.max(0, at - before.length)),
      ]);
      return { what: "truncate", call: async () => truncate(path, at), after };
    }
    case 2: {
      const renamedTo = `moved ${random.below(FILES_MAX)}`;
      return {
        what: "rename",
        call: async () => rename(path, join(path, "..", renamedTo)),
        after: before,
        renamedTo,
      };
    }
    default: {
      const after = Buffer.alloc(Math.max(before.length, at + data.length));
      before.copy(after);
      data.copy(after, at);
      return { what: "overwrite", call: async () => overwrite(path, data, at), after };
    }
  }
}

async function overwrite(path: string, data: Buffer, at: number): Promise<void> {
  const file = await open(path, "r+");
  try {
    for (let done = 0; done < data.length;) {
      done += (await file.write(data, done, data.length - done, at + done)).bytesWritten;
    }
  } finally {
    await file.close();
  }
}

async function checkOwn(
  task: CrowdTask,
  folder: string,
  file: string,
  model: Model,
  counts: CrowdCounts,
): Promise<void> {
  const wanted = model.get(file);
  if (wanted === undefined) return;
  const path = join(folder, file);
  const found = await tried(`read ${path}`, task, counts, () => readFile(path));
  if (found === undefined || found.equals(wanted)) return;
  counts.wrong.push(
    `${path}: ${found.length} bytes are not the ${wanted.length} that were written`,
  );
}
