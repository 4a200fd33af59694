/** Finding the image that an incremental backup is made against. */
import { stat } from "node:fs/promises";
import { isReelError, ReelError } from "../../errors.ts";
import type { RunOptions } from "../../progress.ts";
import { openTapeForReading } from "../../tape/set/set-files.ts";
import type { VolumeInfo } from "../../volume/volume.ts";
import { findImages } from "../find-image.ts";
import type { ImageHeader } from "../header.ts";
import { openTapeImage, parseImageSpec } from "../open-image.ts";
import { tapesAt } from "./ancestors.ts";
import { readParent, type Parent } from "./parent.ts";

/** The newest image of the volume is looked for. */
export const PARENT_AUTO = "auto";

export interface ParentWish {
  /** "photos.tap#2", or "auto". */
  readonly spec: string;
  /** Tapes, and folders with tapes, where "auto" and the parent's own ancestors are looked for. */
  readonly places: readonly string[];
}

/** What an image must have been made of. */
export type VolumeIdentity = Pick<VolumeInfo, "kind" | "serial" | "blockSizeBytes">;

/**
 * Reads what is needed of the parent. Undefined: "auto", and there is no image of this volume. The
 * caller closes `checksums`.
 *
 * @throws ReelError "invalid" for an image of another volume, and as `openTapeImage` and `readParent`.
 */
export async function openParent(
  wish: ParentWish,
  volume: VolumeIdentity,
  run: RunOptions = {},
): Promise<Parent | undefined> {
  const spec = wish.spec === PARENT_AUTO ? await newestOf(volume, wish.places) : wish.spec;
  if (spec === undefined) return undefined;
  const image = await openTapeImage(spec, { places: wish.places });
  try {
    if (!isOf(image.header, volume)) {
      const { kind, serial, label } = image.header.volume;
      throw new ReelError(
        "invalid",
        `cannot make a backup against ${image.name}: it is of another volume ` +
          `(${kind}, serial ${serial}${label === "" ? "" : `, ${label}`})`,
      );
    }
    return await readParent(image, run);
  } finally {
    await image.close();
  }
}

function isOf(header: ImageHeader, { kind, serial, blockSizeBytes }: VolumeIdentity): boolean {
  return (
    header.volume.kind === kind &&
    header.volume.serial === serial &&
    header.blockSizeBytes === blockSizeBytes
  );
}

/** The complete image of the volume that was made last, wherever it is. */
async function newestOf(
  volume: VolumeIdentity,
  places: readonly string[],
): Promise<string | undefined> {
  let newest: { readonly spec: string; readonly created: string } | undefined;
  for (const place of places) {
    for (const path of await tapesAt(place)) {
      if (!(await isThere(path))) continue;
      const drive = await openTapeForReading((await parseImageSpec(path)).path, places);
      try {
        for await (const { header, trailer, number } of findImages(drive)) {
          if (header === undefined || trailer === undefined || !isOf(header, volume)) continue;
          // Of equal times, the later on the tape.
          if (newest !== undefined && header.created < newest.created) continue;
          newest = { spec: `${path}#${number}`, created: header.created };
        }
      } catch (error) {
        // A tape that cannot be read to its end has said what it could.
        if (!isReelError(error, "damaged")) throw error;
      } finally {
        await drive.close();
      }
    }
  }
  return newest?.spec;
}

async function isThere(path: string): Promise<boolean> {
  const stats = await stat(path).catch(() => undefined);
  return stats?.isFile() === true && stats.size > 0;
}
