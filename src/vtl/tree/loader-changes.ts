/**
 * What file commands do to a loader: mv is the robot, cp a person with a tape in hand, rm the bin.
 * Whatever a library could not do is refused, with the reason in status.txt and in the log.
 *
 *     rename between elements     the robot moves the tape (TapeLoader.move)
 *     create NAME.tap             a blank tape in that element; what is written to it, before it is
 *                                 closed, becomes its content (incoming.ts)
 *     unlink                      the tape is deleted
 *     chmod a-w, u+w              write protection on, off
 */
import { chown, stat, utimes } from "node:fs/promises";
import { ReelError, fromSystem } from "../../errors.ts";
import type { AttributeChanges } from "../../tree/file-tree.ts";
import { parseTapeFileName, tapeFileName, type TapeFileName } from "../barcode.ts";
import { sizeOf } from "../pending-change.ts";
import { checkElement, elementKey, elementText } from "../slot-map.ts";
import type { ElementAddress } from "../tape-loader.ts";
import type { VirtualLoader } from "../virtual-loader.ts";
import {
  createVirtualTape,
  deleteVirtualTape,
  protectVirtualTape,
  refuseTwins,
} from "../virtual-tapes.ts";
import type { BranchChanges, Found, Key } from "./branch.ts";
import { Incoming, sweepIncoming } from "./incoming.ts";
import type { Notices } from "./status.ts";
import { fileNameOf, isNameOf, type TapeNode, type TapeNodes } from "./tape-nodes.ts";

const WRITE_BITS = 0o222;
/** How libfuse renames an open file that is removed. */
const HIDDEN_PREFIX = ".fuse_hidden";
/** How rsync calls a file until it is whole: `.REEL0001.tap.Xy12Ab`. */
const DRAFT_NAME = /^\.(.+)\.[A-Za-z0-9]{6}$/;

/** How the branch calls its nodes. */
interface Keys {
  elementAt(key: Key): ElementAddress | undefined;
  nodeAt(key: Key): TapeNode | undefined;
  found(node: TapeNode): Promise<Found>;
}

export class LoaderChanges implements BranchChanges {
  readonly #loader: VirtualLoader;
  readonly #nodes: TapeNodes;
  readonly #notices: Notices;
  readonly #keys: Keys;

  constructor(loader: VirtualLoader, nodes: TapeNodes, notices: Notices, keys: Keys) {
    this.#loader = loader;
    this.#nodes = nodes;
    this.#notices = notices;
    this.#keys = keys;
  }

  refused(doing: string, error: unknown): void {
    this.#notices.refused(doing, error);
  }

