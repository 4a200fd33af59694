/** Making, adopting, changing and forgetting virtual loaders. */
import { randomBytes } from "node:crypto";
import { readdir, realpath, rm } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { ReelError, fromSystem, isReelError } from "../errors.ts";
import { firstInventory, gatherTapes, type InventoryReport } from "./inventory.ts";
import {
  checkConfig,
  isLoaderName,
  type LoaderConfig,
  type LoaderPolicies,
} from "./loader-config.ts";
import {
  LoaderFolder,
  makeLoaderFolders,
  readConfig,
  readSlotMap,
  writeNewLoader,
} from "./loader-folder.ts";
import {
  checkNameIsFree,
  findLoader,
  readRegistry,
  registerLoader,
  unregisterLoader,
} from "./registry.ts";
import { elementText, hasElement } from "./slot-map.ts";
import { createVirtualTapes } from "./virtual-tapes.ts";
import type { SpaceStatus } from "./space-guard.ts";
import { VirtualLoader, type VirtualLoaderOptions } from "./virtual-loader.ts";

const SERIAL_RANDOM_BYTES = 4;

/** What a loader is made with; what is not said comes from the defaults of the registry. */
export interface LoaderWishes {
  readonly slots?: number | undefined;
  readonly drives?: number | undefined;
  readonly importExport?: number | undefined;
  /** By default the name of the folder. */
  readonly name?: string | undefined;
  readonly serial?: string | undefined;
  readonly capacityBytes?: number | undefined;
  readonly barcodePattern?: string | undefined;
  readonly policies?:
    { readonly [K in keyof LoaderPolicies]?: LoaderPolicies[K] | undefined } | undefined;
}

export interface RegistryOption {
  /** The registry to use instead of the user's. */
  readonly registryPath?: string | undefined;
}

export interface CreateLoaderOptions extends LoaderWishes, RegistryOption {
  readonly path: string;
  /** Tapes to make, named by the pattern. */
  readonly tapes?: number | undefined;
}

export type OpenLoaderOptions = VirtualLoaderOptions & RegistryOption;

/** What is known of a loader: GetVirtualLoaderInformation. */
export interface VirtualLoaderInformation extends LoaderConfig {
  readonly path: string;
  /** Tells programs that no hardware is behind it. */
  readonly driveType: "virtual";
  readonly fullSlots: number;
  readonly loadedDrives: number;
  readonly fullImportExport: number;
  readonly space: SpaceStatus;
  readonly warnings: readonly string[];
}

/**
 * Makes a virtual loader in a folder, new or there already; tapes that lie in it are taken over.
 * @throws "exists" (a loader is there, or one has the name), "invalid" naming the wrong value,
 *   "too-small" (fewer slots than tapes).
 */
export async function createVirtualLoader(options: CreateLoaderOptions): Promise<InventoryReport> {
  const path = resolve(options.path);
  const doing = `cannot make a loader in ${path}`;
  if ((await readConfig(path)) !== undefined) {
    throw new ReelError("exists", `${doing}: there is one; "reelfs loader adopt" registers it`);
  }
  const report = await makeLoader(path, options, doing);
  if ((options.tapes ?? 0) > 0) {
    const loader = await VirtualLoader.open(path);
    try {
      await createVirtualTapes(loader, { count: options.tapes });
    } finally {
      await loader.close();
    }
  }
  return report;
}

/**
 * Registers the loader that is in a folder; makes one of a folder with tapes. Tapes that the slot
 * map does not know are left to the inventory.
 */
export async function adoptVirtualLoader(options: CreateLoaderOptions): Promise<InventoryReport> {
  const path = resolve(options.path);
  const doing = `cannot adopt ${path}`;
  const config = await readConfig(path);
  if (config === undefined) {
    await requireFolder(path, doing);
    return makeLoader(path, options, doing);
  }
  const real = await realpath(path);
  const name = options.name ?? config.value.name;
  const wanted: LoaderConfig = { ...config.value, name };
  checkConfig(wanted, doing);
  await checkNameIsFree({ name, path: real }, options.registryPath);
  let report = NOTHING_FOUND;
  if ((await readSlotMap(path)) === undefined) {
    await makeLoaderFolders(path);
    const taken = await firstInventory(join(real, "tapes"), wanted, doing);
    await writeNewLoader(path, wanted, taken.next);
    ({ report } = taken);
  }
  if (name !== config.value.name) {
    const folder = await LoaderFolder.open(path);
    await folder.change(doing, async ({ saveConfig }) => saveConfig(wanted));
  }
  await registerLoader({ name, path: real }, options.registryPath);
  return report;
}

