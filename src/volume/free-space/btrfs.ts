/**
 * Free space of a Btrfs volume on one device, from the trees that `btrfs inspect-internal dump-tree`
 * prints.
 *
 * Files and trees have logical addresses. The extent tree names each stretch of them that is in use;
 * the chunk tree says where on the device a chunk of logical addresses lies, once or (DUP) twice.
 * So: take the extents, look in the chunks where they lie, and what is left of the device is free.
 * The bytes of all extents, and those of all chunks, must be exactly what the superblock counts.
 *
 * Outside the chunks lie the superblocks and the first MiB, where boot loaders live; they are kept.
 */
import { ExtentSet, ExtentSetBuilder } from "../../device/extents.ts";
import { ReelError } from "../../errors.ts";
import { type BtrfsSuperblock, readBtrfsSuperblock, SUPERBLOCK_BYTES } from "./btrfs-superblock.ts";
import type { AskTool } from "./free-space.ts";
import { readToolLines } from "./tool-lines.ts";

const RESERVED_BYTES = 1024 * 1024;
const CHUNKS_MAX = 1 << 20;
const EXTENTS_MAX = 1 << 24;

/** A chunk of logical addresses, and one place on the device where it lies. */
interface Stripe {
  readonly logical: number;
  readonly physical: number;
  readonly lengthBytes: number;
}

export const askBtrfs: AskTool = async (device, path, { progress, signal }) => {
  const superblock = await readBtrfsSuperblock(device);
  if (typeof superblock === "string") return { doubt: superblock };
  const dump = async (tree: string, onLine: (line: string) => boolean): Promise<void> => {
    const args = ["inspect-internal", "dump-tree", "--noscan", "--dfs", "-t", tree, path];
    await readToolLines({ command: "btrfs", args, onLine, signal });
  };
  progress?.({ phase: "asking btrfs what is in use", done: 0 });
  const chunks = new ChunkLines(superblock);
  await dump("chunk", (line) => chunks.line(line));
  const stripes = chunks.finish();
  const extents = new ExtentLines(superblock);
  await dump("extent", (line) => extents.line(line));
  const used = onDevice(extents.finish(), stripes);
  const again = await readBtrfsSuperblock(device);
  if (typeof again === "string" || !again.bytes.equals(superblock.bytes)) {
    return { doubt: "it was changed meanwhile" };
  }
  const kept = ExtentSet.from([
    [0, RESERVED_BYTES],
    ...superblock.copies.map((at) => [at, SUPERBLOCK_BYTES] as const),
  ]);
  const whole = ExtentSet.from([[0, superblock.volumeBytes]]);
  return { free: whole.subtract(used.union(kept)), tool: "btrfs" };
};

/** Takes the lines of the chunk tree: an item's key, then its length and type, then its stripes. */
class ChunkLines {
  readonly #superblock: BtrfsSuperblock;
  readonly #stripes: Stripe[] = [];
  #logical: number | undefined;
  #lengthBytes = 0;
  /** Stripes that are still to come of the chunk. */
  #expected = 0;

  constructor(superblock: BtrfsSuperblock) {
    this.#superblock = superblock;
  }

  /** Never has enough. @throws ReelError "io" for what is not expected */
  line(text: string): boolean {
    const item = /^\s*item \d+ key \((\S+) (\S+) (\d+)\)/.exec(text);
    if (item !== null) this.#item(item[2] ?? "", Number(item[3]));
    else if (this.#logical !== undefined) this.#member(this.#logical, text);
    return false;
  }

  #item(kind: string, offset: number): void {
    this.#endChunk();
    if (kind === "CHUNK_ITEM") this.#logical = offset;
    else if (kind !== "DEV_ITEM") throw disagreement(`its chunk tree has a ${kind}`);
  }

