/**
 * A tape library in memory, over MemoryTape: the TapeLoader contract without a disk, for tests of
 * what stands on a loader. `insert` and `remove` are a person's hands at any element.
 */
import { ReelError } from "../../src/errors.ts";
import { MemoryTape, type MemoryObject } from "../../src/tape/memory-tape.ts";
import type {
  TapeCapabilities,
  TapeDrive,
  TapePosition,
  TapeRead,
  TapeSpace,
  TapeWrite,
} from "../../src/tape/tape-drive.ts";
import type {
  ElementAddress,
  ElementKind,
  ElementStatus,
  LoadedTape,
  LoaderDrive,
  LoaderGeometry,
  TapeLoader,
} from "../../src/vtl/tape-loader.ts";

export interface MemoryCartridge {
  readonly barcode: string;
  readonly writeProtected?: boolean;
  readonly capacityBytes?: number;
  readonly earlyWarningBytes?: number;
  /** What is on it; changed in place by writing. */
  readonly objects?: MemoryObject[];
}

export interface MemoryLoaderOptions extends Partial<LoaderGeometry> {
  /** Into slot 1, 2, … */
  readonly tapes?: readonly (MemoryCartridge | undefined)[];
  /** Put in front of the tape of every drive: to make it fail. */
  readonly wrap?: (tape: TapeDrive) => TapeDrive;
}

interface Cartridge extends MemoryCartridge {
  readonly objects: MemoryObject[];
}

interface Element extends ElementAddress {
  cartridge: Cartridge | undefined;
  source: ElementAddress | undefined;
  placedByOperator: boolean;
}

function usedBytes(objects: readonly MemoryObject[]): number {
  return objects.reduce((bytes, each) => bytes + (each === undefined ? 4 : 8 + each.length), 0);
}

function describeTape(cartridge: Cartridge): LoadedTape {
  return {
    barcode: cartridge.barcode,
    writeProtected: cartridge.writeProtected ?? false,
    capacityBytes: cartridge.capacityBytes,
    usedBytes: usedBytes(cartridge.objects),
  };
}

export class MemoryLoaderDrive implements LoaderDrive {
  readonly number: number;
  readonly name: string;
  loadCount: number;
  preventRemoval = false;
  readonly #wrap: (tape: TapeDrive) => TapeDrive;
  #cartridge: Cartridge | undefined;
  #tape: TapeDrive | undefined;
  #isClosed = false;

  constructor(number: number, wrap: (tape: TapeDrive) => TapeDrive, loadCount = 0) {
    this.number = number;
    this.name = `drive ${number}`;
    this.#wrap = wrap;
    this.loadCount = loadCount;
  }

  get capabilities(): TapeCapabilities {
    return (
      this.#tape?.capabilities ?? { writable: false, recordBytesMax: 0xff_ffff, reverse: true }
    );
  }

  get ready(): boolean {
    return this.#tape !== undefined;
  }

  medium(): LoadedTape | undefined {
    return this.#cartridge === undefined ? undefined : describeTape(this.#cartridge);
  }

  /** The robot puts a tape in, or (undefined) takes it out. */
  put(cartridge: Cartridge | undefined): void {
    if (cartridge !== undefined) this.loadCount += 1;
    this.find(cartridge);
  }

  /** What is in the drive when the loader is opened. */
  find(cartridge: Cartridge | undefined): void {
    this.#cartridge = cartridge;
    this.#tape = undefined;
    if (cartridge !== undefined) this.#thread(cartridge);
  }

