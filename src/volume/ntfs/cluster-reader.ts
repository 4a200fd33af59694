/** Reading and locating stretches of a non-resident attribute through its runs. */
import type { BlockDevice } from "../../device/block-device.ts";
import { settleAll } from "../../device/settle-all.ts";
import { fault } from "./damage.ts";
import type { NtfsGeometry } from "./geometry.ts";
import { HOLE } from "./runs.ts";
import type { RunList } from "./runs.ts";

/** Reads under way together: a fragmented file keeps the device busy without a million promises. */
const READS_MAX = 32;

/** A stretch of an attribute that lies in one piece on the device, or is a hole. */
export interface Piece {
  /** Offset within the attribute. */
  readonly position: number;
  /** Offset on the device, or HOLE. */
  readonly deviceOffset: number;
  readonly lengthBytes: number;
}

/** The pieces of [offset, offset + length) in order. What lies beyond the last run is left out. */
export function* piecesOf(
  runs: RunList,
  clusterBytes: number,
  offsetBytes: number,
  lengthBytes: number,
): Generator<Piece> {
  const end = Math.min(offsetBytes + lengthBytes, runs.clusterCount * clusterBytes);
  let run = runs.indexOf(Math.floor(offsetBytes / clusterBytes));
  for (let position = offsetBytes; position < end; run++) {
    const start = runs.startAt(run) * clusterBytes;
    const pieceEnd = Math.min(end, runs.startAt(run + 1) * clusterBytes);
    const cluster = runs.clusterAt(run);
    const deviceOffset = cluster === HOLE ? HOLE : cluster * clusterBytes + (position - start);
    yield { position, deviceOffset, lengthBytes: pieceEnd - position };
    position = pieceEnd;
  }
}

/**
 * Fills `target` from `offsetBytes` of an attribute on; holes, and what is beyond the last run, are
 * zeros. Throws a fault where a run lies beyond the end of the device, and what the device throws.
 */
export async function readClusters(
  device: BlockDevice,
  geometry: NtfsGeometry,
  runs: RunList,
  offsetBytes: number,
  target: Buffer,
): Promise<void> {
  let reads: Promise<void>[] = [];
  let filled = 0;
  for (const piece of piecesOf(runs, geometry.clusterBytes, offsetBytes, target.length)) {
    const part = target.subarray(filled, filled + piece.lengthBytes);
    filled += piece.lengthBytes;
    if (piece.deviceOffset === HOLE) {
      part.fill(0);
      continue;
    }
    if (piece.deviceOffset + piece.lengthBytes > device.sizeBytes) {
      await settleAll(reads);
      throw fault(
        `its byte ${piece.position} lies at byte ${piece.deviceOffset} of ${device.name}, ` +
          `which ends before that (${device.sizeBytes} bytes)`,
      );
    }
    reads.push(device.read(piece.deviceOffset, part));
    if (reads.length < READS_MAX) continue;
    await settleAll(reads);
    reads = [];
  }
  target.fill(0, filled);
  await settleAll(reads);
}
