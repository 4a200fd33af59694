/**
 * Restores a whole volume: records in tape order, each block to its place on the target. What the
 * target must be is checked before a byte is written (restore-target.ts).
 */
import { crc32 } from "@node-rs/crc32";
import type { WritableBlockDevice } from "../device/block-device.ts";
import { ExtentSet, ExtentSetBuilder } from "../device/extents.ts";
import { ReelError, throwIfAborted } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import { recordsOfImages, type RecordRuns } from "./packed-order.ts";
import type { ByteRange } from "../volume/partitions/partition-table.ts";
import { openRestoreTargets } from "./restore-segments.ts";
import type { RestoreTargetOptions } from "./restore-target.ts";
import { RestoreWriter } from "./restore-writer.ts";
import type { TapeImage } from "./tape-image.ts";
import { UNKNOWN_BLOCKS, unknownBlocks } from "./unknown-blocks.ts";

export interface RestoreImageOptions extends RestoreTargetOptions, RunOptions {
  /** Clear what the volume does not use, too. */
  readonly zero?: boolean | undefined;
  /** Read everything back from the target and compare. */
  readonly verify?: boolean | undefined;
}

export interface RestoreImageResult {
  readonly bytesWritten: number;
  readonly recordsDamaged: number;
  /** One sentence per damaged record, bounded. */
  readonly damage: readonly string[];
  /** Blocks that could not be restored; the target keeps what it had there. */
  readonly lostBlocks: ExtentSet;
  readonly verified: boolean;
}

const DAMAGE_LISTED_MAX = 1000;

/**
 * Writes the image to `targetPath`, a block device or file at least as large, or a new file; or to
 * several of them, joined in that order.
 *
 * @throws ReelError "too-small", "busy" (mounted), "exists" (holds a filesystem, without `force`),
 *   "damaged" when `verify` finds a difference.
 */
export async function restoreImage(
  image: TapeImage,
  targetPath: string | readonly string[],
  options: RestoreImageOptions = {},
): Promise<RestoreImageResult> {
  const target = await openRestoreTargets(targetPath, image, options);
  try {
    const result = await restoreOnto(image, target.device, target.fresh, options);
    await target.commit();
    return result;
  } finally {
    await target.close();
  }
}

/**
 * The same onto a device that is open: a partition of a disk. `fresh`: it reads as zeros wherever
 * nothing is written. `zeroWithin`: the only parts of it that `zero` may clear.
 */
export async function restoreOnto(
  image: TapeImage,
  device: WritableBlockDevice,
  fresh: boolean,
  options: RestoreImageOptions & { readonly zeroWithin?: readonly ByteRange[] | undefined },
): Promise<RestoreImageResult> {
  const pass = new RestorePass(image, device, options);
  await pass.run();
  const unknown = unknownBlocks(image);
  if (options.zero === true && !fresh && unknown.total === 0) {
    const whole = [{ startBytes: 0, sizeBytes: image.header.sizeBytes }];
    await zeroUnused(image, device, options.zeroWithin ?? whole, options);
  }
  await device.flush();
  if (options.verify === true) await pass.verify();
  return {
    bytesWritten: pass.bytesWritten,
    recordsDamaged: pass.recordsDamaged,
    damage: unknown.total === 0 ? pass.damage : [...pass.damage, UNKNOWN_BLOCKS],
    lostBlocks: pass.lostBlocks.union(unknown),
    verified: options.verify === true,
  };
}

class RestorePass {
  readonly damage: string[] = [];
  recordsDamaged = 0;
  readonly #image: TapeImage;
  readonly #target: WritableBlockDevice;
  readonly #options: RestoreImageOptions;
  /** CRC-32 of each record's contents as written, by order in the pass; for `verify`. */
  #checksums = new Uint32Array(1024);
  /** Of the chain, in the order of the pass. */
  #images: readonly number[] = [];
  readonly #lostRuns: (readonly [number, number])[] = [];
  readonly #lostRecords = new Set<number>();
  readonly #writer: RestoreWriter;

  constructor(image: TapeImage, target: WritableBlockDevice, options: RestoreImageOptions) {
    this.#image = image;
    this.#target = target;
    this.#options = options;
    this.#writer = new RestoreWriter(target);
  }

  get bytesWritten(): number {
    return this.#writer.bytesWritten;
  }

