/**
 * Makes NetWare 386 volumes in memory, on one partition or several, sound ones and odd ones. The
 * layout is written from the description of the format, on its own, not with the reader's tables.
 */

const SECTOR = 512;
const RECORD = 128;
const LOGICAL_BLOCK = 4096;
const END = 0xffffffff;
/** Sectors of the redirection area, and those of its tables. */
const REDIRECTION_SECTORS = 320;
const TABLE_SECTORS = [160, 168, 176, 184] as const;
const DATA_HEAD_SECTORS = 160;
const COPIES = [0x20, 0x40, 0x60, 0x80] as const;
export const ROOT = 0;

export interface NetwareShape {
  readonly name?: string;
  readonly blockBytes: number;
  /** Blocks of each segment; each segment has a partition of its own. */
  readonly segmentBlocks: readonly number[];
  readonly suballocation?: boolean;
  /** Blocks after which the copies of the FAT take turns; 256 KiB unless said otherwise. */
  readonly stripeBlocks?: number;
  /** Trustees as 4.x has them. Default true. */
  readonly newTrustees?: boolean;
}

export interface EntryOptions {
  readonly long?: string;
  /** Name in the NFS name space; made when `mode` is given, too. */
  readonly nfs?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly links?: number;
  readonly mac?: string | Uint8Array;
  readonly finderInfo?: Uint8Array;
  readonly resourceFork?: Uint8Array;
  readonly attributes?: number;
  readonly deleted?: 3 | 4;
  /** Raw date and time. */
  readonly modified?: number;
  readonly created?: number;
  readonly accessedDate?: number;
  readonly trustees?: readonly (readonly [id: number, mask: number])[];
  /** Numbers of blocks that are left out of the chain; contents there must be zeros. */
  readonly holes?: readonly number[];
  /** Blocks to use, in order. */
  readonly blocks?: readonly number[];
  readonly sizeBytes?: number;
  readonly firstBlock?: number;
}

export interface BuiltNetware {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly segmentBytes: readonly number[];
}

export class NetwareBuilder {
  readonly shape: NetwareShape;
  readonly totalBlocks: number;
  readonly records: Buffer[] = [];
  readonly extended: Buffer[] = [];
  readonly fatBlocks: readonly (readonly number[])[];
  directoryBlocks: readonly (readonly number[])[] = [];
  extendedBlocks: readonly (readonly number[])[] = [];
  /** FAT entries by block: [number in file, next]. */
  readonly entries = new Map<number, readonly [number, number]>();
  /** Sectors of the mirror member table: ids, and which is out of sync. */
  mirror: { readonly members: readonly number[]; readonly isOutOfSync?: boolean } | undefined;
  readonly #contents = new Map<number, Uint8Array>();
  readonly #redirected = new Map<number, number>();
  readonly #bins = new Map<number, { blocks: number[]; bytes: number }>();
  #nextFree: number;
  #nextSpare = 30;

  constructor(shape: NetwareShape) {
    this.shape = shape;
    this.totalBlocks = shape.segmentBlocks.reduce((sum, count) => sum + count, 0);
    const { blockBytes } = shape;
    const fatLength = Math.ceil((this.totalBlocks * 8) / blockBytes);
    const stripe = shape.stripeBlocks ?? (256 * 1024) / blockBytes;
    const inCopy = (copy: number) =>
      Array.from({ length: fatLength }, (_, index) => {
        const turn = Math.floor(index / stripe);
        return (turn * 2 + copy) * stripe + (index % stripe);
      });
    this.fatBlocks = [inCopy(0), inCopy(1)];
    for (const blocks of this.fatBlocks) this.chain(blocks);
    this.#nextFree = 0;
    this.records.push(Buffer.alloc(RECORD));
    const root = this.record(ROOT);
    root.writeUInt32LE(0xfffffffd, 0);
    root.writeUInt32LE(0x10, 4);
    root[11] = 3;
    root[23] = (shape.suballocation === true ? 2 : 0) | (shape.newTrustees === false ? 0 : 0x30);
    root.writeUInt32LE(dosTime(2020, 1, 2, 3, 4, 6), 40);
  }