  async load(): Promise<void> {
    if (this.#cartridge === undefined) throw this.#noMedium();
    this.#thread(this.#cartridge);
  }

  async unload(): Promise<void> {
    this.#loaded();
    this.#tape = undefined;
  }

  async erase(): Promise<void> {
    const tape = this.#loaded();
    if (!tape.capabilities.writable || this.#cartridge === undefined) {
      throw new ReelError("read-only", `cannot erase in ${this.name}: the tape is protected`);
    }
    const { object } = await tape.position();
    this.#cartridge.objects.length = object;
    this.#thread(this.#cartridge);
    await this.#loaded().locate(object);
  }

  async position(): Promise<TapePosition> {
    return this.#loaded().position();
  }

  async read(target: Uint8Array, options?: { readonly reverse?: boolean }): Promise<TapeRead> {
    return this.#loaded().read(target, options);
  }

  async write(parts: readonly Uint8Array[]): Promise<TapeWrite> {
    return this.#loaded().write(parts);
  }

  async writeFilemarks(count: number): Promise<TapeWrite> {
    return this.#loaded().writeFilemarks(count);
  }

  async space(unit: "records" | "filemarks", count: number): Promise<TapeSpace> {
    return this.#loaded().space(unit, count);
  }

  async spaceToEndOfData(): Promise<TapePosition> {
    return this.#loaded().spaceToEndOfData();
  }

  async locate(object: number): Promise<void> {
    await this.#loaded().locate(object);
  }

  async rewind(): Promise<void> {
    await this.#loaded().rewind();
  }

  async objectOffsetBytes(object: number): Promise<number | undefined> {
    return this.#loaded().objectOffsetBytes?.(object);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#tape?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #thread(cartridge: Cartridge): void {
    const { capacityBytes, earlyWarningBytes } = cartridge;
    this.#tape = this.#wrap(
      new MemoryTape({
        name: cartridge.barcode,
        objects: cartridge.objects,
        readOnly: cartridge.writeProtected ?? false,
        ...(capacityBytes === undefined ? {} : { capacityBytes }),
        ...(earlyWarningBytes === undefined ? {} : { earlyWarningBytes }),
      }),
    );
  }

  #loaded(): TapeDrive {
    if (this.#isClosed) throw new ReelError("closed", `cannot use ${this.name}: it was closed`);
    if (this.#tape === undefined) throw this.#noMedium();
    return this.#tape;
  }

  #noMedium(): ReelError {
    return new ReelError("no-medium", `cannot use ${this.name}: no tape is loaded`);
  }
}

function newElements(geometry: LoaderGeometry): Element[] {
  const ofKind = (kind: ElementKind, count: number, base: number): Element[] =>
    Array.from({ length: count }, (_, index) => ({
      kind,
      number: index + base,
      cartridge: undefined,
      source: undefined,
      placedByOperator: false,
    }));
  return [
    ...ofKind("storage", geometry.slots, 1),
    ...ofKind("drive", geometry.drives, 0),
    ...ofKind("import-export", geometry.importExport, 1),
  ];
}

export class MemoryLoader implements TapeLoader {
  readonly name = "memory";
  readonly serial = "RFTEST0001";
  readonly geometry: LoaderGeometry;
  readonly #options: MemoryLoaderOptions;
  readonly #elements: readonly Element[];
  readonly #drives: readonly MemoryLoaderDrive[];
  #isClosed = false;

