/** Blocks of a volume as they lie on the device, and reading them. */
import type { BlockDevice } from "../../device/block-device.ts";
import { ReelError } from "../../errors.ts";
import type { BlockMap } from "./block-map.ts";
import { settleAll } from "./fields.ts";
import type { VolumeParameters } from "./volume-table.ts";

/** A volume's blocks, as they can be read. */
export interface BlockSource {
  readonly device: BlockDevice;
  readonly map: BlockMap;
  readonly parameters: VolumeParameters;
  /** For messages: "volume SYS on disk.img". */
  readonly name: string;
}

/**
 * Reads blocks, in the order given, into `target`; neighbours are read together, the rest at the
 * same time. Throws "damaged" for a block that is not on the device, and what the device throws.
 */
export async function readBlocks(
  source: BlockSource,
  blocks: Uint32Array,
  target: Uint8Array,
): Promise<void> {
  const { device, map } = source;
  const { blockBytes } = map;
  const reads: Promise<void>[] = [];
  const pieces: [deviceOffset: number, from: number, length: number][] = [];
  let position = 0;
  for (let i = 0; i < blocks.length;) {
    const first = blocks[i] ?? 0;
    let count = 1;
    while (i + count < blocks.length && blocks[i + count] === first + count) count++;
    checkOnDevice(source, first, count);
    map.forEachExtent(first * blockBytes, count * blockBytes, (deviceOffset, lengthBytes) => {
      pieces.push([deviceOffset, position, lengthBytes]);
      position += lengthBytes;
    });
    i += count;
  }
  if (position !== blocks.length * blockBytes) {
    throw new ReelError("internal", `blocks of ${source.name} were mapped in part`);
  }
  for (const [deviceOffset, from, length] of pieces) {
    reads.push(device.read(deviceOffset, target.subarray(from, from + length)));
  }
  await settleAll(reads);
}

/** Throws "damaged" unless all of [block, block + count) exists and lies on the device. */
export function checkOnDevice(source: BlockSource, block: number, count: number): void {
  const { device, map, name } = source;
  if (block + count > map.blockCount) {
    throw new ReelError("damaged", `block ${block + count - 1} does not exist on ${name}`);
  }
  const { blockBytes } = map;
  map.forEachExtent(block * blockBytes, count * blockBytes, (deviceOffset, lengthBytes) => {
    if (deviceOffset + lengthBytes <= device.sizeBytes) return;
    throw new ReelError(
      "damaged",
      `blocks ${block} to ${block + count - 1} of ${name} lie beyond the end of ${device.name}`,
    );
  });
}