const NOTHING_FOUND: InventoryReport = {
  found: [],
  missing: [],
  doubled: [],
  withoutSlot: [],
  unusable: [],
};

async function requireFolder(path: string, doing: string): Promise<void> {
  try {
    await readdir(path);
  } catch (error) {
    throw fromSystem(error, doing);
  }
}

async function makeLoader(
  path: string,
  options: CreateLoaderOptions,
  doing: string,
): Promise<InventoryReport> {
  const { defaults } = await readRegistry(options.registryPath);
  const config = await newConfig(path, options, defaults, doing);
  await checkNameIsFree({ name: config.name, path }, options.registryPath);
  await makeLoaderFolders(path);
  const real = await realpath(path);
  const tapesPath = join(real, "tapes");
  try {
    await gatherTapes(real, tapesPath);
  } catch (error) {
    throw fromSystem(error, doing);
  }
  const fitted = await fitSlots(config, options, tapesPath, doing);
  const { next, report } = await firstInventory(tapesPath, fitted, doing);
  await writeNewLoader(real, fitted, next);
  await registerLoader({ name: fitted.name, path: real }, options.registryPath);
  return report;
}

async function newConfig(
  path: string,
  wishes: LoaderWishes,
  defaults: Omit<LoaderConfig, "name" | "serial">,
  doing: string,
): Promise<LoaderConfig> {
  const name = wishes.name ?? basename(path);
  const serial =
    wishes.serial ?? `RFS${randomBytes(SERIAL_RANDOM_BYTES).toString("hex").toUpperCase()}`;
  const config = merged({ ...defaults, name, serial }, wishes);
  if (!isLoaderName(name)) {
    throw new ReelError(
      "invalid",
      `${doing}: "${name}" is not a name for a loader; use letters, digits and . _ -`,
    );
  }
  checkConfig(config, doing);
  return config;
}

function merged(config: LoaderConfig, wishes: LoaderWishes): LoaderConfig {
  const policies = { ...config.policies, ...defined(wishes.policies ?? {}) };
  const { slots, drives, importExport, capacityBytes, barcodePattern, name } = wishes;
  const changes = { slots, drives, importExport, capacityBytes, barcodePattern, name };
  return { ...config, ...defined(changes), policies };
}

/** Without what is undefined. */
function defined<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const entries = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]?: Exclude<T[K], undefined> };
}

/** As many slots as there are tapes, unless somebody said how many. */
async function fitSlots(
  config: LoaderConfig,
  wishes: LoaderWishes,
  tapesPath: string,
  doing: string,
): Promise<LoaderConfig> {
  const { report } = await firstInventory(tapesPath, config, doing);
  const tapes = report.found.length + report.withoutSlot.length;
  if (tapes <= config.slots) return config;
  if (wishes.slots !== undefined) {
    throw new ReelError(
      "too-small",
      `${doing}: there are ${tapes} tapes in it, which ${config.slots} slots do not hold`,
    );
  }
  const fitted = { ...config, slots: tapes };
  checkConfig(fitted, doing);
  return fitted;
}

/** Where a loader is: a folder (with a / in it, or `.`), or the name of a registered one. */
async function locateLoader(pathOrName: string, registryPath?: string): Promise<string> {
  const isPath = pathOrName.includes("/") || !isLoaderName(pathOrName);
  if (isPath) return resolve(pathOrName);
  return (await findLoader(pathOrName, registryPath)).path;
}

/**
 * Opens a loader by its name or its folder.
 * @throws "not-found", "damaged" naming what cannot be read.
 */
