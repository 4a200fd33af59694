/**
 * Finds images on a tape. An image is one tape file; the last one is found from the end of the tape
 * with two short moves, any other by stepping over filemarks.
 */
import { isReelError, ReelError } from "../errors.ts";
import type { TapeDrive } from "../tape/tape-drive.ts";
import {
  FRAME_BYTES,
  hasFrameMagic,
  readFrame,
  RECORD_KIND,
  RUN_TABLE_BYTES_MAX,
  type Frame,
} from "./frame.ts";
import { decodeHeader, RECORD_SIZE_MAX, type ImageHeader } from "./header.ts";
import { checkIdentity, decodeRecord } from "./record-codec.ts";
import { isLossOfRecord } from "./record-stream.ts";
import { decodeTrailer, type ImageTrailer } from "./trailer.ts";

/** Enough for any frame and for every header and trailer that is not absurd. */
const PROBE_BYTES = FRAME_BYTES + Math.max(RUN_TABLE_BYTES_MAX, 1024 * 1024);
/** Unreadable records at the start of a tape file that are passed before it is called foreign. */
const DAMAGED_START_MAX = 64;
/** Filemarks at the end of a tape that are stepped over to find the last record. */
const TRAILING_FILEMARKS_MAX = 16;

export interface FoundImage {
  /** Number of the image on the tape, from 1; 0 when it was not counted. */
  readonly number: number;
  readonly firstObject: number;
  /** First object after the image: its filemark, or the end of the tape. */
  readonly endObject: number;
  /** Any readable frame of the image. */
  readonly frame: Frame;
  readonly header: ImageHeader | undefined;
  readonly trailer: ImageTrailer | undefined;
  /** Why there is no header. */
  readonly headerProblem?: string | undefined;
}

/** A record as probed: its frame, and its contents when they are plain and fit. */
interface Probe {
  readonly object: number;
  readonly frame: Frame;
  readonly bytes: Buffer;
  readonly length: number;
}

/**
 * The last image on the tape.
 *
 * @throws ReelError "not-found" when there is none.
 */
export async function findLastImage(drive: TapeDrive): Promise<FoundImage> {
  const fromEnd = drive.capabilities.reverse ? await lastFromEnd(drive) : undefined;
  if (fromEnd !== undefined) return fromEnd;
  let last: FoundImage | undefined;
  for await (const image of findImages(drive)) last = image;
  if (last === undefined) {
    throw new ReelError(
      "not-found",
      `${drive.name} holds no ReelFS image; name a tape that "reelfs backup" has written to`,
    );
  }
  return last;
}

/** Image `number` of the tape, from 1. Those before it are stepped over, not looked into. */
export async function findImage(drive: TapeDrive, number: number): Promise<FoundImage> {
  let count = 0;
  for await (const start of imageStarts(drive)) {
    count++;
    if (start.number === number) return describe(drive, start.probe, start.end, number);
  }
  throw new ReelError(
    "not-found",
    `${drive.name} has no image ${number}: it holds ${count} image${count === 1 ? "" : "s"}`,
  );
}

/** Every image of the tape in order; other tape files are passed over. */
export async function* findImages(drive: TapeDrive): AsyncGenerator<FoundImage> {
  for await (const { probe, end, number } of imageStarts(drive)) {
    yield await describe(drive, probe, end, number);
  }
}

interface ImageStart {
  /** The first readable record; its bytes are good until the next step. */
  readonly probe: Probe;
  /** First object after the image. */
  readonly end: number;
  readonly number: number;
}

async function* imageStarts(drive: TapeDrive): AsyncGenerator<ImageStart> {
  await drive.rewind();
  // One for all: a tape may have a thousand images.
  const bytes = Buffer.alloc(PROBE_BYTES);
  let number = 0;
  let start = 0;
  for (;;) {
    const probe = await probeFileStart(drive, bytes);
    const next = await drive.space("filemarks", 1).catch(tornTail);
    const after = await drive.position();
    const marked = next.passed === 1;
    const end = marked ? after.object - 1 : after.object;
    if (probe !== undefined && probe.object - probe.frame.record >= start) {
      number++;
      yield { probe, end, number };
    }
    if (!marked) return;
    start = after.object;
    await drive.locate(start);
  }
}

/** A tape cut inside a record has no more filemarks; nor has one that goes on where nobody knows. */
function tornTail(error: unknown): { passed: number } {
  if (isLossOfRecord(error)) return { passed: 0 };
  throw error;
}

async function lastFromEnd(drive: TapeDrive): Promise<FoundImage | undefined> {
  try {
    await drive.spaceToEndOfData();
  } catch (error) {
    tornTail(error);
    return undefined;
  }
  let end = (await drive.position()).object;
  for (let marks = 0; marks < TRAILING_FILEMARKS_MAX; marks++) {
    const probe = await probeRecord(drive, end - 1, {
      bytes: Buffer.alloc(PROBE_BYTES),
      reverse: true,
    });
    if (probe === "filemark") {
      end--;
      continue;
    }
    if (probe === undefined) return undefined;
    return describe(drive, probe, end, 0);
  }
  return undefined;
}

