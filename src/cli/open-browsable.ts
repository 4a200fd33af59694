/** What a command that shows files was given (tapeimage/find-source.ts), and its tree. */
import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import type { BlockDevice } from "../device/block-device.ts";
import { isReelError } from "../errors.ts";
import type { DiskSet } from "../tapeimage/disk-set.ts";
import { findSource, openRawSource, type RawSource } from "../tapeimage/find-source.ts";
import { openTapeImage, type TapeLookup } from "../tapeimage/open-image.ts";
import type { ComposedTree, PartOutcome } from "../tree/composed-tree.ts";
import { openDiskSetTree, openDiskTree, type DiskTreeOptions } from "../tree/disk-trees.ts";
import type { FileTree } from "../tree/file-tree.ts";
import { openHistory } from "../tree/history-tree.ts";
import { openImageTree } from "../tree/image-tree.ts";
import { OverlayTree } from "../tree/overlay-tree.ts";
import { VolumeTree } from "../tree/volume-tree.ts";
import { openVolume } from "../volume/formats.ts";
import type { Volume } from "../volume/volume.ts";
import { tapeFileOf } from "./loader/loader-tape.ts";

/** Places to look in for tapes are those of the ancestors of an incremental image, too. */
export interface BrowsableOptions extends DiskTreeOptions, TapeLookup {}

export interface Browsable {
  /** As the user knows it: "photos.tap#2", "disk.img". */
  readonly name: string;
  /** The same with an absolute path. */
  readonly spec: string;
  /** Of the image, or of the first of a disk's; "" for what is no image, or several. */
  readonly uuid: string;
  /** Closing it closes all it stands on. */
  readonly tree: FileTree;
  /** May a name be found in another case? */
  readonly foldsCase: boolean;
  /** What a person must know before trusting what is shown, as far as it is known by now. */
  readonly notices: readonly string[];
  /** Looks at all that it stands on (partitions of a disk, ancestors): says what is wrong there. */
  readonly check?: (() => Promise<readonly string[]>) | undefined;
  readonly statistics: () => Readonly<Record<string, unknown>>;
}

/** Opens what `text` names; nothing of it can be written. Throws what opening it throws. */
export async function openBrowsable(
  text: string,
  options: BrowsableOptions = {},
): Promise<Browsable> {
  const { places, askForTape } = options;
  const spec = await tapeFileOf(text);
  const found = await findSource(spec, { places, askForTape });
  if (found.kind === "image") return openImage(spec, options);
  return found.kind === "raw" ? browseRaw(text, found, options) : browseSet(found.set, options);
}

async function browseRaw(
  text: string,
  { device, path, table, fault }: RawSource,
  options: BrowsableOptions,
): Promise<Browsable> {
  try {
    if (fault !== undefined) throw fault;
    return table === undefined
      ? await browseVolume(text, device, options)
      : browseDisk({ name: text, spec: path, uuid: "" }, table.notices, {
          tree: await openDiskTree(device, table, options),
        });
  } catch (error) {
    await device.close();
    throw error;
  }
}

async function browseSet(set: DiskSet, options: BrowsableOptions): Promise<Browsable> {
  const { tapePath, number, header } = set;
  const name = { name: set.image, spec: `${resolve(tapePath)}#${number}`, uuid: header.uuid };
  return browseDisk(name, [], { tree: await openDiskSetTree(set, options) });
}

/** Every image of a volume on the tapes at `places`, in folders by its time; read-only. */
export async function openHistoryOf(
  text: string,
  places: readonly string[],
  options: BrowsableOptions = {},
): Promise<Browsable> {
  const { tree, notices } = await openHistory(places, options);
  // A loader's name is no path; what is a path must be found from everywhere.
  const spec = (await stat(text).catch(() => undefined)) === undefined ? text : resolve(text);
  return {
    // It is no image: each of its folders is one.
    ...{ name: text, spec, uuid: "", tree, notices },
    foldsCase: false,
    statistics: () => ({}),
  };
}

async function browseVolume(
  text: string,
  device: BlockDevice,
  options: BrowsableOptions,
): Promise<Browsable> {
  const volume = await openVolume(device, volumeOptions(options));
  const tree = new VolumeTree(volume, device, { closeDevice: true });
  return {
    ...{ name: text, spec: resolve(text), uuid: "" },
    tree: await overlaid(tree, volume, options),
    foldsCase: !volume.info.caseSensitive,
    notices: volume.info.notices ?? [],
    statistics: () => ({}),
  };
}

async function openImage(spec: string, options: BrowsableOptions): Promise<Browsable> {
  const { cacheBytes, places, askForTape } = options;
  const image = await openTapeImage(spec, { cacheBytes, places, askForTape });
  try {
    const opened = await openImageTree(image, { ...volumeOptions(options), closeImage: true });
    const { volume } = opened;
    const tapePath = resolve(image.tapePath);
    return {
      name: image.name,
      // Number 0: all that is known of the tape is that there is an image on it.
      spec: image.number > 0 ? `${tapePath}#${image.number}` : tapePath,
      uuid: image.header.uuid,
      tree: await overlaid(opened.tree, volume, options),
      foldsCase: !volume.info.caseSensitive,
      notices: [...image.state.notices, ...(volume.info.notices ?? [])],
      check: async () =>
        [...(await image.missingAncestors()).values()].map(({ message }) => message),
      statistics: () => ({ image: image.statistics() }),
    };
  } catch (error) {
    await image.close();
    throw error;
  }
}

function browseDisk(
  name: Pick<Browsable, "name" | "spec" | "uuid">,
  notices: readonly string[],
  { tree }: { tree: ComposedTree },
): Browsable {
  return {
    ...name,
    tree,
    // Some of its partitions may, and the kernel must not remember what another spelling changed.
    foldsCase: true,
    notices,
    check: async () => (await tree.openAll()).flatMap(sentencesOf),
    statistics: () => ({}),
  };
}

function sentencesOf({ name, notices, error }: PartOutcome): string[] {
  const all = error === undefined ? notices : [error.message];
  return all.map((sentence) => `${name}: ${sentence}`);
}

async function overlaid(
  tree: FileTree,
  volume: Volume,
  { overlayBytes }: BrowsableOptions,
): Promise<FileTree> {
  if (overlayBytes === undefined) return tree;
  try {
    return await OverlayTree.open(tree, {
      budgetBytes: overlayBytes,
      foldName: (name, directory) => volume.foldName(name, directory),
    });
  } catch (error) {
    await tree.close();
    throw error;
  }
}

function volumeOptions({ codePage, timeZoneMinutes }: BrowsableOptions): BrowsableOptions {
  return { codePage, timeZoneMinutes };
}

/** What a file that is no tape seems to be, for a command that needs a tape. */
export async function describeRaw(text: string): Promise<string | undefined> {
  try {
    const raw = await openRawSource(text);
    if (raw === undefined) return undefined;
    await raw.device.close();
    if (raw.fault !== undefined) return undefined;
    return raw.table === undefined ? "a volume" : "a disk with partitions";
  } catch (error) {
    if (isReelError(error)) return undefined;
    throw error;
  }
}
