/**
 * Makes exFAT volumes in memory, sound ones and the odd and broken ones that mkfs will not make.
 * The layout is written from the specification, on its own, not with the reader's constants;
 * fsck.exfat is asked whether what comes out is an exFAT volume.
 */

export interface ExfatShape {
  /** 9 to 12. */
  readonly sectorShift?: number;
  readonly sectorsPerClusterShift?: number;
  readonly clusters: number;
  /** 2: TexFAT. */
  readonly fatCount?: 1 | 2;
  readonly activeFat?: 0 | 1;
  readonly label?: string;
  /** 16 bytes. */
  readonly guid?: readonly number[];
  readonly serial?: number;
  readonly volumeFlags?: number;
  readonly percentInUse?: number;
  readonly revision?: number;
}

export interface FileOptions {
  /** Clusters for the contents, in order, with a chain; the next free ones in a row otherwise. */
  readonly clusters?: readonly number[];
  /** Bytes from here on are not written: what lies there is 0xEE on the volume. */
  readonly validBytes?: number;
  readonly attributes?: number;
  /** Time stamps as they stand in the entry; 10 ms parts; UTC offsets. */
  readonly created?: readonly [stamp: number, tenMs: number, utcOffset: number];
  readonly modified?: readonly [stamp: number, tenMs: number, utcOffset: number];
  readonly accessed?: readonly [stamp: number, utcOffset: number];
  /** Entries added to the set, 32 bytes each. */
  readonly extra?: readonly Uint8Array[];
  readonly isDeleted?: boolean;
  /** Changes the set before its checksum is made, or after. */
  readonly beforeChecksum?: (set: Buffer) => void;
  readonly afterChecksum?: (set: Buffer) => void;
}

export interface FolderOptions extends FileOptions {
  /** Room for entries without a chain; with `clusters` it is theirs. */
  readonly isChained?: boolean;
}

interface Child {
  readonly bytes: number;
  readonly make: () => Buffer;
}

export interface BuiltExfatFolder {
  readonly children: Child[];
  readonly isChained: boolean;
  clusters: readonly number[];
}

const ENTRY = 32;
const END = 0xffffffff;
export const BAD = 0xfffffff7;
export const STAMP_2001 = ((2001 - 1980) << 25) | (2 << 21) | (3 << 16) | (4 << 11) | (5 << 5) | 3;

export class ExfatBuilder {
  readonly shape: ExfatShape;
  readonly sectorBytes: number;
  readonly clusterBytes: number;
  readonly fatSector = 24;
  readonly fatSectors: number;
  readonly heapSector: number;
  readonly totalSectors: number;
  readonly fatCount: number;
  /** FAT entries by cluster. */
  readonly fat = new Map<number, number>();
  /** Clusters that the bitmap marks. */
  readonly marked = new Set<number>();
  readonly root: BuiltExfatFolder;
  readonly bitmapClusters: readonly number[];
  readonly upCaseClusters: readonly number[];
  readonly #contents = new Map<number, Uint8Array>();
  readonly #folders: BuiltExfatFolder[] = [];
  #nextFree = 2;

