/**
 * Several devices joined end to end: a volume whose segments lie on several disks, an image cut
 * into files of 2 GB. A call that crosses from one segment into the next goes to both at once.
 *
 * Closing: as with slices, the segments stay open unless `ownsSegments` says that they were handed
 * over.
 */
import { closeAll } from "../errors.ts";
import type { BlockDevice, WritableBlockDevice } from "./block-device.ts";
import { CheckedDevice, CheckedWritableDevice } from "./checked-device.ts";
import type { DeviceDescription } from "./checked-device.ts";
import { settleAll } from "./settle-all.ts";

export interface SegmentsOptions {
  readonly name: string;
  /** True: closing the joined device closes every segment. */
  readonly ownsSegments?: boolean;
}

/** One segment's share of a range. */
interface Share<Segment> {
  readonly segment: Segment;
  /** Where the share begins on the segment, and within the range. */
  readonly offsetBytes: number;
  readonly fromBytes: number;
  readonly lengthBytes: number;
}

/** Read-only. */
export class SegmentsDevice extends CheckedDevice {
  readonly #segments: Joined<BlockDevice>;
  readonly #ownsSegments: boolean;

  constructor(segments: readonly BlockDevice[], options: SegmentsOptions) {
    const joined = new Joined(segments);
    super(joined.describe(options.name));
    this.#segments = joined;
    this.#ownsSegments = options.ownsSegments ?? false;
  }

  protected override async readRange(offsetBytes: number, target: Uint8Array): Promise<void> {
    return this.#segments.forEachShare(offsetBytes, target.length, async (share) =>
      share.segment.read(share.offsetBytes, shareOf(target, share)),
    );
  }

  protected override async release(): Promise<void> {
    if (this.#ownsSegments) await closeAll(...this.#segments.devices);
  }
}

/** The same, of devices that can be written. */
export class WritableSegmentsDevice extends CheckedWritableDevice {
  readonly #segments: Joined<WritableBlockDevice>;
  readonly #ownsSegments: boolean;

  constructor(segments: readonly WritableBlockDevice[], options: SegmentsOptions) {
    const joined = new Joined(segments);
    super(joined.describe(options.name));
    this.#segments = joined;
    this.#ownsSegments = options.ownsSegments ?? false;
  }

  protected override async readRange(offsetBytes: number, target: Uint8Array): Promise<void> {
    return this.#segments.forEachShare(offsetBytes, target.length, async (share) =>
      share.segment.read(share.offsetBytes, shareOf(target, share)),
    );
  }

  protected override async writeRange(offsetBytes: number, source: Uint8Array): Promise<void> {
    return this.#segments.forEachShare(offsetBytes, source.length, async (share) =>
      share.segment.write(share.offsetBytes, shareOf(source, share)),
    );
  }

  protected override async zeroRange(offsetBytes: number, lengthBytes: number): Promise<void> {
    return this.#segments.forEachShare(offsetBytes, lengthBytes, async (share) =>
      share.segment.zero(share.offsetBytes, share.lengthBytes),
    );
  }

  protected override async sync(): Promise<void> {
    return settleAll(this.#segments.devices.map(async (segment) => segment.flush()));
  }

  protected override async release(): Promise<void> {
    if (this.#ownsSegments) await closeAll(...this.#segments.devices);
  }
}

/** Devices and where each begins. */
class Joined<Segment extends BlockDevice> {
  readonly devices: readonly Segment[];
  readonly #starts: Float64Array;
  readonly #sizeBytes: number;

  constructor(devices: readonly Segment[]) {
    this.devices = [...devices];
    this.#starts = new Float64Array(devices.length);
    let sizeBytes = 0;
    for (const [index, device] of devices.entries()) {
      this.#starts[index] = sizeBytes;
      sizeBytes += device.sizeBytes;
    }
    this.#sizeBytes = sizeBytes;
  }

  describe(name: string): DeviceDescription {
    const sectorSizes = this.devices.map((device) => device.sectorSizeBytes);
    const sectorSizeBytes = sectorSizes.length === 0 ? undefined : Math.max(...sectorSizes);
    return { name, sizeBytes: this.#sizeBytes, sectorSizeBytes };
  }

  /** Does `work` for the shares of a range, all at once; throws when all are done and one failed. */
  async forEachShare(
    offsetBytes: number,
    lengthBytes: number,
    work: (share: Share<Segment>) => Promise<void>,
  ): Promise<void> {
    const running: Promise<void>[] = [];
    for (let done = 0, index = this.#indexAt(offsetBytes); done < lengthBytes; index++) {
      const segment = this.devices[index];
      if (segment === undefined) break;
      const within = offsetBytes + done - (this.#starts[index] ?? 0);
      const length = Math.min(lengthBytes - done, segment.sizeBytes - within);
      if (length <= 0) continue;
      running.push(work({ segment, offsetBytes: within, fromBytes: done, lengthBytes: length }));
      done += length;
    }
    return running.length === 1 ? running[0] : settleAll(running);
  }

  /** Index of the last segment that begins at or before `offsetBytes`. */
  #indexAt(offsetBytes: number): number {
    let low = 0;
    let high = this.#starts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#starts[middle] ?? 0) <= offsetBytes) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }
}

function shareOf(bytes: Uint8Array, share: Share<unknown>): Uint8Array {
  return bytes.subarray(share.fromBytes, share.fromBytes + share.lengthBytes);
}
