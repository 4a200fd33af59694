/** Which tape a command means: a file, a tape of a loader, or what is in a drive. */
import { access } from "node:fs/promises";
import { ReelError } from "../../errors.ts";
import type { TapeDrive } from "../../tape/tape-drive.ts";
import type { VirtualLoader } from "../../vtl/virtual-loader.ts";
import type { OptionValues } from "../command.ts";
import { textOf } from "../option-values.ts";

export const TAPE_ARGUMENT =
  "tape file of any format; LOADER:BARCODE for a tape of a loader, LOADER:N for that in drive N";

/** Opens the tape for reading, runs `body`, and closes it. */
export async function withTape<T>(
  text: string,
  options: OptionValues,
  body: (tape: TapeDrive, isDrive: boolean) => Promise<T>,
): Promise<T> {
  const named = (await isThere(text)) ? null : /^(.+):([^/:]+)$/s.exec(text);
  if (named === null) {
    await using tape = await openForReading(text);
    return await body(tape, false);
  }
  const [, loaderName = "", which = ""] = named;
  await using loader = await openLoader(loaderName, textOf(options, "config"));
  if (/^\d{1,2}$/.test(which)) return await body(loader.drive(Number(which)), true);
  const barcode = which.toUpperCase();
  const element = (await loader.elements()).find((each) => each.tape?.barcode === barcode);
  if (element === undefined) {
    throw new ReelError("not-found", `no tape ${barcode} is in loader ${loader.name}`);
  }
  await using tape = await openForReading(loader.tapePathAt(element));
  return await body(tape, false);
}

// Apart from the above: where `await using` stands, tsc leaves the names in dynamic imports as they
// are, and the built program would look for .ts files.

async function openForReading(path: string): Promise<TapeDrive> {
  const { openTape } = await import("../../tape/open-tape.ts");
  return openTape(path, { mode: "read" });
}

/** By name or folder; positions of drives are kept from command to command. */
export async function openLoader(name: string, registryPath?: string): Promise<VirtualLoader> {
  const { openVirtualLoader } = await import("../../vtl/manage-loaders.ts");
  return openVirtualLoader(name, { registryPath, keepPositions: true });
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
