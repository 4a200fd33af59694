/** Where the bytes of a file or a resource fork lie: whole blocks by the FAT, then a piece of a bin. */
import type { FileLayout } from "../volume.ts";
import type { ChainFound, Fat } from "./fat.ts";
import { NEXT_END } from "./fat-copy.ts";
import type { BlockSource } from "./block-source.ts";
import type { Suballocation } from "./suballocation.ts";

export interface DataParts {
  readonly source: BlockSource;
  readonly fat: Fat;
  readonly suballocation: Suballocation;
}

/** A layout, or what is wrong. */
export type LayoutFound = { readonly layout: FileLayout } | { readonly fault: string };

/**
 * Lays out `sizeBytes` from the pointer in a directory record on. Blocks that the chain leaves out
 * are holes. Throws what the device throws, save for faults of a copy of the FAT.
 */
export async function layOut(
  { source, fat, suballocation }: DataParts,
  firstBlock: number,
  sizeBytes: number,
): Promise<LayoutFound> {
  const builder = new LayoutBuilder(source, sizeBytes);
  if (sizeBytes === 0 || firstBlock === NEXT_END) return builder.finish();
  if (firstBlock === 0) return { fault: `it has ${sizeBytes} bytes but no first block` };
  const { blockBytes } = source.map;
  const recordBlocksMax = Math.ceil(sizeBytes / blockBytes);
  const chain = await fat.chain(firstBlock, { recordBlocksMax });
  if (chain.fault !== undefined) return { fault: chain.fault };
  builder.addBlocks(chain);
  if (chain.tail === undefined) return builder.finish();
  // What the piece is too short for is zeros, like everything after the last block.
  const tailStart = chain.endBlock * blockBytes;
  const wanted = Math.min(sizeBytes - tailStart, suballocation.lengthOf(chain.tail));
  let at = tailStart;
  const fault = await suballocation.locate(chain.tail, wanted, (block, offset, length) => {
    builder.add(at, block * blockBytes + offset, length);
    at += length;
  });
  return fault === undefined ? builder.finish() : { fault };
}

/** Collects stretches of the volume as runs of the device. */
class LayoutBuilder {
  readonly #source: BlockSource;
  readonly #sizeBytes: number;
  #runs = new Float64Array(3 * 4);
  #length = 0;
  #fault: string | undefined;

  constructor(source: BlockSource, sizeBytes: number) {
    this.#source = source;
    this.#sizeBytes = sizeBytes;
  }

  addBlocks({ fileBlocks, blocks, counts }: ChainFound): void {
    const { blockBytes } = this.#source.map;
    for (let i = 0; i < blocks.length; i++) {
      const length = (counts[i] ?? 0) * blockBytes;
      this.add((fileBlocks[i] ?? 0) * blockBytes, (blocks[i] ?? 0) * blockBytes, length);
    }
  }

  /** Adds a stretch of the volume as far as it is inside the file. */
  add(fileOffset: number, volumeOffset: number, lengthBytes: number): void {
    const { device, map, name } = this.#source;
    const needed = Math.min(lengthBytes, this.#sizeBytes - fileOffset);
    let at = fileOffset;
    map.forEachExtent(volumeOffset, needed, (deviceOffset, length) => {
      if (deviceOffset + length > device.sizeBytes) {
        const block = Math.floor((volumeOffset + at - fileOffset) / map.blockBytes);
        this.#fault ??= `its block ${block} of ${name} lies beyond the end of ${device.name}`;
      }
      this.#append(at, deviceOffset, length);
      at += length;
    });
  }

  finish(): LayoutFound {
    if (this.#fault !== undefined) return { fault: this.#fault };
    const column = (which: number) =>
      Float64Array.from({ length: this.#length }, (_, run) => this.#runs[run * 3 + which] ?? 0);
    const layout = {
      sizeBytes: this.#sizeBytes,
      length: this.#length,
      fileOffsets: column(0),
      deviceOffsets: column(1),
      lengths: column(2),
      direct: true,
    };
    return { layout };
  }

  #append(fileOffset: number, deviceOffset: number, length: number): void {
    const last = (this.#length - 1) * 3;
    if (last >= 0) {
      const lastLength = this.#runs[last + 2] ?? 0;
      const follows = (this.#runs[last] ?? 0) + lastLength === fileOffset;
      if (follows && (this.#runs[last + 1] ?? 0) + lastLength === deviceOffset) {
        this.#runs[last + 2] = lastLength + length;
        return;
      }
    }
    const at = this.#length * 3;
    if (at === this.#runs.length) {
      const grown = new Float64Array(at * 2);
      grown.set(this.#runs);
      this.#runs = grown;
    }
    this.#runs[at] = fileOffset;
    this.#runs[at + 1] = deviceOffset;
    this.#runs[at + 2] = length;
    this.#length++;
  }
}
