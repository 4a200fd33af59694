/** What a record says of its file or directory: kind, size, times, owner, where the contents begin. */
import { fatTimeMs } from "../dos-time.ts";
import type { NodeId, NodeKind, NodeStat } from "../volume.ts";
import { SECTOR_BYTES, u16, u32 } from "./fields.ts";
import type { NameRecords } from "./names.ts";
import { ATTRIBUTE, DOS, COMMON, isDirectory, NFS, VOLUME_FLAG } from "./records.ts";
import type { Reading } from "./store.ts";

const TYPE_MASK = 0xf000;
const KIND_OF_TYPE: ReadonlyMap<number, NodeKind> = new Map([
  [0x1000, "fifo"],
  [0x2000, "character"],
  [0x6000, "block"],
  [0xa000, "symlink"],
  [0xc000, "socket"],
]);
/** PATH_MAX of Linux: no symbolic link says more. */
export const LINK_BYTES_MAX = 4096;
const MODE_MASK = 0o7777;
const LINK_COUNT_MAX = 0xffff;

export interface StatContext extends Reading {
  readonly blockBytes: number;
  readonly volumeFlags: number;
}

/** Stat of the entry whose records these are. */
export function statOf(id: NodeId, records: NameRecords, context: StatContext): NodeStat {
  const { dos, nfs } = records;
  const kind = kindOfNode(records);
  const sizeBytes = isDirectory(dos, 0) ? 0 : u32(dos, DOS.size);
  const attributes = u32(dos, COMMON.attributes);
  const mode = nfs === undefined ? 0 : u32(nfs, NFS.mode);
  const times = timesOf(dos, kind, context);
  const links = nfs === undefined ? 1 : u32(nfs, NFS.linkCount);
  const isDevice = kind === "block" || kind === "character";
  return {
    id,
    kind,
    sizeBytes,
    // Files made by DOS clients have an NFS record whose mode nobody set.
    mode: mode === 0 ? undefined : mode & MODE_MASK,
    readOnly: (attributes & ATTRIBUTE.readOnly) !== 0,
    uid: mode === 0 || nfs === undefined ? undefined : u32(nfs, NFS.userId),
    gid: mode === 0 || nfs === undefined ? undefined : u32(nfs, NFS.groupId),
    linkCount: Math.min(Math.max(links, 1), LINK_COUNT_MAX),
    ...times,
    changedMs: times.modifiedMs,
    allocatedBytes: allocated(sizeBytes, context),
    deviceNumber: isDevice && nfs !== undefined ? u32(nfs, NFS.device) : undefined,
    attributes: attributes & ATTRIBUTE.dosMask,
  };
}

export function kindOfNode({ dos, nfs }: NameRecords): NodeKind {
  if (isDirectory(dos, 0)) return "directory";
  if (nfs === undefined) return "file";
  return KIND_OF_TYPE.get(u32(nfs, NFS.mode) & TYPE_MASK) ?? "file";
}

function timesOf(
  dos: DataView,
  kind: NodeKind,
  { timeZoneMinutes }: Reading,
): Pick<NodeStat, "modifiedMs" | "accessedMs" | "createdMs"> {
  const timeAt = (offset: number) =>
    fatTimeMs(u16(dos, offset + 2), u16(dos, offset), 0, timeZoneMinutes);
  const modifiedMs = timeAt(DOS.modified);
  const createdMs = u32(dos, DOS.created) === 0 ? undefined : timeAt(DOS.created);
  const date = kind === "directory" ? 0 : u16(dos, DOS.accessedDate);
  const accessedMs = date === 0 ? modifiedMs : fatTimeMs(date, 0, 0, timeZoneMinutes);
  return { modifiedMs, accessedMs, createdMs };
}

/** As if there were no holes: whole blocks, and sectors for the rest where tails share blocks. */
function allocated(sizeBytes: number, { blockBytes, volumeFlags }: StatContext): number {
  const isShared = (volumeFlags & VOLUME_FLAG.suballocation) !== 0;
  const unit = isShared ? SECTOR_BYTES : blockBytes;
  return Math.ceil(sizeBytes / unit) * unit;
}
