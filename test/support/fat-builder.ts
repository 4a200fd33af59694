/**
 * Makes FAT volumes in memory, sound ones and all the odd and broken ones that mkfs will not make.
 * The layout is written from the specification, on its own, not with the reader's constants.
 */

export interface FatShape {
  readonly bits: 12 | 16 | 32;
  readonly bytesPerSector?: number;
  readonly sectorsPerCluster?: number;
  readonly fatCount?: number;
  readonly reservedSectors?: number;
  readonly rootEntries?: number;
  readonly clusters: number;
  readonly sectorsPerFat?: number;
  /** Three bytes; EB 3C 90 unless said otherwise. */
  readonly jump?: readonly number[];
  /** False: no 55 AA at the end of the boot sector. */
  readonly bootSignature?: boolean;
  /** FAT32: only this FAT (from 0) is kept up to date. */
  readonly activeFat?: number;
  readonly label?: string;
  readonly serial?: number;
}

export interface EntryOptions {
  readonly long?: string | readonly number[];
  readonly attributes?: number;
  readonly ntCase?: number;
  /** [date, time, ten ms] as they stand in the entry. */
  readonly created?: readonly [number, number, number];
  readonly modified?: readonly [number, number];
  readonly accessed?: number;
  readonly deleted?: boolean;
  /** The checksum that the long-name slots carry; the right one unless said otherwise. */
  readonly checksum?: number;
  /** Size in the entry, where it is not that of the contents. */
  readonly sizeBytes?: number;
  /** First cluster in the entry, where it is not the one the contents went to. */
  readonly firstCluster?: number;
  /** Clusters for the contents, in order; the next free ones unless said otherwise. */
  readonly clusters?: readonly number[];
}

export interface BuiltFolder {
  readonly firstCluster: number;
  readonly slots: Buffer[];
  readonly clusters: readonly number[];
}

export class FatBuilder {
  readonly shape: Required<Omit<FatShape, "activeFat" | "label" | "serial">> & FatShape;
  readonly root: BuiltFolder;
  readonly clusterBytes: number;
  readonly dataSector: number;
  readonly totalSectors: number;
  /** FAT entries by cluster; what is not here is free. */
  readonly entries = new Map<number, number>();
  readonly #contents = new Map<number, Uint8Array>();
  readonly #folders: BuiltFolder[] = [];
  #nextFree = 2;

  constructor(shape: FatShape) {
    const bytesPerSector = shape.bytesPerSector ?? 512;
    const bits = shape.bits;
    this.shape = {
      ...shape,
      bytesPerSector,
      sectorsPerCluster: shape.sectorsPerCluster ?? 1,
      fatCount: shape.fatCount ?? 2,
      reservedSectors: shape.reservedSectors ?? (bits === 32 ? 32 : 1),
      rootEntries: bits === 32 ? 0 : (shape.rootEntries ?? 512),
      sectorsPerFat:
        shape.sectorsPerFat ?? Math.ceil(((shape.clusters + 2) * bits) / 8 / bytesPerSector),
      jump: shape.jump ?? [0xeb, 0x3c, 0x90],
      bootSignature: shape.bootSignature ?? true,
    };
    const { sectorsPerCluster, fatCount, reservedSectors, rootEntries, sectorsPerFat } = this.shape;
    this.clusterBytes = sectorsPerCluster * bytesPerSector;
    const rootSectors = Math.ceil((rootEntries * 32) / bytesPerSector);
    this.dataSector = reservedSectors + fatCount * sectorsPerFat + rootSectors;
    this.totalSectors = this.dataSector + shape.clusters * sectorsPerCluster;
    const clusters = bits === 32 ? this.allocate(1) : [];
    this.root = { firstCluster: clusters[0] ?? 0, slots: [], clusters };
    this.#folders.push(this.root);
    this.entries.set(0, (bits === 32 ? 0x0ffffff0 : 0) | this.endMark);
    this.entries.set(1, this.endMark);
  }

  get endMark(): number {
    return { 12: 0xfff, 16: 0xffff, 32: 0x0fffffff }[this.shape.bits];
  }

  get badMark(): number {
    return { 12: 0xff7, 16: 0xfff7, 32: 0x0ffffff7 }[this.shape.bits];
  }

  /** Offset of a cluster on the volume. */
  clusterOffset(cluster: number): number {
    return this.dataSector * this.shape.bytesPerSector + (cluster - 2) * this.clusterBytes;
  }

