/**
 * $LogFile: was the volume shut down properly? Two restart pages at its start say which programs
 * still have the log open. Its records are not replayed. Layout: "LogFile" of the Linux-NTFS
 * documentation.
 */
import { applyFixups } from "./fixup.ts";
import { loadInode } from "./inode.ts";
import type { Mft } from "./mft.ts";
import { TYPE } from "./record.ts";
import { openStream, readStream } from "./stream.ts";

export const LOG_RECORD = 2;
const PAGE_BYTES = 4096;
/** The two restart pages. */
export const LOG_START_BYTES = 2 * PAGE_BYTES;
const RESTART_SIGNATURE = "RSTR";
const PAGE = { systemPageBytes: 16, restartOffset: 24 } as const;
const RESTART = { currentLsn: 0, clientsInUse: 12, flags: 14, end: 16 } as const;
const NO_CLIENT = 0xffff;
const FLAG_CLEAN = 0x0002;

/** True when the log was closed, or is empty, as other systems than Windows leave it. */
export async function isLogClean(mft: Mft): Promise<boolean> {
  const stream = openStream(mft, await loadInode(mft, LOG_RECORD), TYPE.data);
  if (stream === undefined || stream.sizeBytes < LOG_START_BYTES) return true;
  const bytes = Buffer.alloc(LOG_START_BYTES);
  await readStream(mft, stream, 0, bytes);
  let newest = -1n;
  let isClean = true;
  for (let at = 0; at < LOG_START_BYTES; at += PAGE_BYTES) {
    if (applyFixups(bytes, at, PAGE_BYTES, RESTART_SIGNATURE) !== undefined) continue;
    const area = at + bytes.readUInt16LE(at + PAGE.restartOffset);
    const isSane = bytes.readUInt32LE(at + PAGE.systemPageBytes) === PAGE_BYTES;
    if (!isSane || area + RESTART.end > at + PAGE_BYTES) continue;
    const lsn = bytes.readBigInt64LE(area + RESTART.currentLsn);
    if (lsn <= newest) continue;
    newest = lsn;
    isClean =
      bytes.readUInt16LE(area + RESTART.clientsInUse) === NO_CLIENT ||
      (bytes.readUInt16LE(area + RESTART.flags) & FLAG_CLEAN) !== 0;
  }
  return isClean;
}
