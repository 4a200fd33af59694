/**
 * All images of a volume under one root, a folder for each moment, and `latest`. Images are opened
 * when they are first looked into: ten years of daily backups cost their names.
 */
import { resolve } from "node:path";
import { ReelError } from "../errors.ts";
import type { ImageHeader } from "../tapeimage/header.ts";
import { tapesAt } from "../tapeimage/incremental/ancestors.ts";
import {
  CACHE_BYTES_DEFAULT,
  HEADER_MEMORY_BYTES_DEFAULT,
  listImages,
  openTapeImage,
  type ImageSummary,
} from "../tapeimage/open-image.ts";
import type { VolumeOptions } from "../volume/volume.ts";
import { ComposedTree, type OpenedPart, type TreePart } from "./composed-tree.ts";
import { openImageTree } from "./image-tree.ts";

/** Images that are shown; the newest ones, where there are more. */
const MOMENTS_MAX = 10_000;
/** Memory of images goes around among those that are usually looked into at one time. */
const OPEN_AT_A_TIME = 4;

export interface HistoryOptions extends VolumeOptions {
  /** For all images together. */
  readonly cacheBytes?: number | undefined;
  /** Images that are shown, the newest ones; 10,000 unless told. */
  readonly momentsMax?: number | undefined;
}

interface Moment {
  readonly name: string;
  readonly spec: string;
}

export interface History {
  readonly tree: ComposedTree;
  /** What is on the tapes and not in the tree. */
  readonly notices: readonly string[];
}

/**
 * The history of the volume whose image on the tapes at `places` (tapes, folders with tapes) is the
 * newest.
 *
 * @throws ReelError "not-found" when no tape there holds a complete image.
 */
export async function openHistory(
  places: readonly string[],
  options: HistoryOptions = {},
): Promise<History> {
  const found = await allImages(places);
  const [newest] = found;
  if (newest === undefined) {
    throw new ReelError("not-found", `no complete image is on ${places.join(", ")}`);
  }
  const ofVolume = found.filter(({ header }) => isSameVolume(header, newest.header));
  const momentsMax = options.momentsMax ?? MOMENTS_MAX;
  // The first of them is `latest`.
  const moments = named(ofVolume).slice(0, 1 + momentsMax);
  const notices = noticesOf(found.length - ofVolume.length, ofVolume.length - momentsMax);
  // They are opened when the process that serves a mount has left the folder it was started in.
  const fullPlaces = places.map((place) => resolve(place));
  const parts = moments.map(({ name, spec }): TreePart => {
    const fullSpec = resolve(spec);
    return { name, open: async () => openMoment(fullSpec, fullPlaces, options) };
  });
  const tree = new ComposedTree({ name: `the history of ${newest.spec}`, parts });
  return { tree, notices };
}

function noticesOf(otherImages: number, olderImages: number): string[] {
  const notices: string[] = [];
  if (otherImages > 0) {
    const are = otherImages === 1 ? "image of another volume is" : "images of other volumes are";
    notices.push(`${otherImages} ${are} on these tapes, and not shown`);
  }
  if (olderImages > 0) {
    const are = olderImages === 1 ? "older image is" : "older images are";
    notices.push(
      `${olderImages} ${are} not shown: that is more than a history shows; name an image to see it`,
    );
  }
  return notices;
}

interface FoundMoment {
  readonly spec: string;
  readonly header: ImageHeader;
}

/** The newest first. */
async function allImages(places: readonly string[]): Promise<FoundMoment[]> {
  const found: FoundMoment[] = [];
  const paths = new Set((await Promise.all(places.map(tapesAt))).flat());
  for (const path of paths) {
    for (const { header, number, state } of await imagesOn(path)) {
      if (header === undefined || state !== "complete") continue;
      found.push({ header, spec: `${path}#${number}` });
    }
  }
  const order = ({ header: a }: FoundMoment, { header: b }: FoundMoment): number =>
    a.created === b.created ? 0 : a.created < b.created ? 1 : -1;
  return found.reverse().sort(order);
}

/** A folder may hold what is no tape. */
async function imagesOn(path: string): Promise<readonly ImageSummary[]> {
  try {
    return await listImages(path);
  } catch (error) {
    if (error instanceof ReelError && error.code !== "not-found") return [];
    throw error;
  }
}

function isSameVolume(a: ImageHeader, b: ImageHeader): boolean {
  return a.volume.kind === b.volume.kind && a.volume.serial === b.volume.serial;
}

/**
 * "2026-11-21T10-42-31" in UTC. A later one of the same second gets a number: names sort as the
 * images were made, and stay theirs when more are made.
 */
function named(newestFirst: readonly FoundMoment[]): Moment[] {
  const taken = new Map<string, number>();
  const moments = newestFirst.toReversed().map(({ spec, header }): Moment => {
    const second = header.created.slice(0, 19).replaceAll(":", "-");
    const count = (taken.get(second) ?? 0) + 1;
    taken.set(second, count);
    return { spec, name: count === 1 ? second : `${second}-${count}` };
  });
  moments.reverse();
  const latest = moments.slice(0, 1).map(({ spec }) => ({ spec, name: "latest" }));
  return [...latest, ...moments];
}

async function openMoment(
  spec: string,
  places: readonly string[],
  options: HistoryOptions,
): Promise<OpenedPart> {
  const image = await openTapeImage(spec, {
    places,
    cacheBytes: Math.floor((options.cacheBytes ?? CACHE_BYTES_DEFAULT) / OPEN_AT_A_TIME),
    headerMemoryBytes: Math.floor(HEADER_MEMORY_BYTES_DEFAULT / OPEN_AT_A_TIME),
  });
  try {
    const { codePage, timeZoneMinutes } = options;
    const opened = await openImageTree(image, { codePage, timeZoneMinutes, closeImage: true });
    const { tree, volume } = opened;
    return { tree, notices: [...image.state.notices, ...(volume.info.notices ?? [])] };
  } catch (error) {
    await image.close();
    throw error;
  }
}
