/**
 * A foreign tape container that is only read: where its objects lie and how to fetch one. The drive
 * in front of it (container-drive.ts) keeps the position and the rules of TapeDrive, so a format
 * says nothing but its own layout.
 */
import type { ObjectNumbers } from "../tape-space.ts";
import type { ScanStop } from "../tape-scanner.ts";

/** An object as it was fetched; the bytes of a record are in the target. */
export type FetchedObject =
  | { readonly kind: "record"; readonly lengthBytes: number; readonly flawed: boolean }
  | { readonly kind: "filemark" };

export interface ContainerIndex extends ObjectNumbers {
  /** Byte offset of a known object; for `count`, the end of the last one. */
  offsetBytes(object: number): number;
}

export interface Container {
  /** The objects found so far, from the beginning of the tape. */
  readonly index: ContainerIndex;
  /** Why the scan goes no further; undefined while it may. */
  readonly stop: ScanStop | undefined;
  /** Extends the index until it knows `object`, or `filemarks` filemarks, or the tape stops. */
  scanTo(object: number, filemarks?: number): Promise<void>;
  /** The file may have grown: if it did, the scan goes on. */
  refresh(): Promise<void>;
  /**
   * Fetches a known object: fills `target`, or as much of it as the record has.
   * @throws "damaged" where the object is not what the index or the format says.
   */
  fetch(object: number, target: Uint8Array): Promise<FetchedObject>;
  /** Words of known objects from `object` on (object-run.ts); undefined where lengths are unknown. */
  wordRun(object: number): Uint32Array | undefined;
  close(): Promise<void>;
}
