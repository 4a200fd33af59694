/**
 * The master file table: the file of all file records, and how it is found through itself.
 *
 * The boot sector says where the MFT begins. Its record 0 describes the MFT, so that record gives
 * the runs of the rest; when it has not enough room, an attribute list says which further records
 * go on, and those lie in a part of the MFT that the runs known so far cover. The first records
 * exist twice: where one is torn, the copy in $MFTMirr is read.
 *
 * Records are read in blocks, at offsets that are multiples of the block's size. The survey counts
 * whole blocks as control, so a mounted image never has to read a block that is not at hand.
 */
import type { BlockDevice } from "../../device/block-device.ts";
import { isReelError, ReelError } from "../../errors.ts";
import { readAttributeList } from "./attribute-list.ts";
import { piecesOf, readClusters } from "./cluster-reader.ts";
import { fault, naming } from "./damage.ts";
import { applyFixups } from "./fixup.ts";
import type { NtfsGeometry } from "./geometry.ts";
import { isInUse, parseRecord, RECORD_SIGNATURE, TYPE } from "./record.ts";
import type { Attribute, FileRecord } from "./record.ts";
import { RunListBuilder } from "./runs.ts";
import type { RunList } from "./runs.ts";

/** Records below it are the volume's own files. */
export const FIRST_USER_RECORD = 16;
export const MFT_BLOCK_BYTES = 64 * 1024;
const CACHE_BLOCKS = 128;
/** Numbers of records have 48 bits in references; no file system driver goes beyond 32. */
export const RECORDS_MAX = 2 ** 32;
/** $MFTMirr holds the first four records, or a cluster of them. */
const MIRRORED_RECORDS = 4;

/** Some neighbouring records, their update sequences undone. */
export class MftBlock {
  readonly firstRecord: number;
  readonly #bytes: Buffer;
  readonly #recordBytes: number;
  /** What is wrong with a record, by its index in the block. */
  readonly #faults = new Map<number, string>();

  constructor(firstRecord: number, bytes: Buffer, recordBytes: number) {
    this.firstRecord = firstRecord;
    this.#bytes = bytes;
    this.#recordBytes = recordBytes;
    for (let i = 0; i < this.count; i++) {
      const found = applyFixups(bytes, i * recordBytes, recordBytes, RECORD_SIGNATURE);
      if (found !== undefined) this.#faults.set(i, found);
    }
  }

