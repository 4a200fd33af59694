/** Which files of a volume lie, wholly or in part, in blocks that are lost. */
import type { ExtentSet } from "../device/extents.ts";
import { isReelError, throwIfAborted } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import { openImageVolume } from "../tapeimage/image-volume.ts";
import type { TapeImage } from "../tapeimage/tape-image.ts";
import type { FileLayout, NodeId, Volume } from "../volume/volume.ts";

export interface LostFiles {
  /** Paths in the order of the folders; folders that cannot be read end in "/". */
  readonly paths: readonly string[];
  /** True: there are more than are listed. */
  readonly more: boolean;
  /** Why the volume itself cannot be walked. */
  readonly unreadable?: string | undefined;
}

const LISTED_MAX = 10_000;
const DEPTH_MAX = 512;

/** Walks the volume in the image. Reads its control blocks only, which the image has in memory. */
export async function findLostFiles(
  image: TapeImage,
  lost: ExtentSet,
  options: RunOptions,
): Promise<LostFiles> {
  if (lost.total === 0) return { paths: [], more: false };
  let volume: Volume;
  try {
    volume = await openImageVolume(image);
  } catch (error) {
    if (!isReelError(error)) throw error;
    return { paths: [], more: false, unreadable: error.message };
  }
  try {
    const found: string[] = [];
    const isLost = (layout: FileLayout): boolean =>
      layoutMeets(layout, lost, image.header.blockSizeBytes);
    await collect(volume, volume.rootId, "", { found, isLost, options }, 0);
    return { paths: found.slice(0, LISTED_MAX), more: found.length > LISTED_MAX };
  } finally {
    await volume.close();
  }
}

interface Search {
  readonly found: string[];
  readonly isLost: (layout: FileLayout) => boolean;
  readonly options: RunOptions;
}

async function collect(
  volume: Volume,
  folder: NodeId,
  path: string,
  search: Search,
  depth: number,
): Promise<void> {
  throwIfAborted(search.options.signal, "looking for the files that are hit");
  const entries = await orDamaged(() => volume.readDirectory(folder));
  if (entries === undefined || depth > DEPTH_MAX) {
    search.found.push(`${path}/`);
    return;
  }
  for (const { name, stat } of entries) {
    if (search.found.length > LISTED_MAX) return;
    const here = `${path}/${name}`;
    if (stat.kind === "directory") {
      await collect(volume, stat.id, here, search, depth + 1);
    } else if (stat.kind === "file") {
      const layout = await orDamaged(() => volume.layout(stat.id));
      if (layout === undefined || search.isLost(layout)) search.found.push(here);
    }
  }
}

/** Undefined for what is damaged. */
async function orDamaged<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (isReelError(error, "damaged")) return undefined;
    throw error;
  }
}

function layoutMeets(layout: FileLayout, lost: ExtentSet, blockSizeBytes: number): boolean {
  for (let i = 0; i < layout.length; i++) {
    const start = layout.deviceOffsets[i] ?? 0;
    const end = start + (layout.lengths[i] ?? 0);
    const run = lost.indexFrom(Math.floor(start / blockSizeBytes));
    if (run < lost.length && lost.startAt(run) * blockSizeBytes < end) return true;
  }
  return false;
}
