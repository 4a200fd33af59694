/** What a tape says of the set it belongs to, at its beginning and at its end. */
import { isReelError } from "../../errors.ts";
import { LABEL_BYTES } from "../labels.ts";
import type { TapeDrive } from "../tape-drive.ts";
import {
  decodeSetRecord,
  hasSetMagic,
  SET_HEAD_BYTES,
  SET_RECORD_BYTES_MAX,
  type Continuation,
  type SetRecord,
  type TapeEnd,
} from "./set-records.ts";

/** A label, a filemark, the continuation, a filemark: in front of what the set counts. */
export const CONTINUATION_OBJECTS = 4;
/** The filemarks among them. */
export const CONTINUATION_FILEMARKS = 2;
const CONTINUATION_OBJECT = 2;

export interface SetPlace {
  readonly begins: Continuation | undefined;
  readonly ends: TapeEnd | undefined;
  /** Objects of the tape in front of what the set counts. */
  readonly skip: number;
  /** The object of the tape behind the last that the set counts; undefined: all to the end. */
  readonly dataEnd: number | undefined;
  /** Nothing is on it, or a label alone. */
  readonly isBlank: boolean;
}

/**
 * Looks at both ends of a tape. What is damaged there is not seen; whoever reads on meets it.
 * The drive is left anywhere.
 */
export async function readSetPlace(drive: TapeDrive): Promise<SetPlace> {
  const begins = await readContinuation(drive);
  const last = await seen(async () => lastRecord(drive));
  const end = last?.record;
  const isEnd = end?.kind === "ends" && (begins === undefined || end.set === begins.set);
  return {
    begins,
    ends: isEnd ? end : undefined,
    skip: begins === undefined ? 0 : CONTINUATION_OBJECTS,
    dataEnd: isEnd ? last?.dataEnd : undefined,
    isBlank: last !== undefined && (await isBlank(drive, last.objects)),
  };
}

/** What the tape says at its beginning: which tapes it continues. */
export async function readContinuation(drive: TapeDrive): Promise<Continuation | undefined> {
  const first = await seen(async () => firstRecord(drive));
  return first?.kind === "continues" ? first : undefined;
}

async function firstRecord(drive: TapeDrive): Promise<SetRecord | undefined> {
  await drive.locate(CONTINUATION_OBJECT);
  const head = await readHead(drive, false);
  if (head !== "record of a set") return undefined;
  return readWhole(drive, CONTINUATION_OBJECT);
}

interface LastRecord {
  readonly record?: SetRecord | undefined;
  readonly dataEnd?: number;
  /** On the tape. */
  readonly objects: number;
}

/** The record of the end lies between two filemarks; the second may be torn off. */
async function lastRecord(drive: TapeDrive): Promise<LastRecord> {
  const { object: objects } = await drive.spaceToEndOfData();
  if (objects <= CONTINUATION_OBJECT || !drive.capabilities.reverse) return { objects };
  let object = objects - 1;
  let head = await readHead(drive, true);
  if (head === "filemark") {
    object -= 1;
    head = await readHead(drive, true);
  }
  if (head !== "record of a set") return { objects };
  return { record: await readWhole(drive, object), dataEnd: object - 1, objects };
}

async function readHead(drive: TapeDrive, reverse: boolean): Promise<string> {
  const head = new Uint8Array(SET_HEAD_BYTES);
  const read = await drive.read(head, { reverse });
  return read.kind === "record" && hasSetMagic(head) ? "record of a set" : read.kind;
}

async function readWhole(drive: TapeDrive, object: number): Promise<SetRecord | undefined> {
  await drive.locate(object);
  const probe = await drive.read(new Uint8Array(0));
  if (probe.kind !== "record" || probe.lengthBytes > SET_RECORD_BYTES_MAX) return undefined;
  const bytes = new Uint8Array(probe.lengthBytes);
  await drive.locate(object);
  await drive.read(bytes);
  return decodeSetRecord(bytes, `object ${object} of ${drive.name}`);
}

async function isBlank(drive: TapeDrive, objects: number): Promise<boolean> {
  if (objects === 0) return true;
  if (objects > CONTINUATION_OBJECT) return false;
  await drive.rewind();
  const read = await drive.read(new Uint8Array(0));
  return read.kind === "record" && read.lengthBytes === LABEL_BYTES;
}

async function seen<T>(look: () => Promise<T>): Promise<T | undefined> {
  try {
    return await look();
  } catch (error) {
    const isDamage = isReelError(error, "damaged") || isReelError(error, "io");
    if (isDamage || isReelError(error, "out-of-range")) return undefined;
    throw error;
  }
}