  get count(): number {
    return Math.floor(this.#bytes.length / this.#recordBytes);
  }

  /** Takes a record's bytes from elsewhere, its update sequence undone. */
  replace(number: number, bytes: Buffer): void {
    const index = number - this.firstRecord;
    bytes.copy(this.#bytes, index * this.#recordBytes);
    this.#faults.delete(index);
  }

  markFault(number: number, message: string): void {
    this.#faults.set(number - this.firstRecord, message);
  }

  faultOf(number: number): string | undefined {
    return this.#faults.get(number - this.firstRecord);
  }

  /** Bytes of a record; they are as good as `faultOf` says. */
  bytesOf(number: number): Buffer {
    const start = (number - this.firstRecord) * this.#recordBytes;
    return this.#bytes.subarray(start, start + this.#recordBytes);
  }

  /** A record that was never used is blank: it holds nothing, so nothing of it is damaged. */
  isBlank(number: number): boolean {
    return this.bytesOf(number).readUInt32LE(0) === 0;
  }

  /** Is the record sound and in use? */
  isInUse(number: number): boolean {
    return this.faultOf(number) === undefined && isInUse(this.bytesOf(number));
  }

  /** Throws a fault. */
  parse(number: number): FileRecord {
    const found = this.faultOf(number);
    if (found !== undefined) throw fault(found);
    return parseRecord(this.bytesOf(number), number);
  }
}

const EMPTY_BLOCK = new MftBlock(0, Buffer.alloc(0), MFT_BLOCK_BYTES);

/** Blocks by their index: the number of the first record divided by the records in a block. */
export type MftBlocks = ReadonlyMap<number, MftBlock>;

export class Mft {
  readonly device: BlockDevice;
  readonly geometry: NtfsGeometry;
  readonly runs: RunList;
  readonly recordCount: number;
  /** What was wrong with the MFT itself, and was survived. */
  readonly faults: readonly string[];
  readonly blockBytes: number;
  readonly #cache = new Map<number, Promise<MftBlock>>();
  #usedMirror = false;

  private constructor(
    device: BlockDevice,
    geometry: NtfsGeometry,
    found: { runs: RunList; sizeBytes: number; faults: readonly string[]; usedMirror: boolean },
  ) {
    this.device = device;
    this.geometry = geometry;
    this.runs = found.runs;
    this.faults = found.faults;
    this.#usedMirror = found.usedMirror;
    this.recordCount = Math.floor(found.sizeBytes / geometry.recordBytes);
    this.blockBytes = Math.max(MFT_BLOCK_BYTES, geometry.recordBytes);
  }

  /** Finds the MFT. Throws "damaged" when neither it nor its mirror can be read. */
  static async open(device: BlockDevice, geometry: NtfsGeometry): Promise<Mft> {
    const bootstrap = new MftBootstrap(device, geometry);
    return new Mft(device, geometry, await bootstrap.run());
  }

  /** Was a record taken from $MFTMirr? */
  get usedMirror(): boolean {
    return this.#usedMirror;
  }

  get recordsPerBlock(): number {
    return this.blockBytes / this.geometry.recordBytes;
  }

  blockIndexOf(number: number): number {
    return Math.floor(number / this.recordsPerBlock);
  }

  /** "MFT record 45 (byte 61440 of disk.img)". */
  describe(number: number): string {
    const offset = number * this.geometry.recordBytes;
    const { clusterBytes } = this.geometry;
    const run = this.runs.indexOf(Math.floor(offset / clusterBytes));
    if (run === this.runs.length) return `MFT record ${number} of ${this.device.name}`;
    const start = (this.runs.clusterAt(run) - this.runs.startAt(run)) * clusterBytes;
    return `MFT record ${number} (byte ${start + offset} of ${this.device.name})`;
  }

  /**
   * Throws "not-found" for a number that the MFT has not, or whose record is not in use; "damaged",
   * also when a record that every volume has is not in use.
   */
  async record(number: number): Promise<FileRecord> {
    this.#checkNumber(number);
    const block = await this.block(this.blockIndexOf(number));
    return this.#parse(block, number);
  }

  /** As `record`, of one of the blocks that `blocks` gave. */
  recordIn(blocks: MftBlocks, number: number): FileRecord {
    this.#checkNumber(number);
    const block = blocks.get(this.blockIndexOf(number));
    if (block === undefined) {
      throw new ReelError("internal", `the block of MFT record ${number} was not loaded`);
    }
    return this.#parse(block, number);
  }

  /** Several blocks, read together, by their indexes. */
  async blocks(indexes: readonly number[]): Promise<MftBlocks> {
    const loaded = await Promise.all(indexes.map(async (index) => this.block(index)));
    return new Map(indexes.map((index, i) => [index, loaded[i] ?? EMPTY_BLOCK]));
  }

  #checkNumber(number: number): void {
    if (Number.isSafeInteger(number) && number >= 0 && number < this.recordCount) return;
    throw new ReelError("not-found", `there is no MFT record ${number} on ${this.device.name}`);
  }

  #parse(block: MftBlock, number: number): FileRecord {
    try {
      const record = block.isBlank(number) ? undefined : block.parse(number);
      if (record?.isInUse === true) return record;
      if (number < FIRST_USER_RECORD) throw fault("it is not in use, but no volume is without it");
      throw new ReelError("not-found", `${this.describe(number)} is not in use`);
    } catch (error) {
      throw naming(this.describe(number), error);
    }
  }

