/**
 * A virtual loader: a folder that behaves as a tape library. The robot changes the slot map and
 * nothing else; see loader-folder.ts for how, and virtual-drive.ts for the drives.
 */
import { readdir, stat } from "node:fs/promises";
import { ReelError, closeAll, fromSystem, isReelError } from "../errors.ts";
import { refuseWhileWritten } from "../tape/tape-lock.ts";
import { parseTapeFileName } from "./barcode.ts";
import { factsOf, loadedTape, type TapeFileFacts } from "./cartridge.ts";
import { LoaderFolder } from "./loader-folder.ts";
import {
  allElements,
  checkElement,
  elementText,
  exchanged,
  moved,
  tapeAt,
  type FullElement,
  type SlotMap,
} from "./slot-map.ts";
import { SpaceGuard, type SampleSpace, type SpaceStatus } from "./space-guard.ts";
import type { ElementAddress, ElementStatus, LoaderGeometry, TapeLoader } from "./tape-loader.ts";
import { VirtualDrive } from "./virtual-drive.ts";

export interface VirtualLoaderOptions {
  /** A tape in a drive stands where the last process that kept positions left it. */
  readonly keepPositions?: boolean | undefined;
  /** For tests: how full the file system is. */
  readonly sampleSpace?: SampleSpace | undefined;
}

/** Files looked at together. */
const STATS_AT_ONCE = 64;

export class VirtualLoader implements TapeLoader {
  /** For the calls of this folder; what a user needs is in the other methods. */
  readonly folder: LoaderFolder;
  readonly space: SpaceGuard;
  readonly #keepPositions: boolean;
  readonly #drives: VirtualDrive[] = [];
  #closing: Promise<void> | undefined;

  private constructor(folder: LoaderFolder, options: VirtualLoaderOptions) {
    this.folder = folder;
    this.#keepPositions = options.keepPositions === true;
    const limits = (): LoaderFolder["config"]["policies"] => folder.config.policies;
    this.space = new SpaceGuard(folder.path, limits, options.sampleSpace);
  }

  /** Opens the loader in a folder. Throws as LoaderFolder.open. */
  static async open(path: string, options: VirtualLoaderOptions = {}): Promise<VirtualLoader> {
    return new VirtualLoader(await LoaderFolder.open(path), options);
  }

  get name(): string {
    return this.folder.config.name;
  }

  get serial(): string {
    return this.folder.config.serial;
  }

  get geometry(): LoaderGeometry {
    const { slots, drives, importExport } = this.folder.config;
    return { slots, drives, importExport };
  }

  get path(): string {
    return this.folder.path;
  }

  /** What every status shows: a backup copy that was read, a file system nearly full. */
  async warnings(): Promise<string[]> {
    const { warning } = await this.spaceStatus();
    return warning === undefined ? [...this.folder.notices] : [...this.folder.notices, warning];
  }

  async spaceStatus(): Promise<SpaceStatus> {
    return this.space.status();
  }

