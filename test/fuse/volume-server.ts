/** Serves the volume in a file: arguments are the file, a mount point, and "write" for an overlay. */
import { openFileDevice } from "../../src/device/file-device.ts";
import { ReelError } from "../../src/errors.ts";
import { serveUntilUnmounted } from "../../src/fuse/daemon.ts";
import { serveMount } from "../../src/fuse/serve-mount.ts";
import type { FileTree } from "../../src/tree/file-tree.ts";
import { OverlayTree } from "../../src/tree/overlay-tree.ts";
import { VolumeTree } from "../../src/tree/volume-tree.ts";
import { openVolume } from "../../src/volume/formats.ts";

const [, , path = "", mountpoint = "", mode = "read"] = process.argv;
const device = await openFileDevice(path);
const volume = await openVolume(device);
let tree: FileTree = new VolumeTree(volume, device, { closeDevice: true });
if (mode === "write") {
  tree = await OverlayTree.open(tree, {
    budgetBytes: 1 << 26,
    foldName: (name, directory) => volume.foldName(name, directory),
  });
}
const served = await serveMount(tree, mountpoint, {
  name: "volume",
  foldsCase: !volume.info.caseSensitive,
  image: { spec: path, uuid: "00000000-0000-0000-0000-000000000000" },
  onError: (_, error) => {
    if (!(error instanceof ReelError)) throw error;
  },
});
process.send?.("ready");
await serveUntilUnmounted(served, (message) => process.send?.(message));
process.exit(0);
