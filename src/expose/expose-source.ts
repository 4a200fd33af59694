/** What can be exposed: an image on a tape, or a volume or disk that lies raw in a file or device. */
import { stat } from "node:fs/promises";
import { basename, resolve } from "node:path";
import type { BlockDevice } from "../device/block-device.ts";
import { openFileDevice } from "../device/file-device.ts";
import { recogniseContainer } from "../tape/open-tape.ts";
import { openTapeImage, parseImageSpec } from "../tapeimage/open-image.ts";
import { OverlayDevice } from "./overlay-device.ts";

/** Name of the file that a volume is exposed as. */
export const VOLUME_FILE = "volume.img";

export interface ExposedSource {
  /** The bytes, read-only; closing it closes all it stands on. */
  readonly device: BlockDevice;
  /** Absolute: "/tapes/photos.tap#1", "/dev/sdb1". */
  readonly spec: string;
  /** As the user named it. */
  readonly name: string;
  /** Of the image; "" for what is no image. */
  readonly uuid: string;
  readonly fileName: string;
  /** When it was backed up, or changed last. */
  readonly modifiedMs: number;
  readonly notices: readonly string[];
  /** For the control socket. */
  readonly statistics: () => Readonly<Record<string, unknown>>;
}

export interface ExposeSourceOptions {
  /** Memory for records of the tape. */
  readonly cacheBytes?: number | undefined;
}

/**
 * Opens what `spec` names: "photos.tap" (its last image), "photos.tap#2", "disk.img", "/dev/sdb1".
 * A file is a tape when records are found in it.
 *
 * @throws ReelError as openTapeImage and openFileDevice
 */
export async function openExposedSource(
  spec: string,
  options: ExposeSourceOptions = {},
): Promise<ExposedSource> {
  return (await isTape(spec)) ? openImage(spec, options) : openRaw(spec);
}

async function isTape(spec: string): Promise<boolean> {
  const { path, number } = await parseImageSpec(spec);
  if (number !== undefined) return true;
  const found = await stat(path).catch(() => undefined);
  // What is no file is for openFileDevice to open, or to refuse.
  if (found?.isFile() !== true) return false;
  return (await recogniseContainer(path)) !== "plain";
}

async function openImage(spec: string, options: ExposeSourceOptions): Promise<ExposedSource> {
  const image = await openTapeImage(spec, { cacheBytes: options.cacheBytes });
  const path = resolve(image.tapePath);
  const created = Date.parse(image.header.created);
  return {
    device: image,
    // Number 0: all that is known of the tape is that there is an image on it.
    spec: image.number > 0 ? `${path}#${image.number}` : path,
    name: image.name,
    uuid: image.header.uuid,
    fileName: VOLUME_FILE,
    modifiedMs: Number.isFinite(created) ? created : 0,
    notices: image.state.notices,
    statistics: () => ({ image: image.statistics() }),
  };
}

async function openRaw(spec: string): Promise<ExposedSource> {
  const device = await openFileDevice(spec);
  try {
    const { mtimeMs } = await stat(spec);
    return {
      device,
      spec: resolve(spec),
      name: basename(spec),
      uuid: "",
      fileName: VOLUME_FILE,
      modifiedMs: mtimeMs,
      notices: [],
      statistics: () => ({}),
    };
  } catch (error) {
    await device.close();
    throw error;
  }
}

/** An overlay over a source, which is closed with it, also when laying it fails. */
export async function overlayOn(device: BlockDevice, budgetBytes: number): Promise<OverlayDevice> {
  try {
    return await OverlayDevice.open(device, { budgetBytes, ownsBase: true });
  } catch (error) {
    await device.close();
    throw error;
  }
}
