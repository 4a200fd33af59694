/** Images on real `.tap` files, made from a few blocks of memory: for tests of what reads them. */
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import type { BlockDevice } from "../../src/device/block-device.ts";
import { ExtentSet } from "../../src/device/extents.ts";
import {
  FORMAT_MAJOR,
  FORMAT_MINOR,
  type Codec,
  type ImageHeader,
} from "../../src/tapeimage/header.ts";
import { layOutImage, type ImageLayout } from "../../src/tapeimage/image-layout.ts";
import { ImageWriter, type WrittenImage } from "../../src/tapeimage/image-writer.ts";
import { IncrementalWriter } from "../../src/tapeimage/incremental/incremental-writer.ts";
import { readParent } from "../../src/tapeimage/incremental/parent.ts";
import { openTapeImage } from "../../src/tapeimage/open-image.ts";
import { openSimhTape } from "../../src/tape/simh-tape.ts";
import type { TapeDrive } from "../../src/tape/tape-drive.ts";

export type RunList = readonly (readonly [start: number, count: number])[];

export interface ImageFixtureOptions {
  readonly used: RunList;
  readonly control: RunList;
  readonly blockSizeBytes?: number;
  readonly recordSizeBytes?: number;
  readonly codec?: Codec;
  readonly uuid?: string;
  readonly created?: string;
  readonly number?: number;
  readonly finished?: string;
  /** Of an incremental image: all blocks that may have changed since its parent. */
  readonly dirty?: RunList;
}

/** Writes an image of `device` where `drive` stands. */
export async function writeTestImage(
  drive: TapeDrive,
  device: BlockDevice,
  options: ImageFixtureOptions,
): Promise<{ header: ImageHeader; written: WrittenImage }> {
  const blockSizeBytes = options.blockSizeBytes ?? 512;
  const recordSizeBytes = options.recordSizeBytes ?? 64 * 1024;
  const layout = layOutImage({
    used: ExtentSet.from(options.used),
    control: ExtentSet.from(options.control),
    blockSizeBytes,
    recordSizeBytes,
  });
  const header = testHeader(device, layout, options);
  const run = options.finished === undefined ? {} : { now: () => new Date(options.finished ?? 0) };
  const written = await new ImageWriter(device, drive, header, layout, run).write();
  return { header, written };
}

/** Writes an image of `device` at the end of the tape, against the image `parentSpec`. */
export async function writeTestIncremental(
  tape: string,
  parentSpec: string,
  device: BlockDevice,
  options: ImageFixtureOptions,
): Promise<{ header: ImageHeader; written: WrittenImage }> {
  const opened = await openTapeImage(parentSpec);
  const parent = await readParent(opened);
  await opened.close();
  const drive = await openSimhTape(tape, { mode: "write", create: true });
  try {
    await drive.spaceToEndOfData();
    const control = ExtentSet.from(options.control);
    const data = ExtentSet.from(options.used).subtract(control);
    const none = { firstRecord: 0, records: 0, items: 0 };
    const full = testHeader(device, layOutNothing(parent.header), options);
    const header: ImageHeader = {
      ...full,
      chain: [full.uuid, ...parent.chain.map(({ uuid }) => uuid)],
      ancestors: parent.chain,
      layout: "data-first",
      sections: { map: none, control: none, data: none, checksums: none, trailer: none },
    };
    const dirty = options.dirty === undefined ? undefined : ExtentSet.from(options.dirty);
    const source = { device, control, data, parent, dirty };
    return { header, written: await new IncrementalWriter(source, drive, header).write() };
  } finally {
    await drive.close();
    await parent.checksums.close();
  }
}

function layOutNothing({ blockSizeBytes, recordSizeBytes }: ImageHeader): ImageLayout {
  const { empty } = ExtentSet;
  return layOutImage({ used: empty, control: empty, blockSizeBytes, recordSizeBytes });
}

function testHeader(
  device: BlockDevice,
  layout: ImageLayout,
  options: ImageFixtureOptions,
): ImageHeader {
  const blockSizeBytes = options.blockSizeBytes ?? 512;
  const recordSizeBytes = options.recordSizeBytes ?? 64 * 1024;
  const uuid = options.uuid ?? randomUUID();
  return {
    format: "reelfs-image",
    version: [FORMAT_MAJOR, FORMAT_MINOR],
    uuid,
    number: options.number ?? 1,
    chain: [uuid],
    created: options.created ?? new Date().toISOString(),
    host: "testhost",
    tool: "reelfs test",
    source: { path: "/dev/test", sizeBytes: device.sizeBytes },
    volume: {
      kind: "fat12",
      label: "TEST",
      serial: "1234-5678",
      clusterSizeBytes: blockSizeBytes,
      clustersUsed: layout.control.total + layout.data.total,
      files: 0,
      directories: 0,
      problems: [],
    },
    sizeBytes: device.sizeBytes,
    blockSizeBytes,
    recordSizeBytes,
    codec: options.codec ?? "zstd",
    codecLevel: 1,
    checksumChunkBlocks: layout.chunkBlocks,
    sections: layout.sections,
    options: { includeDeleted: false },
  };
}

/** A new tape in `folder` that holds one image of `device`. */
export async function makeTestTape(
  folder: string,
  device: BlockDevice,
  options: ImageFixtureOptions,
): Promise<{ path: string; header: ImageHeader; written: WrittenImage }> {
  const path = join(folder, "test.tap");
  const drive = await openSimhTape(path, { mode: "write", create: true });
  try {
    return { path, ...(await writeTestImage(drive, device, options)) };
  } finally {
    await drive.close();
  }
}
