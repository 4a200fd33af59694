/**
 * VolumeFormat and Volume: what a filesystem knows of its own device. A Volume reads structure
 * (which blocks are used, what must be read to walk the tree, where each file lies), never caches
 * file contents, and never writes.
 *
 * Rules every implementation keeps (test/support/volume-suite.ts checks them):
 * - Every number read from the device is checked before it sizes a buffer, ends a loop or becomes
 *   an offset. Chains are bounded; directories cannot loop.
 * - A damaged object is a ReelError "damaged" (or "unsupported") for that object, naming it and its
 *   position; everything else stays readable.
 * - The device stays the caller's: `close` does not close it.
 */
import type { BlockDevice } from "../device/block-device.ts";
import type { ExtentSet } from "../device/extents.ts";
import type { RunOptions } from "../progress.ts";

/** Identifies a file or directory for as long as the volume is open; a safe integer below 2^50. */
export type NodeId = number;

export type NodeKind = "file" | "directory" | "symlink" | "fifo" | "socket" | "block" | "character";

/** What stat(2) shows, as far as the format knows it; the mount fills in what is undefined. */
export interface NodeStat {
  readonly id: NodeId;
  readonly kind: NodeKind;
  readonly sizeBytes: number;
  /** Permission bits (0o7777), without the file type; undefined: the format has none. */
  readonly mode?: number | undefined;
  /** FAT, exFAT, NTFS: the file is marked read-only. The mount takes the write bits away. */
  readonly readOnly?: boolean | undefined;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  readonly linkCount: number;
  /** Milliseconds since 1970 UTC, fractions allowed. */
  readonly modifiedMs: number;
  readonly accessedMs: number;
  readonly changedMs: number;
  readonly createdMs?: number | undefined;
  /** Bytes the file occupies on the volume. */
  readonly allocatedBytes: number;
  /** Device number of a block or character node. */
  readonly deviceNumber?: number | undefined;
  /** DOS attribute bits where the format has them: 1 read-only, 2 hidden, 4 system, 0x20 archive. */
  readonly attributes?: number | undefined;
}

export interface VolumeEntry {
  /** As a person sees it; never "", ".", "..", never with "/" or NUL; unique in its directory. */
  readonly name: string;
  readonly stat: NodeStat;
  /** FAT: the 8.3 name, where it differs. */
  readonly shortName?: string | undefined;
  /** On the volume the name is bytes that are not UTF-8: `name` has U+FFFD in their place. */
  readonly isNotUtf8?: boolean | undefined;
}

/**
 * Where a file's bytes lie: runs rising in file offset, in bytes. Kept in typed arrays because a
 * file may have a million runs. Gaps between runs, and up to `sizeBytes`, are holes (zeros).
 */
export interface FileLayout {
  readonly sizeBytes: number;
  /** Number of runs. */
  readonly length: number;
  readonly fileOffsets: Float64Array;
  /** Offsets on the device. */
  readonly deviceOffsets: Float64Array;
  readonly lengths: Float64Array;
  /**
   * True when copying the runs gives the file's contents. False (compressed, resident or otherwise
   * encoded data): the runs say which device bytes are needed, `Volume.read` gives the contents;
   * their file offsets and lengths then only order them.
   */
  readonly direct: boolean;
}

/** Something wrong on the volume that was met and survived. */
export interface VolumeProblem {
  /** Path or structure: "/DCIM/A.JPG", "FAT 1", "FSInfo sector". */
  readonly where: string;
  readonly message: string;
}

export interface VolumeInfo {
  /** Stable word for the format: "fat12", "fat32", "exfat", "ext4", "ntfs", "netware". */
  readonly kind: string;
  readonly label: string;
  /** Serial number or UUID as users know it: "1A2B-3C4D". */
  readonly serial: string;
  /** Unit of the block numbers of this volume, in bytes: a power of two, 512 to 65536. */
  readonly blockSizeBytes: number;
  /** Blocks from the start of the device that belong to the volume. */
  readonly blockCount: number;
  /** Allocation unit (cluster) in bytes. */
  readonly clusterSizeBytes: number;
  readonly clusterCount: number;
  /** Are names looked up in either case? */
  readonly caseSensitive: boolean;
  readonly nameMaxBytes: number;
  /** What a person must know before trusting what is shown: "the journal was replayed in memory". */
  readonly notices?: readonly string[] | undefined;
  /** More facts for `reelfs info`, in the format's own words. */
  readonly details: Readonly<Record<string, string | number | boolean>>;
}

