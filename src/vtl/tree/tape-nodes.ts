/**
 * The tapes of a loader as nodes of its tree: a number for each, which it keeps wherever the robot
 * puts it, what shows its contents, and the copy that is on its way into it. Brought up to date with
 * the slot map, which other processes change as well.
 */
import { parseTapeFileName, tapeFileName, type TapeFileName } from "../barcode.ts";
import { elementKey, type FullElement, type SlotMap, type StoredTape } from "../slot-map.ts";
import type { ElementAddress } from "../tape-loader.ts";
import type { VirtualLoader } from "../virtual-loader.ts";
import type { Incoming } from "./incoming.ts";
import { RawTape } from "./raw-tape.ts";
import { TapeBranch } from "./tape-branch.ts";
import type { TreeContext } from "./tree-context.ts";
import { fileStamp, isSameStamp, type FileStamp } from "./tape-content.ts";

export interface TapeNode {
  readonly number: number;
  readonly name: TapeFileName;
  /** The name under which rsync and its like write it, until they give it its own. */
  draftName: string | undefined;
  /** Undefined for one that is only being copied in. */
  tape: StoredTape | undefined;
  branch: TapeBranch | undefined;
  readonly raw: RawTape;
  /** Open files of its raw bytes. */
  handles: number;
  /** It was made in this tree, and nothing was copied to it yet. */
  isFresh: boolean;
  incoming: Promise<Incoming> | undefined;
  /** The copy was closed and is being taken in. */
  finishing: Promise<void> | undefined;
}

export class TapeNodes {
  readonly #loader: VirtualLoader;
  readonly #context: TreeContext;
  readonly #byBarcode = new Map<string, TapeNode>();
  readonly #byNumber = new Map<number, TapeNode>();
  /** Copies of tapes that are in no element yet, by where they go. */
  readonly #arriving = new Map<string, TapeNode>();
  #elements: ReadonlyMap<string, FullElement> = new Map();
  #map: SlotMap | undefined;
  #stamps: readonly (FileStamp | undefined)[] = [];
  #nextNumber = 1;

  constructor(loader: VirtualLoader, context: TreeContext) {
    this.#loader = loader;
    this.#context = context;
  }

  /** Takes over what this or another process has changed. Throws what reading the loader throws. */
  async refresh(): Promise<void> {
    const { path } = this.#loader;
    // Two looks at two small files: most calls need no more.
    const stamps = ["loader.json", "slotmap.json"].map((name) => fileStamp(`${path}/${name}`));
    const isSame = stamps.every((stamp, at) => isSameStamp(stamp, this.#stamps[at]));
    if (!isSame || stamps.includes(undefined)) {
      await this.#loader.folder.refresh();
      this.#stamps = stamps;
    }
    const { map } = this.#loader.folder;
    if (map !== this.#map) this.#take(map);
  }

  /** When the slot map was last changed. */
  get changedMs(): number {
    const stamp = this.#stamps[1];
    return stamp === undefined ? 0 : Number(stamp.modifiedNs / 1000n) / 1000;
  }

  #take(map: SlotMap): void {
    this.#map = map;
    const elements = new Map<string, FullElement>();
    for (const element of map.full.values()) {
      const { barcode, container } = element.tape;
      elements.set(barcode, element);
      const node = this.#byBarcode.get(barcode);
      if (node?.name.container === container) node.tape = element.tape;
      else {
        if (node !== undefined) this.#remove(node);
        this.#add({ barcode, container }, element.tape);
      }
    }
    this.#elements = elements;
    for (const node of this.#byBarcode.values()) {
      if (!elements.has(node.name.barcode) && node.incoming === undefined) this.#remove(node);
    }
  }

  #add(name: TapeFileName, tape: StoredTape | undefined): TapeNode {
    const node: TapeNode = {
      number: this.#nextNumber++,
      name,
      draftName: undefined,
      tape,
      branch: undefined,
      raw: new RawTape(this.#loader.folder.tapePath(name)),
      handles: 0,
      isFresh: false,
      incoming: undefined,
      finishing: undefined,
    };
    this.#byBarcode.set(name.barcode, node);
    this.#byNumber.set(node.number, node);
    return node;
  }

  #remove(node: TapeNode): void {
    node.branch?.dispose();
    this.#context.cache.drop(node.raw);
    this.#byNumber.delete(node.number);
    if (this.#byBarcode.get(node.name.barcode) === node) {
      this.#byBarcode.delete(node.name.barcode);
    }
  }

  /** All tapes in elements, by barcode. */
  get all(): readonly TapeNode[] {
    return [...this.#byBarcode.values()]
      .filter(({ name }) => this.#elements.has(name.barcode))
      .sort((a, b) => (a.name.barcode < b.name.barcode ? -1 : 1));
  }

  /** Every copy that is not taken in yet. */
  get copies(): readonly TapeNode[] {
    return [...this.#byNumber.values()].filter((node) => node.incoming !== undefined);
  }

  byNumber(number: number): TapeNode | undefined {
    return this.#byNumber.get(number);
  }

  byBarcode(barcode: string): TapeNode | undefined {
    return this.#elements.has(barcode) ? this.#byBarcode.get(barcode) : undefined;
  }

  /** The tape in an element, or on its way there. */
  at(address: ElementAddress): TapeNode | undefined {
    const element = this.#map?.full.get(elementKey(address));
    return element === undefined
      ? this.#arriving.get(elementKey(address))
      : this.#byBarcode.get(element.tape.barcode);
  }

  /** Where a tape is; undefined for one that is only on its way. */
  elementOf(node: TapeNode): FullElement | undefined {
    return this.#elements.get(node.name.barcode);
  }

  pathOf({ name }: TapeNode): string {
    return this.#loader.folder.tapePath(name);
  }

  /** What shows the contents of a tape. */
  branchOf(node: TapeNode): TapeBranch | undefined {
    if (node.tape === undefined) return undefined;
    const file = { path: this.pathOf(node), tape: node.tape };
    node.branch ??= new TapeBranch(file, this.#context);
    return node.branch;
  }

  /** A tape that is being copied to an empty element. */
  addArriving(name: TapeFileName, address: ElementAddress, incoming: Promise<Incoming>): TapeNode {
    const node = this.#add(name, undefined);
    node.incoming = incoming;
    this.#arriving.set(elementKey(address), node);
    return node;
  }

  /** The copy is over, taken in or not. */
  endArriving(node: TapeNode): void {
    node.incoming = undefined;
    for (const [key, each] of this.#arriving) if (each === node) this.#arriving.delete(key);
    if (!this.#elements.has(node.name.barcode)) this.#remove(node);
  }
}

/** As it is called in the tree, whatever a person wrote. */
export function fileNameOf({ name }: TapeNode): string {
  return tapeFileName(name.barcode, name.container);
}

/** The name of the folder with its contents. */
export function folderNameOf(node: TapeNode): string {
  return fileNameOf(node).slice(0, -(node.name.container.length + 1));
}

/** Is this the name of the tape's file? Capitals or not. */
export function isNameOf(node: TapeNode, name: string): boolean {
  if (name === node.draftName) return true;
  const parsed = parseTapeFileName(name);
  return parsed?.barcode === node.name.barcode && parsed.container === node.name.container;
}
