/**
 * What CodecPool and its threads say to one another. Bytes never travel: both sides look at the same
 * shared memory, and a message says which part of it to work on.
 */
import type { ErrorCode } from "../errors.ts";
import type { RecordExtent } from "../tape/tape-drive.ts";

/** By which a thread says that it can work. */
export const READY = "ready";

export interface SharedSpan {
  readonly memory: SharedArrayBuffer;
  readonly offset: number;
  readonly length: number;
}

export interface EncodeRequest {
  readonly records: readonly EncodePart[];
  readonly codec: number;
  readonly level: number;
  /** Offset and length pairs of whole chunks in `memory`. */
  readonly chunks: readonly number[];
  readonly memory: SharedSpan;
  readonly checksums: SharedSpan;
}

export interface EncodePart {
  readonly frame: SharedSpan;
  readonly raw: SharedSpan;
  readonly out: SharedSpan;
}

/** What to store of a record: `length` bytes of its `out`, or, with codec 0, its `raw`. */
export interface EncodedPart {
  readonly codec: number;
  readonly length: number;
}

export interface DecodeRequest {
  /** The record as it came from the tape, or where the thread finds it. */
  readonly stored: SharedSpan | RecordExtent;
  readonly target: SharedSpan;
  readonly uuid: Uint8Array;
  readonly record: number;
  readonly where: string;
  /** Send the frame along. */
  readonly wantFrame: boolean;
}

export interface LoadedRecord {
  /** Bytes of the target that are the record's raw contents. */
  readonly length: number;
  readonly frame?: Uint8Array | undefined;
}

export type CodecWork =
  | { readonly encode: EncodeRequest }
  /** In the order in which they lie on the tape, as far as there is one. */
  | { readonly decode: readonly DecodeRequest[] };

export type CodecRequest = CodecWork & { readonly id: number };

/** A ReelError, as it travels. */
export interface CodecError {
  readonly code: ErrorCode;
  readonly message: string;
}

export type CodecReply = { readonly id: number } & (
  | { readonly encoded: readonly EncodedPart[] }
  /** One answer for each record. */
  | { readonly decoded: readonly (LoadedRecord | CodecError)[] }
  | { readonly error: CodecError }
);
