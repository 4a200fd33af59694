/**
 * What packing and unpacking records in shared memory is, in whichever thread: CodecPool says where.
 * It blocks. It reads records of a virtual tape itself where it is told their place; those that lie one
 * behind the other come with one read.
 */
import { readSync } from "node:fs";
import { fromSystem, isReelError, ReelError } from "../errors.ts";
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
import { copyOfFrame, RECORD_BYTES_MAX } from "./frame.ts";
import { decodeRecord, encodeRecord, hashChunks } from "./record-codec.ts";

/** Bytes of tape in one read, but for a record that is longer. */
const READ_BYTES_MAX = 2 * 1024 * 1024;
/** Between the data of two records: the words and the padding of the container. */
const GAP_BYTES_MAX = 64;

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

/** What was read of the tape last: neighbours of a record are found in it. */
class TapeWindow {
  #bytes = Buffer.alloc(0);
  #descriptor = -1;
  #startBytes = 0;
  #endBytes = 0;

  /** The record, once it is whole in memory; `ahead`: what will be asked for after it. */
  read(extent: RecordExtent, ahead: readonly DecodeRequest[], where: string): Buffer {
    const { descriptor, offsetBytes, lengthBytes } = extent;
    if (lengthBytes > RECORD_BYTES_MAX) {
      const length = `${lengthBytes} bytes long, more than a record can be`;
      throw new ReelError("damaged", `${where} is ${length}`);
    }
    const endBytes = offsetBytes + lengthBytes;
    if (!this.#holds(descriptor, offsetBytes, endBytes)) {
      this.#fill(descriptor, offsetBytes, endOfNeighbours(extent, ahead), where);
    }
    if (!this.#holds(descriptor, offsetBytes, endBytes)) {
      throw new ReelError("damaged", `${where}: the tape ends within it`);
    }
    return this.#bytes.subarray(offsetBytes - this.#startBytes, endBytes - this.#startBytes);
  }

  /** A descriptor may be another file's by the next message, and the file may be written meanwhile. */
  forget(): void {
    this.#descriptor = -1;
  }

  #holds(descriptor: number, startBytes: number, endBytes: number): boolean {
    return (
      descriptor === this.#descriptor &&
      startBytes >= this.#startBytes &&
      endBytes <= this.#endBytes
    );
  }

  #fill(descriptor: number, startBytes: number, endBytes: number, where: string): void {
    this.forget();
    const wanted = endBytes - startBytes;
    if (this.#bytes.length < wanted) this.#bytes = Buffer.alloc(Math.max(wanted, READ_BYTES_MAX));
    let done = 0;
    try {
      while (done < wanted) {
        const read = readSync(descriptor, this.#bytes, done, wanted - done, startBytes + done);
        if (read === 0) break;
        done += read;
      }
    } catch (error) {
      // What came before the failure may hold whole records; the first one not in it meets it again.
      if (done === 0) throw fromSystem(error, `cannot read ${where}`);
    }
    this.#descriptor = descriptor;
    this.#startBytes = startBytes;
    this.#endBytes = startBytes + done;
  }
}

/** Where the last of the records ends that follow one another closely enough for one read. */
function endOfNeighbours(first: RecordExtent, ahead: readonly DecodeRequest[]): number {
  const { descriptor, offsetBytes } = first;
  let endBytes = offsetBytes + first.lengthBytes;
  for (const { stored } of ahead) {
    if (!("descriptor" in stored) || stored.descriptor !== descriptor) break;
    const gapBytes = stored.offsetBytes - endBytes;
    const nextEnd = stored.offsetBytes + stored.lengthBytes;
    if (gapBytes < 0 || gapBytes > GAP_BYTES_MAX || nextEnd - offsetBytes > READ_BYTES_MAX) break;
    endBytes = nextEnd;
  }
  return endBytes;
}

const tape = new TapeWindow();

function decode(requests: readonly DecodeRequest[]): (LoadedRecord | CodecError)[] {
  tape.forget();
  return requests.map((request, index) => {
    try {
      return decodeOne(request, requests.slice(index + 1));
    } catch (error) {
      return errorOf(error);
    }
  });
}

function decodeOne(request: DecodeRequest, ahead: readonly DecodeRequest[]): LoadedRecord {
  const { stored, where, uuid, record } = request;
  const bytes = "descriptor" in stored ? tape.read(stored, ahead, where) : view(stored);
  const frame = decodeRecord(bytes, { uuid, record }, view(request.target), where);
  const length = frame.rawLength;
  return request.wantFrame ? { length, frame: copyOfFrame(bytes) } : { length };
}

function errorOf(error: unknown): CodecError {
  const code = isReelError(error) ? error.code : "internal";
  return { code, message: error instanceof Error ? error.message : String(error) };
}

/** Never throws: what fails is told in the reply. */
export function answer(request: CodecRequest): CodecReply {
  const { id } = request;
  try {
    if ("encode" in request) return { id, encoded: encode(request.encode) };
    return { id, decoded: decode(request.decode) };
  } catch (error) {
    return { id, error: errorOf(error) };
  }
}
