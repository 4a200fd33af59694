/**
 * One sector of an MBR partition table: the MBR itself or a link of the chain of logical partitions
 * (an EBR), which have the same layout. After the UEFI specification, section 5.2.1.
 */

export const MBR_BYTES = 512;

/** Offsets in the sector. */
export const MBR = {
  signature: 440,
  entries: 446,
  entryCount: 4,
  magic: 510,
} as const;

/** Offsets in an entry of 16 bytes. */
export const MBR_ENTRY = {
  status: 0,
  firstChs: 1,
  type: 4,
  lastChs: 5,
  start: 8,
  count: 12,
  bytes: 16,
} as const;

const MAGIC = 0xaa55;
const STATUS_ACTIVE = 0x80;
export const MBR_TYPE = { gptShield: 0xee } as const;
/** Containers of logical partitions: CHS, LBA, and Linux's own. */
const EXTENDED_TYPES: readonly number[] = [0x05, 0x0f, 0x85];

export interface MbrEntry {
  /** 0 to 3. */
  readonly slot: number;
  readonly type: number;
  readonly active: boolean;
  /** In sectors; in an EBR, relative to what the entry is about. */
  readonly start: number;
  readonly count: number;
  readonly extended: boolean;
}

export interface MbrSector {
  /** Eight digits, or empty where there is none. */
  readonly signature: string;
  /** Entries that are in use. */
  readonly entries: readonly MbrEntry[];
}

/** Undefined unless the sector ends in 55 AA and every entry has a status that an MBR can have. */
export function parseMbr(sector: Uint8Array): MbrSector | undefined {
  const view = new DataView(sector.buffer, sector.byteOffset, sector.byteLength);
  if (view.getUint16(MBR.magic, true) !== MAGIC) return undefined;
  const entries: MbrEntry[] = [];
  for (let slot = 0; slot < MBR.entryCount; slot++) {
    const at = mbrEntryOffset(slot);
    const status = view.getUint8(at + MBR_ENTRY.status);
    if (status !== 0 && status !== STATUS_ACTIVE) return undefined;
    const type = view.getUint8(at + MBR_ENTRY.type);
    const count = view.getUint32(at + MBR_ENTRY.count, true);
    if (type === 0 || count === 0) continue;
    entries.push({
      slot,
      type,
      active: status === STATUS_ACTIVE,
      start: view.getUint32(at + MBR_ENTRY.start, true),
      count,
      extended: EXTENDED_TYPES.includes(type),
    });
  }
  const number = view.getUint32(MBR.signature, true);
  return { signature: number === 0 ? "" : number.toString(16).padStart(8, "0"), entries };
}

export function mbrEntryOffset(slot: number): number {
  return MBR.entries + slot * MBR_ENTRY.bytes;
}
