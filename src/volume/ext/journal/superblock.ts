/**
 * The journal's superblock: where the log starts, how long it may be, and which of the layouts its
 * blocks have. It is checked as the kernel does before it mounts.
 */
import { ReelError } from "../../../errors.ts";
import { crc32cWithoutField, seedOf } from "./checksums.ts";
import {
  BLOCK_TYPE,
  CHECKSUM_TYPE_CRC32C,
  COMPAT_CHECKSUM,
  HEADER,
  INCOMPAT,
  JOURNAL_MAGIC,
  SUPERBLOCK,
  SUPERBLOCK_BYTES,
  UUID_BYTES,
} from "./layout.ts";

/** mke2fs makes journals of at most 10,240,000 blocks. */
export const JOURNAL_BLOCKS_MAX = 2 ** 24;
const FAST_COMMIT_BLOCKS_DEFAULT = 256;
/** A journal keeps at least this many blocks for whole transactions. */
const LOG_BLOCKS_MIN = 1024;
const ALL_ONES = 0xffffffff;
const INCOMPAT_KNOWN = Object.values(INCOMPAT).reduce<number>((all, flag) => all | flag, 0);

export interface JournalSuperblock {
  /** First block of the log, and the first after it; the log is a ring. */
  readonly firstBlock: number;
  readonly endBlock: number;
  /** Where the oldest transaction starts; 0: the log is empty. */
  readonly startBlock: number;
  /** Number of the oldest transaction. */
  readonly sequence: number;
  /** The area of fast commits: [start, end); empty where there is none. */
  readonly fastCommitStart: number;
  readonly fastCommitEnd: number;
  /** The filesystem noted an error in the journal. */
  readonly hasError: boolean;
  readonly bits64: boolean;
  readonly asyncCommit: boolean;
  /** 0: none. */
  readonly checksums: 0 | 1 | 2 | 3;
  /** Start value of the checksums v2 and v3. */
  readonly seed: number;
}

/**
 * Reads a superblock: the first SUPERBLOCK_BYTES of the journal. `journalBlocks` is the size of the
 * journal's file. Throws "damaged" and "unsupported".
 */
export function parseSuperblock(
  name: string,
  bytes: Uint8Array,
  blockSizeBytes: number,
  journalBlocks: number,
): JournalSuperblock {
  const view = new DataView(bytes.buffer, bytes.byteOffset, SUPERBLOCK_BYTES);
  const field = (at: number): number => view.getUint32(at);
  const fault = faultOfHeader(field, blockSizeBytes);
  if (fault !== undefined) throw damaged(name, fault);
  const isVersion2 = field(HEADER.blockType) === BLOCK_TYPE.superblockV2;
  const compat = isVersion2 ? field(SUPERBLOCK.featureCompat) : 0;
  const incompat = isVersion2 ? field(SUPERBLOCK.featureIncompat) : 0;
  if (isVersion2) refuseUnknown(name, incompat, field(SUPERBLOCK.featureReadOnlyCompat));
  const checksums = checksumsOf(name, compat, incompat);
  if (checksums >= 2) checkChecksum(name, bytes, view);
  const lengthBlocks = field(SUPERBLOCK.lengthBlocks);
  const area = fastCommitArea(lengthBlocks, incompat, field(SUPERBLOCK.fastCommitBlocks));
  const log = {
    firstBlock: field(SUPERBLOCK.firstBlock),
    endBlock: area === undefined ? lengthBlocks : area.logEnd,
    startBlock: field(SUPERBLOCK.startBlock),
  };
  const misplaced = faultOfLog(log, lengthBlocks, journalBlocks);
  if (misplaced !== undefined) throw damaged(name, misplaced);
  return {
    ...log,
    sequence: field(SUPERBLOCK.sequence),
    fastCommitStart: area?.start ?? 0,
    fastCommitEnd: area?.end ?? 0,
    hasError: field(SUPERBLOCK.errno) !== 0,
    bits64: (incompat & INCOMPAT.bits64) !== 0,
    asyncCommit: (incompat & INCOMPAT.asyncCommit) !== 0,
    checksums,
    seed: seedOf(bytes.subarray(SUPERBLOCK.uuid, SUPERBLOCK.uuid + UUID_BYTES)),
  };
}

type FieldReader = (at: number) => number;