/** The first readable frame of the tape file the drive stands at the start of. */
async function probeFileStart(drive: TapeDrive, bytes: Buffer): Promise<Probe | undefined> {
  const start = (await drive.position()).object;
  for (let i = 0; i < DAMAGED_START_MAX; i++) {
    let probe: Probe | "filemark" | undefined;
    let damaged = false;
    try {
      probe = await probeRecord(drive, start + i, { bytes });
    } catch (error) {
      tornTail(error);
      damaged = true;
    }
    if (probe === "filemark") {
      // Stand before the mark again, so that stepping over it finds this file's end.
      await drive.locate(start + i);
      return undefined;
    }
    if (probe !== undefined) return probe;
    // A first record that is sound and not ours means a foreign file.
    if (!damaged && i === 0 && !(await isOurs(drive, start))) return undefined;
  }
  return undefined;
}

/** Does the record begin like one of ours, whatever has become of the rest? */
async function isOurs(drive: TapeDrive, object: number): Promise<boolean> {
  const bytes = Buffer.alloc(FRAME_BYTES);
  await drive.locate(object);
  const read = await drive.read(bytes);
  // A record the length of ours may have lost its magic; labels are 80 bytes.
  return read.kind === "record" && (hasFrameMagic(bytes) || read.lengthBytes > FRAME_BYTES);
}

async function probeRecord(
  drive: TapeDrive,
  object: number,
  { bytes, reverse = false }: { readonly bytes: Buffer; readonly reverse?: boolean },
): Promise<Probe | "filemark" | undefined> {
  if (!reverse) await drive.locate(object);
  const read = await drive.read(bytes, { reverse });
  if (read.kind === "filemark") return "filemark";
  if (read.kind !== "record") return undefined;
  try {
    const frame = readFrame(bytes, read.lengthBytes, `tape object ${object} of ${drive.name}`);
    return { object, frame, bytes, length: read.lengthBytes };
  } catch (error) {
    if (isReelError(error, "unsupported")) throw error;
    return undefined;
  }
}

async function describe(
  drive: TapeDrive,
  probe: Probe,
  endObject: number,
  number: number,
): Promise<FoundImage> {
  const firstObject = probe.object - probe.frame.record;
  const { uuid } = probe.frame;
  const head = await plainRecord(drive, probe, { object: firstObject, kind: RECORD_KIND.header });
  let header: ImageHeader | undefined;
  let problem = head.problem;
  try {
    header = head.bytes && decodeHeader(head.bytes, `header of ${drive.name}`);
  } catch (error) {
    if (!isReelError(error, "damaged")) throw error;
    problem = error.message;
  }
  const lastRecord = endObject - 1 - firstObject;
  const tail = await plainRecord(drive, probe, {
    object: endObject - 1,
    kind: RECORD_KIND.trailer,
  });
  let trailer: ImageTrailer | undefined;
  try {
    trailer = tail.bytes && decodeTrailer(tail.bytes, `trailer of ${drive.name}`);
  } catch (error) {
    if (!isReelError(error, "damaged")) throw error;
  }
  if (trailer !== undefined && trailer.records !== lastRecord + 1) trailer = undefined;
  // An image whose map follows its data has its numbers in the trailer.
  header = trailer?.header ?? header;
  if (header !== undefined && !sameGeometry(header, probe.frame)) {
    problem = "the header contradicts the records";
    header = undefined;
  }
  return {
    number: number > 0 ? number : (header?.number ?? 0),
    firstObject,
    endObject,
    frame: { ...probe.frame, uuid },
    header,
    trailer,
    headerProblem: problem,
  };
}

function sameGeometry(header: ImageHeader, frame: Frame): boolean {
  return (
    header.blockSizeBytes === frame.blockSizeBytes &&
    header.recordSizeBytes === frame.recordSizeBytes &&
    header.sizeBytes === frame.sizeBytes
  );
}

/** The contents of a header or trailer, read from the tape unless the probe has them already. */
async function plainRecord(
  drive: TapeDrive,
  probe: Probe,
  want: { object: number; kind: number },
): Promise<{ bytes?: Buffer; problem?: string }> {
  const where = `tape object ${want.object} of ${drive.name}`;
  try {
    let { bytes, length } = probe;
    if (want.object !== probe.object) {
      bytes = Buffer.alloc(PROBE_BYTES);
      await drive.locate(want.object);
      const read = await drive.read(bytes);
      if (read.kind !== "record") return { problem: `${where} is a ${read.kind}` };
      length = read.lengthBytes;
    }
    if (length > bytes.length) return { problem: `${where} is too long` };
    const target = Buffer.alloc(RECORD_SIZE_MAX);
    const frame = decodeRecord(bytes.subarray(0, length), undefined, target, where);
    const record = want.object - (probe.object - probe.frame.record);
    checkIdentity(frame, { uuid: probe.frame.uuid, record }, where);
    if (frame.kind !== want.kind) return { problem: `${where} is another kind of record` };
    return { bytes: target.subarray(0, frame.rawLength) };
  } catch (error) {
    if (!isLossOfRecord(error)) throw error;
    return { problem: error.message };
  }
}
