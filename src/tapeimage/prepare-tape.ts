/**
 * Where the next image goes: behind the last, at the end of the tape.
 *
 * A backup that was killed leaves an image without its end, which gets a filemark and stays. After a
 * power cut the end of such an image may have holes, and reading stops at the first. Then the tape
 * ends there too, as if the writer had been killed at that moment; but only when what lies behind is
 * nothing but more of that image (tail-search.ts), and never without saying so.
 */
import { isReelError, ReelError } from "../errors.ts";
import { writeLabel } from "../tape/labels.ts";
import type { TapeDrive, UnreadableTail } from "../tape/tape-drive.ts";
import type { BackupOptions } from "./backup-options.ts";
import { findLastImage, type FoundImage } from "./find-image.ts";
import { FRAME_BYTES, readFrame, RECORD_KIND, RUN_TABLE_BYTES_MAX, uuidText } from "./frame.ts";
import { isTornFrame, searchTail } from "./tail-search.ts";

const SERIAL_DEFAULT = "REELFS";
/** More filemarks in sequence are no filemarks, but zeros that were never stored. */
const MARKS_MAX = 8;

export interface PreparedTape {
  /** Number of the image that is written next. */
  readonly number: number;
  /** What a person must know of what was done to the tape. */
  readonly notices: readonly string[];
}

/**
 * Leaves the drive where the next image begins.
 *
 * @throws ReelError "damaged" for a tape that cannot be read to its end, unless what cannot be read
 *   belongs to one unfinished image; it is then as it was.
 */
export async function prepareTape(
  drive: TapeDrive,
  options: Pick<BackupOptions, "overwriteTape" | "tapeSerial">,
): Promise<PreparedTape> {
  await drive.rewind();
  const serial = options.tapeSerial ?? SERIAL_DEFAULT;
  if (options.overwriteTape === true) {
    await writeLabel(drive, serial);
    return { number: 1, notices: [] };
  }
  const cut = await cutUnfinished(drive);
  const end = cut?.object === 0 ? cut : await drive.spaceToEndOfData();
  if (end.object === 0) {
    await drive.rewind();
    await writeLabel(drive, serial);
    return { number: 1, notices: cut === undefined ? [] : [noticeOf(drive, cut, undefined)] };
  }
  const last = await lastImage(drive);
  await drive.spaceToEndOfData();
  await closeTapeFile(drive);
  const notices = cut === undefined ? [] : [noticeOf(drive, cut, last)];
  return { number: (last?.number ?? 0) + 1, notices };
}

async function lastImage(drive: TapeDrive): Promise<FoundImage | undefined> {
  try {
    return await findLastImage(drive);
  } catch (error) {
    if (isReelError(error, "not-found")) return undefined;
    throw error;
  }
}

/** An interrupted image has no filemark: it gets one, so that the next image is its own tape file. */
async function closeTapeFile(drive: TapeDrive): Promise<void> {
  const last = await drive.read(Buffer.alloc(1), { reverse: true });
  await drive.spaceToEndOfData();
  if (last.kind === "record") await drive.writeFilemarks(1);
}

interface Cut {
  /** The first object that is gone. */
  readonly object: number;
  readonly tail: UnreadableTail;
}

/**
 * Ends the tape at its damage, where that costs nothing but more of an unfinished image. Undefined:
 * there was nothing to do.
 */
async function cutUnfinished(drive: TapeDrive): Promise<Cut | undefined> {
  const tail = await drive.unreadableTail?.();
  if (tail === undefined || (await isTornFrame(tail, drive.name))) return undefined;
  const object = await endOfRecords(drive, tail.object);
  const before = await recordBefore(drive, object);
  const { uuids, beginsAsFrame, precious, isPiece, ...has } = await searchTail(tail, drive.name);
  if (precious !== undefined) throw refusal(drive, tail, precious);
  // A finished image may look like that when it has lost its end to age: it is not to lose more.
  const hasLostPages = has.hasLostPages || tail.object - object > MARKS_MAX;
  if (has.hasRecords && !hasLostPages) throw refusal(drive, tail, "more of an image");
  const touches = object === tail.object;
  const isUnfinished = before !== undefined && !before.isTrailer;
  if (touches && isUnfinished && [...uuids].some((uuid) => uuid !== before.uuid)) {
    throw refusal(drive, tail, "parts of another image");
  }
  // Zeros that were never stored look like many filemarks; one may be a mark, and end an image.
  const isWithinImage = isUnfinished && tail.object - object !== 1;
  // All that came to the disk of a first record: nothing in it is whole, whoever wrote it.
  const isRest = isPiece && tail.object - object > MARKS_MAX;
  if (!isWithinImage && !isRest && uuids.size === 0 && !beginsAsFrame) {
    if (tail.kind === "torn") return undefined;
    throw refusal(drive, tail, "what may be a file of another program");
  }
  if (object > 0) {
    await drive.locate(object);
    await drive.writeFilemarks(1);
  }
  return { object, tail };
}

/** The object behind the last record before `end`: there are only filemarks between the two. */
async function endOfRecords(drive: TapeDrive, end: number): Promise<number> {
  const recordsBefore = async (object: number): Promise<number> => {
    await drive.locate(object);
    return object - (await drive.position()).file;
  };
  const records = await recordsBefore(end);
  let [low, high] = [0, end];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if ((await recordsBefore(middle)) === records) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Undefined for what is no sound record of an image. */
async function recordBefore(
  drive: TapeDrive,
  object: number,
): Promise<{ readonly uuid: string; readonly isTrailer: boolean } | undefined> {
  if (object === 0) return undefined;
  const bytes = Buffer.alloc(FRAME_BYTES + RUN_TABLE_BYTES_MAX);
  await drive.locate(object);
  try {
    const read = await drive.read(bytes, { reverse: true });
    if (read.kind !== "record") return undefined;
    const { uuid, kind } = readFrame(bytes, read.lengthBytes, drive.name);
    return { uuid: uuidText(uuid), isTrailer: kind === RECORD_KIND.trailer };
  } catch (error) {
    if (isReelError(error, "damaged")) return undefined;
    throw error;
  }
}

function refusal({ name }: TapeDrive, { message }: UnreadableTail, what: string): ReelError {
  return new ReelError(
    "damaged",
    `${message}; nothing was written, since behind the damage lies ${what}: write to another tape, ` +
      `and copy the images that are sound to it, with "reelfs consolidate ${name}#1 OTHER.tap" and so on`,
  );
}

function noticeOf({ name }: TapeDrive, { tail }: Cut, last: FoundImage | undefined): string {
  return (
    `${name} was damaged at byte ${tail.offsetBytes}, as after a power cut: ${unfinishedText(last)} ` +
    `was overwritten from there on`
  );
}

function unfinishedText(last: FoundImage | undefined): string {
  if (last === undefined) return "an unfinished image";
  const { header, trailer, number } = last;
  const numbered = number > 0 ? ` ${number}` : "";
  if (trailer !== undefined) return `the unfinished image behind image${numbered}`;
  const created = header?.created ?? "";
  const time = created === "" ? "" : ` of ${created.slice(0, 16).replace("T", " ")} UTC`;
  return `the unfinished image${numbered}${time}`;
}
