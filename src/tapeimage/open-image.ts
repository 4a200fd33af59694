/** Opens images: "photos.tap" is the last image on that tape, "photos.tap#2" the second. */
import { access } from "node:fs/promises";
import { ReelError } from "../errors.ts";
import { openTapeForReading } from "../tape/set/set-files.ts";
import type { TapeDrive } from "../tape/tape-drive.ts";
import { TapeSetDrive } from "../tape/tape-set.ts";
import { type ImageExceptions, NO_EXCEPTIONS } from "./exceptions.ts";
import { findImage, findImages, findLastImage, type FoundImage } from "./find-image.ts";
import { uuidText } from "./frame.ts";
import type { ImageHeader } from "./header.ts";
import { DriveHead } from "./drive-head.ts";
import { Ancestors, type AncestorOptions } from "./incremental/ancestors.ts";
import { ChainReader } from "./incremental/chain-reader.ts";
import { ImageDevice } from "./image-device.ts";
import { loadImage } from "./load-image.ts";
import { RecordReader } from "./record-reader.ts";
import type { ImageState } from "./tape-image.ts";
import type { ImageTrailer } from "./trailer.ts";

/** Record cache of an open image unless the caller says otherwise. */
export const CACHE_BYTES_DEFAULT = 32 * 1024 * 1024;
/** Control set kept in memory; the rest waits in a private temporary file, in the page cache. */
export const HEADER_MEMORY_BYTES_DEFAULT = 8 * 1024 * 1024;
const READ_AHEAD_RECORDS = 16;

export interface OpenImageOptions extends AncestorOptions {
  readonly cacheBytes?: number | undefined;
  readonly headerMemoryBytes?: number | undefined;
  /** The drive to read from instead of opening the path; closed with the image. */
  readonly drive?: TapeDrive | undefined;
}

/** How tapes are found beside the one that was named. */
export type TapeLookup = Pick<OpenImageOptions, "askForTape" | "places">;

/** An image as `reelfs info` lists it. */
export interface ImageSummary {
  readonly number: number;
  readonly uuid: string;
  readonly state: ImageState["state"];
  readonly header: ImageHeader | undefined;
  readonly trailer: ImageTrailer | undefined;
  /** Records on the tape. */
  readonly records: number;
  readonly firstObject: number;
}

export interface ImageSpec {
  readonly path: string;
  /** Undefined: the last image. */
  readonly number: number | undefined;
  /** Further tapes that the set of this one may go on on. */
  readonly places: readonly string[];
}

