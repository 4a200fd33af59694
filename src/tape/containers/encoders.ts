/** How each container says a record and a filemark: the bytes for the end of the file. */
import { promisify } from "node:util";
import { deflate, deflateSync } from "node:zlib";
import { wordOf } from "../object-run.ts";
import { FILEMARK_WORD, RECORD_BYTES_MAX, WORD_BYTES } from "../simh-format.ts";
import { CHUNK_BYTES_MAX, encodeChunkHeader, type Compression } from "./aws-format.ts";

export interface ContainerEncoder {
  readonly recordBytesMax: number;
  /** It can say that a record was read with errors. */
  readonly marksFlawed: boolean;
  /** It has filemarks. */
  readonly keepsFilemarks: boolean;
  record(data: Uint8Array, flawed: boolean): Promise<readonly Uint8Array[]>;
  filemark(): readonly Uint8Array[];
}

function wordBytes(word: number): Buffer {
  const bytes = Buffer.alloc(WORD_BYTES);
  bytes.writeUInt32LE(word);
  return bytes;
}

const PAD = new Uint8Array(1);

/** SIMH, or E11 without its pad byte. */
export function wordEncoder(format: "simh" | "e11"): ContainerEncoder {
  return {
    recordBytesMax: RECORD_BYTES_MAX,
    marksFlawed: true,
    keepsFilemarks: true,
    record: async (data, flawed) => {
      const word = wordBytes(wordOf(data.length, flawed));
      const isPadded = format === "simh" && data.length % 2 === 1;
      return [word, data, ...(isPadded ? [PAD] : []), word];
    },
    filemark: () => [wordBytes(FILEMARK_WORD)],
  };
}

/** The records one behind the other, and nothing else. */
export function plainEncoder(): ContainerEncoder {
  return {
    recordBytesMax: RECORD_BYTES_MAX,
    marksFlawed: false,
    keepsFilemarks: false,
    record: async (data) => [data],
    filemark: () => [],
  };
}

const deflateAsync = promisify(deflate) as (data: Uint8Array) => Promise<Buffer>;
/** Packing so few bytes takes less than sending them to another thread. */
const SYNC_BYTES_MAX = 2048;

async function packZlib(data: Uint8Array): Promise<Buffer> {
  return data.length <= SYNC_BYTES_MAX ? deflateSync(data) : deflateAsync(data);
}

/** AWSTAPE, and HET with records packed where that makes them smaller. */
export class ChunkEncoder implements ContainerEncoder {
  readonly recordBytesMax = RECORD_BYTES_MAX;
  readonly marksFlawed = false;
  readonly keepsFilemarks = true;
  readonly #compression: "none" | "zlib";
  /** Length of the last chunk: the next header names it. */
  #previousBytes = 0;

  constructor(compression: "none" | "zlib") {
    this.#compression = compression;
  }

  async record(data: Uint8Array): Promise<readonly Uint8Array[]> {
    if (this.#compression === "none") return this.#chunks(data, "none");
    const packed = await packZlib(data);
    return packed.length < data.length ? this.#chunks(packed, "zlib") : this.#chunks(data, "none");
  }

  filemark(): readonly Uint8Array[] {
    const previousBytes = this.#previousBytes;
    this.#previousBytes = 0;
    return [
      encodeChunkHeader({
        lengthBytes: 0,
        previousBytes,
        kind: "filemark",
        first: true,
        last: true,
        compression: "none",
      }),
    ];
  }

  #chunks(data: Uint8Array, compression: Compression): readonly Uint8Array[] {
    const parts: Uint8Array[] = [];
    for (let at = 0; at < data.length; at += CHUNK_BYTES_MAX) {
      const chunk = data.subarray(at, at + CHUNK_BYTES_MAX);
      const header = encodeChunkHeader({
        lengthBytes: chunk.length,
        previousBytes: this.#previousBytes,
        kind: "data",
        first: at === 0,
        last: at + chunk.length === data.length,
        compression,
      });
      parts.push(header, chunk);
      this.#previousBytes = chunk.length;
    }
    return parts;
  }
}
