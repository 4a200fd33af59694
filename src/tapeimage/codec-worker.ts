/** The thread behind CodecPool: packs and unpacks records in shared memory. */
import { parentPort } from "node:worker_threads";
import { isReelError } from "../errors.ts";
import type { CodecReply, CodecRequest, SharedSpan } from "./codec-pool.ts";
import { decodeRecord, encodeRecord } from "./record-codec.ts";

function view(span: SharedSpan): Buffer {
  return Buffer.from(span.memory, span.offset, span.length);
}

function work(request: CodecRequest): CodecReply {
  if (request.kind === "encode") {
    const { codec, storedLength } = encodeRecord({
      frame: view(request.frame),
      raw: view(request.raw),
      out: view(request.out),
      codec: request.codec,
      level: request.level,
      chunks: request.chunks,
      chunkBytes: view(request.chunkBytes),
      checksums: view(request.checksums),
    });
    return { id: request.id, codec, length: storedLength };
  }
  const frame = decodeRecord(
    view(request.stored),
    { uuid: request.uuid, record: request.record },
    view(request.target),
    request.where,
  );
  return { id: request.id, codec: frame.codec, length: frame.rawLength };
}

parentPort?.on("message", (request: CodecRequest) => {
  let reply: CodecReply;
  try {
    reply = work(request);
  } catch (error) {
    const code = isReelError(error) ? error.code : "internal";
    const message = error instanceof Error ? error.message : String(error);
    reply = { id: request.id, codec: 0, length: 0, error: { code, message } };
  }
  parentPort?.postMessage(reply);
});
