/** The tree of files on a backup image. */
import { openImageVolume } from "../tapeimage/image-volume.ts";
import type { TapeImage } from "../tapeimage/tape-image.ts";
import type { Volume, VolumeOptions } from "../volume/volume.ts";
import { imageLocator } from "./image-locator.ts";
import type { VolumeTreeOptions } from "./volume-tree.ts";
import { VolumeTree } from "./volume-tree.ts";

export interface ImageTreeOptions
  extends VolumeOptions, Pick<VolumeTreeOptions, "directoryCacheEntries" | "layoutCacheBytes"> {
  /** Close the image with the tree. Default: it stays the caller's. */
  readonly closeImage?: boolean | undefined;
}

export interface OpenedImageTree {
  readonly volume: Volume;
  readonly tree: VolumeTree;
  /** Closes the tree and the volume. */
  close(): Promise<void>;
}

/**
 * Opens the volume of an image and its tree of files. Names are read with the code page and time
 * zone that the backup was made with, unless the options say otherwise. Throws what opening the
 * volume throws; the image is then still open.
 */
export async function openImageTree(
  image: TapeImage,
  options: ImageTreeOptions = {},
): Promise<OpenedImageTree> {
  const volume = await openImageVolume(image, options);
  const tree = new VolumeTree(volume, image, {
    directoryCacheEntries: options.directoryCacheEntries,
    layoutCacheBytes: options.layoutCacheBytes,
    locator: imageLocator(image),
    exceptions: image.state.exceptions?.paths,
    closeDevice: options.closeImage,
  });
  return { volume, tree, close: async () => tree.close() };
}