function faultOfHeader(field: FieldReader, blockSizeBytes: number): string | undefined {
  if (field(HEADER.magic) !== JOURNAL_MAGIC) return "it has no magic number";
  const type = field(HEADER.blockType);
  if (type !== BLOCK_TYPE.superblockV1 && type !== BLOCK_TYPE.superblockV2) {
    return `its block type is ${type}, not that of a superblock`;
  }
  const own = field(SUPERBLOCK.blockSizeBytes);
  if (own === blockSizeBytes) return undefined;
  return `it says that blocks have ${own} bytes, on a volume with blocks of ${blockSizeBytes} bytes`;
}

function refuseUnknown(name: string, incompat: number, readOnlyCompat: number): void {
  const unknown = incompat & ~INCOMPAT_KNOWN;
  if (unknown === 0 && readOnlyCompat === 0) return;
  const words = [
    unknown === 0 ? "" : `incompatible features ${hex(unknown)}`,
    readOnlyCompat === 0 ? "" : `read-only compatible features ${hex(readOnlyCompat)}`,
  ].filter((word) => word !== "");
  throw new ReelError(
    "unsupported",
    `cannot read ${name}: it has features this program does not know (${words.join(", ")})`,
  );
}

function checksumsOf(name: string, compat: number, incompat: number): 0 | 1 | 2 | 3 {
  const found = [
    (compat & COMPAT_CHECKSUM) !== 0 ? (1 as const) : undefined,
    (incompat & INCOMPAT.checksumV2) !== 0 ? (2 as const) : undefined,
    (incompat & INCOMPAT.checksumV3) !== 0 ? (3 as const) : undefined,
  ].filter((version) => version !== undefined);
  if (found.length <= 1) return found[0] ?? 0;
  throw damaged(name, `it claims checksums v${found.join(" and v")} at once`);
}

function checkChecksum(name: string, bytes: Uint8Array, view: DataView): void {
  const type = view.getUint8(SUPERBLOCK.checksumType);
  if (type !== CHECKSUM_TYPE_CRC32C) {
    throw new ReelError(
      "unsupported",
      `cannot read ${name}: its checksums are of type ${type}, and only type 4, CRC-32C, is known`,
    );
  }
  const superblock = bytes.subarray(0, SUPERBLOCK_BYTES);
  const computed = crc32cWithoutField(ALL_ONES, superblock, SUPERBLOCK.checksum);
  if (view.getUint32(SUPERBLOCK.checksum) !== computed) {
    throw damaged(name, "its checksum does not match");
  }
}

interface FastCommitArea {
  readonly logEnd: number;
  readonly start: number;
  readonly end: number;
}

/** Fast commits have the end of the journal; one block between them and the log stays unused. */
function fastCommitArea(
  lengthBlocks: number,
  incompat: number,
  wanted: number,
): FastCommitArea | undefined {
  if ((incompat & INCOMPAT.fastCommit) === 0) return undefined;
  const blocks = wanted === 0 ? FAST_COMMIT_BLOCKS_DEFAULT : wanted;
  if (lengthBlocks - blocks < LOG_BLOCKS_MIN) return undefined;
  const logEnd = lengthBlocks - blocks;
  return { logEnd, start: logEnd + 1, end: lengthBlocks };
}

function faultOfLog(
  log: Pick<JournalSuperblock, "firstBlock" | "endBlock" | "startBlock">,
  lengthBlocks: number,
  journalBlocks: number,
): string | undefined {
  if (lengthBlocks > JOURNAL_BLOCKS_MAX) {
    return `it claims ${lengthBlocks} blocks, more than any journal has (${JOURNAL_BLOCKS_MAX})`;
  }
  if (lengthBlocks > journalBlocks) {
    return `it claims ${lengthBlocks} blocks, and the journal has ${journalBlocks}`;
  }
  const { firstBlock, endBlock, startBlock } = log;
  if (firstBlock === 0 || firstBlock >= endBlock) {
    return `its log would begin at block ${firstBlock} and end at block ${endBlock}`;
  }
  if (startBlock !== 0 && (startBlock < firstBlock || startBlock >= endBlock)) {
    return `its oldest transaction would be at block ${startBlock}, outside the log`;
  }
  return undefined;
}

function damaged(name: string, fault: string): ReelError {
  return new ReelError(
    "damaged",
    `cannot read ${name}: its superblock (block 0 of the journal) is damaged: ${fault}`,
  );
}

function hex(flags: number): string {
  return `0x${(flags >>> 0).toString(16)}`;
}
