/**
 * A device that fails on demand, for tests of what stands on it: reads and writes that fail in
 * given ranges, bytes that come back changed, completions that wait until the test lets them go.
 * It also counts. In all else it keeps the BlockDevice contract.
 */
import type { BlockDevice, WritableBlockDevice } from "../../src/device/block-device.ts";
import { CheckedWritableDevice } from "../../src/device/checked-device.ts";
import { ReelError } from "../../src/errors.ts";
import type { ErrorCode } from "../../src/errors.ts";

interface Range {
  readonly startBytes: number;
  readonly endBytes: number;
}

interface Fault extends Range {
  readonly code: ErrorCode;
}

export class FaultyDevice extends CheckedWritableDevice {
  readonly #base: BlockDevice | WritableBlockDevice;
  readonly #readFaults: Fault[] = [];
  readonly #writeFaults: Fault[] = [];
  readonly #corrupted: Range[] = [];
  #isHolding = false;
  readonly #held: (() => void)[] = [];
  readonly #watchers: { readonly count: number; readonly resolve: () => void }[] = [];
  /** Calls that reached this device, and bytes they asked for. */
  readonly counts = { reads: 0, bytesRead: 0, writes: 0, bytesWritten: 0 };

  /** Closing it closes `base`: a test hands the device over. */
  constructor(base: BlockDevice | WritableBlockDevice) {
    super({
      name: `faulty ${base.name}`,
      sizeBytes: base.sizeBytes,
      sectorSizeBytes: base.sectorSizeBytes,
    });
    this.#base = base;
  }

  /** From now on a read that touches the range fails. */
  failReads(offsetBytes: number, lengthBytes: number, code: ErrorCode = "io"): void {
    this.#readFaults.push({ startBytes: offsetBytes, endBytes: offsetBytes + lengthBytes, code });
  }

  /** From now on a write that touches the range fails. */
  failWrites(offsetBytes: number, lengthBytes: number, code: ErrorCode = "io"): void {
    this.#writeFaults.push({ startBytes: offsetBytes, endBytes: offsetBytes + lengthBytes, code });
  }

  /** From now on every byte read from the range has all its bits flipped. */
  corrupt(offsetBytes: number, lengthBytes: number): void {
    this.#corrupted.push({ startBytes: offsetBytes, endBytes: offsetBytes + lengthBytes });
  }

  /** Takes back every fault. */
  heal(): void {
    this.#readFaults.length = 0;
    this.#writeFaults.length = 0;
    this.#corrupted.length = 0;
  }

  /** From now on reads do not complete until they are let go. */
  hold(): void {
    this.#isHolding = true;
  }

  /** Reads that are held. */
  get held(): number {
    return this.#held.length;
  }

  /** Resolves once `count` reads are held. */
  async whenHeld(count: number): Promise<void> {
    if (this.#held.length >= count) return;
    await new Promise<void>((resolve) => this.#watchers.push({ count, resolve }));
  }

  /** Lets one held read go: the oldest, or the one at `index`. */
  letGo(index = 0): void {
    const [resume] = this.#held.splice(index, 1);
    resume?.();
  }

  /** Lets all of them go, and later ones pass. */
  letAllGo(): void {
    this.#isHolding = false;
    for (const resume of this.#held.splice(0)) resume();
  }

  protected override async readRange(offsetBytes: number, target: Uint8Array): Promise<void> {
    this.counts.reads++;
    this.counts.bytesRead += target.length;
    if (this.#isHolding) await this.#waitForRelease();
    this.#throwIfHit(this.#readFaults, "read", offsetBytes, target.length);
    await this.#base.read(offsetBytes, target);
    for (const range of this.#corrupted) {
      const from = Math.max(0, range.startBytes - offsetBytes);
      const to = Math.min(target.length, range.endBytes - offsetBytes);
      for (let i = from; i < to; i++) target[i] = (target[i] ?? 0) ^ 0xff;
    }
  }

  protected override async writeRange(offsetBytes: number, source: Uint8Array): Promise<void> {
    this.counts.writes++;
    this.counts.bytesWritten += source.length;
    this.#throwIfHit(this.#writeFaults, "write", offsetBytes, source.length);
    await this.#writable().write(offsetBytes, source);
  }

  protected override async zeroRange(offsetBytes: number, lengthBytes: number): Promise<void> {
    this.#throwIfHit(this.#writeFaults, "zero", offsetBytes, lengthBytes);
    await this.#writable().zero(offsetBytes, lengthBytes);
  }

  protected override async sync(): Promise<void> {
    await this.#writable().flush();
  }

  protected override async release(): Promise<void> {
    await this.#base.close();
  }

  async #waitForRelease(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#held.push(resolve);
      for (const watcher of this.#watchers.splice(0)) {
        if (this.#held.length >= watcher.count) watcher.resolve();
        else this.#watchers.push(watcher);
      }
    });
  }

  #throwIfHit(
    faults: readonly Fault[],
    doing: string,
    offsetBytes: number,
    lengthBytes: number,
  ): void {
    const hit = faults.find(
      (fault) => fault.startBytes < offsetBytes + lengthBytes && fault.endBytes > offsetBytes,
    );
    if (hit === undefined) return;
    throw new ReelError(
      hit.code,
      `cannot ${doing} ${lengthBytes} bytes at offset ${offsetBytes} of ${this.name}: injected`,
    );
  }

  #writable(): WritableBlockDevice {
    if ("write" in this.#base) return this.#base;
    throw new ReelError("read-only", `cannot write ${this.name}: it is read-only`);
  }
}
