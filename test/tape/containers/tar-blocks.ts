/** Archives put together by hand, block by block. */
import { MemoryTape } from "../../../src/tape/memory-tape.ts";
import { openTapeFile, type TapeFileReader } from "../../../src/tape/tape-file-stream.ts";

export const BLOCK = 512;

/** Two blocks of zeros: the end of an archive. */
export const END = Buffer.alloc(2 * BLOCK);

/** A header with a right checksum. */
export function header(name: string, type: string, sizeBytes: number, link = ""): Buffer {
  const block = Buffer.alloc(BLOCK);
  block.write(name, 0, 100, "latin1");
  block.write("0000644\0", 100);
  block.write("0001750\0", 108);
  block.write("0000144\0", 116);
  block.write(`${sizeBytes.toString(8).padStart(11, "0")}\0`, 124);
  block.write("14000000000\0", 136);
  block.write(type, 156);
  block.write(link, 157, 100, "latin1");
  block.write("ustar\x0000", 257);
  return seal(block);
}

/** Makes the checksum of a header right. */
export function seal(block: Buffer): Buffer {
  block.write("        ", 148);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return block;
}

/** Data up to the end of its last block. */
export function padded(data: Uint8Array | string): Buffer {
  const bytes = Buffer.from(data);
  const room = Math.ceil(bytes.length / BLOCK) * BLOCK;
  return Buffer.concat([bytes, Buffer.alloc(room - bytes.length)]);
}

export function file(name: string, data = ""): Buffer {
  return Buffer.concat([header(name, "0", data.length), padded(data)]);
}

/** A pax header of these records, in front of an entry. */
export function paxHeader(records: readonly (readonly [key: string, value: string])[]): Buffer {
  const data = records
    .map(([key, value]) => {
      const rest = ` ${key}=${value}\n`;
      let length = rest.length + 1;
      while (`${length}${rest}`.length !== length) length += 1;
      return `${length}${rest}`;
    })
    .join("");
  return Buffer.concat([header("pax", "x", data.length), padded(data)]);
}

/** The archive on a tape in memory, in records of this size. */
export async function onTape(archive: Uint8Array, recordBytes = 10_240): Promise<TapeFileReader> {
  const objects: (Uint8Array | undefined)[] = [];
  for (let at = 0; at < archive.length; at += recordBytes) {
    objects.push(archive.subarray(at, at + recordBytes));
  }
  return openTapeFile(new MemoryTape({ objects: [...objects, undefined] }), 0);
}
