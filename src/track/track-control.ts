/**
 * What a backup and the tracker say to each other, over the control socket of the mount; the
 * connection is the backup: when it ends before "track-done", the backup has failed.
 *
 *     track-begin   freeze cacheBytes   → file sourcePath blockSizeBytes image dirty …
 *     commit-begin  the same, of what was changed in an exposed image
 *     track-plan    data control          what will be read, the rest is let go
 *     track-passed  section block         all of the section before that block has been read
 *     track-alive                         so that a backup that waits is not taken for dead
 *     track-done    image place           the image of this UUID is whole, and where it is
 *
 * Sets of blocks are arrays of start and count, one after the other, in blocks of the bitmap. They
 * are bounded: sets of too many runs have their narrow gaps filled, which is never wrong.
 */
import { join } from "node:path";
import { ExtentSet } from "../device/extents.ts";
import { ReelError } from "../errors.ts";
import type { ControlConnection, ControlExtension } from "../fuse/control.ts";
import type { Section } from "./snapshot.ts";
import type { TrackTree } from "./track-tree.ts";
import type { BeginOptions, TrackedBackupState, TrackedDevice } from "./tracked-device.ts";

/** Runs in one message: about 20 characters each, twice, and the request has 1 MiB. */
export const RUNS_MAX = 16_384;
export const CACHE_BYTES_DEFAULT = 1024 ** 3;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** A backup of a volume that is tracked, or of what was changed in an image that is exposed. */
export type BeginOperation = "track-begin" | "commit-begin";

/** The answer to "track-begin". */
export interface BegunBackup {
  /** The file to read, in the mount, or by its absolute path. */
  readonly file: string;
  readonly sourcePath: string;
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  /** Since which image `dirty` has changed; null: nothing is known. */
  readonly image: string | null;
  readonly dirty: readonly number[];
  /** Where that image is, "/tapes/photos.tap#2", when the daemon was told; else null. */
  readonly imagePlace: string | null;
  /** What a person must know of how it began. */
  readonly notices: readonly string[];
}

/** What is tracked, as the control sees it. */
export interface TrackSubject {
  readonly sourcePath: string;
  /** Which of the two it answers. */
  readonly begins: BeginOperation;
  /** Where the image is since which changes are known. */
  readonly imagePlace?: string | undefined;
  /** The folder of the snapshot's file, when that is not the mount itself. */
  readonly folder?: string | undefined;
  /** Has what writes to the volume hold still while `begin` runs; returns what is to be said of it. */
  readonly quiet?: ((begin: () => Promise<void>) => Promise<readonly string[]>) | undefined;
}

type Request = ReadonlyMap<string, unknown>;

/** Answers backups of a tracked volume. */
export function trackControl(
  tree: TrackTree,
  device: TrackedDevice,
  subject: TrackSubject,
): ControlExtension {
  const { sourcePath, folder } = subject;
  let imagePlace = subject.imagePlace ?? null;
  const backups = new WeakMap<ControlConnection, TrackedBackupState>();
  const mine = (connection: ControlConnection): TrackedBackupState => {
    const state = backups.get(connection);
    if (state !== undefined) return state;
    throw new ReelError("invalid", "this connection has begun no backup");
  };
  const begin = async (request: Request, connection: ControlConnection): Promise<BegunBackup> => {
    if (request.get("op") !== subject.begins) throw otherKind(subject);
    if (backups.has(connection)) throw new ReelError("invalid", "a backup was begun already");
    const freeze = request.get("freeze") === "copy" ? "copy" : "wait";
    const cacheBytes = wholeNumber(request.get("cacheBytes") ?? CACHE_BYTES_DEFAULT);
    const { state, notices } = await beginQuietly(device, { freeze, cacheBytes }, subject);
    backups.set(connection, state);
    const file = tree.show(state.device);
    connection.onClose(() => {
      // After "track-done" this changes nothing.
      tree.hide(file);
      state.undone().catch(() => undefined);
    });
    const { bitmap, image } = state.dirt;
    const { sizeBytes } = device;
    const dirty = image === undefined ? [] : flat(bitmap.extents(RUNS_MAX));
    const { blockSizeBytes } = bitmap;
    return {
      ...{ file: folder === undefined ? file : join(folder, file), sourcePath, sizeBytes },
      ...{ blockSizeBytes, image: image ?? null, dirty, imagePlace, notices },
    };
  };
  return {
    perform: (request, connection) => {
      switch (request.get("op")) {
        case "track-begin":
        case "commit-begin":
          return begin(request, connection);
        case "track-plan":
          return at(() => {
            const [data, control] = [setOf(request.get("data")), setOf(request.get("control"))];
            mine(connection).plan({ data, control });
          });
        case "track-passed":
          return at(() => {
            const section = sectionOf(request.get("section"));
            mine(connection).passed(section, wholeNumber(request.get("block")));
          });
        case "track-alive":
          return at(() => undefined);
        case "track-done":
          return mine(connection)
            .done(uuidOf(request.get("image")))
            .then(() => {
              const place = request.get("place");
              imagePlace = typeof place === "string" ? place : null;
              return {};
            });
        default:
          return undefined;
      }
    },
  };
}

async function beginQuietly(
  device: TrackedDevice,
  options: BeginOptions,
  { quiet }: TrackSubject,
): Promise<{ state: TrackedBackupState; notices: readonly string[] }> {
  if (quiet === undefined) return { state: await device.begin(options), notices: [] };
  const begun: TrackedBackupState[] = [];
  try {
    const notices = await quiet(async () => {
      begun.push(await device.begin(options));
    });
    const [state] = begun;
    if (state === undefined) throw new ReelError("internal", "the backup was not begun");
    return { state, notices };
  } catch (error) {
    // Nobody else knows of it: the volume would be busy for ever.
    for (const state of begun) await state.undone().catch(() => undefined);
    throw error;
  }
}

function otherKind({ begins, sourcePath }: TrackSubject): ReelError {
  return new ReelError(
    "unsupported",
    begins === "track-begin"
      ? `cannot commit changes of ${sourcePath}: it is no image but a volume that is tracked; use reelfs backup --tracked`
      : `cannot back up ${sourcePath} as a tracked volume: it is an image that is exposed; use reelfs commit`,
  );
}

async function at(work: () => void): Promise<object> {
  work();
  return Promise.resolve({});
}

/** A set as it is sent. */
export function flat(set: ExtentSet): number[] {
  const numbers: number[] = [];
  for (const [start, count] of set) numbers.push(start, count);
  return numbers;
}

/** @throws ReelError "invalid" */
export function setOf(value: unknown): ExtentSet {
  if (!Array.isArray(value) || value.length % 2 !== 0 || value.length > RUNS_MAX * 2) {
    throw new ReelError("invalid", "not a set of blocks");
  }
  const runs: [number, number][] = [];
  for (let i = 0; i < value.length; i += 2) {
    runs.push([wholeNumber(value[i]), wholeNumber(value[i + 1])]);
  }
  return ExtentSet.from(runs);
}

function wholeNumber(value: unknown): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw new ReelError("invalid", "not a whole number");
}

function sectionOf(value: unknown): Section {
  if (value === "data" || value === "control") return value;
  throw new ReelError("invalid", "not a section of an image");
}

function uuidOf(value: unknown): string {
  if (typeof value === "string" && UUID.test(value)) return value;
  throw new ReelError("invalid", "not the UUID of an image");
}
