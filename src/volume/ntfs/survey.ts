/**
 * The survey: one pass over the MFT in large pieces, in which every index is read too, and one over
 * $Bitmap.
 *
 * A directory's index is read when its record comes by; its entries are noted against the records
 * that they lead to, so that when the pass is over, what a walk from the root would meet can be
 * counted without another look at the volume. Runs are checked against $Bitmap on the way: clusters
 * that belong to a file but are marked free are saved all the same.
 */
import { ExtentSet } from "../../device/extents.ts";
import { isReelError, throwIfAborted } from "../../errors.ts";
import { ProblemList } from "../problem-list.ts";
import type { SurveyOptions, VolumeProblem, VolumeSurvey } from "../volume.ts";
import { readBitmap } from "./bitmap.ts";
import { ClusterSet } from "./cluster-set.ts";
import { piecesOf } from "./cluster-reader.ts";
import { ControlRules } from "./control-rules.ts";
import { readIndex } from "./directory-index.ts";
import { volumeBytes } from "./geometry.ts";
import type { Inode } from "./inode.ts";
import { completeInode, loadInode } from "./inode.ts";
import { isShown } from "./listing.ts";
import { MFT_BLOCK_BYTES } from "./mft.ts";
import type { Mft, MftBlock } from "./mft.ts";
import { isHiddenRecord, parentOf } from "./node.ts";
import { TYPE } from "./record.ts";
import type { FileRecord } from "./record.ts";
import { HOLE, RunListBuilder } from "./runs.ts";
import { openStream, readStream } from "./stream.ts";
import { SurveyTable } from "./survey-table.ts";

/** How much of the MFT is read at once: a multiple of the size of its blocks. */
const PIECE_BYTES = 16 * MFT_BLOCK_BYTES;
/** Directories whose indexes are read together. */
const DIRECTORIES_TOGETHER = 16;

/** What is not in the MFT itself but must be known for a survey. */
export interface SurveyInput {
  readonly mft: Mft;
  readonly blockSizeBytes: number;
  /** Problems met on opening. */
  readonly problems: readonly VolumeProblem[];
}

/** Surveys a volume. Throws what the device throws. */
export async function surveyNtfs(
  input: SurveyInput,
  options: SurveyOptions,
): Promise<VolumeSurvey> {
  const problems = new ProblemList(input.problems);
  const allocated = await allocatedClusters(input.mft, problems, options.signal);
  return new NtfsSurvey(input, options, problems, allocated).run();
}

/** Without $Bitmap nothing is known to be free: everything is saved. */
async function allocatedClusters(
  mft: Mft,
  problems: ProblemList,
  signal: AbortSignal | undefined,
): Promise<ExtentSet> {
  try {
    return await readBitmap(mft, signal);
  } catch (error) {
    if (!isDamage(error)) throw error;
    problems.add("$Bitmap", `${error.message}; all clusters are taken to be in use`);
    return ExtentSet.from([[0, mft.geometry.clusterCount]]);
  }
}

function isDamage(error: unknown): error is Error {
  return isReelError(error, "damaged") || isReelError(error, "not-found");
}

class NtfsSurvey {
  readonly #mft: Mft;
  readonly #blockSizeBytes: number;
  readonly #options: SurveyOptions;
  readonly #problems: ProblemList;
  readonly #allocated: ExtentSet;
  readonly #table = new SurveyTable();
  readonly #rules: ControlRules;
  /** Clusters of structure, besides the MFT. */
  readonly #control = new ClusterSet();
  /** Clusters of files that $Bitmap has as free. */
  readonly #unmarked = new ClusterSet();
  readonly #deleted = new ClusterSet();
  /** Bytes of the MFT that hold records in use, as pairs of blocks on the device. */
  readonly #mftBlocks = new ClusterSet();
  #files = 0;

  constructor(
    { mft, blockSizeBytes }: SurveyInput,
    options: SurveyOptions,
    problems: ProblemList,
    allocated: ExtentSet,
  ) {
    this.#mft = mft;
    this.#blockSizeBytes = blockSizeBytes;
    this.#options = options;
    this.#problems = problems;
    this.#allocated = allocated;
    this.#rules = new ControlRules(mft.geometry);
  }