/** What a backup must know, found in one walk over the volume's structures. */
export interface VolumeSurvey {
  /** Blocks in use, control blocks included. Reserved areas of the format count as used. */
  readonly used: ExtentSet;
  /** Blocks to read to mount and walk the volume; one copy of what the volume mirrors. */
  readonly control: ExtentSet;
  /** Allocation units in use, as the format's own checker counts them. */
  readonly clustersUsed: number;
  /** Whatever is no directory, each once however many names it has. */
  readonly files: number;
  /** Without the root, which is on every volume. */
  readonly directories: number;
  readonly problems: readonly VolumeProblem[];
  /** What a person must know of what was left out, and why not more was. */
  readonly notices?: readonly string[] | undefined;
}

export interface SurveyOptions extends RunOptions {
  /** Also count as used what deleted files still seem to occupy. */
  readonly includeDeleted?: boolean | undefined;
  /**
   * Where the system has exactly this device, a file or a block device: of a filesystem that no
   * format knows, the system's own tools can then be asked what is free.
   */
  readonly systemPath?: string | undefined;
  /** Where in the file at `systemPath` this device begins, if it is a part of that file. */
  readonly systemOffsetBytes?: number | undefined;
}

export interface Volume {
  readonly info: VolumeInfo;
  readonly rootId: NodeId;

  survey(options?: SurveyOptions): Promise<VolumeSurvey>;

  /** Entries of a directory, in the order on the volume. */
  readDirectory(id: NodeId): Promise<readonly VolumeEntry[]>;
  stat(id: NodeId): Promise<NodeStat>;
  /** Throws "damaged" when the file's chain or tree of blocks is not sound. */
  layout(id: NodeId): Promise<FileLayout>;
  /** Contents of a file whose layout is not direct. Returns bytes read; fewer only at the end. */
  read?(id: NodeId, offsetBytes: number, target: Uint8Array): Promise<number>;
  /**
   * Where the runs of a direct layout cannot be read ("io", "damaged"), and the volume keeps what
   * lies there elsewhere too: the same contents by way of another copy, block by block where it must
   * be. Undefined where there is no other copy; throws when none of them can be read.
   */
  readOtherCopy?(id: NodeId, offsetBytes: number, target: Uint8Array): Promise<number | undefined>;
  readLink?(id: NodeId): Promise<string>;
  /** Extended attributes by full name ("user.comment"). */
  xattrs?(id: NodeId): Promise<ReadonlyMap<string, Uint8Array>>;
  /**
   * Form in which two names of one directory are the same name; identity where case matters. Where
   * that differs from directory to directory: of one that was listed; identity when none is given.
   */
  foldName(name: string, directory?: NodeId): string;
  /** Free space as statfs(2) wants it, in clusters. */
  freeClusters(): Promise<number>;

  close(): Promise<void>;
}

/** Options that formats understand; each takes what concerns it. */
export interface VolumeOptions {
  /** OEM code page of FAT short names, default 437. */
  readonly codePage?: number | undefined;
  /** Minutes east of UTC of FAT's local times; default 0: they are shown as if they were UTC. */
  readonly timeZoneMinutes?: number | undefined;
  /** Sizes of the segments of which the device was joined, in order; absent: it is one piece. */
  readonly segmentBytes?: readonly number[] | undefined;
}

export interface VolumeFormat {
  /** Family of formats: "fat". */
  readonly name: string;
  /** Cheap look at the first blocks: is this device plausibly mine? Never throws for bad content. */
  probe(device: BlockDevice): Promise<boolean>;
  /** Throws "damaged" or "unsupported" with the reason. */
  open(device: BlockDevice, options?: VolumeOptions): Promise<Volume>;
}
