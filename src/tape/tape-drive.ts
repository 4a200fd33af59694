/**
 * TapeDrive: a tape as a drive shows it, a positioned sequence of records and filemarks. One drive
 * has one position, so it does one thing at a time: calls queue and run in the order made.
 *
 * Positions are logical object numbers as in SCSI READ POSITION: every record and every filemark
 * counts one, from 0 at the beginning of the tape. Erase gaps, private and reserved objects of a
 * container are not objects.
 *
 * Rules every implementation keeps (test/support/tape-drive-suite.ts checks them):
 * - Reading a filemark moves past it. At the end of data nothing moves.
 * - Writing anywhere ends the tape there: everything after what was written is gone.
 * - After `close` every call throws "closed"; `close` is idempotent and waits for what is queued.
 */
export interface TapeCapabilities {
  readonly writable: boolean;
  /** Longest record in bytes. */
  readonly recordBytesMax: number;
  /** `read` with `reverse`, negative counts in `space`. */
  readonly reverse: boolean;
}

export interface TapePosition {
  /** Logical object number of what a forward read would meet next. */
  readonly object: number;
  /** Filemarks between the beginning of the tape and here: the number of this tape file. */
  readonly file: number;
  /** At the beginning of the tape. */
  readonly beginning: boolean;
  /** Between early warning and the end of the medium. */
  readonly earlyWarning: boolean;
}

export type TapeRead =
  | {
      readonly kind: "record";
      /** True length of the record on tape, though the target may have been shorter. */
      readonly lengthBytes: number;
      /** The container marks the record as read with errors when the tape was copied. */
      readonly flawed: boolean;
    }
  | { readonly kind: "filemark" }
  | { readonly kind: "end-of-data" }
  /** Reverse only. */
  | { readonly kind: "beginning" };

export interface TapeWrite {
  /** The tape is nearly full: finish what must be together. */
  readonly earlyWarning: boolean;
}

/** One record's bytes, in parts that are written one after another. */
export type TapeRecord = readonly Uint8Array[];

export interface RecordsWritten extends TapeWrite {
  /** How many of the records are on the tape, from the first on; at least one. */
  readonly written: number;
}

export interface TapeSpace {
  /** How many of the counted objects were passed; fewer than asked when something stopped it. */
  readonly passed: number;
  readonly stoppedBy?: "filemark" | "end-of-data" | "beginning" | undefined;
}

/** A record's data in an open file. */
export interface RecordExtent {
  /** Descriptor of this process; open until the drive is closed. */
  readonly descriptor: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** What of a tape's file cannot be read as objects, to the end of the file. */
export interface UnreadableTail extends RecordExtent {
  /** "torn": a record at the very end was cut short; "damaged": more than that is wrong. */
  readonly kind: "torn" | "damaged";
  /** The first object that cannot be read: what is written there ends the tape there. */
  readonly object: number;
  /** The sentence of the error that reading it throws. */
  readonly message: string;
}

export interface TapeDrive {
  /** For messages: the file of a virtual tape, the device of a drive. */
  readonly name: string;
  readonly capabilities: TapeCapabilities;

  position(): Promise<TapePosition>;

  /**
   * Reads the next object. A record longer than `target` fills it and is passed whole; bytes of
   * `target` past the record are untouched. `reverse`: the previous object, the position ends up
   * before it, the bytes come in tape order.
   */
  read(target: Uint8Array, options?: { readonly reverse?: boolean }): Promise<TapeRead>;

  /**
   * Writes one record from its parts. Throws "end-of-medium" when it does not fit (nothing of it is
   * then on the tape), "invalid" for an empty or too long one.
   */
  write(parts: TapeRecord): Promise<TapeWrite>;

  /**
   * Writes records, one or more, with fewer calls of the system than one at a time takes. Each of
   * them warns, fits or fails as it would in `write`: after the first that gives early warning, and
   * before one that does not fit or fails, no more are written, and whoever calls asks again for the
   * rest. It may stop sooner. Throws as `write` when it is the first that fails; then none is on the
   * tape. Undefined: write-records.ts writes them one by one.
   */
  writeRecords?(records: readonly TapeRecord[]): Promise<RecordsWritten>;
  /** Count 0 writes none, and only makes what was written durable; so does any count. */
  writeFilemarks(count: number): Promise<TapeWrite>;

  /** Moves over records (a filemark stops it, and is passed) or filemarks; negative: backward. */
  space(unit: "records" | "filemarks", count: number): Promise<TapeSpace>;
  spaceToEndOfData(): Promise<TapePosition>;
  /** Moves to a logical object number. Past the end of data: "out-of-range", position at the end. */
  locate(object: number): Promise<void>;
  rewind(): Promise<void>;

  /**
   * Bytes of tape before a logical object, where the drive can tell without moving (a virtual tape
   * with its index): for plans and estimates. Undefined where it cannot.
   */
  objectOffsetBytes?(object: number): Promise<number | undefined>;

  /**
   * Where the record that is this object lies in a file, without moving: so that a thread can read
   * and decompress it by itself. What is read there must prove itself, by checksums of its own; when
   * it does not, `locate` and `read` say what is wrong. Undefined: not a record, or not in a file.
   */
  recordExtent?(object: number): Promise<RecordExtent | undefined>;

  /**
   * What lies behind the last object that can be read, where the tape does not end there; without
   * moving. For a writer that wants to know what it would write over. Undefined: nothing, or not in
   * a file.
   */
  unreadableTail?(): Promise<UnreadableTail | undefined>;

  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}