  #member(logical: number, text: string): void {
    const head = /^\s*length (\d+) owner \d+ stripe_len \d+ type (\S+)/.exec(text);
    if (head !== null) {
      const profile = head[2]?.split("|").find((word) => !/^(DATA|METADATA|SYSTEM)$/.test(word));
      if (profile !== undefined && profile !== "single" && profile !== "DUP") {
        throw disagreement(`it has chunks of the type ${profile}`);
      }
      this.#lengthBytes = Number(head[1]);
      this.#expected = profile === "DUP" ? 2 : 1;
    }
    const count = /^\s*num_stripes (\d+)/.exec(text);
    if (count !== null && Number(count[1]) !== this.#expected) {
      throw disagreement(`the chunk at ${logical} has ${Number(count[1])} stripes`);
    }
    const stripe = /^\s*stripe \d+ devid (\d+) offset (\d+)/.exec(text);
    if (stripe === null) return;
    if (Number(stripe[1]) !== this.#superblock.deviceId || this.#stripes.length >= CHUNKS_MAX) {
      throw disagreement(`the chunk at ${logical} is on device ${stripe[1] ?? ""}`);
    }
    this.#expected--;
    this.#stripes.push({ logical, physical: Number(stripe[2]), lengthBytes: this.#lengthBytes });
  }

  #endChunk(): void {
    if (this.#logical !== undefined && (this.#expected !== 0 || this.#lengthBytes === 0)) {
      throw disagreement(`the chunk at ${this.#logical} is not whole`);
    }
    this.#logical = undefined;
    this.#lengthBytes = 0;
  }

  /** In the order of the device. @throws ReelError "io" when the sum is not met */
  finish(): readonly Stripe[] {
    this.#endChunk();
    const { deviceUsedBytes, volumeBytes } = this.#superblock;
    const stripes = this.#stripes.sort((a, b) => a.physical - b.physical);
    let end = 0;
    let total = 0;
    for (const { physical, lengthBytes } of stripes) {
      if (physical < end) throw disagreement(`two chunks lie at ${physical} of the device`);
      end = physical + lengthBytes;
      total += lengthBytes;
    }
    if (total !== deviceUsedBytes || end > volumeBytes) {
      throw disagreement(
        `it lists chunks of ${total} bytes, and the superblock counts ${deviceUsedBytes}`,
      );
    }
    return stripes;
  }
}

/** Takes the lines of the extent tree: of all items only the keys of extents count. */
class ExtentLines {
  readonly #superblock: BtrfsSuperblock;
  readonly #used = new ExtentSetBuilder();
  #end = 0;
  #total = 0;
  #count = 0;

  constructor(superblock: BtrfsSuperblock) {
    this.#superblock = superblock;
  }

  /** Never has enough. @throws ReelError "io" for extents out of order */
  line(text: string): boolean {
    const at = text.indexOf(" key (");
    if (at < 0 || !text.startsWith("\titem ")) return false;
    const item = /^(\d+) (EXTENT_ITEM|METADATA_ITEM) (\d+)\)/.exec(text.slice(at + 6));
    if (item === null) return false;
    const start = Number(item[1]);
    // The key of the latter has the level of the tree block in place of its length.
    const isNode = item[2] === "METADATA_ITEM";
    const lengthBytes = isNode ? this.#superblock.nodeBytes : Number(item[3]);
    if (start < this.#end || ++this.#count > EXTENTS_MAX) {
      throw disagreement(`it lists the extent at ${start} out of order`);
    }
    this.#end = start + lengthBytes;
    this.#total += lengthBytes;
    this.#used.add(start, lengthBytes);
    return false;
  }

  /** Logical addresses. @throws ReelError "io" when the sum is not met */
  finish(): ExtentSet {
    const { usedBytes, rootTree, chunkTree } = this.#superblock;
    if (this.#total !== usedBytes) {
      throw disagreement(
        `it lists extents of ${this.#total} bytes, and the superblock counts ${usedBytes}`,
      );
    }
    const used = this.#used.build();
    for (const tree of [rootTree, chunkTree]) {
      if (!used.has(tree)) throw disagreement(`it does not list the tree at ${tree}`);
    }
    return used;
  }
}

/** Where on the device the extents lie. @throws ReelError "io" for one that is in no chunk */
function onDevice(extents: ExtentSet, stripes: readonly Stripe[]): ExtentSet {
  const used = new ExtentSetBuilder();
  for (const { logical, physical, lengthBytes } of stripes) {
    const end = logical + lengthBytes;
    for (let index = extents.indexFrom(logical); index < extents.length; index++) {
      const from = Math.max(logical, extents.startAt(index));
      const to = Math.min(end, extents.startAt(index) + extents.countAt(index));
      if (from >= to) break;
      used.add(physical + from - logical, to - from);
    }
  }
  const chunks = ExtentSet.from(stripes.map((each) => [each.logical, each.lengthBytes] as const));
  const [outside] = extents.subtract(chunks);
  if (outside !== undefined) throw disagreement(`the extent at ${outside[0]} is in no chunk`);
  return used.build();
}

function disagreement(what: string): ReelError {
  return new ReelError("io", `btrfs is not to be relied on here: ${what}`);
}