  async run(): Promise<VolumeSurvey> {
    await this.#passOverMft();
    const counts = this.#table.count((number, found, directory) => {
      if (found === "orphan" && number < FIRST_COUNTED) return;
      this.#problems.add(this.#mft.describe(number), FAULTS[found](directory));
    });
    for (const { number, message } of this.#rules.remarks) {
      if (this.#table.isShown(number)) this.#problems.add(this.#mft.describe(number), message);
    }
    const unmarked = this.#unmarked.build();
    if (unmarked.total > 0) {
      this.#problems.add("$Bitmap", `${unmarked.total} clusters of files are marked as free`);
    }
    const { used, control } = this.#blockSets(unmarked);
    return {
      used,
      control,
      clustersUsed: this.#allocated.total,
      ...counts,
      problems: this.#problems.finish(),
    };
  }

  async #passOverMft(): Promise<void> {
    const mft = this.#mft;
    const together = PIECE_BYTES / mft.geometry.recordBytes;
    for (let first = 0; first < mft.recordCount; first += together) {
      throwIfAborted(this.#options.signal, `surveying ${mft.device.name}`);
      const piece = await mft.readBlock(first, together);
      const directories: FileRecord[] = [];
      for (let number = first; number < first + piece.count; number++) {
        await this.#addRecord(piece, number, directories);
      }
      await this.#addDirectories(directories);
      this.#options.progress?.({ phase: "surveying", done: this.#files, unit: "files" });
    }
  }

  async #addRecord(piece: MftBlock, number: number, directories: FileRecord[]): Promise<void> {
    if (piece.isBlank(number)) return;
    const torn = piece.faultOf(number);
    if (torn !== undefined) {
      if (await this.#isMarkedInUse(number)) this.#addDamaged(number, torn);
      return;
    }
    if (!piece.isInUse(number)) {
      if (this.#options.includeDeleted === true) this.#addDeleted(piece, number);
      return;
    }
    this.#addMftBlock(number);
    try {
      const record = piece.parse(number);
      this.#addRuns(record);
      if (record.base !== undefined) return;
      await this.#addBase(record, directories);
    } catch (error) {
      if (!isDamage(error)) throw error;
      this.#addDamaged(number, error.message);
    }
  }

  #addDamaged(number: number, message: string): void {
    this.#addMftBlock(number);
    this.#table.addDamaged(number);
    this.#problems.add(this.#mft.describe(number), message);
  }

  async #addBase(record: FileRecord, directories: FileRecord[]): Promise<void> {
    const { number, sequence, isDirectory } = record;
    if (isHiddenRecord(number) && !isDirectory) return;
    if (!isDirectory) {
      const hasName = record.attributes.some(({ type }) => type === TYPE.fileName);
      const hasMore = record.attributes.some(({ type }) => type === TYPE.attributeList);
      if (!hasName && !hasMore) return;
      this.#files++;
      this.#table.addFile(number, sequence);
      return;
    }
    const inode = await completeInode(this.#mft, record);
    this.#table.addDirectory(number, sequence, parentOf(inode)?.number ?? 0);
    directories.push(record);
  }

  async #addDirectories(directories: readonly FileRecord[]): Promise<void> {
    for (let at = 0; at < directories.length; at += DIRECTORIES_TOGETHER) {
      throwIfAborted(this.#options.signal, `surveying ${this.#mft.device.name}`);
      const some = directories.slice(at, at + DIRECTORIES_TOGETHER);
      await Promise.all(some.map(async (record) => this.#addDirectory(record)));
    }
  }

  async #addDirectory(record: FileRecord): Promise<void> {
    try {
      const inode: Inode = await completeInode(this.#mft, record);
      for (const entry of await readIndex(this.#mft, inode)) {
        if (!isShown(entry)) continue;
        if (entry.number < this.#mft.recordCount) {
          this.#table.list(entry.number, entry.sequence, record.number);
          continue;
        }
        const message = `it lists MFT record ${entry.number}, which does not exist`;
        this.#problems.add(this.#mft.describe(record.number), message);
      }
    } catch (error) {
      if (!isDamage(error)) throw error;
      this.#problems.add(this.#mft.describe(record.number), error.message);
    }
  }

  /** Notes where a record's attributes lie: what is control, what $Bitmap does not know of. */
  #addRuns(record: FileRecord): void {
    const { geometry } = this.#mft;
    for (const attribute of record.attributes) {
      const { extent } = attribute;
      if (extent === undefined) continue;
      const builder = new RunListBuilder(geometry.clusterCount, extent.firstCluster);
      builder.add(extent.pairs, extent.firstCluster, extent.lastCluster);
      const runs = builder.build();
      const limit = this.#rules.controlClusters(record, attribute);
      for (let i = 0; i < runs.length; i++) {
        const cluster = runs.clusterAt(i);
        if (cluster === HOLE) continue;
        const count = runs.countAt(i);
        this.#control.add(cluster, Math.min(count, limit - runs.startAt(i)));
        const at = this.#allocated.indexFrom(cluster);
        const start = this.#allocated.startAt(at);
        const isMarked = start <= cluster && cluster + count <= start + this.#allocated.countAt(at);
        if (!isMarked) this.#unmarked.add(cluster, count);
      }
    }
  }

  /** What a deleted file's record still says; much of it may belong to other files by now. */
  #addDeleted(piece: MftBlock, number: number): void {
    const { clusterCount } = this.#mft.geometry;
    try {
      for (const { extent } of piece.parse(number).attributes) {
        if (extent === undefined) continue;
        const builder = new RunListBuilder(clusterCount, extent.firstCluster);
        builder.add(extent.pairs, extent.firstCluster, extent.lastCluster);
        const runs = builder.build();
        for (let i = 0; i < runs.length; i++) {
          if (runs.clusterAt(i) !== HOLE) this.#deleted.add(runs.clusterAt(i), runs.countAt(i));
        }
      }
    } catch (error) {
      if (!isDamage(error)) throw error;
    }
  }

  #addMftBlock(number: number): void {
    const { blockBytes, geometry, runs, recordCount } = this.#mft;
    const start = this.#mft.blockIndexOf(number) * blockBytes;
    const length = Math.min(blockBytes, recordCount * geometry.recordBytes - start);
    if (start === this.#lastMftBlock) return;
    this.#lastMftBlock = start;
    for (const piece of piecesOf(runs, geometry.clusterBytes, start, length)) {
      const first = Math.floor(piece.deviceOffset / this.#blockSizeBytes);
      const end = Math.ceil((piece.deviceOffset + piece.lengthBytes) / this.#blockSizeBytes);
      this.#mftBlocks.add(first, end - first);
    }
  }
  #lastMftBlock = -1;

  /** Does $MFT's own bitmap have the record as used? Then one that cannot be read is a loss. */
  async #isMarkedInUse(number: number): Promise<boolean> {
    try {
      const stream = openStream(this.#mft, await loadInode(this.#mft, 0), TYPE.bitmap);
      if (stream === undefined || stream.sizeBytes <= number >>> 3) return true;
      const byte = Buffer.alloc(1);
      await readStream(this.#mft, stream, Math.floor(number / 8), byte);
      return ((byte[0] ?? 0) & (1 << (number & 7))) !== 0;
    } catch (error) {
      if (!isDamage(error)) throw error;
      return true;
    }
  }

  /** Everything in blocks, cut off where the device ends. */
  #blockSets(unmarked: ExtentSet): { used: ExtentSet; control: ExtentSet } {
    const { geometry, device } = this.#mft;
    const bytes = Math.min(volumeBytes(geometry), device.sizeBytes);
    const onDevice = ExtentSet.from([[0, Math.floor(bytes / this.#blockSizeBytes)]]);
    const ends = this.#endBlocks();
    const control = this.#inBlocks(this.#control.build())
      .union(this.#mftBlocks.build())
      .union(ends)
      .intersect(onDevice);
    const deleted = this.#inBlocks(this.#deleted.build()).intersect(onDevice);
    const clusters = this.#inBlocks(this.#allocated.union(unmarked));
    const used = clusters.intersect(onDevice);
    if (used.total < clusters.total) {
      const lost = clusters.total - used.total;
      this.#problems.add("volume", `${lost} used blocks lie beyond the end of ${device.name}`);
    }
    return { used: used.union(control).union(deleted).union(ends.intersect(onDevice)), control };
  }

  /** The boot sector, and the end of the volume, where its backup is. */
  #endBlocks(): ExtentSet {
    const { geometry } = this.#mft;
    const tail = (geometry.clusterCount * geometry.clusterBytes) / this.#blockSizeBytes;
    const end = Math.ceil(volumeBytes(geometry) / this.#blockSizeBytes);
    return ExtentSet.from([
      [0, 1],
      [tail, end - tail],
    ]);
  }

  #inBlocks(clusters: ExtentSet): ExtentSet {
    const factor = this.#mft.geometry.clusterBytes / this.#blockSizeBytes;
    const scaled = new ClusterSet();
    for (const [start, count] of clusters) scaled.add(start * factor, count * factor);
    return scaled.build();
  }
}

/** Lower numbers without a directory are the volume's own files and what is reserved. */
const FIRST_COUNTED = 24;

const FAULTS = {
  stale: (directory: number) =>
    `the entry for it in the directory of MFT record ${directory} is of a file that is gone`,
  missing: (directory: number) =>
    `it is not in use, but the directory of MFT record ${directory} lists it`,
  misplaced: (directory: number) =>
    `the directory of MFT record ${directory} lists it, which is not its parent`,
  orphan: () => "it is in no directory",
} as const;
