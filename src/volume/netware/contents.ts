/** Contents of files by their layout, from another member of a mirror where one fails. */
import type { FileLayout } from "../volume.ts";
import { readContents } from "../read-contents.ts";
import type { BlockSource } from "./block-source.ts";
import { isFaultOfCopy } from "./fields.ts";
import { layOut } from "./layout.ts";
import type { DataParts } from "./layout.ts";

/** The contents of something, as its record points to them. */
export interface Contents {
  readonly firstBlock: number;
  readonly sizeBytes: number;
}

/**
 * Where contents lie on each other member of the volume's mirrors, as far as they can be laid out
 * there: none on a volume without mirrors. Throws what the device throws.
 */
export async function layOutOnMirrors(
  parts: DataParts,
  { firstBlock, sizeBytes }: Contents,
): Promise<FileLayout[]> {
  const layouts: FileLayout[] = [];
  for (const member of parts.source.others) {
    const found = await layOut({ ...parts, source: member }, firstBlock, sizeBytes);
    if ("layout" in found) layouts.push(found.layout);
  }
  return layouts;
}

/**
 * Fills `target` from `offsetBytes` on, each block from the first of the layouts by which it can be
 * read, and returns the bytes read. Throws what the first throws for a block that none can give.
 */
export async function readFromAny(
  { device, map }: Pick<BlockSource, "device" | "map">,
  layouts: readonly FileLayout[],
  offsetBytes: number,
  target: Uint8Array,
): Promise<number> {
  let done = 0;
  while (done < target.length) {
    const at = offsetBytes + done;
    const endOfBlock = (Math.floor(at / map.blockBytes) + 1) * map.blockBytes;
    const part = target.subarray(done, done + endOfBlock - at);
    let fault: Error | undefined;
    let count: number | undefined;
    for (const layout of layouts) {
      try {
        count = await readContents(device, layout, at, part);
        break;
      } catch (error) {
        if (!isFaultOfCopy(error)) throw error;
        fault ??= error;
      }
    }
    if (count === undefined) throw fault ?? new RangeError("contents without a layout");
    done += count;
    if (count < part.length) break;
  }
  return done;
}

/** All bytes of something small. The caller has checked the size. Throws what the device throws. */
export async function readSmall(
  parts: DataParts,
  layout: FileLayout,
  contents: Contents,
): Promise<Uint8Array> {
  const { source } = parts;
  const bytes = new Uint8Array(layout.sizeBytes);
  try {
    await readContents(source.device, layout, 0, bytes);
  } catch (error) {
    if (source.others.length === 0 || !isFaultOfCopy(error)) throw error;
    const layouts = [layout, ...(await layOutOnMirrors(parts, contents))];
    await readFromAny(source, layouts, 0, bytes);
  }
  return bytes;
}
