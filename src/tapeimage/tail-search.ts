/**
 * Looks through what cannot be read at the end of a tape for anything that must not be written over.
 *
 * After a power cut the end of a tape file has holes: pages that never reached the disk are zeros,
 * and zeros read as filemarks. What was being written then is one image without its trailer, and no
 * loss. The same damage may also be age, and behind it a whole image, or a file of somebody else. So
 * the bytes are searched for what every image has, frames that prove themselves, and for whole
 * records of any kind; only where there is nothing but parts of one image without an end may it go.
 *
 * Records lie at even offsets. From a whole record of the image the search goes on behind it, so
 * that tapes stored as files within an image are not taken for tapes.
 */
import { read } from "node:fs";
import { fromSystem } from "../errors.ts";
import type { UnreadableTail } from "../tape/tape-drive.ts";
import {
  FRAME_BYTES,
  FRAME_MAGIC,
  frameClaims,
  type FrameClaims,
  readFrame,
  RECORD_BYTES_MAX,
  RECORD_KIND,
  RUN_TABLE_BYTES_MAX,
  uuidText,
} from "./frame.ts";

/** What is searched; more than this is unsynced nowhere. */
const SEARCHED_BYTES_MAX = 4 * 1024 ** 3;
const WINDOW_BYTES = 256 * 1024;
/** The words around a record, and a filemark. */
const WORD_BYTES = 4;
/** Longest record of a `.tap` file; what is longer is no length. */
const LENGTH_MAX = 0xff_ffff;
/** Shortest record of other programs that is looked for: the standard's shortest block. */
const FOREIGN_LENGTH_MIN = 18;
/** A trailer, as long as it may be. */
const TRAILER_LENGTH_MIN = 512;
const TRAILER_LENGTH_MAX = 2 * 1024 * 1024;
/** Filemarks behind the last record of a tape that was finished. */
const END_FILEMARKS_MAX = 8;
/** What the disk has or has not: zeros from such a border to the end may never have been written. */
const PAGE_BYTES = 4096;
/** How a page begins that was not stored; its rest may have been, by a later write. */
const LOST_START = Buffer.alloc(512);

export interface TailFindings {
  /** Images of which there are sound frames. */
  readonly uuids: ReadonlySet<string>;
  /** Whole records of an image lie behind the damage. */
  readonly hasRecords: boolean;
  /** There are zeros as a power cut leaves them. */
  readonly hasLostPages: boolean;
  /** A frame begins right where the tape stops. */
  readonly beginsAsFrame: boolean;
  /** What must not be written over: "the end of an image". */
  readonly precious: string | undefined;
  /** It is shorter than a record, and nowhere in it is a whole one, of whatever program. */
  readonly isPiece: boolean;
}

type Found =
  | { readonly precious: string }
  /** Up to `lostBytes` nothing was found; the search goes on at `nextBytes`. */
  | { readonly lostBytes: number; readonly nextBytes: number };

/**
 * Searches the tail.
 * @throws ReelError "io"
 */
export async function searchTail(tail: UnreadableTail, name: string): Promise<TailFindings> {
  const search = new TailSearch(tail, name);
  const beginsAsFrame = await search.beginsAsFrame();
  const precious =
    tail.lengthBytes > SEARCHED_BYTES_MAX
      ? "more than can be searched"
      : ((await search.run()) ?? (await search.atEnd()));
  const isPiece = precious === undefined && (await search.isPiece());
  const { uuids, hasRecords, hasLostPages } = search;
  return { uuids, hasRecords, hasLostPages, beginsAsFrame, precious, isPiece };
}

/** True for the ordinary torn end: one record of an image, sound as far as it goes. */
export async function isTornFrame(tail: UnreadableTail, name: string): Promise<boolean> {
  return tail.kind === "torn" && new TailSearch(tail, name).isTornFrame();
}

class TailSearch {
  readonly uuids = new Set<string>();
  hasRecords = false;
  hasLostPages = false;
  readonly #tail: UnreadableTail;
  readonly #endBytes: number;
  readonly #name: string;
  /** End of the whole record found last, of whichever kind. */
  #lastEndBytes = -1;
  readonly #window = Buffer.alloc(WINDOW_BYTES);

  constructor(tail: UnreadableTail, name: string) {
    this.#tail = tail;
    this.#name = name;
    this.#endBytes = tail.offsetBytes + tail.lengthBytes;
  }

  async beginsAsFrame(): Promise<boolean> {
    const magic = Buffer.alloc(FRAME_MAGIC.length);
    await this.#readAt(magic, this.#tail.offsetBytes + WORD_BYTES);
    return magic.equals(FRAME_MAGIC);
  }

