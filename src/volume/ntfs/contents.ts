/** The contents of files: where they lie, and reading those that a copy of their runs does not give. */
import { ReelError } from "../../errors.ts";
import type { FileLayout } from "../volume.ts";
import { naming } from "./damage.ts";
import type { Inode } from "./inode.ts";
import type { Mft } from "./mft.ts";
import { readReparsePoint } from "./node.ts";
import { TYPE } from "./record.ts";
import { isCloud, refusalOf } from "./reparse.ts";
import { isCompressed, isEncrypted, LayoutBuilder, openStream, readStream } from "./stream.ts";
import type { Stream } from "./stream.ts";

/** Contents that `read` gives piece by piece. */
export interface Contents {
  readonly sizeBytes: number;
  /** Fills `target`; the range lies within the contents. */
  read(offsetBytes: number, target: Buffer): Promise<void>;
}

/** Where the contents of a file lie. Throws "damaged", "unsupported". */
export async function layoutOf(mft: Mft, inode: Inode): Promise<FileLayout> {
  const stream = await dataOf(mft, inode);
  const layout = new LayoutBuilder();
  if (stream === undefined) return layout.build(0, true);
  const { sizeBytes, initializedBytes, runs } = stream;
  try {
    if (runs === undefined) return residentLayout(mft, stream);
    const written = Math.min(sizeBytes, initializedBytes);
    layout.addRuns(mft, runs, 0, written);
    return layout.build(sizeBytes, true);
  } catch (error) {
    throw naming(stream.what, error);
  }
}

/** Contents to read. Throws "damaged", "unsupported". */
export async function openContents(mft: Mft, inode: Inode): Promise<Contents> {
  const stream = await dataOf(mft, inode);
  if (stream === undefined) return { sizeBytes: 0, read: async () => undefined };
  return {
    sizeBytes: stream.sizeBytes,
    read: async (offsetBytes, target) => readStream(mft, stream, offsetBytes, target),
  };
}

/** The value within its record, which lies in one piece or, with small clusters, in several. */
function residentLayout(mft: Mft, { sizeBytes, attribute }: Stream): FileLayout {
  const { recordBytes } = mft.geometry;
  const layout = new LayoutBuilder();
  const start = attribute.record * recordBytes + attribute.valueOffset;
  layout.addRuns(mft, mft.runs, start, sizeBytes);
  return layout.build(sizeBytes, false);
}

/** The unnamed $DATA, when its contents are what a reader of the file would see. */
async function dataOf(mft: Mft, inode: Inode): Promise<Stream | undefined> {
  const stream = openStream(mft, inode, TYPE.data);
  const refusal = await refusalFor(mft, inode, stream);
  if (refusal === undefined) return stream;
  throw new ReelError("unsupported", `cannot read ${mft.describe(inode.number)}: ${refusal}`);
}

async function refusalFor(
  mft: Mft,
  inode: Inode,
  stream: Stream | undefined,
): Promise<string | undefined> {
  const reparse = await readReparsePoint(mft, inode);
  if (reparse !== undefined && !isCloud(reparse.tag)) return refusalOf(reparse.tag);
  if (stream === undefined) return undefined;
  if (isEncrypted(stream)) return "it is encrypted by Windows (EFS)";
  if (isCompressed(stream)) return "it is compressed";
  return undefined;
}

/** Contents of a named stream of a file. Throws "damaged", "unsupported". */
export async function openStreamContents(mft: Mft, inode: Inode, name: string): Promise<Contents> {
  const stream = openStream(mft, inode, TYPE.data, name);
  if (stream === undefined) return { sizeBytes: 0, read: async () => undefined };
  return {
    sizeBytes: stream.sizeBytes,
    read: async (offsetBytes, target) => readStream(mft, stream, offsetBytes, target),
  };
}
