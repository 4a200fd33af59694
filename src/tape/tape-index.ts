/**
 * Where the objects of a `.tap` container lie: about four bytes an object, so that locate is a
 * short sum and a tape of a hundred million records fits in memory.
 *
 * The word of every record and filemark is kept as it stands on the tape (class and length), in
 * segments of a fixed size; every 64th object has its byte offset beside it. The offset of an
 * object is that of the checkpoint before it plus the sizes in between. Gaps and foreign objects
 * are rare; what lies before object n and is no object is kept in a short sorted list, so is the
 * number of every filemark.
 */
import { FILEMARK_WORD, objectSizeBytes } from "./simh-format.ts";

const SEGMENT_OBJECTS = 4096;
const CHECKPOINT_OBJECTS = 64;

interface Segment {
  readonly words: Uint32Array;
  /** Byte offset of every 64th object. */
  readonly checkpoints: Float64Array;
}

/** A list of numbers that grows; ascending lists can be searched. */
export class NumberList {
  #values = new Float64Array(16);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  at(index: number): number {
    return this.#values[index] ?? Number.NaN;
  }

  push(value: number): void {
    if (this.#length === this.#values.length) {
      const grown = new Float64Array(this.#length * 2);
      grown.set(this.#values);
      this.#values = grown;
    }
    this.#values[this.#length] = value;
    this.#length += 1;
  }

  truncate(length: number): void {
    this.#length = Math.min(this.#length, length);
  }

  /** How many values are below `limit`, in an ascending list. */
  countBelow(limit: number): number {
    let low = 0;
    let high = this.#length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.at(middle) < limit) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

export class TapeIndex {
  readonly #segments: Segment[] = [];
  /** Objects that have something uncounted before them, and how many bytes of it. */
  readonly #skipObjects = new NumberList();
  readonly #skipBytes = new NumberList();
  readonly #filemarks = new NumberList();
  #count = 0;
  #endBytes = 0;

  /** Objects known, from the beginning of the tape. */
  get count(): number {
    return this.#count;
  }

  /** Byte offset of the end of the last known object. */
  get endBytes(): number {
    return this.#endBytes;
  }

  get filemarkCount(): number {
    return this.#filemarks.length;
  }

  get skipCount(): number {
    return this.#skipObjects.length;
  }

  /** The uncounted bytes in front of an object: [object, bytes] of entry `index`. */
  skipAt(index: number): readonly [object: number, bytes: number] {
    return [this.#skipObjects.at(index), this.#skipBytes.at(index)];
  }

  /** Adds the next object; `skippedBytes` of gaps and foreign objects lie before it. */
  append(word: number, skippedBytes: number): void {
    const object = this.#count;
    if (skippedBytes > 0) {
      this.#skipObjects.push(object);
      this.#skipBytes.push(skippedBytes);
    }
    const offsetBytes = this.#endBytes + skippedBytes;
    const slot = object % SEGMENT_OBJECTS;
    const segment = this.#segmentFor(object);
    segment.words[slot] = word;
    if (slot % CHECKPOINT_OBJECTS === 0) {
      segment.checkpoints[slot / CHECKPOINT_OBJECTS] = offsetBytes;
    }
    if (word === FILEMARK_WORD) this.#filemarks.push(object);
    this.#count = object + 1;
    this.#endBytes = offsetBytes + objectSizeBytes(word);
  }

  #segmentFor(object: number): Segment {
    const number = Math.floor(object / SEGMENT_OBJECTS);
    let segment = this.#segments[number];
    if (segment === undefined) {
      segment = {
        words: new Uint32Array(SEGMENT_OBJECTS),
        checkpoints: new Float64Array(SEGMENT_OBJECTS / CHECKPOINT_OBJECTS),
      };
      this.#segments[number] = segment;
    }
    return segment;
  }

  /** The word that opens a known object. */
  word(object: number): number {
    const words = this.#segments[Math.floor(object / SEGMENT_OBJECTS)]?.words;
    return words?.[object % SEGMENT_OBJECTS] ?? FILEMARK_WORD;
  }

  /** Words of known objects from `object` on, as many as lie together in memory. */
  wordRun(object: number): Uint32Array {
    const number = Math.floor(object / SEGMENT_OBJECTS);
    const words = this.#segments[number]?.words ?? new Uint32Array(0);
    const known = Math.min(SEGMENT_OBJECTS, this.#count - number * SEGMENT_OBJECTS);
    return words.subarray(object % SEGMENT_OBJECTS, known);
  }

  /** Byte offset of a known object; for `count`, the end of the last one. */
  offsetBytes(object: number): number {
    if (object >= this.#count) return this.#endBytes;
    const slot = object % SEGMENT_OBJECTS;
    const segment = this.#segmentFor(object);
    const checkpointSlot = slot - (slot % CHECKPOINT_OBJECTS);
    let offset = segment.checkpoints[checkpointSlot / CHECKPOINT_OBJECTS] ?? 0;
    for (let each = checkpointSlot; each < slot; each++) {
      offset += objectSizeBytes(segment.words[each] ?? 0);
    }
    return offset + this.#skippedBetween(object - (slot - checkpointSlot), object);
  }

  /** Uncounted bytes in front of the objects of (after, upTo]. */
  #skippedBetween(after: number, upTo: number): number {
    if (this.#skipObjects.length === 0) return 0;
    let bytes = 0;
    const end = this.#skipObjects.countBelow(upTo + 1);
    for (let each = this.#skipObjects.countBelow(after + 1); each < end; each++) {
      bytes += this.#skipBytes.at(each);
    }
    return bytes;
  }

  /** Filemarks before a known object: the number of its tape file. */
  filesBefore(object: number): number {
    return this.#filemarks.countBelow(object);
  }

  /** Object number of the n-th filemark of the tape, counted from 0; undefined where unknown. */
  filemarkObject(index: number): number | undefined {
    return index >= 0 && index < this.#filemarks.length ? this.#filemarks.at(index) : undefined;
  }

  /** Forgets everything from `object` on. */
  truncate(object: number): void {
    if (object >= this.#count) return;
    const skips = this.#skipObjects.countBelow(object);
    this.#endBytes = object === 0 ? 0 : this.#endOf(object - 1);
    this.#skipObjects.truncate(skips);
    this.#skipBytes.truncate(skips);
    this.#filemarks.truncate(this.#filemarks.countBelow(object));
    this.#count = object;
    this.#segments.length = Math.ceil(object / SEGMENT_OBJECTS);
  }

  #endOf(object: number): number {
    return this.offsetBytes(object) + objectSizeBytes(this.word(object));
  }
}
