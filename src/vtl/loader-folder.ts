/**
 * The folder of a virtual loader, and the one way to change what it says.
 *
 *     loader.json  loader.json.bak     what the loader is
 *     slotmap.json slotmap.json.bak    which tape is where
 *     loader.lock                      who changes them at this moment
 *     tapes/BARCODE.tap                the tapes, wherever the robot has put them
 *     drives/N.lock drives/N.json      who uses a drive; where its tape stands
 *
 * Many processes may have a loader open. A change takes the lock, reads again what others may have
 * changed, finishes or undoes what a killed process began, and replaces a file as a whole; readers
 * need no lock. Locks are held for milliseconds here, so who finds one waits a little.
 */
import { lstat, realpath } from "node:fs/promises";
import { join } from "node:path";
import { makeFolder } from "../device/sync-directory.ts";
import { ReelError, fromSystem } from "../errors.ts";
import { OperationQueue } from "../tape/operation-queue.ts";
import { takeLock } from "../tape/tape-lock.ts";
import { tapeFileName } from "./barcode.ts";
import { formatConfig, parseConfig, type LoaderConfig } from "./loader-config.ts";
import { settlePending } from "./pending-change.ts";
import { hasElement, type SlotMap, type StoredTape } from "./slot-map.ts";
import { formatSlotMap, parseSlotMap } from "./slot-map-file.ts";
import { backupOf, readTwoCopies, writeTwoCopies, type ReadCopy } from "./two-copies.ts";

const CONFIG_FILE = "loader.json";
const SLOT_MAP_FILE = "slotmap.json";
const TAPES_FOLDER = "tapes";
const DRIVES_FOLDER = "drives";
const LOCK_WAIT_MS = 10_000;

/** What a change may do while it has the loader to itself. */
export interface LoaderChange {
  readonly config: LoaderConfig;
  readonly map: SlotMap;
  /** Each is durable when it returns. */
  readonly saveMap: (map: SlotMap) => Promise<void>;
  readonly saveConfig: (config: LoaderConfig) => Promise<void>;
}

export class LoaderFolder {
  /** Absolute, without symbolic links. */
  readonly path: string;
  readonly #queue: OperationQueue;
  #config: LoaderConfig;
  #map: SlotMap;
  #stamp: string;
  #notices: readonly string[];

  private constructor(path: string, read: FolderState) {
    this.path = path;
    this.#config = read.config;
    this.#map = read.map;
    this.#stamp = read.stamp;
    this.#notices = read.notices;
    this.#queue = new OperationQueue(`loader ${read.config.name}`);
  }

  /**
   * Opens the loader in a folder.
   * @throws "not-found" (no loader there), "damaged" naming the files that cannot be read.
   */
  static async open(path: string): Promise<LoaderFolder> {
    const doing = `cannot open the loader in ${path}`;
    let absolute: string;
    try {
      absolute = await realpath(path);
    } catch (error) {
      throw fromSystem(error, doing);
    }
    const folder = new LoaderFolder(absolute, await readState(absolute, doing));
    if (folder.map.pending !== undefined) await folder.change(doing, async () => undefined);
    return folder;
  }

  get config(): LoaderConfig {
    return this.#config;
  }

  get map(): SlotMap {
    return this.#map;
  }

  /** What a person should know: that a backup copy was read. */
  get notices(): readonly string[] {
    return this.#notices;
  }

  get tapesPath(): string {
    return join(this.path, TAPES_FOLDER);
  }

  tapePath(tape: Pick<StoredTape, "barcode" | "container">): string {
    return join(this.tapesPath, tapeFileName(tape.barcode, tape.container));
  }

  driveFile(number: number, kind: "lock" | "json"): string {
    return join(this.path, DRIVES_FOLDER, `${number}.${kind}`);
  }

  /** Reads again what another process has changed since. */
  async refresh(): Promise<void> {
    if ((await stampOf(this.path)) === this.#stamp) return;
    this.#take(await readState(this.path, `cannot read the loader ${this.#config.name}`));
  }

  /**
   * Runs `body` while nobody else changes the loader.
   * @throws "busy" naming the process that has it for too long.
   */
  async change<T>(doing: string, body: (change: LoaderChange) => Promise<T>): Promise<T> {
    return this.#queue.run(async () => {
      const lock = await takeLock(join(this.path, "loader.lock"), {
        doing,
        using: "is changing the loader",
        waitMs: LOCK_WAIT_MS,
      });
      try {
        this.#take(await readState(this.path, doing));
        await this.#settle();
        try {
          return await body(this.#changeNow());
        } catch (error) {
          await this.#settle();
          throw error;
        }
      } finally {
        await lock.release();
      }
    });
  }

  async close(): Promise<void> {
    return this.#queue.close(() => undefined);
  }