  async #noting<T>(doing: string, body: () => Promise<T>): Promise<T> {
    try {
      return await body();
    } catch (error) {
      this.refused(doing, error);
      throw error;
    }
  }

  /** The element that a folder is. */
  #element(key: Key, doing: string): ElementAddress {
    const address = this.#keys.elementAt(key);
    if (address === undefined) {
      throw new ReelError(
        "no-permission",
        `${doing}: tapes are in slots, drives and import/export`,
      );
    }
    checkElement(this.#loader.geometry, address, doing);
    return address;
  }

  // Making --------------------------------------------------------------------------------------

  async createFile(parent: Key, name: string): Promise<Found> {
    return this.#noting(`create ${name}`, async () => {
      const doing = `cannot put ${name} into loader ${this.#loader.name}`;
      const address = this.#element(parent, doing);
      const parsed = parseTapeFileName(DRAFT_NAME.exec(name)?.[1] ?? name);
      if (parsed === undefined) {
        throw new ReelError(
          "invalid",
          `${doing}: it is not the name of a tape; call it BARCODE.tap (or .aws, .het, .e11)`,
        );
      }
      if (address.kind === "drive") {
        throw new ReelError("invalid", `${doing}: put it into a slot, and move it to the drive`);
      }
      await this.#nodes.refresh();
      const there = this.#nodes.at(address);
      if (there !== undefined) {
        const why = `${elementText(address)} holds ${there.name.barcode}; choose an empty one`;
        throw new ReelError("exists", `${doing}: ${why}`);
      }
      const node =
        parsed.container === "tap"
          ? await this.#createBlank(parsed, address)
          : await this.#beginForeign(parsed, address, doing);
      node.draftName = DRAFT_NAME.test(name) ? name : undefined;
      return this.#keys.found(node);
    });
  }

  async #createBlank({ barcode }: TapeFileName, element: ElementAddress): Promise<TapeNode> {
    await createVirtualTape(this.#loader, { barcode, element });
    await this.#nodes.refresh();
    const node = this.#nodes.byBarcode(barcode);
    if (node === undefined)
      throw new ReelError("internal", `${barcode} was made, and is not there`);
    node.isFresh = true;
    return node;
  }

  /** Blank tapes are ours only: a foreign one is in the loader when it was copied in. */
  async #beginForeign(
    name: TapeFileName,
    address: ElementAddress,
    doing: string,
  ): Promise<TapeNode> {
    await refuseTwins(this.#loader, this.#loader.folder.map, name.barcode, doing);
    const isTaken = this.#nodes.copies.some((node) => node.name.barcode === name.barcode);
    if (isTaken || this.#nodes.at(address) !== undefined) {
      throw new ReelError("exists", `${doing}: such a tape is being copied in already`);
    }
    const incoming = Incoming.begin(this.#loader, { address, name, blankPath: undefined });
    const node = this.#nodes.addArriving(name, address, incoming);
    try {
      await incoming;
      return node;
    } catch (error) {
      this.#nodes.endArriving(node);
      throw error;
    }
  }

  // Writing -------------------------------------------------------------------------------------

  async write(key: Key, offsetBytes: number, source: Uint8Array): Promise<void> {
    const node = this.#requireNode(key);
    const doing = `cannot write ${fileNameOf(node)}`;
    const incoming = await this.#noting(`write ${fileNameOf(node)}`, async () => {
      await node.finishing;
      node.incoming ??= this.#begin(node, doing);
      try {
        return await node.incoming;
      } catch (error) {
        node.incoming = undefined;
        throw error;
      }
    });
    await incoming.write(offsetBytes, source);
  }

  /** Only a blank tape takes what is written to it here: all others are written by drives. */
  async #begin(node: TapeNode, doing: string): Promise<Incoming> {
    await this.#nodes.refresh();
    const element = this.#nodes.elementOf(node);
    if (element === undefined) throw new ReelError("not-found", `${doing}: it is gone`);
    if (element.kind === "drive") {
      throw new ReelError(
        "busy",
        `${doing}: it is in ${elementText(element)}; its drive writes it`,
      );
    }
    const path = this.#nodes.pathOf(node);
    if (element.tape.writeProtected) {
      throw new ReelError("read-only", `${doing}: it is write-protected`);
    }
    if ((await sizeOf(path)) !== 0) {
      throw new ReelError("no-permission", `${doing}: it holds data; remove it first, or erase it`);
    }
    const { kind, number } = element;
    return Incoming.begin(this.#loader, {
      address: { kind, number },
      name: node.name,
      blankPath: path,
    });
  }

  async setAttributes(key: Key, changes: AttributeChanges): Promise<void> {
    const node = this.#keys.nodeAt(key);
    if (node === undefined) {
      throw new ReelError("no-permission", "only tapes can be changed here");
    }
    await node.finishing;
    await this.#noting(`change ${fileNameOf(node)}`, async () => {
      const { sizeBytes, mode } = changes;
      if (sizeBytes !== undefined) await this.#setSize(node, sizeBytes);
      if (mode !== undefined) await this.#setProtection(node, (mode & WRITE_BITS) === 0);
      await this.#setOwnerAndTimes(node, changes);
    });
  }

  async #setSize(node: TapeNode, sizeBytes: number): Promise<void> {
    const incoming = await node.incoming;
    if (incoming !== undefined) {
      await incoming.truncate(sizeBytes);
      return;
    }
    const hasBytes = await sizeOf(this.#nodes.pathOf(node));
    if (sizeBytes === hasBytes) return;
    const doing = `cannot replace ${fileNameOf(node)}`;
    if (sizeBytes === 0) {
      throw new ReelError("exists", `${doing}: it holds data; remove it first, or erase it`);
    }
    throw new ReelError("no-permission", `${doing}: drives write tapes`);
  }

  async #setProtection(node: TapeNode, isProtected: boolean): Promise<void> {
    const incoming = await node.incoming;
    if (incoming !== undefined) {
      incoming.protect = isProtected;
      return;
    }
    if (node.name.container !== "tap" || node.tape === undefined) return;
    const { mode } = await stat(this.#nodes.pathOf(node));
    const isNow = node.tape.writeProtected || (mode & WRITE_BITS) === 0;
    if (isNow === isProtected) return;
    await protectVirtualTape(this.#loader, node.name.barcode, isProtected);
  }

  async #setOwnerAndTimes(node: TapeNode, changes: AttributeChanges): Promise<void> {
    const { uid, gid, accessedMs, modifiedMs } = changes;
    const incoming = await node.incoming;
    const path = this.#nodes.pathOf(node);
    try {
      const stats = incoming === undefined ? await stat(path) : undefined;
      if (accessedMs !== undefined || modifiedMs !== undefined) {
        const accessed = accessedMs ?? stats?.atimeMs ?? Date.now();
        const modified = modifiedMs ?? stats?.mtimeMs ?? Date.now();
        if (incoming === undefined) await utimes(path, accessed / 1000, modified / 1000);
        else await incoming.setTimes(accessed, modified);
      }
      // A copy gets the owner of whoever serves the tree, as a tape made by a drive does.
      if (stats === undefined || (uid === undefined && gid === undefined)) return;
      await chown(path, uid ?? stats.uid, gid ?? stats.gid);
    } catch (error) {
      throw fromSystem(error, `cannot change ${path}`);
    }
  }

  // Opening and closing -------------------------------------------------------------------------

  #requireNode(key: Key): TapeNode {
    const node = this.#keys.nodeAt(key);
    if (node !== undefined) return node;
    throw new ReelError("no-permission", "only tapes can be written here");
  }

  retain(key: Key): void {
    const node = this.#keys.nodeAt(key);
    if (node !== undefined) node.handles++;
  }

  /** The last one to close a tape that was copied ends the copy. */
  release(key: Key): void {
    const node = this.#keys.nodeAt(key);
    if (node === undefined || node.handles === 0) return;
    node.handles--;
    if (node.handles > 0) return;
    if (node.incoming !== undefined) void this.#finish(node);
    else node.isFresh = false;
  }

  /** Takes a copy in. Never throws: nobody waits for it who could be told. */
  async #finish(node: TapeNode): Promise<void> {
    node.finishing ??= this.#takeIn(node).finally(() => {
      node.finishing = undefined;
    });
    return node.finishing;
  }

  async #takeIn(node: TapeNode): Promise<void> {
    const { barcode } = node.name;
    const doing = `copy ${fileNameOf(node)}`;
    try {
      const incoming = await node.incoming;
      const notice = await incoming?.finish();
      if (notice !== undefined) this.#notices.add(notice);
      if (incoming?.protect === true) await protectVirtualTape(this.#loader, barcode, true);
    } catch (error) {
      this.refused(doing, error);
      await this.#removeReserved(node);
    }
    await this.#nodes.refresh().catch(() => undefined);
    this.#nodes.endArriving(node);
    node.isFresh = false;
  }

  /** The blank tape that was made for a copy which failed. */
  async #removeReserved({ isFresh, name }: TapeNode): Promise<void> {
    if (!isFresh || name.container !== "tap") return;
    try {
      if ((await sizeOf(this.#loader.folder.tapePath(name))) !== 0) return;
      await deleteVirtualTape(this.#loader, name.barcode);
    } catch (error) {
      this.refused(`remove ${tapeFileName(name.barcode, name.container)}`, error);
    }
  }

  /** Waits for a copy that was closed. Throws "busy" while one is still under way. */
  async #settle(node: TapeNode, doing: string): Promise<void> {
    await node.finishing;
    if (node.incoming === undefined) return;
    throw new ReelError("busy", `${doing}: it is being copied in; wait for that to finish`);
  }

  // The robot -----------------------------------------------------------------------------------

  /** The tape of a name in an element. */
  async #tapeNamed(parent: Key, name: string, doing: string): Promise<[TapeNode, ElementAddress]> {
    const address = this.#element(parent, doing);
    await this.#nodes.refresh();
    const node = this.#nodes.at(address);
    if (node === undefined || !isNameOf(node, name)) {
      throw new ReelError("not-found", `${doing}: it is not in ${elementText(address)}`);
    }
    return [node, address];
  }

  async unlink(parent: Key, name: string): Promise<void> {
    return this.#noting(`rm ${name}`, async () => {
      const doing = `cannot remove ${name}`;
      const [node] = await this.#tapeNamed(parent, name, doing);
      if (node.handles === 0 && node.finishing === undefined && node.incoming !== undefined) {
        await this.#abandon(node);
        if (node.tape === undefined) return;
      }
      await this.#settle(node, doing);
      await deleteVirtualTape(this.#loader, node.name.barcode);
      await this.#nodes.refresh();
    });
  }

  /** A copy that nobody has open will never be closed. */
  async #abandon(node: TapeNode): Promise<void> {
    const incoming = await node.incoming;
    await incoming?.abandon();
    this.#nodes.endArriving(node);
  }

  async rename(parent: Key, name: string, newParent: Key, newName: string): Promise<void> {
    if (newName.startsWith(HIDDEN_PREFIX)) {
      const error = new ReelError("busy", `cannot remove ${name}: a program has it open`);
      this.refused(`rm ${name}`, error);
      throw error;
    }
    const to = this.#keys.elementAt(newParent);
    const where = to === undefined ? newName : elementText(to);
    return this.#noting(`mv ${name} to ${where}`, async () => {
      const doing = `cannot move ${name} to ${where}`;
      const [node, from] = await this.#tapeNamed(parent, name, doing);
      const target = this.#element(newParent, doing);
      if (!isNameOf(node, newName)) {
        // Not "invalid": of that mv says that a folder cannot go into itself.
        throw new ReelError(
          "no-permission",
          `${doing} as ${newName}: the name of a tape is its barcode, and stays with it`,
        );
      }
      const isDraft = name === node.draftName;
      if (elementKey(from) === elementKey(target) && !isDraft) return;
      await this.#settle(node, doing);
      if (isDraft) {
        await this.#tapeNamed(parent, name, `${doing}: the copy was refused`);
        node.draftName = undefined;
        if (elementKey(from) === elementKey(target)) return;
      }
      await this.#loader.move(from, target);
      await this.#nodes.refresh();
    });
  }

  /** Puts aside what copies left behind that died with their process. */
  async sweep(): Promise<void> {
    for (const folder of await sweepIncoming(this.#loader)) {
      this.#notices.add(`a copy was interrupted; what came of it lies in ${folder}`);
    }
  }

  /** Ends all copies. */
  async close(): Promise<void> {
    await Promise.all(this.#nodes.copies.map(async (node) => this.#finish(node)));
  }
}
