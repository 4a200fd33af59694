/**
 * TapeImage: a backup image on a tape, opened for reading. It is a BlockDevice of the volume's size:
 * control blocks come from the header cache, data blocks from the record cache or the tape, blocks
 * that are not on the tape read as zeros. Every record is verified when it is read.
 */
import type { BlockDevice } from "../device/block-device.ts";
import type { ReelError } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import type { BlockMap } from "./block-map.ts";
import type { ImageExceptions } from "./exceptions.ts";
import type { ImageHeader } from "./header.ts";

export interface ImageState {
  /**
   * complete: has its trailer; interrupted: the backup did not finish, or the tape was cut;
   * rebuilt: the header was lost, what is here came from a scan of the records.
   */
  readonly state: "complete" | "interrupted" | "rebuilt";
  /** What a person should know: one sentence each. Empty for a sound image. */
  readonly notices: readonly string[];
  /** Files that were open for writing while the volume was read. Default: none are known. */
  readonly exceptions?: ImageExceptions | undefined;
  /** The map was rebuilt with records missing: a block that it does not name may have been in use. */
  readonly unmappedIsLost?: boolean;
}

/** What an open image did so far; all counts start at 0 when it is opened. */
export interface ImageStatistics {
  /** Records of any kind read from the tape. */
  readonly recordsRead: number;
  /** Those of them that hold file data. */
  readonly dataRecordsRead: number;
  readonly bytesRead: number;
  readonly locates: number;
  readonly cacheHits: number;
  readonly cacheMisses: number;
  readonly cacheBytes: number;
  readonly headerCacheBytes: number;
  readonly headerSpillBytes: number;
}

/**
 * Raw contents of a record, valid only until the visitor returns (its promise settles), or why the
 * record cannot be had.
 */
export type RecordVisitor = (
  record: number,
  content: Uint8Array | ReelError,
  /** The record's frame as stored, when it was sound. */
  frame?: Uint8Array,
) => void | Promise<void>;

export interface TapeImage extends BlockDevice {
  /** "photos.tap#2": tape and number of the image on it. */
  readonly name: string;
  /** Path of the tape the image was opened from. */
  readonly tapePath: string;
  /** Number of the image on its tape, from 1. */
  readonly number: number;
  readonly header: ImageHeader;
  readonly map: BlockMap;
  readonly state: ImageState;
  /** Logical object number on the tape of the image's record 0; record n lies n objects on. */
  readonly firstObject: number;
  /** Records of the image as far as the tape goes, trailer included. */
  readonly recordCount: number;

  /**
   * Reads the records named (by the numbers of the block map: those of ancestors are there, too), in the order given (rising: one pass), around the caches: tape reads
   * and decompression run ahead of the visitor, which gets them in order. A record that cannot be
   * read or verified goes to the visitor as a "damaged" error and the rest follow.
   */
  readRecords(records: Iterable<number>, visit: RecordVisitor, options?: RunOptions): Promise<void>;

  /**
   * Bytes of tape before record `record`, stored form, relative to the start of the tape; an
   * estimate from raw sizes where the drive cannot tell.
   */
  recordOffsetBytes(record: number): Promise<number>;

  /**
   * Indexes in the chain, ordered so that reading the records of one image after another passes over
   * each tape once, forward. Throws "not-found" when an ancestor cannot be had.
   */
  imagesInTapeOrder(): Promise<readonly number[]>;

  /**
   * Number of the tape that an image of the chain is on, the same for images on one tape; undefined
   * for one whose tape goes on on others. Throws "not-found" when it cannot be had.
   */
  tapeOf(image: number): Promise<number | undefined>;

  /**
   * Looks for every ancestor. Of those that cannot be had, by their index in the chain: why. Empty
   * for a full image.
   */
  missingAncestors(): Promise<ReadonlyMap<number, ReelError>>;

  statistics(): ImageStatistics;
}
