/** Unpacks the record of a HET tape, never to more than a record may have. */
import { promisify } from "node:util";
import { inflate, inflateSync } from "node:zlib";
import type { ReelError } from "../../errors.ts";
import { RECORD_BYTES_MAX } from "../simh-format.ts";
import type { Compression } from "./aws-format.ts";
import { unpackBzip2 } from "./bzip2.ts";

const inflateAsync = promisify(inflate) as (
  data: Uint8Array,
  options: { maxOutputLength: number },
) => Promise<Buffer>;

/** Unpacking so few bytes takes less than sending them to another thread. */
const SYNC_BYTES_MAX = 2048;

async function unpackZlib(data: Uint8Array): Promise<Buffer> {
  const options = { maxOutputLength: RECORD_BYTES_MAX };
  return data.length <= SYNC_BYTES_MAX ? inflateSync(data, options) : inflateAsync(data, options);
}

/** `damaged` makes the error for what is wrong with the record. */
export async function unpackRecord(
  data: Uint8Array,
  compression: Compression,
  damaged: (what: string) => ReelError,
): Promise<Uint8Array> {
  if (compression === "none") return data;
  let record: Uint8Array;
  try {
    record =
      compression === "zlib" ? await unpackZlib(data) : await unpackBzip2(data, RECORD_BYTES_MAX);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw damaged(`it cannot be unpacked (${compression}): ${reason}`);
  }
  if (record.length === 0) throw damaged("it unpacks to nothing");
  return record;
}
