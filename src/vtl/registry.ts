/**
 * The registry of loaders: a user's `loaders.json` says which loaders there are, by name, and what
 * new ones are made with. It has a backup copy; where neither can be read nothing is written.
 */
import { homedir } from "node:os";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { makeFolder } from "../device/sync-directory.ts";
import { ReelError, fromSystem } from "../errors.ts";
import { takeLock } from "../tape/tape-lock.ts";
import { asArray, asObject, asString, parseJson } from "../tapeimage/json.ts";
import { optionalField, textField } from "./json-fields.ts";
import {
  LOADER_DEFAULTS,
  checkFormat,
  isLoaderName,
  parseDefaults,
  type LoaderDefaults,
} from "./loader-config.ts";
import { readTwoCopies, writeTwoCopies } from "./two-copies.ts";

const FORMAT = "reelfs-loaders";
const VERSION = 1;
const FILE_NAME = "loaders.json";
const LOADERS_MAX = 10_000;
const LOCK_WAIT_MS = 10_000;

export interface RegisteredLoader {
  readonly name: string;
  /** Absolute. */
  readonly path: string;
}

export interface Registry {
  readonly loaders: readonly RegisteredLoader[];
  readonly defaults: LoaderDefaults;
  /** That the backup copy was read, and why. */
  readonly notice?: string | undefined;
}

/** `$XDG_CONFIG_HOME/reelfs/loaders.json`, by default `~/.config/reelfs/loaders.json`. */
export function defaultRegistryPath(): string {
  const home = process.env["XDG_CONFIG_HOME"];
  const folder = home !== undefined && isAbsolute(home) ? home : join(homedir(), ".config");
  return join(folder, "reelfs", FILE_NAME);
}

/**
 * Reads the registry; an empty one where there is none.
 * @throws "damaged" naming both copies when neither can be read.
 */
export async function readRegistry(path = defaultRegistryPath()): Promise<Registry> {
  const read = await readTwoCopies(path, "the registry of loaders", parseRegistry);
  if (read === undefined) return { loaders: [], defaults: LOADER_DEFAULTS };
  return { ...read.value, notice: read.notice };
}

/** The loader of a name. Throws "not-found". */
export async function findLoader(name: string, path?: string): Promise<RegisteredLoader> {
  const { loaders } = await readRegistry(path);
  const found = loaders.find((each) => each.name === name);
  if (found === undefined) {
    throw new ReelError(
      "not-found",
      `no loader is called ${name}; "reelfs loader list" shows those there are, ` +
        `and a folder is named with a / in it`,
    );
  }
  return found;
}

/** Adds a loader. Throws "exists" where the name is another folder's. */
export async function registerLoader(loader: RegisteredLoader, path?: string): Promise<void> {
  await changeRegistry(path, `cannot register loader ${loader.name}`, (registry, doing) => {
    const others = registry.loaders.filter((each) => each.path !== loader.path);
    const namesake = others.find((each) => each.name === loader.name);
    if (namesake !== undefined) {
      throw new ReelError(
        "exists",
        `${doing}: the loader in ${namesake.path} has that name; choose another`,
      );
    }
    return { ...registry, loaders: [...others, loader] };
  });
}

/** Throws "exists" where `registerLoader` would. */
export async function checkNameIsFree(loader: RegisteredLoader, path?: string): Promise<void> {
  const { loaders } = await readRegistry(path);
  const namesake = loaders.find((each) => each.name === loader.name && each.path !== loader.path);
  if (namesake === undefined) return;
  throw new ReelError(
    "exists",
    `cannot make loader ${loader.name}: the loader in ${namesake.path} has that name; ` +
      `choose another`,
  );
}

/** Forgets the loader in a folder, if it knows it. */
export async function unregisterLoader(loaderPath: string, path?: string): Promise<void> {
  await changeRegistry(path, `cannot forget the loader in ${loaderPath}`, (registry) => ({
    ...registry,
    loaders: registry.loaders.filter((each) => each.path !== loaderPath),
  }));
}

/** Changes what new loaders are made with. */
export async function setLoaderDefaults(
  defaults: Partial<LoaderDefaults>,
  path?: string,
): Promise<void> {
  await changeRegistry(path, "cannot change the defaults", (registry) => ({
    ...registry,
    defaults: { ...registry.defaults, ...defaults },
  }));
}

async function changeRegistry(
  path: string | undefined,
  doing: string,
  change: (registry: Registry, doing: string) => Registry,
): Promise<void> {
  const file = resolve(path ?? defaultRegistryPath());
  try {
    await makeFolder(dirname(file), { mode: 0o700 });
  } catch (error) {
    throw fromSystem(error, `${doing}: cannot make ${dirname(file)}`);
  }
  const lock = await takeLock(`${file}.lock`, {
    doing,
    using: `is changing ${basename(file)}`,
    waitMs: LOCK_WAIT_MS,
  });
  try {
    const text = formatRegistry(change(await readRegistry(file), doing));
    parseRegistry(Buffer.from(text), doing);
    await writeTwoCopies(file, text);
  } finally {
    await lock.release();
  }
}

function formatRegistry({ loaders, defaults }: Registry): string {
  const content = { format: FORMAT, version: VERSION, defaults, loaders };
  return `${JSON.stringify(content, undefined, 2)}\n`;
}

function parseRegistry(bytes: Uint8Array, where: string): Registry {
  const object = asObject(parseJson(bytes, where), where);
  checkFormat(object, FORMAT, VERSION, where);
  const list = asArray(object, "loaders", where);
  if (list.length > LOADERS_MAX) {
    throw new ReelError("damaged", `${where}: field "loaders" has more than ${LOADERS_MAX}`);
  }
  const defaults = optionalField(object, "defaults", () => {
    const at = `${where}: defaults`;
    const given = asObject(object["defaults"], at);
    const policies = asObject(given["policies"] ?? {}, `${at}.policies`);
    return parseDefaults(
      { ...LOADER_DEFAULTS, ...given, policies: { ...LOADER_DEFAULTS.policies, ...policies } },
      at,
    );
  });
  const names = new Set<string>();
  const loaders = list.map((value, index) => {
    const at = `${where}: loaders[${index}]`;
    const loader = parseLoader(value, at);
    if (names.has(loader.name)) {
      throw new ReelError("damaged", `${at}: field "name" is ${loader.name}, as of another one`);
    }
    names.add(loader.name);
    return loader;
  });
  return { loaders, defaults: defaults ?? LOADER_DEFAULTS };
}

function parseLoader(value: unknown, where: string): RegisteredLoader {
  const object = asObject(value, where);
  const path = asString(object, "path", where);
  if (!isAbsolute(path)) {
    throw new ReelError("damaged", `${where}: field "path" is not an absolute path`);
  }
  return { name: textField(object, "name", where, isLoaderName, "a name of a loader"), path };
}
