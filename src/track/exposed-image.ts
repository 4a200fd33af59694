/**
 * An image that is exposed, and what is changed in it: the overlay is tracked, from an image of which
 * everything is known. So what was changed can be backed up as a tracked volume is, at one moment
 * and as an incremental image; and the next time what was changed since then.
 *
 *     tape ─► image ─► overlay ─► tracked ─► volume.img
 *                                    └─────► snapshot-1.img, while it is committed
 */
import { join } from "node:path";
import { ReelError } from "../errors.ts";
import type { ExposedSource } from "../expose/expose-source.ts";
import type { OverlayDevice } from "../expose/overlay-device.ts";
import { whileFrozen } from "../expose/quiet-mount.ts";
import type { ControlExtension } from "../fuse/control.ts";
import { DirtyBitmap } from "./dirty-bitmap.ts";
import { trackControl } from "./track-control.ts";
import { TrackTree } from "./track-tree.ts";
import { TrackedDevice } from "./tracked-device.ts";

type SourceFacts = Pick<
  ExposedSource,
  "fileName" | "modifiedMs" | "name" | "partitions" | "spec" | "uuid"
>;

/** How it is exposed. */
export interface ExposedPlace {
  /** The folder with the file. */
  readonly folder: string;
  /** Where the kernel has mounted the volume, if it has. */
  readonly mountedOn?: string | undefined;
}

export class ExposedImage {
  readonly device: TrackedDevice;
  readonly #source: SourceFacts;
  #tree: TrackTree | undefined;

  /** The overlay, which is still empty, is closed with the device. */
  constructor(overlay: OverlayDevice, source: SourceFacts) {
    this.#source = source;
    const bitmap = new DirtyBitmap(overlay.sizeBytes);
    this.device = new TrackedDevice(overlay, { bitmap, image: source.uuid });
  }

  /** The folder with the file; the device is closed with it. To be called once. */
  tree(onReleased?: () => void): TrackTree {
    const { device } = this;
    const { modifiedMs, fileName } = this.#source;
    const close = async (): Promise<void> => device.close();
    this.#tree = new TrackTree({ device, modifiedMs, close }, { fileName, onReleased });
    return this.#tree;
  }

  /** What `reelfs commit` asks. */
  control({ folder, mountedOn }: ExposedPlace): ControlExtension {
    const { fileName, spec } = this.#source;
    if (this.#tree === undefined) {
      throw new ReelError("internal", `${spec} is not shown in a folder`);
    }
    const quiet =
      mountedOn === undefined
        ? undefined
        : async (begin: () => Promise<void>): Promise<readonly string[]> =>
            whileFrozen(mountedOn, begin);
    return trackControl(this.#tree, this.device, {
      sourcePath: mountedOn ?? join(folder, fileName),
      begins: "commit-begin",
      imagePlace: spec,
      ...{ folder, quiet },
    });
  }
}

/** Answers `reelfs commit` where there is nothing to be committed, with the reason. */
export function commitRefused(source: SourceFacts, readOnly: boolean): ControlExtension {
  return {
    perform: (request) =>
      request.get("op") === "commit-begin" ? Promise.reject(refusal(source, readOnly)) : undefined,
  };
}

function refusal({ name, uuid, partitions }: SourceFacts, readOnly: boolean): ReelError {
  const doing = `cannot commit changes of ${name}`;
  if (readOnly) return new ReelError("read-only", `${doing}: it is exposed read-only`);
  return new ReelError(
    "unsupported",
    uuid === "" || partitions === undefined
      ? `${doing}: it is no image of a backup; back up the exposed file with reelfs backup`
      : `${doing}: it is a whole disk, and images are made of volumes; ` +
          `expose one partition of it with --partition, and commit that`,
  );
}

/** Can what is changed in it be committed? */
export function isCommittable({ uuid, partitions }: SourceFacts, readOnly: boolean): boolean {
  return !readOnly && uuid !== "" && partitions === undefined;
}
