/**
 * One loader as a folder.
 *
 *     slots/001/REEL0001.tap   drives/0/…   import-export/1/…   the tapes, where the robot has put them
 *     tapes/REEL0001/                                           what is on each (tape-branch.ts)
 *     status.txt  status.json
 *
 * A tape keeps its node wherever it goes. Names are found in capitals or not, as on the command line.
 * `simple`: the folders in tapes/, and nothing else.
 */
import { stat } from "node:fs/promises";
import { ReelError, closeAll, fromSystem } from "../../errors.ts";
import { parseTapeFileName } from "../barcode.ts";
import { allElements, elementText, hasElement } from "../slot-map.ts";
import type { ElementAddress, ElementKind } from "../tape-loader.ts";
import type { VirtualLoader } from "../virtual-loader.ts";
import {
  madeStat,
  readText,
  type Branch,
  type BranchChanges,
  type BranchStat,
  type Found,
  type Key,
} from "./branch.ts";
import { LoaderChanges } from "./loader-changes.ts";
import { Notices, loaderStatus, statusJson, statusText } from "./status.ts";
import type { TreeContext } from "./tree-context.ts";
import { TapeNodes, fileNameOf, folderNameOf, isNameOf, type TapeNode } from "./tape-nodes.ts";

const KEY = {
  root: 0,
  slots: 1,
  drives: 2,
  importExport: 3,
  tapes: 4,
  statusText: 5,
  statusJson: 6,
} as const;
/** Elements and tapes: the kind times this, and a number. */
const KIND_KEYS = 2 ** 32;
const ELEMENT_KINDS: readonly ElementKind[] = ["storage", "drive", "import-export"];
const TAPE_KIND = ELEMENT_KINDS.length + 1;
const KEY_OF_KIND = { storage: KEY.slots, drive: KEY.drives, "import-export": KEY.importExport };
const FOLDERS: Readonly<Record<string, Key>> = {
  slots: KEY.slots,
  drives: KEY.drives,
  "import-export": KEY.importExport,
  tapes: KEY.tapes,
};
const SLOT_DIGITS_MIN = 3;
const WRITE_BITS = 0o222;

export interface LoaderBranchOptions {
  /** Tapes and their contents alone. */
  readonly simple: boolean;
  readonly readOnly: boolean;
  /** Gets what was refused, and why. */
  readonly log: (message: string) => void;
}

export class LoaderBranch implements Branch {
  readonly loader: VirtualLoader;
  /** Its name when it was opened. */
  readonly name: string;
  readonly notices: Notices;
  readonly changes: BranchChanges | undefined;
  readonly #nodes: TapeNodes;
  readonly #changes: LoaderChanges;
  readonly #isSimple: boolean;
  readonly #texts = new Map<Key, Uint8Array>();
  readonly #context: TreeContext;