  async #settle(): Promise<void> {
    if (this.#map.pending === undefined) return;
    await refuseLinkedTapes(this.tapesPath, this.#map.pending.operation);
    const settled = await settlePending(this.#map, (tape) => this.tapePath(tape));
    if (settled !== undefined) await this.#saveMap(settled);
  }

  #changeNow(): LoaderChange {
    const config = (): LoaderConfig => this.#config;
    const map = (): SlotMap => this.#map;
    return {
      get config() {
        return config();
      },
      get map() {
        return map();
      },
      saveMap: async (next) => this.#saveMap(next),
      saveConfig: async (next) => {
        await writeTwoCopies(join(this.path, CONFIG_FILE), formatConfig(next));
        this.#take({ ...this.#state(), config: next, stamp: await stampOf(this.path) });
      },
    };
  }

  async #saveMap(next: SlotMap): Promise<void> {
    const map = { ...next, generation: this.#map.generation + 1 };
    await writeTwoCopies(join(this.path, SLOT_MAP_FILE), formatSlotMap(map));
    this.#take({ ...this.#state(), map, stamp: await stampOf(this.path), notices: [] });
  }

  #state(): FolderState {
    return {
      config: this.#config,
      map: this.#map,
      stamp: this.#stamp,
      notices: this.#notices,
    };
  }

  #take(state: FolderState): void {
    this.#config = state.config;
    this.#map = state.map;
    this.#stamp = state.stamp;
    this.#notices = state.notices;
  }
}

interface FolderState {
  readonly config: LoaderConfig;
  readonly map: SlotMap;
  /** Changes whenever one of the two files does. */
  readonly stamp: string;
  readonly notices: readonly string[];
}

async function readState(path: string, doing: string): Promise<FolderState> {
  // The stamp is taken first: what changes after it is read again next time.
  const stamp = await stampOf(path);
  const config = await readConfig(path);
  const map = await readSlotMap(path);
  if (config === undefined) {
    throw new ReelError("not-found", `${doing}: there is no ${CONFIG_FILE} in it`);
  }
  if (map === undefined) {
    throw new ReelError(
      "damaged",
      `${doing}: neither ${join(path, SLOT_MAP_FILE)} nor its backup copy ` +
        `${backupOf(join(path, SLOT_MAP_FILE))} is there; ` +
        `"reelfs loader adopt" makes a new one from the tapes that are there`,
    );
  }
  for (const element of map.value.full.values()) {
    if (hasElement(config.value, element)) continue;
    throw new ReelError(
      "damaged",
      `${doing}: ${join(path, SLOT_MAP_FILE)} has ${element.tape.barcode} in ${element.kind} ` +
        `element ${element.number}, which ${CONFIG_FILE} does not have; correct field "slots", ` +
        `"drives" or "importExport" there`,
    );
  }
  const notices = [config.notice, map.notice].filter((each) => each !== undefined);
  return { config: config.value, map: map.value, stamp, notices };
}

export async function readConfig(folder: string): Promise<ReadCopy<LoaderConfig> | undefined> {
  return readTwoCopies(join(folder, CONFIG_FILE), "the configuration of the loader", parseConfig);
}

export async function readSlotMap(folder: string): Promise<ReadCopy<SlotMap> | undefined> {
  return readTwoCopies(join(folder, SLOT_MAP_FILE), "the slot map", parseSlotMap);
}

/** Makes a folder a loader. The configuration comes last: without it there is none. */
export async function writeNewLoader(
  path: string,
  config: LoaderConfig,
  map: SlotMap,
): Promise<void> {
  await makeLoaderFolders(path);
  await writeTwoCopies(join(path, SLOT_MAP_FILE), formatSlotMap(map));
  await writeTwoCopies(join(path, CONFIG_FILE), formatConfig(config));
}

/** Makes the folder with its two inner ones, where they are not there. */
export async function makeLoaderFolders(path: string): Promise<void> {
  try {
    await makeFolder(join(path, TAPES_FOLDER));
    await makeFolder(join(path, DRIVES_FOLDER));
  } catch (error) {
    throw fromSystem(error, `cannot make the folder of the loader ${path}`);
  }
}

/**
 * What is pending is done without being asked, and may delete tapes: never in a folder elsewhere, to
 * which whoever made the loader's folder has put a link.
 */
async function refuseLinkedTapes(tapesPath: string, operation: string): Promise<void> {
  const stats = await lstat(tapesPath).catch(() => undefined);
  if (stats?.isSymbolicLink() !== true) return;
  throw new ReelError(
    "invalid",
    `cannot finish an interrupted ${operation}: ${tapesPath} is a symbolic link; ` +
      `make it a folder, or mount one there`,
  );
}

/** Every replaced file is another one, or of another time. */
async function stampOf(path: string): Promise<string> {
  const stamps = [CONFIG_FILE, SLOT_MAP_FILE].map(async (name) => {
    try {
      const stats = await lstat(join(path, name), { bigint: true });
      return `${stats.ino}:${stats.size}:${stats.mtimeNs}:${stats.ctimeNs}`;
    } catch {
      return "none";
    }
  });
  return (await Promise.all(stamps)).join(" ");
}
