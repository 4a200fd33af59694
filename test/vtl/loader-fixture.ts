/** A loader in a folder of its own, with a registry of its own. */
import { join } from "node:path";
import {
  createVirtualLoader,
  openVirtualLoader,
  type CreateLoaderOptions,
} from "../../src/vtl/manage-loaders.ts";
import type { ElementAddress } from "../../src/vtl/tape-loader.ts";
import type { VirtualLoader, VirtualLoaderOptions } from "../../src/vtl/virtual-loader.ts";
import { makeTempFolder } from "../support/temp.ts";

export const slot = (number: number): ElementAddress => ({ kind: "storage", number });
export const drive = (number: number): ElementAddress => ({ kind: "drive", number });
export const mail = (number: number): ElementAddress => ({ kind: "import-export", number });

export interface LoaderInFolder {
  /** Holds the loader's folder and whatever else a test makes. */
  readonly folder: string;
  /** The loader's folder. */
  readonly path: string;
  readonly registryPath: string;
  open(options?: VirtualLoaderOptions): Promise<VirtualLoader>;
  remove(): Promise<void>;
}

export async function makeLoader(
  options: Partial<CreateLoaderOptions> = {},
): Promise<LoaderInFolder> {
  const { folder, remove } = await makeTempFolder();
  const path = join(folder, "vtl");
  const registryPath = join(folder, "config", "loaders.json");
  await createVirtualLoader({ path, registryPath, ...options });
  return { folder, path, registryPath, remove, open: async (how) => openVirtualLoader(path, how) };
}

/** "REEL0001 storage:1" for every tape. */
export async function placesOf(loader: VirtualLoader): Promise<string[]> {
  return (await loader.elements()).flatMap(({ kind, number, tape }) =>
    tape === undefined ? [] : [`${tape.barcode} ${kind}:${number}`],
  );
}