  /** Takes over the loader: closing the branch closes it. */
  constructor(loader: VirtualLoader, context: TreeContext, options: LoaderBranchOptions) {
    this.loader = loader;
    this.name = loader.name;
    this.#context = context;
    this.#isSimple = options.simple;
    this.notices = new Notices((message) => {
      options.log(`${loader.name}: ${message}`);
    });
    this.#nodes = new TapeNodes(loader, context);
    this.#changes = new LoaderChanges(loader, this.#nodes, this.notices, {
      elementAt: (key) => this.#addressOf(key),
      nodeAt: (key) => this.#nodeAt(key),
      found: async (node) => this.#tapeFound(node),
    });
    this.changes = options.readOnly ? undefined : this.#changes;
  }

  // Keys ----------------------------------------------------------------------------------------

  #keyOf({ kind, number }: ElementAddress): Key {
    return (ELEMENT_KINDS.indexOf(kind) + 1) * KIND_KEYS + number;
  }

  #addressOf(key: Key): ElementAddress | undefined {
    const kind = ELEMENT_KINDS[Math.floor(key / KIND_KEYS) - 1];
    return kind === undefined ? undefined : { kind, number: key % KIND_KEYS };
  }

  #nodeAt(key: Key): TapeNode | undefined {
    const isTape = Math.floor(key / KIND_KEYS) === TAPE_KIND;
    return isTape ? this.#nodes.byNumber(key % KIND_KEYS) : undefined;
  }

  #requireNode(key: Key): TapeNode {
    const node = this.#nodeAt(key);
    if (node !== undefined) return node;
    throw new ReelError("not-found", `the tape is not in loader ${this.loader.name} any more`);
  }

  // Names ---------------------------------------------------------------------------------------

  #elementName({ kind, number }: ElementAddress): string {
    if (kind !== "storage") return String(number);
    const digits = Math.max(SLOT_DIGITS_MIN, String(this.loader.geometry.slots).length);
    return String(number).padStart(digits, "0");
  }

  #directory(name: string, key: Key): Found {
    return { name, branch: this, key, stat: madeStat("directory", this.#changedMs()) };
  }

  /** When the robot last did something. */
  #changedMs(): number {
    return this.#nodes.changedMs;
  }

  async #tapeFound(node: TapeNode): Promise<Found> {
    const key = TAPE_KIND * KIND_KEYS + node.number;
    return { name: fileNameOf(node), branch: this, key, stat: await this.#tapeStat(node) };
  }

  /** The folder of what is on a tape. */
  #contentsFound(node: TapeNode): Found[] {
    const branch = this.#nodes.branchOf(node);
    if (branch === undefined) return [];
    const stat = madeStat("directory", this.#changedMs());
    return [{ name: folderNameOf(node), branch, key: 0, stat }];
  }

  // Reading -------------------------------------------------------------------------------------

  async stat(key: Key): Promise<BranchStat> {
    if (key === KEY.statusText || key === KEY.statusJson) {
      return madeStat("file", Date.now(), (await this.#makeText(key)).length);
    }
    if (key < KIND_KEYS) return madeStat("directory", this.#changedMs());
    await this.#nodes.refresh();
    const address = this.#addressOf(key);
    if (address === undefined) return this.#tapeStat(this.#requireNode(key));
    if (hasElement(this.loader.geometry, address)) {
      return madeStat("directory", this.#changedMs());
    }
    throw new ReelError("not-found", `loader ${this.loader.name} has no ${elementText(address)}`);
  }

  async #tapeStat(node: TapeNode): Promise<BranchStat> {
    const incoming = await node.incoming;
    if (incoming !== undefined && node.finishing === undefined) {
      const { sizeBytes, modifiedMs } = await incoming.stat();
      return { ...madeStat("file", modifiedMs, sizeBytes), mode: 0o644 };
    }
    await node.finishing;
    const path = this.#nodes.pathOf(node);
    try {
      const stats = await stat(path);
      const isProtected = node.tape?.writeProtected === true || node.name.container !== "tap";
      return {
        kind: "file",
        sizeBytes: stats.size,
        mode: stats.mode & 0o777 & (isProtected ? ~WRITE_BITS : 0o777),
        uid: stats.uid,
        gid: stats.gid,
        linkCount: 1,
        modifiedMs: stats.mtimeMs,
        accessedMs: stats.atimeMs,
        changedMs: stats.ctimeMs,
        allocatedBytes: stats.blocks * 512,
      };
    } catch (error) {
      const reason = fromSystem(error, `cannot look at ${path}`);
      // It can still be seen, moved and removed; status.txt and the inventory tell of it.
      if (reason.code === "not-found") return madeStat("file", this.#changedMs());
      throw reason;
    }
  }

  async lookup(key: Key, name: string): Promise<Found | undefined> {
    const address = this.#addressOf(key);
    if (address !== undefined) {
      await this.#nodes.refresh();
      const node = this.#nodes.at(address);
      return node !== undefined && isNameOf(node, name) ? this.#tapeFound(node) : undefined;
    }
    if (key === KEY.tapes || (key === KEY.root && this.#isSimple)) {
      const barcode = parseTapeFileName(`${name}.tap`)?.barcode;
      await this.#nodes.refresh();
      const node = barcode === undefined ? undefined : this.#nodes.byBarcode(barcode);
      await node?.finishing;
      return node === undefined ? undefined : this.#contentsFound(node)[0];
    }
    return key === KEY.root ? this.#lookupRoot(name) : this.#lookupElement(key, name);
  }

  async list(key: Key): Promise<readonly Found[]> {
    const address = this.#addressOf(key);
    if (address !== undefined) {
      await this.#nodes.refresh();
      const node = this.#nodes.at(address);
      return node === undefined ? [] : [await this.#tapeFound(node)];
    }
    if (key === KEY.tapes || (key === KEY.root && this.#isSimple)) {
      await this.#nodes.refresh();
      return this.#nodes.all.flatMap((node) => this.#contentsFound(node));
    }
    return key === KEY.root ? this.#listRoot() : this.#listElements(key);
  }

  /** Needs nothing of the loader, so that status.txt is there to say what is wrong with it. */
  async #lookupRoot(name: string): Promise<Found | undefined> {
    const folder = FOLDERS[name];
    if (folder !== undefined) return this.#directory(name, folder);
    if (name === "status.txt") return this.#textFound(name, KEY.statusText);
    return name === "status.json" ? this.#textFound(name, KEY.statusJson) : undefined;
  }

  async #listRoot(): Promise<Found[]> {
    const folders = Object.entries(FOLDERS).map(([name, key]) => this.#directory(name, key));
    return [
      ...folders,
      await this.#textFound("status.txt", KEY.statusText),
      await this.#textFound("status.json", KEY.statusJson),
    ];
  }

  async #textFound(name: string, key: Key): Promise<Found> {
    const { length } = await this.#makeText(key);
    return { name, branch: this, key, stat: madeStat("file", Date.now(), length) };
  }

  async #lookupElement(key: Key, name: string): Promise<Found | undefined> {
    const kind = ELEMENT_KINDS.find((each) => KEY_OF_KIND[each] === key);
    if (kind === undefined || !/^\d{1,9}$/.test(name)) return undefined;
    await this.#nodes.refresh();
    const address = { kind, number: Number(name) };
    const isThere =
      hasElement(this.loader.geometry, address) && this.#elementName(address) === name;
    return isThere ? this.#directory(name, this.#keyOf(address)) : undefined;
  }

  async #listElements(key: Key): Promise<Found[]> {
    await this.#nodes.refresh();
    return [...allElements(this.loader.geometry)]
      .filter(({ kind }) => KEY_OF_KIND[kind] === key)
      .map((address) => this.#directory(this.#elementName(address), this.#keyOf(address)));
  }

  /** Made anew with every look at its size, so that what is then read is as long as that. */
  async #makeText(key: Key): Promise<Uint8Array> {
    const status = await loaderStatus(this.loader, this.notices.latest);
    const text = Buffer.from(key === KEY.statusText ? statusText(status) : statusJson(status));
    this.#texts.set(key, text);
    return text;
  }

  async read(key: Key, offsetBytes: number, target: Uint8Array): Promise<number> {
    if (key === KEY.statusText || key === KEY.statusJson) {
      return readText(this.#texts.get(key) ?? (await this.#makeText(key)), offsetBytes, target);
    }
    const node = this.#requireNode(key);
    const incoming = await node.incoming;
    if (incoming !== undefined && node.finishing === undefined) {
      return incoming.read(offsetBytes, target);
    }
    await node.finishing;
    return this.#context.cache.use(node.raw, async (raw) => raw.read(offsetBytes, target));
  }

  /** Puts aside what an earlier process left behind. */
  async sweep(): Promise<void> {
    return this.#changes.sweep();
  }

  /** Takes in what was copied, and closes everything. */
  async close(): Promise<void> {
    await closeAll(this.#changes, this.loader);
  }
}
