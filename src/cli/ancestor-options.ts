/** The option that says where the ancestors of incremental images are. */
import type { Command } from "commander";
import type { OptionValues } from "./command.ts";
import { parseLoaderTape, tapeFileOf } from "./loader/loader-tape.ts";

export function addAncestorsOption(command: Command): void {
  command.option(
    "--ancestors <place...>",
    "tapes, folders with tapes, or loaders to look in for the images that an incremental one needs " +
      "(default: its own tape, and where they were last seen)",
  );
}

/** As they were given. */
export function ancestorWords(options: OptionValues): string[] {
  const named = options["ancestors"];
  return Array.isArray(named) ? named.filter((word) => typeof word === "string") : [];
}

/** Paths of tapes and folders. */
export async function ancestorPlaces(options: OptionValues): Promise<string[]> {
  return Promise.all(ancestorWords(options).map(placeOf));
}

/** A tape or a folder of tapes; a loader stands for the folder of its tapes. */
export async function placeOf(word: string): Promise<string> {
  if ((await parseLoaderTape(word)) !== undefined) return tapeFileOf(word);
  const { readRegistry } = await import("../vtl/registry.ts");
  const { loaders } = await readRegistry();
  const loader = loaders.find(({ name }) => name === word);
  return loader === undefined ? word : `${loader.path}/tapes`;
}