  async elements(): Promise<readonly ElementStatus[]> {
    await this.#refresh();
    const { map } = this.folder;
    const addresses = [...allElements(this.geometry)];
    const found: ElementStatus[] = [];
    for (let from = 0; from < addresses.length; from += STATS_AT_ONCE) {
      const some = addresses.slice(from, from + STATS_AT_ONCE);
      found.push(...(await Promise.all(some.map(async (each) => this.#status(map, each)))));
    }
    return found;
  }

  async element(address: ElementAddress): Promise<ElementStatus> {
    await this.#refresh();
    checkElement(this.geometry, address, `cannot look into loader ${this.name}`);
    return this.#status(this.folder.map, address);
  }

  async move(from: ElementAddress, to: ElementAddress): Promise<void> {
    const plan = (map: SlotMap): SlotMap => moved(map, this.geometry, from, to);
    return this.#rearrange(plan, [from, to], `cannot move the tape in ${elementText(from)}`);
  }

  async exchange(
    source: ElementAddress,
    first: ElementAddress,
    second: ElementAddress,
  ): Promise<void> {
    const plan = (map: SlotMap): SlotMap => exchanged(map, this.geometry, source, first, second);
    const doing = `cannot exchange ${elementText(source)} with ${elementText(first)}`;
    return this.#rearrange(plan, [source, first, second], doing);
  }

  drive(number: number): VirtualDrive {
    this.#refuseIfClosed();
    const doing = `cannot use drive ${number} of loader ${this.name}`;
    checkElement(this.geometry, { kind: "drive", number }, doing);
    for (let each = this.#drives.length; each <= number; each++) {
      this.#drives.push(new VirtualDrive(this.folder, each, this.space, this.#keepPositions));
    }
    const drive = this.#drives[number];
    if (drive === undefined) throw new ReelError("internal", `${doing}: it was not made`);
    return drive;
  }

  /** The file of the tape in an element. Throws "not-found" for an empty one. */
  tapePathAt(address: ElementAddress): string {
    const element = tapeAt(this.folder.map, address);
    if (element !== undefined) return this.folder.tapePath(element.tape);
    throw new ReelError("not-found", `${elementText(address)} of loader ${this.name} is empty`);
  }

  /** Barcodes of the files in the tapes folder, in the slot map or not. */
  async tapesOnDisk(): Promise<ReadonlySet<string>> {
    const { tapesPath } = this.folder;
    try {
      const names = await readdir(tapesPath);
      return new Set(names.flatMap((name) => parseTapeFileName(name)?.barcode ?? []));
    } catch (error) {
      throw fromSystem(error, `cannot list ${tapesPath}`);
    }
  }

  /** Runs `body` while nobody uses these drives; in the order of their numbers, so never crosswise. */
  async whileDrivesIdle<T>(
    numbers: readonly number[],
    doing: string,
    body: () => Promise<T>,
  ): Promise<T> {
    const [first, ...rest] = [...new Set(numbers)].sort((a, b) => a - b);
    if (first === undefined) return body();
    return this.drive(first).whileIdle(doing, async () => this.whileDrivesIdle(rest, doing, body));
  }

  async close(): Promise<void> {
    this.#closing ??= closeAll(...this.#drives, this.folder);
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #refuseIfClosed(): void {
    if (this.#closing === undefined) return;
    throw new ReelError("closed", `cannot use loader ${this.name}: it was closed`);
  }

  async #refresh(): Promise<void> {
    this.#refuseIfClosed();
    await this.folder.refresh();
  }

  async #status(map: SlotMap, address: ElementAddress): Promise<ElementStatus> {
    const element = tapeAt(map, address);
    if (element === undefined) return address;
    const { source, placedByOperator } = element;
    return {
      ...address,
      tape: loadedTape(element.tape, await this.#facts(element)),
      ...(source === undefined ? {} : { source }),
      ...(placedByOperator === undefined ? {} : { placedByOperator }),
    };
  }

  async #facts({ tape }: FullElement): Promise<TapeFileFacts | undefined> {
    try {
      return factsOf(await stat(this.folder.tapePath(tape)));
    } catch {
      // Missing: the inventory says so; the robot finds out when it loads it.
      return undefined;
    }
  }

  /** Looks first whether it can be done at all, so that nothing is unloaded for nothing. */
  async #rearrange(
    plan: (map: SlotMap) => SlotMap,
    elements: readonly ElementAddress[],
    doing: string,
  ): Promise<void> {
    await this.#refresh();
    plan(this.folder.map);
    this.#refusePrevented(elements, doing);
    const drives = elements.filter((each) => each.kind === "drive").map((each) => each.number);
    await this.whileDrivesIdle(drives, doing, async () =>
      this.folder.change(doing, async ({ map, saveMap }) => {
        this.#refusePrevented(elements, doing);
        const next = plan(map);
        for (const element of elements) await this.#refuseInUse(tapeAt(map, element), doing);
        await this.#refuseMissing(next, elements, doing);
        await saveMap(next);
      }),
    );
  }

  #refusePrevented(elements: readonly ElementAddress[], doing: string): void {
    for (const { kind, number } of elements) {
      if (kind !== "drive" || this.#drives[number]?.preventRemoval !== true) continue;
      if (this.#drives[number].medium() === undefined) continue;
      const why = `removal of the tape in drive ${number} is prevented by whoever uses it`;
      throw new ReelError("busy", `${doing}: ${why}`);
    }
  }

  /** A drive does not take a tape whose file is gone. */
  async #refuseMissing(
    next: SlotMap,
    elements: readonly ElementAddress[],
    doing: string,
  ): Promise<void> {
    for (const address of elements) {
      const element = address.kind === "drive" ? tapeAt(next, address) : undefined;
      if (element === undefined || (await this.#facts(element)) !== undefined) continue;
      const path = this.folder.tapePath(element.tape);
      throw new ReelError("not-found", `${doing}: its file ${path} is gone; take the inventory`);
    }
  }

  async #refuseInUse(element: FullElement | undefined, doing: string): Promise<void> {
    if (element === undefined) return;
    try {
      await refuseWhileWritten(this.folder.tapePath(element.tape), doing);
    } catch (error) {
      if (isReelError(error, "busy")) throw error;
      // A lock that cannot be read stops nobody from moving the tape.
    }
  }
}
