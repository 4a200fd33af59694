/**
 * The thread behind CodecPool: packs and unpacks records in shared memory. It may block: reading a
 * record itself saves the main thread a call, a copy and a wait.
 */
import { readSync } from "node:fs";
import { parentPort } from "node:worker_threads";
import { isReelError, ReelError } from "../errors.ts";
import type { RecordExtent } from "../tape/tape-drive.ts";
import type { CodecReply, CodecRequest, SharedSpan } from "./codec-pool.ts";
import { copyOfFrame, RECORD_BYTES_MAX } from "./frame.ts";
import { decodeRecord, encodeRecord, hashChunks } from "./record-codec.ts";

function view(span: SharedSpan): Buffer {
  return Buffer.from(span.memory, span.offset, span.length);
}

/** Where records are read to; grows to the longest met. */
let staging = Buffer.alloc(0);

function readExtent(extent: RecordExtent, where: string): Buffer {
  const { descriptor, offsetBytes, lengthBytes } = extent;
  if (lengthBytes > RECORD_BYTES_MAX) {
    throw new ReelError(
      "damaged",
      `${where} is ${lengthBytes} bytes long, more than a record can be`,
    );
  }
  if (staging.length < lengthBytes) staging = Buffer.alloc(lengthBytes * 2);
  let done = 0;
  while (done < lengthBytes) {
    const read = readSync(descriptor, staging, done, lengthBytes - done, offsetBytes + done);
    if (read === 0) throw new ReelError("damaged", `${where}: the tape ends within it`);
    done += read;
  }
  return staging.subarray(0, lengthBytes);
}

function work(request: CodecRequest): CodecReply {
  const { id } = request;
  if (request.kind === "encode") {
    const { codec, level } = request;
    hashChunks(view(request.memory), request.chunks, view(request.checksums));
    const encoded = request.records.map((part) =>
      encodeRecord({
        frame: view(part.frame),
        raw: view(part.raw),
        out: view(part.out),
        codec,
        level,
      }),
    );
    return { id, encoded };
  }
  const { stored, where, uuid, record } = request;
  const bytes = "descriptor" in stored ? readExtent(stored, where) : view(stored);
  const frame = decodeRecord(bytes, { uuid, record }, view(request.target), where);
  const length = frame.rawLength;
  return { id, loaded: request.wantFrame ? { length, frame: copyOfFrame(bytes) } : { length } };
}

parentPort?.on("message", (request: CodecRequest) => {
  let reply: CodecReply;
  try {
    reply = work(request);
  } catch (error) {
    const code = isReelError(error) ? error.code : "internal";
    const message = error instanceof Error ? error.message : String(error);
    reply = { id: request.id, error: { code, message } };
  }
  parentPort?.postMessage(reply);
});
