/** The contents of one attribute, as far as they need no decoding. */
import type { FileLayout } from "../volume.ts";
import { piecesOf, readClusters } from "./cluster-reader.ts";
import { fault, naming } from "./damage.ts";
import type { Inode } from "./inode.ts";
import { findAttribute } from "./inode.ts";
import type { Mft } from "./mft.ts";
import { ATTRIBUTE_FLAG } from "./record.ts";
import type { Attribute } from "./record.ts";
import { HOLE, RunListBuilder } from "./runs.ts";
import type { RunList } from "./runs.ts";

export interface Stream {
  /** For messages: "the data of MFT record 45 (byte 61440 of disk.img)". */
  readonly what: string;
  readonly sizeBytes: number;
  /** What was ever written; behind it all is zeros. */
  readonly initializedBytes: number;
  /** The attribute, or its first part. */
  readonly attribute: Attribute;
  /** Undefined of a resident attribute. */
  readonly runs: RunList | undefined;
}

/** Contents that `read` gives piece by piece. */
export interface Contents {
  readonly sizeBytes: number;
  /** Fills `target`; the range lies within the contents. */
  read(offsetBytes: number, target: Buffer): Promise<void>;
}

/**
 * An attribute with all its parts. Undefined where the file has none of that type and name. Throws
 * "damaged".
 */
export function openStream(mft: Mft, inode: Inode, type: number, name = ""): Stream | undefined {
  const attribute = findAttribute(inode, type, name);
  if (attribute === undefined) return undefined;
  const what = mft.describe(inode.number);
  if (attribute.value !== undefined) {
    const sizeBytes = attribute.value.length;
    return { what, sizeBytes, initializedBytes: sizeBytes, attribute, runs: undefined };
  }
  try {
    const parts = inode.attributes.flatMap((part) => {
      return part.type === type && part.name === name && part.extent !== undefined
        ? [part.extent]
        : [];
    });
    parts.sort((a, b) => a.firstCluster - b.firstCluster);
    const builder = new RunListBuilder(mft.geometry.clusterCount);
    for (const part of parts) builder.add(part.pairs, part.firstCluster, part.lastCluster);
    const runs = builder.build();
    const sizes = attribute.extent ?? { sizeBytes: 0, initializedBytes: 0 };
    checkSize(sizes.sizeBytes, runs, mft.geometry.clusterBytes);
    const { sizeBytes, initializedBytes } = sizes;
    return { what, sizeBytes, initializedBytes, attribute, runs };
  } catch (error) {
    throw naming(what, error);
  }
}

/** What is not even a hole would be beyond the runs: real volumes cover all of a file. */
function checkSize(sizeBytes: number, runs: RunList, clusterBytes: number): void {
  const known = runs.clusterCount * clusterBytes;
  if (sizeBytes > known) {
    throw fault(`it has ${sizeBytes} bytes, its runs are for ${known}`);
  }
}

/**
 * Fills `target` from `offsetBytes` on; what is beyond the initialized size or a hole is zeros. The
 * range must lie in the stream, and the stream must be neither compressed nor encrypted.
 */
export async function readStream(
  mft: Mft,
  stream: Stream,
  offsetBytes: number,
  target: Buffer,
): Promise<void> {
  const { attribute, runs, initializedBytes } = stream;
  if (attribute.value !== undefined) {
    attribute.value.copy(target, 0, offsetBytes);
    return;
  }
  if (runs === undefined) return;
  const written = Math.min(target.length, Math.max(0, initializedBytes - offsetBytes));
  target.fill(0, written);
  if (written === 0) return;
  const part = target.subarray(0, written);
  try {
    await readClusters(mft.device, mft.geometry, runs, offsetBytes, part);
  } catch (error) {
    throw naming(stream.what, error);
  }
}

/**
 * All of a stream that is small by nature: an index root, a reparse point. Throws "damaged" where
 * it is longer than `maxBytes`.
 */
export async function readWhole(mft: Mft, stream: Stream, maxBytes: number): Promise<Buffer> {
  if (stream.attribute.value !== undefined) return stream.attribute.value;
  if (stream.sizeBytes > maxBytes) {
    const type = `attribute 0x${stream.attribute.type.toString(16)}`;
    throw naming(stream.what, fault(`its ${type} has ${stream.sizeBytes} bytes`));
  }
  const bytes = Buffer.allocUnsafe(stream.sizeBytes);
  await readStream(mft, stream, 0, bytes);
  return bytes;
}

export function isCompressed({ attribute }: Stream): boolean {
  return (attribute.flags & ATTRIBUTE_FLAG.compressed) !== 0 && attribute.value === undefined;
}

export function isEncrypted({ attribute }: Stream): boolean {
  return (attribute.flags & ATTRIBUTE_FLAG.encrypted) !== 0;
}

/** Collects the runs of a file layout in typed arrays. */
export class LayoutBuilder {
  #fileOffsets = new Float64Array(8);
  #deviceOffsets = new Float64Array(8);
  #lengths = new Float64Array(8);
  #length = 0;

  add(fileOffset: number, deviceOffset: number, lengthBytes: number): void {
    if (lengthBytes <= 0) return;
    if (this.#length === this.#lengths.length) this.#grow();
    this.#fileOffsets[this.#length] = fileOffset;
    this.#deviceOffsets[this.#length] = deviceOffset;
    this.#lengths[this.#length] = lengthBytes;
    this.#length++;
  }

  /** Adds a stretch of an attribute, without its holes. Throws a fault. */
  addRuns(mft: Mft, runs: RunList, offsetBytes: number, lengthBytes: number): void {
    const { device, geometry } = mft;
    for (const piece of piecesOf(runs, geometry.clusterBytes, offsetBytes, lengthBytes)) {
      if (piece.deviceOffset === HOLE) continue;
      if (piece.deviceOffset + piece.lengthBytes > device.sizeBytes) {
        throw fault(
          `its byte ${piece.position} lies at byte ${piece.deviceOffset} of ${device.name}, ` +
            `beyond its end`,
        );
      }
      this.add(piece.position, piece.deviceOffset, piece.lengthBytes);
    }
  }

  build(sizeBytes: number, direct: boolean): FileLayout {
    return {
      sizeBytes,
      length: this.#length,
      fileOffsets: this.#fileOffsets.slice(0, this.#length),
      deviceOffsets: this.#deviceOffsets.slice(0, this.#length),
      lengths: this.#lengths.slice(0, this.#length),
      direct,
    };
  }

  #grow(): void {
    const grown = (from: Float64Array): Float64Array<ArrayBuffer> => {
      const to = new Float64Array(from.length * 2);
      to.set(from);
      return to;
    };
    this.#fileOffsets = grown(this.#fileOffsets);
    this.#deviceOffsets = grown(this.#deviceOffsets);
    this.#lengths = grown(this.#lengths);
  }
}
