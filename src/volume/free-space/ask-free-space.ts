/** Finds the tool that knows the volume on a device, and asks it what is free. */
import { resolve } from "node:path";
import type { BlockDevice } from "../../device/block-device.ts";
import { isReelError } from "../../errors.ts";
import type { RunOptions } from "../../progress.ts";
import type { SurveyOptions } from "../volume.ts";
import { askBtrfs } from "./btrfs.ts";
import type { AskTool, Doubt, FreeSpace } from "./free-space.ts";
import { doubtOfMounts } from "./mounted.ts";
import { doubtOfLoops, withRangeLoop } from "./range-loop.ts";
import { askXfs } from "./xfs.ts";

interface Askable {
  readonly offset: number;
  /** Latin-1. */
  readonly magic: string;
  readonly ask: AskTool;
}

const ASKABLE: readonly Askable[] = [
  { offset: 0, magic: "XFSB", ask: askXfs },
  { offset: 0x10040, magic: "_BHRfS_M", ask: askBtrfs },
];

/** Where the system has the device, as `SurveyOptions` says it. */
type Place = Pick<SurveyOptions, "systemPath" | "systemOffsetBytes">;

/**
 * What is free on the volume on `device`; why that is not known; or undefined for a volume that no
 * tool is known for. Throws "aborted" alone.
 */
export async function askFreeSpace(
  device: BlockDevice,
  options: Place & RunOptions = {},
): Promise<FreeSpace | Doubt | undefined> {
  const { systemPath: path, systemOffsetBytes: offsetBytes } = options;
  try {
    const found = await askableOn(device);
    if (found === undefined) return undefined;
    if (path === undefined) {
      return {
        doubt: "the tools that know it can only be asked about a whole file or block device",
      };
    }
    // A relative path would be another one for the tool, and one with a dash first an option.
    const absolute = resolve(path);
    const doubt = await doubtOfMounts(absolute);
    if (doubt !== undefined) return { doubt };
    if (offsetBytes === undefined) return await found.ask(device, absolute, options);
    const doubtful = doubtOfLoops();
    if (doubtful !== undefined) return { doubt: doubtful };
    const range = { path: absolute, offsetBytes, lengthBytes: device.sizeBytes };
    return await withRangeLoop(range, async (loop) => found.ask(device, loop, options));
  } catch (error) {
    if (!isReelError(error) || error.code === "aborted") throw error;
    return { doubt: error.message };
  }
}

async function askableOn(device: BlockDevice): Promise<Askable | undefined> {
  for (const each of ASKABLE) {
    if (each.offset + each.magic.length > device.sizeBytes) continue;
    const bytes = Buffer.alloc(each.magic.length);
    await device.read(each.offset, bytes);
    if (bytes.toString("latin1") === each.magic) return each;
  }
  return undefined;
}
