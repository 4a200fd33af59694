/**
 * BlockDevice: bytes at offsets. The contract of everything that a volume can lie on: a file, a
 * block device, a partition of either, several of them end to end, a backup image on tape.
 *
 * Rules every implementation keeps (test/support/block-device-suite.ts checks them):
 * - `read` fills the whole target or throws; there are no short reads. It may be called again
 *   before an earlier call has finished. Once it has settled, also with an error, nothing writes to
 *   the target any more: it is the caller's again, who may have lent it to somebody else by then.
 * - A range outside [0, sizeBytes) throws "out-of-range"; an empty range inside is allowed.
 * - Nothing is aligned: any offset and any length will do.
 * - After `close` every call throws "closed"; `close` is idempotent and waits for what is under way.
 */
export interface BlockDevice {
  /** For messages: a path, or "partition 2 of /dev/sda". */
  readonly name: string;
  readonly sizeBytes: number;
  /** Smallest unit the medium itself transfers, in bytes: 512 unless the device says otherwise. */
  readonly sectorSizeBytes: number;

  /** Fills `target` with the bytes from `offsetBytes` on. */
  read(offsetBytes: number, target: Uint8Array): Promise<void>;
  /**
   * As `read`, but undefined where the bytes are in `target` already: a device that keeps bytes in
   * memory answers most reads so, and saves whoever makes thousands of them a promise for each.
   */
  readOrWait?(offsetBytes: number, target: Uint8Array): Promise<void> | undefined;

  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** A device that can also be written: a restore target, a copy-on-write overlay. */
export interface WritableBlockDevice extends BlockDevice {
  /** Writes all of `source` at `offsetBytes`. */
  write(offsetBytes: number, source: Uint8Array): Promise<void>;
  /** Makes [offset, offset + length) read as zeros, by punching a hole where the medium can. */
  zero(offsetBytes: number, lengthBytes: number): Promise<void>;
  /** Returns once everything written is on stable storage. */
  flush(): Promise<void>;
}
