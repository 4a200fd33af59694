/**
 * Blocks of a volume as they lie on the device, and reading them. Of a mirrored volume one member is
 * read; block by block, what cannot be read there is taken from another that is in sync.
 */
import type { BlockDevice } from "../../device/block-device.ts";
import { settleAll } from "../../device/settle-all.ts";
import { ReelError } from "../../errors.ts";
import type { BlockMap } from "./block-map.ts";
import type { VolumeProblem } from "../volume.ts";
import { isFaultOfCopy } from "./fields.ts";
import type { VolumeParameters } from "./volume-table.ts";

/** Of blocks beyond that many nothing is said. */
const FALLBACKS_MAX = 1000;

/** A volume's blocks, as they can be read. */
export interface BlockSource {
  readonly device: BlockDevice;
  readonly map: BlockMap;
  readonly parameters: VolumeParameters;
  /** For messages: "volume SYS on disk.img". */
  readonly name: string;
  /** The same by way of other members of mirrors. */
  readonly others: readonly BlockSource[];
  /** What was taken from another member, each block once. */
  readonly fallbacks: Map<number, VolumeProblem>;
}

/** `others` are the volume's maps by way of other members of its mirrors. */
export function makeSource(
  parts: Omit<BlockSource, "others" | "fallbacks">,
  others: readonly BlockMap[],
): BlockSource {
  const fallbacks = new Map<number, VolumeProblem>();
  const ofMember = (map: BlockMap): BlockSource => ({ ...parts, map, others: [], fallbacks });
  return { ...parts, others: others.map(ofMember), fallbacks };
}

/** Notes that another member of the mirror is read. */
export function noteFallback({ fallbacks }: BlockSource, block: number, fault: string): void {
  if (fallbacks.has(block) || fallbacks.size >= FALLBACKS_MAX) return;
  const message = `${fault}; the mirror's copy is used`;
  fallbacks.set(block, { where: `block ${block}`, message });
}

/**
 * Reads blocks, in the order given, into `target`; neighbours are read together, the rest at the
 * same time. Throws "damaged" for a block that is not on the device, and what the device throws;
 * both only when no other member of a mirror has the block.
 */
export async function readBlocks(
  source: BlockSource,
  blocks: Uint32Array,
  target: Uint8Array,
): Promise<void> {
  try {
    await readMember(source, blocks, target);
  } catch (error) {
    if (source.others.length === 0 || !isFaultOfCopy(error)) throw error;
    const { blockBytes } = source.map;
    for (let i = 0; i < blocks.length; i++) {
      const part = target.subarray(i * blockBytes, (i + 1) * blockBytes);
      await readFromAny(source, blocks.subarray(i, i + 1), part);
    }
  }
}

/** One block, from the first member that has it. */
async function readFromAny(
  source: BlockSource,
  block: Uint32Array,
  target: Uint8Array,
): Promise<void> {
  let fault: Error | undefined;
  for (const member of [source, ...source.others]) {
    try {
      await readMember(member, block, target);
      if (fault !== undefined) noteFallback(source, block[0] ?? 0, fault.message);
      return;
    } catch (error) {
      if (!isFaultOfCopy(error)) throw error;
      fault ??= error;
    }
  }
  if (fault !== undefined) throw fault;
}

async function readMember(
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
