/** What a partition table says, whichever kind it is. */

export type TableKind = "mbr" | "gpt";

export interface PartitionEntry {
  /** As the kernel numbers it: sda1 is 1; logical partitions of an MBR are 5 and up. */
  readonly number: number;
  readonly startBytes: number;
  readonly sizeBytes: number;
  /** "83", as fdisk shows it, or a GUID in capitals. */
  readonly type: string;
  /** "Linux filesystem"; empty where the type is not a well-known one. */
  readonly typeName: string;
  /** The name in a GPT; empty in an MBR. */
  readonly name: string;
  /** GPT: the partition's GUID. MBR: what Linux makes of signature and number, "1a2b3c4d-01". */
  readonly uuid: string;
  /** Marked for booting: the flag of an MBR, the legacy attribute of a GPT. */
  readonly active: boolean;
  /** It lies in the extended partition of an MBR. */
  readonly logical: boolean;
}

/** Bytes [start, start + size) of a disk. */
export interface ByteRange {
  readonly startBytes: number;
  readonly sizeBytes: number;
}

/** What a program that rewrites the table must know of a GPT; block numbers are in sectors. */
export interface GptPlace {
  /** Sectors of the headers that were found sound; the first is the one that was read. */
  readonly headerSectors: readonly number[];
  readonly entryCount: number;
  readonly entryBytes: number;
}

export interface PartitionTable {
  readonly kind: TableKind;
  /** The unit of the table's own numbers. */
  readonly sectorSizeBytes: number;
  /** GUID of the disk, or the signature of an MBR in eight digits; empty where there is none. */
  readonly uuid: string;
  /** In the order of their numbers; the containers of logical partitions are not among them. */
  readonly entries: readonly PartitionEntry[];
  /** Sectors of the table itself, in rising order: MBR, links of chains, headers and entries. */
  readonly structure: readonly ByteRange[];
  /** What was found wrong and is survived. */
  readonly notices: readonly string[];
  readonly gpt?: GptPlace | undefined;
}