  /** A block from the cache or the device. */
  async block(index: number): Promise<MftBlock> {
    const cached = this.#cache.get(index);
    if (cached !== undefined) {
      // To the end of the order in which blocks are dropped.
      this.#cache.delete(index);
      this.#cache.set(index, cached);
      return cached;
    }
    const loading = this.readBlock(index * this.recordsPerBlock, this.recordsPerBlock);
    this.#cache.set(index, loading);
    if (this.#cache.size > CACHE_BLOCKS) this.#dropOldest();
    try {
      return await loading;
    } catch (error) {
      if (this.#cache.get(index) === loading) this.#cache.delete(index);
      throw error;
    }
  }

  #dropOldest(): void {
    for (const index of this.#cache.keys()) {
      this.#cache.delete(index);
      return;
    }
  }

  /** Reads records from the device, however many; for passing over the whole MFT once. */
  async readBlock(firstRecord: number, count: number): Promise<MftBlock> {
    const { recordBytes } = this.geometry;
    const records = Math.max(0, Math.min(count, this.recordCount - firstRecord));
    const bytes = Buffer.allocUnsafe(records * recordBytes);
    const missing = await this.#fill(firstRecord, bytes);
    const block = new MftBlock(firstRecord, bytes, recordBytes);
    for (const number of missing) block.markFault(number, "it lies beyond the end of the device");
    if (firstRecord === 0) await this.#mendFromMirror(block);
    return block;
  }

  /** Reads records; returns those that are not on the device. */
  async #fill(firstRecord: number, bytes: Buffer): Promise<number[]> {
    const { device, geometry, runs } = this;
    const { recordBytes } = geometry;
    const start = firstRecord * recordBytes;
    if (isOnDevice(this, start, bytes.length)) {
      await readClusters(device, geometry, runs, start, bytes);
      return [];
    }
    const missing: number[] = [];
    for (let at = 0; at < bytes.length; at += recordBytes) {
      const record = bytes.subarray(at, at + recordBytes);
      if (isOnDevice(this, start + at, recordBytes)) {
        await readClusters(device, geometry, runs, start + at, record);
      } else {
        record.fill(0xff);
        missing.push(firstRecord + at / recordBytes);
      }
    }
    return missing;
  }

  async #mendFromMirror(block: MftBlock): Promise<void> {
    for (let number = 0; number < Math.min(MIRRORED_RECORDS, block.count); number++) {
      if (block.faultOf(number) === undefined) continue;
      const copy = await readMirrored(this.device, this.geometry, number);
      if (copy === undefined) continue;
      block.replace(number, copy);
      this.#usedMirror = true;
    }
  }
}

/** Does a stretch of the MFT lie on the device, all of it? */
function isOnDevice({ device, geometry, runs }: Mft, offset: number, lengthBytes: number): boolean {
  for (const piece of piecesOf(runs, geometry.clusterBytes, offset, lengthBytes)) {
    if (piece.deviceOffset + piece.lengthBytes > device.sizeBytes) return false;
  }
  return true;
}

/** A record of $MFTMirr, its update sequence undone; undefined when it is not sound either. */
async function readMirrored(
  device: BlockDevice,
  { mirrorCluster, clusterBytes, recordBytes }: NtfsGeometry,
  number: number,
): Promise<Buffer | undefined> {
  const offset = mirrorCluster * clusterBytes + number * recordBytes;
  if (!(offset + recordBytes <= device.sizeBytes)) return undefined;
  const bytes = Buffer.allocUnsafe(recordBytes);
  await device.read(offset, bytes);
  return applyFixups(bytes, 0, recordBytes, RECORD_SIGNATURE) === undefined ? bytes : undefined;
}

/** Reads record 0, then what of the MFT it leads to. */
class MftBootstrap {
  readonly #device: BlockDevice;
  readonly #geometry: NtfsGeometry;
  readonly #runs: RunListBuilder;
  readonly #faults: string[] = [];
  #usedMirror = false;

  constructor(device: BlockDevice, geometry: NtfsGeometry) {
    this.#device = device;
    this.#geometry = geometry;
    this.#runs = new RunListBuilder(geometry.clusterCount);
  }

