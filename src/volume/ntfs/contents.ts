/** The contents of files: where they lie, and reading those that a copy of their runs does not give. */
import { ReelError } from "../../errors.ts";
import type { FileLayout } from "../volume.ts";
import { CompressedContents, unitBytesOf } from "./compressed-contents.ts";
import { naming } from "./damage.ts";
import { FILE_FLAG, parseStandardInformation } from "./file-name.ts";
import type { Inode } from "./inode.ts";
import { findAttribute } from "./inode.ts";
import type { Mft } from "./mft.ts";
import { readReparsePoint } from "./node.ts";
import { TYPE } from "./record.ts";
import { isCloud, refusalOf, TAG } from "./reparse.ts";
import { HOLE } from "./runs.ts";
import { isCompressed, isEncrypted, LayoutBuilder, openStream, readStream } from "./stream.ts";
import type { Contents, Stream } from "./stream.ts";
import { parseWofReparsePoint, WofFile } from "./wof/wof-file.ts";

/** The stream in which Windows keeps the contents of a file that it has compressed as a whole. */
export const WOF_STREAM = "WofCompressedData";
const ENCRYPTED = "it is encrypted by Windows (EFS)";
const NOTHING: Contents = { sizeBytes: 0, read: async () => undefined };
/** Windows' marks of a file whose contents are not, or not all, on this volume. */
const ELSEWHERE = FILE_FLAG.offline | FILE_FLAG.recallOnOpen | FILE_FLAG.recallOnDataAccess;

/** Where the contents of a file lie. Throws "damaged", "unsupported". */
export async function layoutOf(mft: Mft, inode: Inode): Promise<FileLayout> {
  const { stream, packed } = await dataOf(mft, inode);
  if (stream === undefined) return new LayoutBuilder().build(0, true);
  try {
    if (packed === undefined) return layoutOfStream(mft, stream);
    // The contents are the size of one stream and lie in the other.
    const { fileOffsets, deviceOffsets, lengths, length } = layoutOfStream(mft, packed.stream);
    const { sizeBytes } = stream;
    return { sizeBytes, length, fileOffsets, deviceOffsets, lengths, direct: false };
  } catch (error) {
    throw naming(stream.what, error);
  }
}

function layoutOfStream(mft: Mft, stream: Stream): FileLayout {
  const { sizeBytes, initializedBytes, runs, attribute } = stream;
  const layout = new LayoutBuilder();
  if (runs === undefined) {
    // Within its record, which lies in one piece or, with small clusters, in several.
    const start = attribute.record * mft.geometry.recordBytes + attribute.valueOffset;
    layout.addRuns(mft, mft.runs, start, sizeBytes);
    return layout.build(sizeBytes, false);
  }
  const written = Math.min(sizeBytes, initializedBytes);
  if (!isCompressed(stream)) {
    layout.addRuns(mft, runs, 0, written);
    return layout.build(sizeBytes, true);
  }
  const unitBytes = unitBytesOf(stream, mft.geometry.clusterBytes);
  layout.addRuns(mft, runs, 0, Math.ceil(written / unitBytes) * unitBytes);
  return layout.build(sizeBytes, false);
}

/** Contents to read. Throws "damaged", "unsupported". */
export async function openContents(mft: Mft, inode: Inode): Promise<Contents> {
  const { stream, packed } = await dataOf(mft, inode);
  if (stream === undefined || packed === undefined) return contentsOf(mft, stream);
  const source = contentsOf(mft, packed.stream);
  const file = new WofFile(source, stream.sizeBytes, packed.algorithm, stream.what);
  return {
    sizeBytes: stream.sizeBytes,
    read: async (offsetBytes, target) => {
      await file.read(offsetBytes, target);
    },
  };
}

/** Contents of a named stream. Throws "damaged", "unsupported". */
export function openNamedStream(mft: Mft, inode: Inode, name: string): Contents {
  const stream = openStream(mft, inode, TYPE.data, name);
  if (stream !== undefined && isEncrypted(stream)) {
    const what = `stream "${name}" of ${mft.describe(inode.number)}`;
    throw new ReelError("unsupported", `cannot read ${what}: ${ENCRYPTED}`);
  }
  return contentsOf(mft, stream);
}

function contentsOf(mft: Mft, stream: Stream | undefined): Contents {
  if (stream === undefined) return NOTHING;
  if (stream.runs !== undefined && isCompressed(stream)) {
    try {
      return new CompressedContents(mft, stream, stream.runs);
    } catch (error) {
      throw naming(stream.what, error);
    }
  }
  return {
    sizeBytes: stream.sizeBytes,
    read: async (offsetBytes, target) => readStream(mft, stream, offsetBytes, target),
  };
}

interface FileData {
  /** The unnamed $DATA. */
  readonly stream: Stream | undefined;
  /** Of a file that Windows keeps compressed as a whole: what its contents are made from. */
  readonly packed?: { readonly stream: Stream; readonly algorithm: number };
}

/** Throws "unsupported" where the contents are not what a reader of the file would see. */
async function dataOf(mft: Mft, inode: Inode): Promise<FileData> {
  const stream = openStream(mft, inode, TYPE.data);
  const refused = (why: string): ReelError =>
    new ReelError("unsupported", `cannot read ${mft.describe(inode.number)}: ${why}`);
  const reparse = await readReparsePoint(mft, inode);
  if (reparse?.tag === TAG.wof) {
    const algorithm = parseWofReparsePoint(reparse.data)?.algorithm;
    const packed = openStream(mft, inode, TYPE.data, WOF_STREAM);
    if (algorithm === undefined || packed === undefined) throw refused(refusalOf(reparse.tag));
    if (isEncrypted(packed)) throw refused(ENCRYPTED);
    return { stream, packed: { stream: packed, algorithm } };
  }
  if (reparse !== undefined && !(isCloud(reparse.tag) && isAllHere(inode, stream))) {
    throw refused(refusalOf(reparse.tag));
  }
  if (stream !== undefined && isEncrypted(stream)) throw refused(ENCRYPTED);
  return { stream };
}

/** A file of a cloud drive may have all its contents on the volume, and then is like any other. */
function isAllHere(inode: Inode, stream: Stream | undefined): boolean {
  const standard = findAttribute(inode, TYPE.standardInformation)?.value;
  if ((parseStandardInformation(standard).flags & ELSEWHERE) !== 0) return false;
  const runs = stream?.runs;
  if (runs === undefined) return stream !== undefined;
  for (let i = 0; i < runs.length; i++) {
    if (runs.clusterAt(i) === HOLE) return false;
  }
  return true;
}