export async function openVirtualLoader(
  pathOrName: string,
  options: OpenLoaderOptions = {},
): Promise<VirtualLoader> {
  return VirtualLoader.open(await locateLoader(pathOrName, options.registryPath), options);
}

export interface DeleteLoaderOptions extends RegistryOption {
  /** Deletes its tapes and all of its folder as well. */
  readonly purge?: boolean | undefined;
}

/** Forgets a loader. Its folder stays, unless asked. Throws "busy" while a drive is in use. */
export async function deleteVirtualLoader(
  pathOrName: string,
  options: DeleteLoaderOptions = {},
): Promise<void> {
  const path = await locateLoader(pathOrName, options.registryPath);
  if (options.purge === true) await purge(path, pathOrName);
  const real = await realpath(path).catch(() => path);
  await unregisterLoader(real, options.registryPath);
}

/** In this order: until its configuration is gone it is a loader, and can be purged again. */
const PURGED = [
  "tapes",
  "incoming",
  "refused",
  "loader.json.bak",
  "loader.json",
  "slotmap.json.bak",
  "slotmap.json",
];

/** Only what is the loader's is deleted; a folder that holds something else stays. */
async function purge(path: string, name: string): Promise<void> {
  const doing = `cannot delete loader ${name}`;
  let loader: VirtualLoader;
  try {
    loader = await VirtualLoader.open(path);
  } catch (error) {
    // Purged before, and stopped before it was forgotten.
    if (isReelError(error, "not-found")) return;
    throw error;
  }
  try {
    const { folder, geometry } = loader;
    const drives = Array.from({ length: geometry.drives }, (_, number) => number);
    await loader.whileDrivesIdle(drives, doing, async () =>
      folder.change(doing, async () => {
        for (const each of PURGED) {
          await rm(join(folder.path, each), { recursive: true, force: true });
        }
      }),
    );
    await rm(join(folder.path, "drives"), { recursive: true, force: true });
    if ((await readdir(folder.path)).length === 0) await rm(folder.path, { recursive: true });
  } catch (error) {
    throw fromSystem(error, doing);
  } finally {
    await loader.close();
  }
}

/**
 * Changes what a loader is. Tapes there are keep their capacity.
 * @throws "invalid" naming the wrong value, "not-empty" (an element to go holds a tape), "exists"
 *   (a loader has the new name).
 */
export async function setVirtualLoader(
  loader: VirtualLoader,
  wishes: Omit<LoaderWishes, "serial"> & { readonly unlimitedCapacity?: boolean | undefined },
  options: RegistryOption = {},
): Promise<void> {
  const { folder } = loader;
  const doing = `cannot change loader ${loader.name}`;
  const name = wishes.name ?? loader.name;
  await checkNameIsFree({ name, path: folder.path }, options.registryPath);
  await folder.change(doing, async ({ config, map, saveConfig }) => {
    const { capacityBytes, ...unlimited } = merged(config, wishes);
    const isLimited = capacityBytes !== undefined && wishes.unlimitedCapacity !== true;
    const next = isLimited ? { ...unlimited, capacityBytes } : unlimited;
    checkConfig(next, doing);
    for (const element of map.full.values()) {
      if (hasElement(next, element)) continue;
      const why = `${elementText(element)} holds ${element.tape.barcode}; move it first`;
      throw new ReelError("not-empty", `${doing}: ${why}`);
    }
    await saveConfig(next);
  });
  const { loaders } = await readRegistry(options.registryPath);
  if (loaders.some((each) => each.path === folder.path && each.name !== name)) {
    await registerLoader({ name, path: folder.path }, options.registryPath);
  }
}

/** All that is known of a loader, without touching its tapes. */
export async function getVirtualLoaderInformation(
  loader: VirtualLoader,
): Promise<VirtualLoaderInformation> {
  await loader.folder.refresh();
  const { config, map, path } = loader.folder;
  const count = (kind: string): number =>
    [...map.full.values()].filter((each) => each.kind === kind).length;
  return {
    ...config,
    path,
    driveType: "virtual",
    fullSlots: count("storage"),
    loadedDrives: count("drive"),
    fullImportExport: count("import-export"),
    space: await loader.spaceStatus(),
    warnings: await loader.warnings(),
  };
}