  get lostBlocks(): ExtentSet {
    return ExtentSet.from(this.#lostRuns);
  }

  async run(): Promise<void> {
    const blockSize = this.#image.header.blockSizeBytes;
    const total = this.#image.map.blocksMapped * blockSize;
    const ahead: RecordRuns[] = [];
    this.#images = await this.#image.imagesInTapeOrder();
    const records = function* (items: Iterable<RecordRuns>): Generator<number> {
      for (const item of items) {
        ahead.push(item);
        yield item.record;
      }
    };
    let at = 0;
    const reading = this.#image.readRecords(
      records(recordsOfImages(this.#image.map, this.#images)),
      async (record, content) => {
        const item = ahead.shift();
        if (item?.record !== record) throw new ReelError("internal", "records out of step");
        const index = at++;
        if (content instanceof ReelError) this.#lose(item, content);
        else await this.#write(index, item, content);
        this.#options.progress?.({ phase: "restoring image", done: this.bytesWritten, total });
      },
      this.#options,
    );
    try {
      await reading;
      await this.#writer.finish();
    } finally {
      await this.#writer.settle();
    }
  }

  /** Reads back what was written, record by record, against the checksums kept while writing. */
  async verify(): Promise<void> {
    const blockSize = this.#image.header.blockSizeBytes;
    const total = this.bytesWritten;
    const buffer = Buffer.alloc(this.#image.header.recordSizeBytes);
    let at = 0;
    let done = 0;
    for (const item of recordsOfImages(this.#image.map, this.#images)) {
      throwIfAborted(this.#options.signal, `verifying ${this.#target.name}`);
      const expected = this.#checksums[at++];
      if (this.#lostRecords.has(item.record)) continue;
      let length = 0;
      await Promise.all(
        item.runs.map(async ([start, count], i) => {
          const from = (item.blockOffsets[i] ?? 0) * blockSize;
          length += count * blockSize;
          await this.#target.read(
            start * blockSize,
            buffer.subarray(from, from + count * blockSize),
          );
        }),
      );
      if (checksumOf(item, buffer, blockSize) !== expected) {
        const [start] = item.runs[0] ?? [0];
        throw new ReelError(
          "damaged",
          `${this.#target.name} does not read back as it was written, at or after byte ` +
            `${start * blockSize}: the target is not reliable`,
        );
      }
      done += length;
      this.#options.progress?.({ phase: "verifying target", done, total });
    }
  }

  async #write(index: number, item: RecordRuns, content: Uint8Array): Promise<void> {
    const { blockSizeBytes } = this.#image.header;
    for (const [i, [start, count]] of item.runs.entries()) {
      const from = (item.blockOffsets[i] ?? 0) * blockSizeBytes;
      const bytes = content.subarray(from, from + count * blockSizeBytes);
      if (bytes.length !== count * blockSizeBytes) {
        throw new ReelError("damaged", `record ${item.record} is shorter than its blocks`);
      }
      await this.#writer.write(start * blockSizeBytes, bytes);
    }
    if (this.#options.verify === true) {
      this.#keepChecksum(index, checksumOf(item, content, blockSizeBytes));
    }
  }

  #lose(item: RecordRuns, error: ReelError): void {
    this.recordsDamaged++;
    this.#lostRecords.add(item.record);
    if (this.damage.length < DAMAGE_LISTED_MAX) this.damage.push(error.message);
    this.#lostRuns.push(...item.runs);
  }

  #keepChecksum(index: number, checksum: number): void {
    if (index >= this.#checksums.length) {
      const larger = new Uint32Array(index * 2);
      larger.set(this.#checksums);
      this.#checksums = larger;
    }
    this.#checksums[index] = checksum;
  }
}

/** Clears the blocks in these ranges of the volume that are not on the tape. */
async function zeroUnused(
  image: TapeImage,
  target: WritableBlockDevice,
  within: readonly ByteRange[],
  options: RunOptions,
): Promise<void> {
  const blockSize = image.header.blockSizeBytes;
  const mapped = new ExtentSetBuilder();
  for (let index = 0; index < image.map.length; index++) {
    const { start, count } = image.map.entryAt(index);
    mapped.add(start, count);
  }
  const all = ExtentSet.from(
    within.map(({ startBytes, sizeBytes }) => [startBytes / blockSize, sizeBytes / blockSize]),
  );
  const unused = all.subtract(mapped.build());
  let done = 0;
  for (const [start, count] of unused) {
    throwIfAborted(options.signal, `clearing ${target.name}`);
    await target.zero(start * blockSize, count * blockSize);
    done += count * blockSize;
    const total = unused.total * blockSize;
    options.progress?.({ phase: "clearing unused space", done, total });
  }
}

/** Over the blocks of a record that were wanted: others of it may be of no use any more. */
function checksumOf(item: RecordRuns, content: Uint8Array, blockSizeBytes: number): number {
  let checksum = 0;
  for (const [index, [, count]] of item.runs.entries()) {
    const from = (item.blockOffsets[index] ?? 0) * blockSizeBytes;
    const bytes = content.subarray(from, from + count * blockSizeBytes);
    checksum = crc32(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), checksum);
  }
  return checksum;
}
