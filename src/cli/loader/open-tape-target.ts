/** Which tape a command means: a file, a tape of a loader, or what is in a drive. */
import { access } from "node:fs/promises";
import { ReelError } from "../../errors.ts";
import type { TapeDrive } from "../../tape/tape-drive.ts";
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
  const { openTape } = await import("../../tape/open-tape.ts");
  if (named === null) {
    await using tape = await openTape(text, { mode: "read" });
    return await body(tape, false);
  }
  const [, loaderName = "", which = ""] = named;
  const { openVirtualLoader } = await import("../../vtl/manage-loaders.ts");
  const registryPath = textOf(options, "config");
  await using loader = await openVirtualLoader(loaderName, { registryPath, keepPositions: true });
  if (/^\d{1,2}$/.test(which)) return await body(loader.drive(Number(which)), true);
  const barcode = which.toUpperCase();
  const element = (await loader.elements()).find((each) => each.tape?.barcode === barcode);
  if (element === undefined) {
    throw new ReelError("not-found", `no tape ${barcode} is in loader ${loader.name}`);
  }
  await using tape = await openTape(loader.tapePathAt(element), { mode: "read" });
  return await body(tape, false);
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