  /** @param before the same library as it was left, instead of a new one. */
  constructor(options: MemoryLoaderOptions = {}, before?: MemoryLoader) {
    const { slots = 4, drives = 2, importExport = 1 } = options;
    this.#options = options;
    this.geometry = { slots, drives, importExport };
    this.#elements = before === undefined ? newElements(this.geometry) : before.#elements;
    const wrap = options.wrap ?? ((tape: TapeDrive) => tape);
    this.#drives = Array.from(
      { length: drives },
      (_, each) =>
        new MemoryLoaderDrive(
          each,
          wrap,
          before === undefined ? 0 : before.#drives[each]?.loadCount,
        ),
    );
    for (const { kind, number, cartridge } of this.#elements) {
      if (kind === "drive") this.drive(number).find(cartridge);
    }
    if (before !== undefined) return;
    options.tapes?.forEach((tape, index) => {
      if (tape !== undefined) this.insert(tape, { kind: "storage", number: index + 1 });
    });
  }

  /** As after a restart: tapes in drives are threaded at their beginning. */
  reopen(): MemoryLoader {
    return new MemoryLoader(this.#options, this);
  }

  async elements(): Promise<readonly ElementStatus[]> {
    this.#checkOpen();
    return this.#elements.map(statusOf);
  }

  async element(address: ElementAddress): Promise<ElementStatus> {
    return statusOf(this.#find(address));
  }

  async move(from: ElementAddress, to: ElementAddress): Promise<void> {
    const source = this.#find(from);
    const destination = this.#find(to);
    if (source.cartridge === undefined) throw this.#refuse("not-found", "nothing to move");
    if (destination.cartridge !== undefined) throw this.#refuse("exists", "the element is full");
    this.#checkRemoval(from);
    const { cartridge } = source;
    const home = homeOf(source);
    this.#put(source, undefined, undefined);
    this.#put(destination, cartridge, home);
  }

  async exchange(
    source: ElementAddress,
    first: ElementAddress,
    second: ElementAddress,
  ): Promise<void> {
    const [from, middle, to] = [this.#find(source), this.#find(first), this.#find(second)];
    if (from.cartridge === undefined || middle.cartridge === undefined) {
      throw this.#refuse("not-found", "nothing to exchange");
    }
    if (to !== from && to.cartridge !== undefined) throw this.#refuse("exists", "it is full");
    this.#checkRemoval(source);
    this.#checkRemoval(first);
    const [coming, going] = [from.cartridge, middle.cartridge];
    const [home, homeOfGoing] = [homeOf(from), homeOf(middle)];
    this.#put(from, undefined, undefined);
    this.#put(middle, coming, home);
    this.#put(to, going, homeOfGoing);
  }

  drive(number: number): MemoryLoaderDrive {
    this.#checkOpen();
    const drive = this.#drives[number];
    if (drive === undefined) throw this.#refuse("invalid", `there is no drive ${number}`);
    return drive;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const drive of this.#drives) await drive.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** By hand. */
  insert(tape: MemoryCartridge, address: ElementAddress): void {
    const element = this.#find(address);
    this.#put(element, { ...tape, objects: tape.objects ?? [] }, undefined);
    element.placedByOperator = true;
  }

  /** By hand. */
  remove(address: ElementAddress): void {
    this.#put(this.#find(address), undefined, undefined);
  }

  #put(
    element: Element,
    cartridge: Cartridge | undefined,
    source: ElementAddress | undefined,
  ): void {
    element.cartridge = cartridge;
    element.source =
      source === undefined ? undefined : { kind: source.kind, number: source.number };
    element.placedByOperator = false;
    if (element.kind === "drive") this.drive(element.number).put(cartridge);
  }

  #checkRemoval(address: ElementAddress): void {
    if (address.kind === "drive" && this.drive(address.number).preventRemoval) {
      throw this.#refuse("busy", "removal is prevented");
    }
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new ReelError("closed", `cannot use ${this.name}: it was closed`);
  }

  #find(address: ElementAddress): Element {
    this.#checkOpen();
    const found = this.#elements.find(
      (each) => each.kind === address.kind && each.number === address.number,
    );
    if (found === undefined) {
      throw this.#refuse("invalid", `there is no ${address.kind} ${address.number}`);
    }
    return found;
  }

  #refuse(code: "invalid" | "not-found" | "exists" | "busy", why: string): ReelError {
    return new ReelError(code, `cannot do that in ${this.name}: ${why}`);
  }
}

/** The slot that a tape came from, also after it went through a drive. */
function homeOf(element: Element): ElementAddress {
  return element.kind === "storage" ? element : (element.source ?? element);
}

function statusOf(element: Element): ElementStatus {
  const { kind, number, cartridge } = element;
  return {
    kind,
    number,
    tape: cartridge === undefined ? undefined : describeTape(cartridge),
    source: kind === "storage" ? undefined : element.source,
    placedByOperator: element.placedByOperator,
  };
}
