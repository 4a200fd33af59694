/** A plain file as a tape: records of one size, the last as long as what is left; no filemarks. */
import { ReelError } from "../../errors.ts";
import { RECORD_BYTES_MAX } from "../simh-format.ts";
import type { ScanStop } from "../tape-scanner.ts";
import type { Container, ContainerIndex, FetchedObject } from "./container.ts";
import type { WindowedFile } from "./windowed-file.ts";

/** What tar writes without being told. */
export const PLAIN_BLOCK_BYTES_DEFAULT = 10_240;
const RUN_OBJECTS_MAX = 4096;

export class PlainContainer implements Container {
  readonly index: ContainerIndex;
  readonly stop: ScanStop = { kind: "end-of-file", message: "end of the file" };
  readonly #file: WindowedFile;
  readonly #blockBytes: number;

  /**
   * Takes over `file`.
   * @throws "invalid" for a block size that no record can have.
   */
  constructor(file: WindowedFile, blockBytes = PLAIN_BLOCK_BYTES_DEFAULT) {
    if (!Number.isSafeInteger(blockBytes) || blockBytes < 1 || blockBytes > RECORD_BYTES_MAX) {
      throw new ReelError(
        "invalid",
        `cannot read ${file.name} as records of ${blockBytes} bytes: ` +
          `a record has 1 to ${RECORD_BYTES_MAX} bytes`,
      );
    }
    this.#file = file;
    this.#blockBytes = blockBytes;
    this.index = {
      get count() {
        return Math.ceil(file.sizeBytes / blockBytes);
      },
      filemarkCount: 0,
      filesBefore: () => 0,
      filemarkObject: () => undefined,
      offsetBytes: (object) => Math.min(object * blockBytes, file.sizeBytes),
    };
  }

  /** Nothing to look for: where a record lies is plain arithmetic. */
  async scanTo(): Promise<void> {
    return Promise.resolve();
  }

  async refresh(): Promise<void> {
    await this.#file.refresh();
  }

  wordRun(object: number): Uint32Array {
    const length = Math.max(0, Math.min(RUN_OBJECTS_MAX, this.index.count - object));
    return Uint32Array.from({ length }, (_, each) => this.#lengthBytes(object + each));
  }

  async fetch(object: number, target: Uint8Array): Promise<FetchedObject> {
    const lengthBytes = this.#lengthBytes(object);
    const data = target.subarray(0, lengthBytes);
    if (data.length > 0) {
      await this.#file.read([data], this.index.offsetBytes(object), data.length);
    }
    return { kind: "record", lengthBytes, flawed: false };
  }

  #lengthBytes(object: number): number {
    return Math.min(this.#blockBytes, this.#file.sizeBytes - object * this.#blockBytes);
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}