  /** Takes the next clusters that were not given out and chains them. */
  allocate(count: number): number[] {
    const clusters = Array.from({ length: count }, () => this.#nextFree++);
    this.chain(clusters);
    return clusters;
  }

  /** Chains these clusters, with an end mark at the last. */
  chain(clusters: readonly number[]): void {
    clusters.forEach((cluster, index) => {
      this.entries.set(cluster, clusters[index + 1] ?? this.endMark);
    });
  }

  setCluster(cluster: number, contents: Uint8Array): void {
    this.#contents.set(cluster, contents);
  }

  /** Adds a file; returns its clusters. `short` is "NAME.EXT", in Latin-1 bytes. */
  addFile(
    folder: BuiltFolder,
    short: string,
    contents: Uint8Array,
    options: EntryOptions = {},
  ): readonly number[] {
    const needed = Math.ceil(contents.length / this.clusterBytes);
    const clusters = options.clusters ?? this.allocate(needed);
    if (options.clusters !== undefined) this.chain(clusters);
    clusters.forEach((cluster, index) => {
      this.setCluster(cluster, contents.subarray(index * this.clusterBytes));
    });
    if (options.deleted === true) for (const cluster of clusters) this.entries.delete(cluster);
    this.addEntry(folder, short, {
      sizeBytes: contents.length,
      firstCluster: clusters[0] ?? 0,
      ...options,
    });
    return clusters;
  }

  addFolder(
    parent: BuiltFolder,
    short: string,
    options: EntryOptions & { readonly parentCluster?: number; readonly length?: number } = {},
  ): BuiltFolder {
    const clusters = options.clusters ?? this.allocate(options.length ?? 1);
    if (options.clusters !== undefined) this.chain(clusters);
    const folder: BuiltFolder = { firstCluster: clusters[0] ?? 0, slots: [], clusters };
    const up = options.parentCluster ?? (parent === this.root ? 0 : parent.firstCluster);
    folder.slots.push(
      shortEntry(".".padEnd(11), { attributes: 0x10, firstCluster: folder.firstCluster }),
      shortEntry("..".padEnd(11), { attributes: 0x10, firstCluster: up }),
    );
    this.#folders.push(folder);
    if (options.deleted === true) for (const cluster of clusters) this.entries.delete(cluster);
    this.addEntry(parent, short, {
      attributes: 0x10,
      firstCluster: folder.firstCluster,
      ...options,
      sizeBytes: 0,
    });
    return folder;
  }

  /** Adds the slots of an entry and nothing else. */
  addEntry(folder: BuiltFolder, short: string, options: EntryOptions): void {
    const name = paddedName(short);
    if (options.long !== undefined) {
      const checksum = options.checksum ?? checksumOf(name);
      folder.slots.push(...longSlots(unitsOf(options.long), checksum, options.deleted === true));
    }
    folder.slots.push(shortEntry(name, options));
  }

  build(): Uint8Array<ArrayBuffer> {
    const { bytesPerSector, reservedSectors, fatCount, sectorsPerFat } = this.shape;
    const volume = Buffer.alloc(this.totalSectors * bytesPerSector);
    this.#writeBoot(volume, 0);
    if (this.shape.bits === 32 && reservedSectors > 7) {
      this.#writeFsInfo(volume, bytesPerSector);
      this.#writeBoot(volume, 6 * bytesPerSector);
      this.#writeFsInfo(volume, 7 * bytesPerSector);
    }
    for (let fat = 0; fat < fatCount; fat++) {
      if (this.shape.activeFat !== undefined && fat !== this.shape.activeFat) continue;
      this.#writeFat(volume, (reservedSectors + fat * sectorsPerFat) * bytesPerSector);
    }
    for (const [cluster, contents] of this.#contents) {
      volume.set(contents.subarray(0, this.clusterBytes), this.clusterOffset(cluster));
    }
    for (const folder of this.#folders) this.#writeFolder(volume, folder);
    return new Uint8Array(volume.buffer, volume.byteOffset, volume.length);
  }

  #writeBoot(volume: Buffer, at: number): void {
    const { shape } = this;
    const boot = volume.subarray(at, at + 512);
    Buffer.from(shape.jump).copy(boot, 0);
    boot.write("MSDOS5.0", 3, "latin1");
    boot.writeUInt16LE(shape.bytesPerSector, 11);
    boot.writeUInt8(shape.sectorsPerCluster, 13);
    boot.writeUInt16LE(shape.reservedSectors, 14);
    boot.writeUInt8(shape.fatCount, 16);
    boot.writeUInt16LE(shape.rootEntries, 17);
    if (this.totalSectors < 0x10000 && shape.bits !== 32) boot.writeUInt16LE(this.totalSectors, 19);
    else boot.writeUInt32LE(this.totalSectors, 32);
    boot.writeUInt8(0xf8, 21);
    const extension = shape.bits === 32 ? 64 : 36;
    if (shape.bits === 32) {
      boot.writeUInt32LE(shape.sectorsPerFat, 36);
      boot.writeUInt16LE(shape.activeFat === undefined ? 0 : 0x80 | shape.activeFat, 40);
      boot.writeUInt32LE(this.root.firstCluster, 44);
      boot.writeUInt16LE(1, 48);
      boot.writeUInt16LE(6, 50);
    } else {
      boot.writeUInt16LE(shape.sectorsPerFat, 22);
    }
    boot.writeUInt8(0x29, extension + 2);
    boot.writeUInt32LE(shape.serial ?? 0x12345678, extension + 3);
    boot.write((shape.label ?? "NO NAME").padEnd(11), extension + 7, "latin1");
    if (shape.bootSignature) boot.writeUInt16BE(0x55aa, 510);
  }

  #writeFsInfo(volume: Buffer, at: number): void {
    volume.write("RRaA", at, "latin1");
    volume.write("rrAa", at + 484, "latin1");
    // A count that lies, as it often does.
    volume.writeUInt32LE(3, at + 488);
    volume.writeUInt16BE(0x55aa, at + 510);
  }

