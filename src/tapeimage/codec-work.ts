/**
 * What packing and unpacking records in shared memory is, in whichever thread: CodecPool says where.
 * It computes and never waits. Only a thread of its own has an ExtentReader, which does.
 */
import { isReelError, ReelError } from "../errors.ts";
import type { RecordExtent } from "../tape/tape-drive.ts";
import type {
  CodecError,
  CodecReply,
  CodecRequest,
  DecodeRequest,
  EncodedPart,
  EncodeRequest,
  LoadedRecord,
  SharedSpan,
} from "./codec-protocol.ts";
import { copyOfFrame } from "./frame.ts";
import { decodeRecord, encodeRecord, hashChunks } from "./record-codec.ts";

/** How a thread that may block reads records of a virtual tape. */
export interface ExtentReader {
  /** The record, once it is whole in memory; `ahead`: what will be asked for after it. */
  read(extent: RecordExtent, ahead: readonly DecodeRequest[], where: string): Buffer;
  /** A descriptor may be another file's by the next message, and the file may be written meanwhile. */
  forget(): void;
}

function view(span: SharedSpan): Buffer {
  return Buffer.from(span.memory, span.offset, span.length);
}

function encode({ records, codec, level, ...hashed }: EncodeRequest): EncodedPart[] {
  hashChunks(view(hashed.memory), hashed.chunks, view(hashed.checksums));
  return records.map((part) => {
    const [frame, raw, out] = [view(part.frame), view(part.raw), view(part.out)];
    return encodeRecord({ frame, raw, out, codec, level });
  });
}

function decode(
  requests: readonly DecodeRequest[],
  tape: ExtentReader | undefined,
): (LoadedRecord | CodecError)[] {
  tape?.forget();
  return requests.map((request, index) => {
    try {
      return decodeOne(request, requests.slice(index + 1), tape);
    } catch (error) {
      return errorOf(error);
    }
  });
}

function decodeOne(
  request: DecodeRequest,
  ahead: readonly DecodeRequest[],
  tape: ExtentReader | undefined,
): LoadedRecord {
  const { stored, where, uuid, record } = request;
  const readExtent = (extent: RecordExtent): Buffer => {
    if (tape !== undefined) return tape.read(extent, ahead, where);
    throw new ReelError("internal", `cannot read ${where}: no compression thread is left`);
  };
  const bytes = "descriptor" in stored ? readExtent(stored) : view(stored);
  const frame = decodeRecord(bytes, { uuid, record }, view(request.target), where);
  const length = frame.rawLength;
  return request.wantFrame ? { length, frame: copyOfFrame(bytes) } : { length };
}

function errorOf(error: unknown): CodecError {
  const code = isReelError(error) ? error.code : "internal";
  return { code, message: error instanceof Error ? error.message : String(error) };
}

/** Never throws: what fails is told in the reply. */
export function answer(request: CodecRequest, tape?: ExtentReader): CodecReply {
  const { id } = request;
  try {
    if ("encode" in request) return { id, encoded: encode(request.encode) };
    return { id, decoded: decode(request.decode, tape) };
  } catch (error) {
    return { id, error: errorOf(error) };
  }
}