  async run() {
    const { clusterBytes, mftCluster } = this.#geometry;
    const what = `MFT record 0 (byte ${mftCluster * clusterBytes} of ${this.#device.name})`;
    try {
      const record = await this.#firstRecord();
      const first = record.attributes.find(isMftData);
      const extent = first?.extent;
      if (extent?.firstCluster !== 0) throw fault("it does not say where the MFT begins");
      this.#runs.add(extent.pairs, 0, extent.lastCluster);
      await this.#addFurther(record);
      const runs = this.#runs.build();
      checkWhole(runs);
      return { runs, ...this.#sizes(extent), faults: this.#faults, usedMirror: this.#usedMirror };
    } catch (error) {
      throw naming(what, error);
    }
  }

  async #firstRecord(): Promise<FileRecord> {
    const { clusterBytes, mftCluster, recordBytes } = this.#geometry;
    const offset = mftCluster * clusterBytes;
    let found = `it lies beyond the end of ${this.#device.name} (${this.#device.sizeBytes} bytes)`;
    if (offset + recordBytes <= this.#device.sizeBytes) {
      const bytes = Buffer.allocUnsafe(recordBytes);
      await this.#device.read(offset, bytes);
      const torn = applyFixups(bytes, 0, recordBytes, RECORD_SIGNATURE);
      if (torn === undefined) return parseRecord(bytes, 0);
      found = torn;
    }
    const copy = await readMirrored(this.#device, this.#geometry, 0);
    if (copy === undefined) throw fault(`${found}; its copy in $MFTMirr is no better`);
    this.#usedMirror = true;
    return parseRecord(copy, 0);
  }

  /** Adds what further records say, as long as each lies in what is known before it. */
  async #addFurther(record: FileRecord): Promise<void> {
    const list = record.attributes.find(({ type }) => type === TYPE.attributeList);
    if (list === undefined) return;
    try {
      const entries = await readAttributeList(this.#device, this.#geometry, list);
      const further = entries
        .filter(({ type, name, reference }) => {
          return type === TYPE.data && name === "" && reference.number !== 0;
        })
        .sort((a, b) => a.firstCluster - b.firstCluster);
      for (const entry of further) await this.#addFrom(entry.reference.number);
    } catch (error) {
      if (!isReelError(error, "damaged")) throw error;
      this.#faults.push(error.message);
    }
  }

  async #addFrom(number: number): Promise<void> {
    const { recordBytes, clusterBytes } = this.#geometry;
    const offset = number * recordBytes;
    if (offset + recordBytes > this.#runs.clusterCount * clusterBytes) {
      throw fault(`record ${number}, which goes on with the MFT, lies in the part it describes`);
    }
    const bytes = Buffer.allocUnsafe(recordBytes);
    await readClusters(this.#device, this.#geometry, this.#runs.build(), offset, bytes);
    const torn = applyFixups(bytes, 0, recordBytes, RECORD_SIGNATURE);
    if (torn !== undefined) throw fault(`record ${number}, which goes on with the MFT: ${torn}`);
    for (const attribute of parseRecord(bytes, number).attributes) {
      if (!isMftData(attribute) || attribute.extent === undefined) continue;
      const { pairs, firstCluster, lastCluster } = attribute.extent;
      this.#runs.add(pairs, firstCluster, lastCluster);
    }
  }

  #sizes({ initializedBytes, sizeBytes }: { initializedBytes: number; sizeBytes: number }) {
    const { clusterBytes, recordBytes } = this.#geometry;
    const known = this.#runs.clusterCount * clusterBytes;
    const claimed = Math.min(initializedBytes, sizeBytes);
    if (claimed > known) {
      this.#faults.push(`it has ${claimed} bytes, but where they lie is known of ${known} only`);
    }
    const usable = Math.min(claimed, known, RECORDS_MAX * recordBytes);
    if (usable < FIRST_USER_RECORD * recordBytes) {
      throw fault(`the MFT has ${usable} bytes, too few for the volume's own files`);
    }
    return { sizeBytes: usable };
  }
}

function isMftData({ type, name }: Attribute): boolean {
  return type === TYPE.data && name === "";
}

function checkWhole(runs: RunList): void {
  for (let i = 0; i < runs.length; i++) {
    if (runs.clusterAt(i) < 0) throw fault(`its run ${i} is a hole, which the MFT cannot have`);
  }
}
