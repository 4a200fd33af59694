/**
 * A Volume from a literal, on a device in memory, for tests of what lies on volumes: files in
 * fragments that are out of order on the device, zeros left out as holes, FAT-like names if asked.
 */
import { MemoryDevice } from "../../src/device/memory-device.ts";
import { ExtentSet } from "../../src/device/extents.ts";
import { ReelError } from "../../src/errors.ts";
import type {
  FileLayout,
  NodeId,
  NodeStat,
  Volume,
  VolumeEntry,
  VolumeInfo,
} from "../../src/volume/volume.ts";
import type { LiteralNode, TreeLiteral } from "./memory-tree.ts";
import { countNames, directory, literalNode, literalStat } from "./memory-tree.ts";

const CLUSTER_BYTES = 512;

export interface MemoryVolumeOptions {
  /** Default: case matters. */
  readonly foldName?: (name: string) => string;
  /** 8.3 names by long name. */
  readonly shortNames?: Readonly<Record<string, string>>;
  /** Clusters in one run of a file. Default 3. */
  readonly runClusters?: number;
  /** Files are read by the volume, not through their layout. */
  readonly encoded?: boolean;
}

/** A device that counts its reads, and can make them wait. */
export class CountingDevice extends MemoryDevice {
  reads = 0;
  bytes = 0;

  protected override async readRange(offsetBytes: number, target: Uint8Array): Promise<void> {
    this.reads++;
    this.bytes += target.length;
    await super.readRange(offsetBytes, target);
  }
}

interface VolumeNode {
  readonly literal: LiteralNode;
  readonly stat: NodeStat;
  readonly entries: VolumeEntry[];
  layout: FileLayout | undefined;
}

export class MemoryVolume implements Volume {
  readonly info: VolumeInfo;
  readonly rootId: NodeId;
  readonly device: CountingDevice;
  directoryReads = 0;
  layoutReads = 0;
  isClosed = false;
  readonly read?: NonNullable<Volume["read"]>;
  readonly #nodes = new Map<NodeId, VolumeNode>();
  readonly #options: MemoryVolumeOptions;
  readonly #names: ReadonlyMap<LiteralNode, number>;
  readonly #linked = new Map<LiteralNode, NodeId>();
  /** Contents of the device, collected while it is laid out; cluster 0 is never a file's. */
  readonly #clusters: Uint8Array[] = [new Uint8Array(CLUSTER_BYTES).fill(0xee)];

  constructor(literal: TreeLiteral, options: MemoryVolumeOptions = {}) {
    this.#options = options;
    this.#names = countNames(literal);
    this.rootId = this.#add("", directory(literal)).stat.id;
    this.device = new CountingDevice(Buffer.concat(this.#clusters), { name: "memory volume" });
    this.info = {
      kind: "memory",
      label: "MEMORY",
      serial: "0000-0000",
      blockSizeBytes: CLUSTER_BYTES,
      blockCount: this.#clusters.length,
      clusterSizeBytes: CLUSTER_BYTES,
      clusterCount: this.#clusters.length + 10,
      caseSensitive: options.foldName === undefined,
      nameMaxBytes: 255,
      details: {},
    };
    if (options.encoded === true) this.read = async (...args) => this.#readEncoded(...args);
  }

  async survey(): Promise<never> {
    throw new ReelError("unsupported", `no survey of a memory volume (${ExtentSet.empty.total})`);
  }

  async readDirectory(id: NodeId): Promise<readonly VolumeEntry[]> {
    const node = this.#node(id);
    if (node.stat.kind !== "directory") throw new ReelError("not-a-directory", `node ${id}`);
    this.directoryReads++;
    return node.entries;
  }

  async stat(id: NodeId): Promise<NodeStat> {
    return this.#node(id).stat;
  }

  async layout(id: NodeId): Promise<FileLayout> {
    const { layout, literal } = this.#node(id);
    this.layoutReads++;
    if (literal.attributes.failure !== undefined) throw literal.attributes.failure;
    if (layout === undefined) throw new ReelError("invalid", `node ${id} is no file`);
    return layout;
  }

  async readLink(id: NodeId): Promise<string> {
    const { literal } = this.#node(id);
    if (literal.kind !== "symlink") throw new ReelError("invalid", `node ${id} is no symlink`);
    return Buffer.from(literal.content).toString();
  }

  async xattrs(id: NodeId): Promise<ReadonlyMap<string, Uint8Array>> {
    const xattrs = Object.entries(this.#node(id).literal.attributes.xattrs ?? {});
    return new Map(xattrs.map(([name, value]) => [name, Buffer.from(value)]));
  }

  foldName(name: string): string {
    return this.#options.foldName?.(name) ?? name;
  }

  async freeClusters(): Promise<number> {
    return 10;
  }

  async close(): Promise<void> {
    this.isClosed = true;
  }

  async #readEncoded(id: NodeId, offsetBytes: number, target: Uint8Array): Promise<number> {
    const part = this.#node(id).literal.content.subarray(offsetBytes, offsetBytes + target.length);
    target.set(part);
    return part.length;
  }

  #node(id: NodeId): VolumeNode {
    const node = this.#nodes.get(id);
    if (node === undefined) throw new ReelError("not-found", `no node ${id} on the memory volume`);
    return node;
  }

  #add(name: string, literal: LiteralNode): VolumeEntry {
    const known = this.#nodes.get(this.#linked.get(literal) ?? -1);
    const shortName = this.#options.shortNames?.[name];
    if (known !== undefined) return { name, stat: known.stat, shortName };
    const id = this.#nodes.size + 10;
    this.#linked.set(literal, id);
    const stat = literalStat(id, literal, this.#names.get(literal) ?? 1);
    const entries: VolumeEntry[] = [];
    const layout = literal.kind === "file" ? this.#layOut(literal.content) : undefined;
    this.#nodes.set(id, { literal, stat, entries, layout });
    for (const [childName, child] of Object.entries(literal.children)) {
      entries.push(this.#add(childName, literalNode(child)));
    }
    return { name, stat, shortName };
  }

  /** Runs of a few clusters; the runs of a file lie in falling order on the device. */
  #layOut(content: Uint8Array): FileLayout {
    const runBytes = (this.#options.runClusters ?? 3) * CLUSTER_BYTES;
    const offsets: number[] = [];
    for (let at = 0; at < content.length; at += runBytes) {
      if (content.subarray(at, at + runBytes).some((byte) => byte !== 0)) offsets.push(at);
    }
    const deviceOffsets = new Float64Array(offsets.length);
    for (let run = offsets.length - 1; run >= 0; run--) {
      const at = offsets[run] ?? 0;
      deviceOffsets[run] = this.#clusters.length * CLUSTER_BYTES;
      const end = Math.min(at + runBytes, content.length);
      for (let from = at; from < end; from += CLUSTER_BYTES) {
        const cluster = new Uint8Array(CLUSTER_BYTES).fill(0xdd);
        cluster.set(content.subarray(from, Math.min(from + CLUSTER_BYTES, end)));
        this.#clusters.push(cluster);
      }
    }
    return {
      sizeBytes: content.length,
      length: offsets.length,
      fileOffsets: Float64Array.from(offsets),
      deviceOffsets,
      lengths: Float64Array.from(offsets, (at) => Math.min(runBytes, content.length - at)),
      direct: this.#options.encoded !== true,
    };
  }
}
