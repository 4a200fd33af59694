/**
 * The chunk header of AWSTAPE and of HET, the Hercules Emulated Tape (docs/formats/aws-het.md).
 * Layout after the AWSTAPE description of the Hercules documentation and the headers of tapes that
 * Hercules wrote.
 */

export const CHUNK_HEADER_BYTES = 6;
/** Longest chunk: its length has 16 bits. */
export const CHUNK_BYTES_MAX = 0xffff;
/** Chunks of one record: a guard; a record of 16 MiB in the 4,096-byte chunks of P/390 has 4,096. */
export const RECORD_CHUNKS_MAX = 65_536;

/** Offsets in the header; lengths are little-endian. */
const HEADER = { lengthBytes: 0, previousBytes: 2, flags1: 4, flags2: 5 } as const;

const FLAG1_FIRST = 0x80;
const FLAG1_FILEMARK = 0x40;
const FLAG1_LAST = 0x20;
const FLAG1_BZIP2 = 0x02;
const FLAG1_ZLIB = 0x01;
/** Also zlib, as Bus-Tech's virtual tapes say it. */
const FLAG2_ZLIB = 0x80;

export type Compression = "none" | "zlib" | "bzip2";

export interface ChunkHeader {
  readonly lengthBytes: number;
  /** Length of the chunk before it; 0 behind a filemark and at the beginning. */
  readonly previousBytes: number;
  readonly kind: "data" | "filemark";
  readonly first: boolean;
  readonly last: boolean;
  readonly compression: Compression;
}

/** Decodes a header; a sentence about it where it makes no sense. */
export function decodeChunkHeader(bytes: Buffer): ChunkHeader | string {
  const lengthBytes = bytes.readUInt16LE(HEADER.lengthBytes);
  const previousBytes = bytes.readUInt16LE(HEADER.previousBytes);
  const flags1 = bytes.readUInt8(HEADER.flags1);
  const flags2 = bytes.readUInt8(HEADER.flags2);
  const compression = compressionOf(flags1, flags2);
  const known = FLAG1_FIRST | FLAG1_FILEMARK | FLAG1_LAST | FLAG1_BZIP2 | FLAG1_ZLIB;
  if ((flags1 & ~known) !== 0 || (flags2 & ~FLAG2_ZLIB) !== 0 || compression === undefined) {
    return `its flags ${flags1.toString(16)} ${flags2.toString(16)} mean nothing`;
  }
  const header = { lengthBytes, previousBytes, compression };
  if ((flags1 & FLAG1_FILEMARK) !== 0) {
    if (flags1 !== FLAG1_FILEMARK || flags2 !== 0 || lengthBytes !== 0) {
      return "it is a tape mark with data";
    }
    return { ...header, kind: "filemark", first: true, last: true };
  }
  const first = (flags1 & FLAG1_FIRST) !== 0;
  return { ...header, kind: "data", first, last: (flags1 & FLAG1_LAST) !== 0 };
}

function compressionOf(flags1: number, flags2: number): Compression | undefined {
  const zlib = (flags1 & FLAG1_ZLIB) !== 0 || (flags2 & FLAG2_ZLIB) !== 0;
  const bzip2 = (flags1 & FLAG1_BZIP2) !== 0;
  if (zlib && bzip2) return undefined;
  if (zlib) return "zlib";
  return bzip2 ? "bzip2" : "none";
}

export function encodeChunkHeader(header: ChunkHeader): Buffer {
  const bytes = Buffer.alloc(CHUNK_HEADER_BYTES);
  bytes.writeUInt16LE(header.lengthBytes, HEADER.lengthBytes);
  bytes.writeUInt16LE(header.previousBytes, HEADER.previousBytes);
  bytes.writeUInt8(flags1Of(header), HEADER.flags1);
  return bytes;
}

function flags1Of(header: ChunkHeader): number {
  if (header.kind === "filemark") return FLAG1_FILEMARK;
  const place = (header.first ? FLAG1_FIRST : 0) | (header.last ? FLAG1_LAST : 0);
  if (header.compression === "none") return place;
  return place | (header.compression === "zlib" ? FLAG1_ZLIB : FLAG1_BZIP2);
}