/** What a spec such as "photos.tap#2" names; or "a.tap,b.tap#2", where other tapes of a set lie elsewhere. */
export async function parseImageSpec(spec: string): Promise<ImageSpec> {
  // A file whose own name ends in #2, or has a comma, is that file.
  if (await isThere(spec)) return { path: spec, number: undefined, places: [] };
  const match = /^(.+)#([1-9]\d{0,8})$/s.exec(spec);
  const tapes = match?.[1] ?? spec;
  const number = match?.[2] === undefined ? undefined : Number(match[2]);
  if (!tapes.includes(",") || (await isThere(tapes))) return { path: tapes, number, places: [] };
  const [path = tapes, ...places] = tapes.split(",").filter((each) => each !== "");
  return { path, number, places };
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/**
 * Opens an image for reading: header, map and control set are read, file data are not.
 *
 * @throws ReelError "not-found" when tape or image are not there; "damaged" when nothing of the image
 *   can be used; "unsupported" for a newer format.
 */
export async function openTapeImage(
  spec: string,
  options: OpenImageOptions = {},
): Promise<ImageDevice> {
  const { path, number, places } = await parseImageSpec(spec);
  const told = [...places, ...(options.places ?? [])];
  const drive = options.drive ?? (await openTapeForReading(path, told, options.askForTape));
  try {
    const found =
      number === undefined ? await findLastImage(drive) : await findImage(drive, number);
    await refuseWithoutStart(drive, path, found);
    return await open(path, drive, found, { ...options, places: told });
  } catch (error) {
    await drive.close().catch(() => undefined);
    throw error;
  }
}

/**
 * What is left of an image whose first tape is not there is of no use: the header, the map and the
 * structures of the volume are on it.
 */
async function refuseWithoutStart(
  drive: TapeDrive,
  path: string,
  { firstObject, header }: FoundImage,
): Promise<void> {
  if (header !== undefined || !(drive instanceof TapeSetDrive)) return;
  const missing = await drive.missingAt(firstObject);
  if (missing === undefined) return;
  throw new ReelError(
    "not-found",
    `cannot open ${path}: its image begins on another tape: ${missing}`,
  );
}

async function open(
  path: string,
  drive: TapeDrive,
  found: FoundImage,
  options: OpenImageOptions,
): Promise<ImageDevice> {
  const name = found.number > 0 ? `${path}#${found.number}` : path;
  const head = new DriveHead(drive);
  const reader = new RecordReader(head, {
    name,
    firstObject: found.firstObject,
    uuid: found.frame.uuid,
    recordSizeBytes: found.frame.recordSizeBytes,
    endRecord: found.endObject - found.firstObject,
  });
  const loaded = await loadImage(
    reader,
    found,
    options.headerMemoryBytes ?? HEADER_MEMORY_BYTES_DEFAULT,
  );
  const { header } = loaded;
  reader.data = header.sections.data;
  const ancestors = new Ancestors({ name, tapePath: path, head, header }, options);
  const state = stateOf(found, loaded.rebuilt);
  const notices = [...loaded.notices];
  if (found.trailer === undefined) notices.push(interruption(found, loaded.header));
  if (drive instanceof TapeSetDrive) notices.push(...drive.notices());
  return new ImageDevice({
    ...{ name, tapePath: path, number: found.number, drive, loaded, ancestors },
    records: new ChainReader(reader, ancestors),
    state: {
      ...{ state, notices, exceptions: exceptionsOf(found.trailer) },
      unmappedIsLost: loaded.unmappedIsLost,
    },
    cacheBytes: options.cacheBytes ?? CACHE_BYTES_DEFAULT,
    readAheadRecords: READ_AHEAD_RECORDS,
  });
}

function exceptionsOf(trailer: ImageTrailer | undefined): ImageExceptions {
  if (trailer === undefined) return NO_EXCEPTIONS;
  return { paths: trailer.exceptions, more: trailer.moreExceptions === true };
}

function stateOf(found: FoundImage, rebuilt: boolean): ImageState["state"] {
  if (rebuilt) return "rebuilt";
  return found.trailer === undefined ? "interrupted" : "complete";
}

function interruption(found: FoundImage, header: ImageHeader): string {
  const have = found.endObject - found.firstObject;
  const want = header.sections.trailer.firstRecord + 1;
  return have < want
    ? `the backup was interrupted or the tape was cut: ${have} of ${want} records are there`
    : "the trailer is damaged: nothing proves that the backup was completed";
}

/** All images of a tape, in order. */
export async function listImages(
  path: string,
  places: readonly string[] = [],
): Promise<ImageSummary[]> {
  return [...(await listTape(path, { places })).images];
}

/** All images of a tape or a set of tapes, in order, and which tapes of the set are not there. */
export async function listTape(
  path: string,
  { places, askForTape }: TapeLookup = {},
): Promise<{ readonly images: readonly ImageSummary[]; readonly notices: readonly string[] }> {
  const drive = await openTapeForReading(path, places, askForTape);
  const images: ImageSummary[] = [];
  try {
    for await (const found of findImages(drive)) {
      images.push({
        number: found.number,
        uuid: uuidText(found.frame.uuid),
        state: stateOf(found, found.header === undefined),
        header: found.header,
        trailer: found.trailer,
        records: found.endObject - found.firstObject,
        firstObject: found.firstObject,
      });
    }
    return { images, notices: drive instanceof TapeSetDrive ? drive.notices() : [] };
  } finally {
    await drive.close();
  }
}
