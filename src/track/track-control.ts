/**
 * What a backup and the tracker say to each other, over the control socket of the mount; the
 * connection is the backup: when it ends before "track-done", the backup has failed.
 *
 *     track-begin   freeze cacheBytes   → file sourcePath blockSizeBytes image dirty
 *     track-plan    data control          what will be read, the rest is let go
 *     track-passed  section block         all of the section before that block has been read
 *     track-alive                         so that a backup that waits is not taken for dead
 *     track-done    image                 the image of this UUID is whole
 *
 * Sets of blocks are arrays of start and count, one after the other, in blocks of the bitmap. They
 * are bounded: sets of too many runs have their narrow gaps filled, which is never wrong.
 */
import { ExtentSet } from "../device/extents.ts";
import { ReelError } from "../errors.ts";
import type { ControlConnection, ControlExtension } from "../fuse/control.ts";
import type { Section } from "./snapshot.ts";
import type { TrackTree } from "./track-tree.ts";
import type { TrackedBackupState, TrackedDevice } from "./tracked-device.ts";

/** Runs in one message: about 20 characters each, twice, and the request has 1 MiB. */
export const RUNS_MAX = 16_384;
export const CACHE_BYTES_DEFAULT = 1024 ** 3;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The answer to "track-begin". */
export interface BegunBackup {
  /** Name of the file to read. */
  readonly file: string;
  readonly sourcePath: string;
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  /** Since which image `dirty` has changed; null: nothing is known. */
  readonly image: string | null;
  readonly dirty: readonly number[];
}

type Request = ReadonlyMap<string, unknown>;

/** Answers backups of a tracked volume. */
export function trackControl(
  tree: TrackTree,
  device: TrackedDevice,
  sourcePath: string,
): ControlExtension {
  const backups = new WeakMap<ControlConnection, TrackedBackupState>();
  const mine = (connection: ControlConnection): TrackedBackupState => {
    const state = backups.get(connection);
    if (state !== undefined) return state;
    throw new ReelError("invalid", "this connection has begun no backup");
  };
  const begin = async (request: Request, connection: ControlConnection): Promise<BegunBackup> => {
    if (backups.has(connection)) throw new ReelError("invalid", "a backup was begun already");
    const freeze = request.get("freeze") === "copy" ? "copy" : "wait";
    const cacheBytes = wholeNumber(request.get("cacheBytes") ?? CACHE_BYTES_DEFAULT);
    const state = await device.begin({ freeze, cacheBytes });
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
    return { file, sourcePath, sizeBytes, blockSizeBytes, image: image ?? null, dirty };
  };
  return {
    perform: (request, connection) => {
      switch (request.get("op")) {
        case "track-begin":
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
            .then(() => ({}));
        default:
          return undefined;
      }
    },
  };
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