  record(number: number): Buffer {
    const found = this.records[number];
    if (found === undefined) throw new RangeError(`no record ${number}`);
    return found;
  }

  /** Blocks that nothing has, in rising order, unused before. */
  allocate(count: number): number[] {
    const blocks: number[] = [];
    while (blocks.length < count) {
      const block = this.#nextFree++;
      if (block >= this.totalBlocks) throw new RangeError("the volume is full");
      if (!this.entries.has(block)) blocks.push(block);
    }
    return blocks;
  }

  /** Chains blocks; `numbers` are their numbers in the file, `last` ends the chain. */
  chain(blocks: readonly number[], numbers?: readonly number[], last: number = END): void {
    blocks.forEach((block, index) => {
      this.entries.set(block, [numbers?.[index] ?? index, blocks[index + 1] ?? last]);
    });
  }

  addFolder(parent: number, name: string, options: EntryOptions = {}): number {
    const { number, record } = this.#addDos(parent, name, 0x04, {
      ...options,
      attributes: (options.attributes ?? 0) | 0x10,
    });
    for (const [index, [id, mask]] of (options.trustees ?? []).slice(0, 8).entries()) {
      record.writeUInt32BE(id, 48 + index * 4);
      record.writeUInt16LE(mask, 80 + index * 2);
    }
    this.#addNames(number, parent, name, 0x04, options);
    return number;
  }

  addFile(parent: number, name: string, contents: Uint8Array, options: EntryOptions = {}): number {
    const { number, record } = this.#addDos(parent, name, 0x08, options);
    record.writeUInt32LE(options.sizeBytes ?? contents.length, 48);
    record.writeUInt32LE(options.firstBlock ?? this.#store(contents, options), 52);
    record.writeUInt16LE(options.accessedDate ?? 0, 98);
    this.#addTrustees(number, record, options.trustees ?? []);
    this.#addNames(number, parent, name, 0x08, options);
    return number;
  }

  /** Moves 4 KiB of the volume to the redirection area, and leaves rubbish behind. */
  redirect(block: number, part = 0): void {
    const offset = block * this.shape.blockBytes + part * LOGICAL_BLOCK;
    this.#redirected.set(offset, this.#nextSpare++);
  }

  setBlock(block: number, contents: Uint8Array): void {
    this.#contents.set(block, contents);
  }

  /** `order`: the segments as they are joined. */
  build(order?: readonly number[]): BuiltNetware {
    this.#finishStructures();
    const partitions = this.shape.segmentBlocks.map((_, index) => this.#buildPartition(index));
    const joined = (order ?? [...partitions.keys()]).map((index) => {
      const partition = partitions[index];
      if (partition === undefined) throw new RangeError(`no segment ${index}`);
      return partition;
    });
    const all = Buffer.concat(joined);
    const bytes = new Uint8Array(all.length);
    bytes.set(all);
    return { bytes, segmentBytes: joined.map(({ length }) => length) };
  }

  /** Where a byte of the volume lies on the joined device, segments in their own order; redirections apart. */
  offsetOf(block: number): number {
    let start = 0;
    let first = 0;
    for (const [index, count] of this.shape.segmentBlocks.entries()) {
      if (block < first + count) {
        const within = (block - first) * this.shape.blockBytes;
        return start + (REDIRECTION_SECTORS + DATA_HEAD_SECTORS) * SECTOR + within;
      }
      first += count;
      start += this.partitionBytes(index);
    }
    throw new RangeError(`no block ${block}`);
  }

  partitionBytes(segment: number): number {
    const blocks = this.shape.segmentBlocks[segment] ?? 0;
    return (REDIRECTION_SECTORS + DATA_HEAD_SECTORS) * SECTOR + blocks * this.shape.blockBytes;
  }

  /** Bins, directories: what is known when all files are there. May be called twice. */
  #finishStructures(): void {
    const { blockBytes, suballocation } = this.shape;
    if (this.directoryBlocks.length > 0) return;
    if (suballocation === true) this.#writeBins();
    const perBlock = blockBytes / RECORD;
    const twice = (count: number): number[][] => {
      const mixed = this.allocate(count * 2);
      return [0, 1].map((copy) => mixed.filter((_, index) => index % 2 === copy));
    };
    if (this.extended.length > 0) {
      this.extendedBlocks = twice(Math.ceil(this.extended.length / perBlock));
      for (const blocks of this.extendedBlocks) this.#placeRecords(blocks, this.extended, false);
      this.record(ROOT).writeUInt32LE(this.extendedBlocks[0]?.[0] ?? 0, 104);
      this.record(ROOT).writeUInt32LE(this.extendedBlocks[1]?.[0] ?? 0, 108);
    }
    this.directoryBlocks = twice(Math.ceil(this.records.length / perBlock));
    for (const blocks of this.directoryBlocks) this.#placeRecords(blocks, this.records, true);
  }

  #placeRecords(
    blocks: readonly number[],
    records: readonly Buffer[],
    freeIsMarked: boolean,
  ): void {
    const { blockBytes } = this.shape;
    const bytes = Buffer.alloc(blocks.length * blockBytes);
    for (let at = 0; at < bytes.length; at += RECORD) {
      const record = records[at / RECORD];
      if (record !== undefined) record.copy(bytes, at);
      else if (freeIsMarked) bytes.writeUInt32LE(END, at);
    }
    this.chain(blocks);
    blocks.forEach((block, index) => {
      this.#contents.set(block, bytes.subarray(index * blockBytes, (index + 1) * blockBytes));
    });
  }

  #writeBins(): void {
    let previous = ROOT;
    for (const { blocks } of this.#bins.values()) this.chain(blocks);
    const sequences = Math.ceil(this.shape.blockBytes / SECTOR / 28);
    for (let sequence = 0; sequence < sequences; sequence++) {
      const record = Buffer.alloc(RECORD);
      record.writeUInt32LE(0xfffffffb, 0);
      record[9] = sequence;
      for (let slot = 0; slot < 28; slot++) {
        record.writeUInt32LE(this.#bins.get(sequence * 28 + slot)?.blocks[0] ?? 0, 16 + slot * 4);
      }
      this.records.push(record);
      const number = this.records.length - 1;
      this.record(previous).writeUInt32LE(number, previous === ROOT ? 120 : 12);
      previous = number;
    }
  }

  #addDos(
    parent: number,
    name: string,
    flags: number,
    options: EntryOptions,
  ): { number: number; record: Buffer } {
    const record = this.#newRecord(parent, name, 0, 12, flags, options);
    const number = this.records.push(record) - 1;
    record.writeUInt32LE(options.attributes ?? 0, 4);
    record.writeUInt32LE(options.created ?? dosTime(2001, 2, 3, 4, 5, 6), 24);
    record.writeUInt32LE(options.modified ?? dosTime(2002, 3, 4, 5, 6, 8), 40);
    record.writeUInt32LE(number, 120);
    return { number, record };
  }

  #newRecord(
    parent: number,
    name: string | Uint8Array,
    nameSpace: number,
    bytesMax: number,
    flags: number,
    { deleted }: EntryOptions,
  ): Buffer {
    const record = Buffer.alloc(RECORD);
    const bytes = Buffer.from(typeof name === "string" ? Buffer.from(name, "latin1") : name);
    record.writeUInt32LE(parent, 0);
    record[9] = flags | (deleted === 3 ? 0x01 : deleted === 4 ? 0x20 : 0);
    record[10] = nameSpace;
    record[11] = Math.min(bytes.length, bytesMax);
    bytes.copy(record, 12, 0, record[11]);
    return record;
  }

  /** Records of the other name spaces, each linked from the one before. */
  #addNames(
    primary: number,
    parent: number,
    dosName: string,
    flags: number,
    options: EntryOptions,
  ): void {
    let previous = this.record(primary);
    const add = (record: Buffer): number => {
      const number = this.records.push(record) - 1;
      record.writeUInt32LE(primary, 120);
      previous.writeUInt32LE(number, 124);
      previous = record;
      return number;
    };
    if (options.long !== undefined) {
      const record = this.#newRecord(parent, options.long, 4, 80, flags, options);
      const number = add(record);
      record[97] = options.long.length;
      const rest = options.long.slice(80);
      if (rest !== "") record.writeUInt32LE(this.#extend(0xaba12190, number, rest, false), 92);
    }
    if (options.nfs !== undefined || options.mode !== undefined) {
      const name = options.nfs ?? dosName;
      const record = this.#newRecord(parent, name, 2, 40, flags, options);
      const number = add(record);
      record[52] = name.length;
      const rest = name.slice(40);
      if (rest !== "") record.writeUInt32LE(this.#extend(0x554e4958, number, rest, true), 54);
      record.writeUInt32LE(options.mode ?? 0, 58);
      record.writeUInt32LE(options.gid ?? 0, 66);
      record.writeUInt32LE(options.links ?? 1, 74);
      record.writeUInt32LE(options.uid ?? 0, 92);
    }
    if (options.mac === undefined) return;
    const record = this.#newRecord(parent, options.mac, 1, 32, flags, options);
    add(record);
    const fork = options.resourceFork;
    record.writeUInt32LE(fork === undefined ? END : this.#store(fork, {}), 44);
    record.writeUInt32LE(fork?.length ?? 0, 48);
    record.set(options.finderInfo ?? [], 52);
  }

  /** Puts the end of a name into the extended directory; returns where. */
  #extend(signature: number, owner: number, rest: string, hasLength: boolean): number {
    if (this.extended.length === 0) this.extended.push(Buffer.alloc(RECORD));
    const number = this.extended.length;
    const data = hasLength ? 17 : 16;
    const bytes = Buffer.alloc(Math.ceil((data + rest.length) / RECORD) * RECORD);
    bytes.writeUInt32LE(signature, 0);
    bytes.writeUInt32LE(rest.length, 4);
    bytes.writeUInt32LE(owner, 8);
    if (hasLength) bytes[16] = rest.length;
    bytes.write(rest, data, "latin1");
    for (let at = 0; at < bytes.length; at += RECORD) {
      this.extended.push(bytes.subarray(at, at + RECORD));
    }
    return number;
  }

  #addTrustees(
    number: number,
    record: Buffer,
    trustees: readonly (readonly [number, number])[],
  ): void {
    if (this.shape.newTrustees === false) {
      for (const [index, [id, mask]] of trustees.slice(0, 6).entries()) {
        record.writeUInt32BE(id, 60 + index * 6);
        record.writeUInt16LE(mask, 64 + index * 6);
      }
      return;
    }
    for (const [index, [id, mask]] of trustees.slice(0, 4).entries()) {
      record.writeUInt32BE(id, 60 + index * 4);
      record.writeUInt16LE(mask, 84 + index * 2);
    }
    const more = trustees.slice(4);
    if (more.length === 0) return;
    const list = Buffer.alloc(RECORD);
    list.writeUInt32LE(0xfffffffe, 0);
    list[9] = more.length;
    list.writeUInt32LE(number, 20);
    for (const [index, [id, mask]] of more.entries()) {
      list.writeUInt32BE(id, 24 + index * 4);
      list.writeUInt16LE(mask, 88 + index * 2);
    }
    record.writeUInt32LE(this.records.push(list) - 1, 56);
  }

  /** Stores contents; returns the pointer to them. */
  #store(contents: Uint8Array, { holes = [], blocks, attributes }: EntryOptions): number {
    const { blockBytes, suballocation } = this.shape;
    const isShared = suballocation === true && ((attributes ?? 0) & 0x800) === 0;
    const rest = contents.length % blockBytes;
    const tailBytes = isShared && rest <= blockBytes - SECTOR ? rest : 0;
    const whole = Math.ceil((contents.length - tailBytes) / blockBytes);
    const numbers = Array.from({ length: whole }, (_, index) => index).filter(
      (index) => !holes.includes(index),
    );
    const used = blocks ?? this.allocate(numbers.length);
    const tail =
      tailBytes === 0 ? END : this.#storeTail(contents.subarray(contents.length - tailBytes));
    this.chain(used, numbers, tail);
    numbers.forEach((number, index) => {
      const part = contents.subarray(number * blockBytes, (number + 1) * blockBytes);
      this.#contents.set(used[index] ?? 0, part);
    });
    return used[0] ?? tail;
  }

  #storeTail(tail: Uint8Array): number {
    const { blockBytes } = this.shape;
    const bin = Math.ceil(tail.length / SECTOR);
    const shared = this.#bins.get(bin) ?? { blocks: [], bytes: 0 };
    this.#bins.set(bin, shared);
    const start = shared.bytes;
    shared.bytes += bin * SECTOR;
    while (shared.blocks.length * blockBytes < shared.bytes) {
      const [block = 0] = this.allocate(1);
      this.entries.set(block, [shared.blocks.length, END]);
      shared.blocks.push(block);
      this.#contents.set(block, Buffer.alloc(blockBytes));
    }
    for (let i = 0; i < tail.length; i++) {
      const block = shared.blocks[Math.floor((start + i) / blockBytes)] ?? 0;
      const target = this.#contents.get(block);
      if (target !== undefined) target[(start + i) % blockBytes] = tail[i] ?? 0;
    }
    return (0x80000000 | (bin << 24) | (start / (bin * SECTOR))) >>> 0;
  }

  #buildPartition(index: number): Buffer {
    const partition = Buffer.alloc(this.partitionBytes(index));
    const { blockBytes, segmentBlocks } = this.shape;
    const firstBlock = segmentBlocks.slice(0, index).reduce((sum, count) => sum + count, 0);
    const end = firstBlock + (segmentBlocks[index] ?? 0);
    const at = (block: number) =>
      (REDIRECTION_SECTORS + DATA_HEAD_SECTORS) * SECTOR + (block - firstBlock) * blockBytes;
    const put = (block: number, bytes: Uint8Array) => {
      if (block >= firstBlock && block < end) partition.set(bytes, at(block));
    };
    for (const [block, bytes] of this.#contents) put(block, bytes);
    for (const blocks of this.fatBlocks) {
      blocks.forEach((block, position) => {
        put(block, this.#fatBlock(position));
      });
    }
    const table = this.#redirectionTable(partition, firstBlock, end, at);
    for (const sector of [TABLE_SECTORS[0], TABLE_SECTORS[2]])
      table.copy(partition, sector * SECTOR);
    for (const sector of COPIES) {
      this.#hotfix(index).copy(partition, sector * SECTOR);
      this.#mirror(index).copy(partition, (sector + 1) * SECTOR);
      this.#volumeTable(index, firstBlock).copy(partition, (REDIRECTION_SECTORS + sector) * SECTOR);
    }
    return partition;
  }

  #fatBlock(position: number): Buffer {
    const { blockBytes } = this.shape;
    const bytes = Buffer.alloc(blockBytes);
    for (let i = 0; i < blockBytes / 8; i++) {
      const entry = this.entries.get((position * blockBytes) / 8 + i);
      if (entry === undefined) continue;
      bytes.writeInt32LE(entry[0], i * 8);
      bytes.writeUInt32LE(entry[1], i * 8 + 4);
    }
    return bytes;
  }

  #redirectionTable(
    partition: Buffer,
    firstBlock: number,
    end: number,
    at: (block: number) => number,
  ): Buffer {
    const { blockBytes } = this.shape;
    const table = Buffer.alloc(LOGICAL_BLOCK);
    for (let block = 0; block < 24; block++) table.writeUInt32LE(END, block * 4);
    for (const [offset, spare] of this.#redirected) {
      const block = Math.floor(offset / blockBytes);
      if (block < firstBlock || block >= end) continue;
      const from = at(block) + (offset % blockBytes);
      partition.copy(partition, spare * LOGICAL_BLOCK, from, from + LOGICAL_BLOCK);
      partition.fill(0xbd, from, from + LOGICAL_BLOCK);
      table.writeUInt32LE(from / SECTOR - REDIRECTION_SECTORS, spare * 4);
    }
    return table;
  }

  #hotfix(index: number): Buffer {
    const sector = Buffer.alloc(SECTOR);
    sector.write("HOTFIX00", 0, "latin1");
    sector.writeUInt32LE(partitionId(index), 8);
    sector.writeUInt32LE(this.#dataSectors(index), 20);
    sector.writeUInt32LE(REDIRECTION_SECTORS, 24);
    TABLE_SECTORS.forEach((table, position) => sector.writeUInt32LE(table, 28 + position * 4));
    return sector;
  }

  #mirror(index: number): Buffer {
    const sector = Buffer.alloc(SECTOR);
    sector.write("MIRROR00", 0, "latin1");
    sector.writeUInt32LE(partitionId(index), 8);
    sector.writeUInt32LE(this.mirror?.isOutOfSync === true ? 0x01850000 : 0x01860000, 12);
    sector.writeUInt32LE(this.#dataSectors(index), 24);
    const members = this.mirror?.members ?? [partitionId(index)];
    members.forEach((member, position) => sector.writeUInt32LE(member, 32 + position * 4));
    return sector;
  }

  #volumeTable(index: number, firstBlock: number): Buffer {
    const { name = "SYS", blockBytes, segmentBlocks } = this.shape;
    const sector = Buffer.alloc(SECTOR);
    sector.write("NetWare Volumes\0", 0, "latin1");
    sector.writeUInt32LE(1, 16);
    sector[32] = name.length;
    sector.write(name, 33, "latin1");
    sector.writeUInt32LE(segmentBlocks.length - 1, 48);
    const code = Math.log2(blockBytes / SECTOR);
    sector.writeUInt32LE(code | (segmentBlocks.length << 8) | (index << 16), 52);
    const blocks = segmentBlocks[index] ?? 0;
    const fields = [
      DATA_HEAD_SECTORS,
      (blocks * blockBytes) / SECTOR,
      this.totalBlocks,
      firstBlock,
      this.fatBlocks[0]?.[0] ?? 0,
      this.fatBlocks[1]?.[0] ?? 0,
      this.directoryBlocks[0]?.[0] ?? 0,
      this.directoryBlocks[1]?.[0] ?? 0,
    ];
    fields.forEach((value, position) => sector.writeUInt32LE(value, 56 + position * 4));
    return sector;
  }

  #dataSectors(index: number): number {
    return this.partitionBytes(index) / SECTOR - REDIRECTION_SECTORS;
  }
}

export function partitionId(segment: number): number {
  return 0x2aa4ab03 + segment * 2;
}

/** As it stands in a record: date in the upper half. */
export function dosTime(
  year: number,
  month: number,
  day: number,
  hours: number,
  minutes: number,
  seconds: number,
): number {
  const date = ((year - 1980) << 9) | (month << 5) | day;
  const time = (hours << 11) | (minutes << 5) | (seconds >> 1);
  return date * 65536 + time;
}
