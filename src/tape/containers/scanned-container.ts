/**
 * What containers share whose objects are found by going from one to the next: the list of objects
 * found so far, and the scan that goes on until it knows enough or cannot. A format adds the step
 * from one object to the next, and how to fetch one.
 */
import type { ScanStop } from "../tape-scanner.ts";
import type { Container, FetchedObject } from "./container.ts";
import { ObjectList } from "./object-list.ts";
import type { WindowedFile } from "./windowed-file.ts";

export abstract class ScannedContainer implements Container {
  readonly index = new ObjectList();
  protected readonly file: WindowedFile;
  #stop: ScanStop | undefined;

  /** Takes over `file`. */
  constructor(file: WindowedFile) {
    this.file = file;
  }

  get stop(): ScanStop | undefined {
    return this.#stop;
  }

  async scanTo(object: number, filemarks = Number.POSITIVE_INFINITY): Promise<void> {
    while (
      this.#stop === undefined &&
      this.index.count <= object &&
      this.index.filemarkCount < filemarks
    ) {
      this.#stop = await this.step();
    }
  }

  async refresh(): Promise<void> {
    if (await this.file.refresh()) this.#stop = undefined;
  }

  wordRun(object: number): Uint32Array | undefined {
    return this.index.wordRun(object);
  }

  async close(): Promise<void> {
    await this.file.close();
  }

  /** Looks at the object at hand, and keeps or passes it, or says why the scan ends here. */
  protected abstract step(): Promise<ScanStop | undefined>;

  abstract fetch(object: number, target: Uint8Array): Promise<FetchedObject>;
}
