/** A tape file as its objects, each with its framing, so that they can be moved whole. */

export interface TapObject {
  /** As it lies in the file: lengths, data, padding; or a filemark or other marker. */
  readonly bytes: Buffer;
  /** Of a record. */
  readonly data: Buffer | undefined;
}

const WORD_BYTES = 4;
/** Length words with the class bits above it: SIMH's "bad data" record keeps its length. */
const LENGTH_MASK = 0x0fff_ffff;
const MARKERS = new Set([0, 0xffff_ffff, 0xffff_fffe]);

/** Objects in order; what cannot be parsed is the last of them. */
export function parseTap(tap: Buffer): TapObject[] {
  const objects: TapObject[] = [];
  for (let at = 0; at < tap.length;) {
    const word = at + WORD_BYTES <= tap.length ? tap.readUInt32LE(at) : undefined;
    const length = (word ?? 0) & LENGTH_MASK;
    const isMarker = word !== undefined && MARKERS.has(word);
    const end = isMarker ? at + WORD_BYTES : at + 2 * WORD_BYTES + length + (length & 1);
    if (word === undefined || end > tap.length) {
      objects.push({ bytes: tap.subarray(at), data: undefined });
      break;
    }
    const data = isMarker ? undefined : tap.subarray(at + WORD_BYTES, at + WORD_BYTES + length);
    objects.push({ bytes: tap.subarray(at, end), data });
    at = end;
  }
  return objects;
}

export const joinTap = (objects: readonly TapObject[]): Buffer =>
  Buffer.concat(objects.map(({ bytes }) => bytes));

/** A record of a tape file around data. */
export function tapRecord(data: Buffer, classBits = 0): TapObject {
  const word = Buffer.alloc(WORD_BYTES);
  word.writeUInt32LE((classBits | data.length) >>> 0);
  const padding = Buffer.alloc(data.length & 1);
  return { bytes: Buffer.concat([word, data, padding, word]), data };
}

export function tapMarker(word: number): TapObject {
  const bytes = Buffer.alloc(WORD_BYTES);
  bytes.writeUInt32LE(word);
  return { bytes, data: undefined };
}

export const uuidBytes = (uuid: string): Buffer => Buffer.from(uuid.replaceAll("-", ""), "hex");
