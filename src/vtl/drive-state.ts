/**
 * `drives/N.json`: where the tape in a drive stands between two commands, and the drive's block
 * size. A command line has no daemon behind it, so that `mt fsf 1` would be forgotten otherwise.
 *
 * A position counts only for the loading it was noted in, and until the machine is started again;
 * it is a convenience and made durable by nobody: without it the tape stands at its beginning.
 */
import { rename, rm } from "node:fs/promises";
import { bootId } from "../device/boot-id.ts";
import { asNumber, asObject, asString, parseJson } from "../tapeimage/json.ts";
import { readSmallFile, writeDraft } from "./two-copies.ts";

export interface DrivePosition {
  readonly barcode: string;
  readonly loadCount: number;
  readonly object: number;
}

export interface DriveState {
  /** 0: records of any length. */
  readonly blockBytes: number;
  readonly position?: DrivePosition | undefined;
}

const FRESH: DriveState = { blockBytes: 0 };

/** What is noted; nothing where the note is missing, unreadable, or from before a restart. */
export async function readDriveState(path: string): Promise<DriveState> {
  try {
    const object = asObject(parseJson(await readSmallFile(path), path), path);
    const blockBytes = asNumber(object, "blockBytes", path);
    const position = object["position"];
    if (position === undefined) return { blockBytes };
    const at = asObject(position, path);
    if (asString(at, "boot", path) !== (await bootId())) return { blockBytes };
    return {
      blockBytes,
      position: {
        barcode: asString(at, "barcode", path),
        loadCount: asNumber(at, "loadCount", path),
        object: asNumber(at, "object", path),
      },
    };
  } catch {
    return FRESH;
  }
}

export async function writeDriveState(path: string, state: DriveState): Promise<void> {
  const { blockBytes, position } = state;
  const noted = position === undefined ? {} : { position: { ...position, boot: await bootId() } };
  const draft = `${path}.new`;
  try {
    await writeDraft(draft, `${JSON.stringify({ blockBytes, ...noted })}\n`, "fleeting");
    await rename(draft, path);
  } catch {
    // Better no note than an old one.
    await rm(path, { force: true }).catch(() => undefined);
  }
}
