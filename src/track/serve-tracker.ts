/** A tracked volume as a mount: the file, its control socket, and an end to both. */
import { type ServedMount, serveMount } from "../fuse/serve-mount.ts";
import { trackControl } from "./track-control.ts";
import { TrackTree } from "./track-tree.ts";
import type { Tracker } from "./tracker.ts";

export interface ServeTrackerOptions {
  readonly allowOther?: boolean | undefined;
  readonly onError?: ((operation: string, error: unknown) => void) | undefined;
}

/** Serves until unmounted. The tracker is stopped then, and when mounting fails. */
export async function serveTracker(
  tracker: Tracker,
  mountpoint: string,
  options: ServeTrackerOptions = {},
): Promise<ServedMount> {
  const tree = new TrackTree(tracker);
  const { device, sourcePath } = tracker;
  return serveMount(tree, mountpoint, {
    ...options,
    name: sourcePath,
    image: { spec: sourcePath, uuid: "" },
    foldsCase: false,
    statistics: () => ({ tracker: device.statistics }),
    extension: trackControl(tree, device, { sourcePath, begins: "track-begin" }),
  });
}