  constructor(shape: ExfatShape) {
    this.shape = shape;
    this.sectorBytes = 1 << (shape.sectorShift ?? 9);
    this.clusterBytes = this.sectorBytes << (shape.sectorsPerClusterShift ?? 0);
    this.fatCount = shape.fatCount ?? 1;
    this.fatSectors = Math.ceil(((shape.clusters + 2) * 4) / this.sectorBytes);
    this.heapSector = this.fatSector + this.fatCount * this.fatSectors;
    const perCluster = this.clusterBytes / this.sectorBytes;
    this.totalSectors = this.heapSector + shape.clusters * perCluster;
    this.fat.set(0, 0xfffffff8);
    this.fat.set(1, END);
    const upCase = upCaseTable();
    const bitmapBytes = Math.ceil(shape.clusters / 8);
    this.bitmapClusters = this.allocate(this.#needs(bitmapBytes));
    this.chain(this.bitmapClusters);
    const second = this.fatCount === 2 ? this.allocate(this.#needs(bitmapBytes)) : [];
    this.chain(second);
    this.upCaseClusters = this.allocate(this.#needs(upCase.length));
    this.chain(this.upCaseClusters);
    this.#write(this.upCaseClusters, upCase, upCase.length);
    this.root = { children: [], isChained: true, clusters: this.allocate(1) };
    this.#folders.push(this.root);
    this.#addSystemEntries(bitmapBytes, second, upCase);
  }

  /** Bytes of the whole volume. */
  get sizeBytes(): number {
    return this.totalSectors * this.sectorBytes;
  }

  clusterOffset(cluster: number): number {
    return this.heapSector * this.sectorBytes + (cluster - 2) * this.clusterBytes;
  }

  fatOffset(fatIndex = 0): number {
    return (this.fatSector + fatIndex * this.fatSectors) * this.sectorBytes;
  }

  /** The next clusters in a row that were not given out, marked in the bitmap. */
  allocate(count: number): number[] {
    const clusters = Array.from({ length: count }, () => this.#nextFree++);
    for (const cluster of clusters) this.marked.add(cluster);
    return clusters;
  }

  /** Passes over clusters, so that what follows does not touch what went before. */
  leaveFree(count: number): void {
    this.#nextFree += count;
  }

  chain(clusters: readonly number[]): void {
    clusters.forEach((cluster, index) => this.fat.set(cluster, clusters[index + 1] ?? END));
  }

  setCluster(cluster: number, contents: Uint8Array): void {
    this.#contents.set(cluster, contents);
  }

  addEntry(folder: BuiltExfatFolder, entry: Uint8Array): void {
    folder.children.push({ bytes: entry.length, make: () => Buffer.from(entry) });
  }

  /** Adds a file; returns its clusters. */
  addFile(
    folder: BuiltExfatFolder,
    name: string,
    contents: Uint8Array,
    options: FileOptions = {},
  ): readonly number[] {
    const clusters = options.clusters ?? this.allocate(this.#needs(contents.length));
    if (options.clusters !== undefined) this.chain(clusters);
    const validBytes = options.validBytes ?? contents.length;
    this.#write(clusters, contents, validBytes);
    if (options.isDeleted === true) {
      for (const cluster of clusters) this.marked.delete(cluster);
    }
    const stream = {
      firstCluster: clusters[0] ?? 0,
      sizeBytes: contents.length,
      validBytes,
      isContiguous: options.clusters === undefined && clusters.length > 0,
    };
    const set = entrySet(name, { attributes: 0x20, ...options }, stream);
    folder.children.push({ bytes: set.length, make: () => set });
    return clusters;
  }

  addFolder(folder: BuiltExfatFolder, name: string, options: FolderOptions = {}): BuiltExfatFolder {
    const isChained = options.isChained ?? options.clusters !== undefined;
    const made: BuiltExfatFolder = { children: [], isChained, clusters: options.clusters ?? [] };
    this.#folders.push(made);
    const make = () => {
      const sizeBytes = made.clusters.length * this.clusterBytes;
      const firstCluster = made.clusters[0] ?? 0;
      const stream = { firstCluster, sizeBytes, validBytes: sizeBytes, isContiguous: !isChained };
      return entrySet(name, { attributes: 0x10, ...options }, stream);
    };
    folder.children.push({ bytes: setBytes(name, options), make });
    return made;
  }

  build(): Uint8Array<ArrayBuffer> {
    for (const folder of this.#folders) this.#placeFolder(folder);
    for (const folder of this.#folders) {
      const entries = Buffer.concat(folder.children.map(({ make }) => make()));
      const room = Buffer.alloc(folder.clusters.length * this.clusterBytes);
      entries.copy(room);
      this.#write(folder.clusters, room, room.length);
    }
    this.#writeBitmaps();
    const volume = Buffer.alloc(this.sizeBytes);
    this.#writeBoot(volume);
    for (let index = 0; index < this.fatCount; index++) {
      for (const [cluster, value] of this.fat) {
        volume.writeUInt32LE(value, this.fatOffset(index) + cluster * 4);
      }
    }
    for (const [cluster, contents] of this.#contents) {
      volume.set(contents.subarray(0, this.clusterBytes), this.clusterOffset(cluster));
    }
    return new Uint8Array(volume.buffer, volume.byteOffset, volume.length);
  }

  #needs(bytes: number): number {
    return Math.ceil(bytes / this.clusterBytes);
  }

  #placeFolder(folder: BuiltExfatFolder): void {
    const bytes = folder.children.reduce((sum, child) => sum + child.bytes, 0);
    const needed = Math.max(1, this.#needs(bytes));
    if (folder.isChained) {
      const more = Math.max(0, needed - folder.clusters.length);
      folder.clusters = [...folder.clusters, ...this.allocate(more)];
      this.chain(folder.clusters);
    } else if (folder.clusters.length === 0) {
      folder.clusters = this.allocate(needed);
    }
  }

  /** Bytes up to `validBytes`, and what nobody has written after them. */
  #write(clusters: readonly number[], contents: Uint8Array, validBytes: number): void {
    clusters.forEach((cluster, index) => {
      const from = index * this.clusterBytes;
      const bytes = Buffer.alloc(this.clusterBytes, 0xee);
      bytes.set(contents.subarray(from, Math.max(from, Math.min(from + bytes.length, validBytes))));
      this.#contents.set(cluster, bytes);
    });
  }

  #addSystemEntries(bitmapBytes: number, second: readonly number[], upCase: Uint8Array): void {
    const { label, guid } = this.shape;
    const labelEntry = Buffer.alloc(ENTRY);
    labelEntry[0] = label === undefined ? 0x03 : 0x83;
    labelEntry[1] = label?.length ?? 0;
    labelEntry.write(label ?? "", 2, "utf16le");
    this.addEntry(this.root, labelEntry);
    for (const [index, clusters] of [this.bitmapClusters, second].entries()) {
      if (clusters.length === 0) continue;
      const entry = clustersEntry(0x81, clusters[0] ?? 0, bitmapBytes);
      entry[1] = index;
      this.addEntry(this.root, entry);
    }
    const table = clustersEntry(0x82, this.upCaseClusters[0] ?? 0, upCase.length);
    table.writeUInt32LE(sum32(upCase), 4);
    this.addEntry(this.root, table);
    if (guid === undefined) return;
    const guidEntry = Buffer.alloc(ENTRY);
    guidEntry[0] = 0xa0;
    guidEntry.set(guid, 6);
    guidEntry.writeUInt16LE(sum16(guidEntry), 2);
    this.addEntry(this.root, guidEntry);
  }

  #writeBitmaps(): void {
    const bitmap = Buffer.alloc(Math.ceil(this.shape.clusters / 8));
    for (const cluster of this.marked) {
      const bit = cluster - 2;
      bitmap[bit >>> 3] = (bitmap[bit >>> 3] ?? 0) | (1 << (bit & 7));
    }
    const active = this.shape.activeFat ?? 0;
    const places = [this.bitmapClusters];
    if (this.fatCount === 2) {
      const first = this.bitmapClusters.length + 2;
      places.push(this.bitmapClusters.map((_, index) => first + index));
    }
    // The bitmap that is not in use is an old one: empty.
    places.forEach((clusters, index) => {
      this.#write(clusters, index === active ? bitmap : Buffer.alloc(bitmap.length), bitmap.length);
    });
  }

  #writeBoot(volume: Buffer): void {
    const { shape, sectorBytes } = this;
    const boot = volume.subarray(0, 12 * sectorBytes);
    boot.set([0xeb, 0x76, 0x90]);
    boot.write("EXFAT   ", 3, "latin1");
    boot.writeBigUInt64LE(BigInt(this.totalSectors), 72);
    boot.writeUInt32LE(this.fatSector, 80);
    boot.writeUInt32LE(this.fatSectors, 84);
    boot.writeUInt32LE(this.heapSector, 88);
    boot.writeUInt32LE(shape.clusters, 92);
    boot.writeUInt32LE(this.root.clusters[0] ?? 0, 96);
    boot.writeUInt32LE(shape.serial ?? 0x1a2b3c4d, 100);
    boot.writeUInt16LE(shape.revision ?? 0x0100, 104);
    boot.writeUInt16LE((shape.volumeFlags ?? 0) | (shape.activeFat ?? 0), 106);
    boot[108] = shape.sectorShift ?? 9;
    boot[109] = shape.sectorsPerClusterShift ?? 0;
    boot[110] = this.fatCount;
    boot[111] = 0x80;
    boot[112] = shape.percentInUse ?? 0xff;
    boot.writeUInt16LE(0xaa55, 510);
    for (let sector = 1; sector <= 8; sector++) {
      boot.writeUInt32LE(0xaa550000, (sector + 1) * sectorBytes - 4);
    }
    sealBoot(boot, sectorBytes);
    volume.copyWithin(12 * sectorBytes, 0, 12 * sectorBytes);
  }
}

/** Fills the checksum sector of a boot region. */
export function sealBoot(region: Uint8Array, sectorBytes: number): void {
  let sum = 0;
  for (let at = 0; at < 11 * sectorBytes; at++) {
    if (at === 106 || at === 107 || at === 112) continue;
    sum = (((sum << 31) | (sum >>> 1)) + (region[at] ?? 0)) >>> 0;
  }
  const view = new DataView(region.buffer, region.byteOffset, region.byteLength);
  for (let at = 11 * sectorBytes; at < 12 * sectorBytes; at += 4) view.setUint32(at, sum, true);
}

/** An entry that has clusters, of any type. */
export function clustersEntry(type: number, firstCluster: number, sizeBytes: number): Buffer {
  const entry = Buffer.alloc(ENTRY);
  entry[0] = type;
  entry.writeUInt32LE(firstCluster, 20);
  entry.writeBigUInt64LE(BigInt(sizeBytes), 24);
  return entry;
}

interface Stream {
  readonly firstCluster: number;
  readonly sizeBytes: number;
  readonly validBytes: number;
  readonly isContiguous: boolean;
}

function setBytes(name: string, options: FileOptions): number {
  return (2 + Math.ceil(name.length / 15) + (options.extra?.length ?? 0)) * ENTRY;
}

function entrySet(name: string, options: FileOptions, stream: Stream): Buffer {
  const extra = options.extra ?? [];
  const set = Buffer.alloc(setBytes(name, options));
  const [created, createdTenMs, createdUtc] = options.created ?? [STAMP_2001, 0, 0x80];
  const [modified, modifiedTenMs, modifiedUtc] = options.modified ?? [STAMP_2001, 0, 0x80];
  const [accessed, accessedUtc] = options.accessed ?? [STAMP_2001, 0x80];
  set[0] = 0x85;
  set[1] = set.length / ENTRY - 1;
  set.writeUInt16LE(options.attributes ?? 0, 4);
  set.writeUInt32LE(created, 8);
  set.writeUInt32LE(modified, 12);
  set.writeUInt32LE(accessed, 16);
  set.set([createdTenMs, modifiedTenMs, createdUtc, modifiedUtc, accessedUtc], 20);
  const at = ENTRY;
  set[at] = 0xc0;
  set[at + 1] = stream.isContiguous ? 3 : 1;
  set[at + 3] = name.length;
  set.writeUInt16LE(nameHash(name), at + 4);
  set.writeBigUInt64LE(BigInt(stream.validBytes), at + 8);
  set.writeUInt32LE(stream.firstCluster, at + 20);
  set.writeBigUInt64LE(BigInt(stream.sizeBytes), at + 24);
  for (let i = 0; i * 15 < name.length; i++) {
    set[(2 + i) * ENTRY] = 0xc1;
    set.write(name.slice(i * 15, i * 15 + 15), (2 + i) * ENTRY + 2, "utf16le");
  }
  extra.forEach((entry, index) => {
    set.set(entry, set.length - (extra.length - index) * ENTRY);
  });
  options.beforeChecksum?.(set);
  set.writeUInt16LE(sum16(set), 2);
  options.afterChecksum?.(set);
  if (options.isDeleted === true) {
    for (let i = 0; i < set.length; i += ENTRY) set[i] = (set[i] ?? 0) & 0x7f;
  }
  return set;
}

function sum16(set: Uint8Array): number {
  let sum = 0;
  set.forEach((byte, index) => {
    if (index !== 2 && index !== 3) sum = (((sum << 15) | (sum >>> 1)) + byte) & 0xffff;
  });
  return sum;
}

function sum32(bytes: Uint8Array): number {
  let sum = 0;
  for (const byte of bytes) sum = (((sum << 31) | (sum >>> 1)) + byte) >>> 0;
  return sum;
}

function upperUnit(unit: number): number {
  const upper = String.fromCharCode(unit).toUpperCase();
  const isKept = upper.length !== 1 || (unit > 0x7f && upper.charCodeAt(0) <= 0x7f);
  return isKept ? unit : upper.charCodeAt(0);
}

function nameHash(name: string): number {
  let hash = 0;
  for (let i = 0; i < name.length; i++) {
    const unit = upperUnit(name.charCodeAt(i));
    for (const byte of [unit & 0xff, unit >>> 8]) {
      hash = (((hash << 15) | (hash >>> 1)) + byte) & 0xffff;
    }
  }
  return hash;
}

/** One unit for each of 65,536; runs that stand for themselves as FFFF and their number. */
export function upCaseTable(): Uint8Array {
  const units: number[] = [];
  for (let unit = 0; unit < 0x10000;) {
    let run = 0;
    while (unit + run < 0x10000 && upperUnit(unit + run) === unit + run) run++;
    if (run > 2 && unit >= 0x80) {
      const length = Math.min(run, 0xffff);
      units.push(0xffff, length);
      unit += length;
    } else {
      units.push(upperUnit(unit++));
    }
  }
  const bytes = Buffer.alloc(units.length * 2);
  units.forEach((unit, index) => bytes.writeUInt16LE(unit, index * 2));
  return bytes;
}
