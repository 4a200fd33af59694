/**
 * Tells sequential readers from random ones, and says which records to fetch before they are asked
 * for. Several sequential readers at once (files being copied side by side) are kept apart: each
 * is a stream, known by the record it read last.
 *
 * A record one above a stream's last makes the stream longer and its window wider: 1, 2, 4, up to
 * the limit. A record within the window, or just behind, belongs to the stream without widening
 * it, since readers in the kernel overtake one another. Anything else begins a stream of its own,
 * with no window: it fetches nothing ahead until a second record proves it sequential.
 *
 * A stream names each record once (`issuedEnd`), so one that fails to load is not tried again and
 * again ahead of time.
 */

/** Readers that are told apart; the one that read longest ago makes room for a new one. */
const STREAMS_MAX = 8;

interface Stream {
  lastRecord: number;
  /** Records to fetch beyond the last one; 0 until the stream is known to be sequential. */
  windowRecords: number;
  /** All records below this one were named already. */
  issuedEnd: number;
}

export class ReadAhead {
  readonly #windowMax: number;
  /** The one that read last comes first. */
  #streams: Stream[] = [];

  /** `windowMax`: the widest window, in records; 0 turns reading ahead off. */
  constructor(windowMax: number) {
    this.#windowMax = windowMax;
  }

  /** Notes that a reader wants `record` now. */
  touch(record: number): void {
    const index = this.#streams.findIndex((each) => belongs(each, record));
    const stream = this.#streams[index];
    if (stream === undefined) {
      this.#streams.unshift({ lastRecord: record, windowRecords: 0, issuedEnd: record + 1 });
      if (this.#streams.length > STREAMS_MAX) this.#streams.pop();
      return;
    }
    if (index > 0) {
      this.#streams.splice(index, 1);
      this.#streams.unshift(stream);
    }
    if (record <= stream.lastRecord) return;
    if (record === stream.lastRecord + 1) {
      const wider = Math.max(1, stream.windowRecords * 2);
      stream.windowRecords = Math.min(wider, this.#windowMax);
    }
    stream.lastRecord = record;
    stream.issuedEnd = Math.max(stream.issuedEnd, record + 1);
  }

  /** Records fetched ahead were dropped before anybody came for them: every window is halved. */
  shrink(): void {
    for (const stream of this.#streams) stream.windowRecords >>>= 1;
  }

  /**
   * Calls `fetch` for each record that is due and below `endRecord`, nearest first, until it
   * returns false: that record stays due.
   */
  plan(endRecord: number, fetch: (record: number) => boolean): void {
    for (const stream of this.#streams) {
      const dueEnd = Math.min(stream.lastRecord + 1 + stream.windowRecords, endRecord);
      while (stream.issuedEnd < dueEnd) {
        if (!fetch(stream.issuedEnd)) return;
        stream.issuedEnd++;
      }
    }
  }
}

function belongs(stream: Stream, record: number): boolean {
  const distance = record - stream.lastRecord;
  return distance >= -stream.windowRecords && distance <= Math.max(1, stream.windowRecords);
}