  async isTornFrame(): Promise<boolean> {
    const { offsetBytes } = this.#tail;
    const frame = await this.#soundFrameAt(offsetBytes + WORD_BYTES);
    return frame !== undefined && (await this.#wordAt(offsetBytes)) === frame.recordLength;
  }

  /** What must not be written over, in words. */
  async run(): Promise<string | undefined> {
    const { offsetBytes } = this.#tail;
    let atBytes = offsetBytes;
    while (atBytes + WORD_BYTES < this.#endBytes) {
      const arrivedBytes = await this.#readAt(this.#window, atBytes);
      const found = await this.#searchWindow(this.#window.subarray(0, arrivedBytes), atBytes);
      if ("precious" in found) return found.precious;
      const lost = this.#window.subarray(0, Math.max(0, found.lostBytes - atBytes));
      this.hasLostPages ||= hasLostPage(lost, atBytes);
      if (found.nextBytes <= atBytes) return undefined;
      atBytes = found.nextBytes;
    }
    return undefined;
  }

  /** Goes on behind the first whole record, or near the end of the window. */
  async #searchWindow(window: Buffer, startBytes: number): Promise<Found> {
    let magicAt = window.indexOf(FRAME_MAGIC);
    for (let at = 0; at + WORD_BYTES <= window.length; at += 2) {
      if (magicAt >= 0 && magicAt < at) magicAt = window.indexOf(FRAME_MAGIC, at);
      const word = window.readUInt32LE(at);
      const placeBytes = startBytes + at;
      if (magicAt === at) {
        const found = await this.#frameAt(placeBytes);
        if (found !== undefined) return found;
      } else if (magicAt !== at + WORD_BYTES && isLength(word, FOREIGN_LENGTH_MIN)) {
        const isBehind = this.#isBehindObject(window, at, placeBytes);
        if (isBehind && (await this.#isHeldRecord(placeBytes, word))) {
          return { precious: "a record of another tape file" };
        }
      }
    }
    // The last bytes are looked at again with those behind them, unless there are none.
    const overlapBytes = FRAME_MAGIC.length + WORD_BYTES;
    const isLast = startBytes + window.length >= this.#endBytes;
    const lostBytes = startBytes + window.length;
    return { lostBytes, nextBytes: lostBytes - (isLast ? 0 : overlapBytes) };
  }

  /** `magicBytes`: where the magic is. Undefined: no sound frame, or not of a whole record. */
  async #frameAt(magicBytes: number): Promise<Found | undefined> {
    const claims = await this.#claimsAt(magicBytes);
    if (claims?.kind === RECORD_KIND.trailer) return { precious: "the end of an image" };
    const frame = await this.#soundFrameAt(magicBytes);
    if (frame === undefined) return undefined;
    const { uuid, recordLength } = frame;
    this.uuids.add(uuidText(uuid));
    if (this.uuids.size > 1) return { precious: "parts of another image" };
    const startBytes = magicBytes - WORD_BYTES;
    const endBytes = startBytes + sizeOf(recordLength);
    const isWhole =
      startBytes >= this.#tail.offsetBytes &&
      (await this.#wordAt(startBytes)) === recordLength &&
      (await this.#wordAt(endBytes - WORD_BYTES)) === recordLength;
    if (!isWhole) return undefined;
    this.#lastEndBytes = endBytes;
    this.hasRecords = true;
    return { lostBytes: startBytes, nextBytes: endBytes };
  }

  async #claimsAt(magicBytes: number): Promise<FrameClaims | undefined> {
    const fixed = Buffer.alloc(FRAME_BYTES);
    if ((await this.#readAt(fixed, magicBytes)) < FRAME_BYTES) return undefined;
    return frameClaims(fixed);
  }

  /** What a frame says that proves itself. */
  async #soundFrameAt(magicBytes: number): Promise<FrameClaims | undefined> {
    const claims = await this.#claimsAt(magicBytes);
    if (claims === undefined) return undefined;
    const { frameLength, recordLength } = claims;
    if (frameLength > FRAME_BYTES + RUN_TABLE_BYTES_MAX || recordLength > RECORD_BYTES_MAX) {
      return undefined;
    }
    const frame = Buffer.alloc(frameLength);
    await this.#readAt(frame, magicBytes);
    return isFrame(frame, recordLength, this.#name) ? claims : undefined;
  }

  /** A record begins behind a filemark or another record. */
  #isBehindObject(window: Buffer, at: number, placeBytes: number): boolean {
    if (placeBytes === this.#lastEndBytes) return true;
    return at >= WORD_BYTES && window.readUInt32LE(at - WORD_BYTES) === 0;
  }

  /** A whole record that is no frame, with a filemark, a record or the end behind it. */
  async #isHeldRecord(startBytes: number, length: number): Promise<boolean> {
    const endBytes = startBytes + sizeOf(length);
    if ((await this.#wordAt(endBytes - WORD_BYTES)) !== length) return false;
    if (endBytes === this.#endBytes) return true;
    const next = await this.#wordAt(endBytes);
    if (next === undefined || next === 0) return next === 0;
    if (!isLength(next, 1)) return false;
    const nextEndBytes = endBytes + sizeOf(next);
    // That may be torn itself.
    return (
      nextEndBytes > this.#endBytes || (await this.#wordAt(nextEndBytes - WORD_BYTES)) === next
    );
  }

  /** How a tape ends that was finished: a record and filemarks behind it. */
  async atEnd(): Promise<string | undefined> {
    for (let marks = 0; marks <= END_FILEMARKS_MAX; marks++) {
      const recordEndBytes = this.#endBytes - marks * WORD_BYTES;
      if (recordEndBytes <= this.#tail.offsetBytes + WORD_BYTES) return undefined;
      const word = await this.#wordAt(recordEndBytes - WORD_BYTES);
      if (word === 0) continue;
      if (word === undefined || !isLength(word, 1)) return undefined;
      const startBytes = recordEndBytes - sizeOf(word);
      if (startBytes < this.#tail.offsetBytes) return undefined;
      if (recordEndBytes === this.#lastEndBytes) return undefined;
      if ((await this.#wordAt(startBytes)) === word && !(await this.#isFrameMark(startBytes))) {
        return "a whole record at the end of the tape";
      }
      const isLikeTrailer =
        marks > 0 &&
        recordEndBytes % PAGE_BYTES !== 0 &&
        word >= TRAILER_LENGTH_MIN &&
        word <= TRAILER_LENGTH_MAX;
      return isLikeTrailer ? "what may be the end of an image" : undefined;
    }
    return undefined;
  }

  /** Also where no record should begin: what lies before it may be damaged as well. */
  async isPiece(): Promise<boolean> {
    const { offsetBytes, lengthBytes } = this.#tail;
    if (lengthBytes >= RECORD_BYTES_MAX) return false;
    const bytes = Buffer.alloc(lengthBytes);
    await this.#readAt(bytes, offsetBytes);
    for (let at = 0; at + WORD_BYTES <= lengthBytes; at += 2) {
      const word = bytes.readUInt32LE(at);
      const trailerAt = at + sizeOf(word) - WORD_BYTES;
      const mayBe = isLength(word, FOREIGN_LENGTH_MIN) && trailerAt + WORD_BYTES <= lengthBytes;
      if (mayBe && bytes.readUInt32LE(trailerAt) === word) return false;
    }
    return true;
  }

  async #isFrameMark(startBytes: number): Promise<boolean> {
    const magic = Buffer.alloc(FRAME_MAGIC.length);
    await this.#readAt(magic, startBytes + WORD_BYTES);
    return magic.equals(FRAME_MAGIC);
  }

  /** Undefined outside the tail. */
  async #wordAt(atBytes: number): Promise<number | undefined> {
    if (atBytes < this.#tail.offsetBytes || atBytes + WORD_BYTES > this.#endBytes) return undefined;
    const word = Buffer.alloc(WORD_BYTES);
    const arrivedBytes = await this.#readAt(word, atBytes);
    return arrivedBytes < WORD_BYTES ? undefined : word.readUInt32LE(0);
  }

  async #readAt(target: Buffer, atBytes: number): Promise<number> {
    const lengthBytes = Math.min(target.length, this.#endBytes - atBytes);
    if (lengthBytes <= 0) return 0;
    return new Promise((resolve, reject) => {
      const { descriptor } = this.#tail;
      read(descriptor, target, 0, lengthBytes, atBytes, (error, bytesRead) => {
        if (error === null) resolve(bytesRead);
        else reject(fromSystem(error, `cannot read ${this.#name} at byte ${atBytes}`));
      });
    });
  }
}

/** `startBytes`: where the window lies in the file. */
function hasLostPage(window: Buffer, startBytes: number): boolean {
  const first = (PAGE_BYTES - (startBytes % PAGE_BYTES)) % PAGE_BYTES;
  for (let at = first; at + LOST_START.length <= window.length; at += PAGE_BYTES) {
    if (LOST_START.compare(window, at, at + LOST_START.length) === 0) return true;
  }
  return false;
}

function isLength(word: number, minimum: number): boolean {
  return word >= minimum && word <= LENGTH_MAX;
}

/** Bytes that a record takes in the file. */
function sizeOf(length: number): number {
  return 2 * WORD_BYTES + length + (length & 1);
}

function isFrame(bytes: Buffer, recordLength: number, name: string): boolean {
  try {
    readFrame(bytes, recordLength, name);
    return true;
  } catch {
    return false;
  }
}