  #writeFat(volume: Buffer, at: number): void {
    for (const [cluster, value] of this.entries) {
      if (this.shape.bits === 32) volume.writeUInt32LE(value, at + cluster * 4);
      else if (this.shape.bits === 16) volume.writeUInt16LE(value, at + cluster * 2);
      else {
        const where = at + Math.floor(cluster * 1.5);
        const pair = volume.readUInt16LE(where);
        const isOdd = cluster % 2 === 1;
        volume.writeUInt16LE(
          isOdd ? (pair & 0x000f) | (value << 4) : (pair & 0xf000) | value,
          where,
        );
      }
    }
  }

  #writeFolder(volume: Buffer, folder: BuiltFolder): void {
    const bytes = Buffer.concat(folder.slots);
    const { reservedSectors, fatCount, sectorsPerFat, bytesPerSector } = this.shape;
    if (folder.clusters.length === 0) {
      bytes.copy(volume, (reservedSectors + fatCount * sectorsPerFat) * bytesPerSector);
      return;
    }
    folder.clusters.forEach((cluster, index) => {
      const part = bytes.subarray(index * this.clusterBytes, (index + 1) * this.clusterBytes);
      part.copy(volume, this.clusterOffset(cluster));
    });
  }
}

function paddedName(short: string): string {
  if (short.length === 11 && !short.includes(".")) return short;
  const [base = "", extension = ""] = short.split(".");
  return base.padEnd(8) + extension.padEnd(3);
}

/** FAT date of a calendar date. */
export function fatDate(year: number, month: number, day: number): number {
  return ((year - 1980) << 9) | (month << 5) | day;
}

/** FAT time of a time of day. */
export function fatTime(hours: number, minutes: number, seconds: number): number {
  return (hours << 11) | (minutes << 5) | (seconds >> 1);
}

function shortEntry(name: string, options: EntryOptions): Buffer {
  const slot = Buffer.alloc(32);
  slot.write(name, 0, "latin1");
  if (options.deleted === true) slot.writeUInt8(0xe5, 0);
  slot.writeUInt8(options.attributes ?? 0x20, 11);
  slot.writeUInt8(options.ntCase ?? 0, 12);
  const [createdDate, createdTime, tenMs] = options.created ?? [0, 0, 0];
  slot.writeUInt8(tenMs, 13);
  slot.writeUInt16LE(createdTime, 14);
  slot.writeUInt16LE(createdDate, 16);
  slot.writeUInt16LE(options.accessed ?? 0, 18);
  const [modifiedDate, modifiedTime] = options.modified ?? [fatDate(2001, 2, 3), 0];
  slot.writeUInt16LE(modifiedTime, 22);
  slot.writeUInt16LE(modifiedDate, 24);
  const firstCluster = options.firstCluster ?? 0;
  slot.writeUInt16LE(firstCluster >>> 16, 20);
  slot.writeUInt16LE(firstCluster & 0xffff, 26);
  slot.writeUInt32LE(options.sizeBytes ?? 0, 28);
  return slot;
}

/** Long-name slots as they stand before the short entry: the last piece first. */
export function longSlots(units: readonly number[], checksum: number, deleted = false): Buffer[] {
  const pieces = Math.ceil(units.length / 13);
  const slots: Buffer[] = [];
  for (let piece = pieces; piece >= 1; piece--) {
    const slot = Buffer.alloc(32);
    slot.writeUInt8(deleted ? 0xe5 : piece | (piece === pieces ? 0x40 : 0), 0);
    slot.writeUInt8(0x0f, 11);
    slot.writeUInt8(checksum, 13);
    const places = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
    places.forEach((place, index) => {
      const at = (piece - 1) * 13 + index;
      const unit = units[at] ?? (at === units.length ? 0 : 0xffff);
      slot.writeUInt16LE(unit, place);
    });
    slots.push(slot);
  }
  return slots;
}

function unitsOf(name: string | readonly number[]): readonly number[] {
  if (typeof name !== "string") return name;
  return Array.from({ length: name.length }, (_, index) => name.charCodeAt(index));
}

/** The checksum of a short name, as 11 Latin-1 characters. */
export function checksumOf(name: string): number {
  let sum = 0;
  for (const byte of Buffer.from(name, "latin1"))
    sum = ((sum >> 1) + ((sum & 1) << 7) + byte) & 0xff;
  return sum;
}
