/** Entries of one volume by record number: what all calls on files and directories rest on. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { FoundOnce } from "../../device/found-once.ts";
import { ReelError } from "../../errors.ts";
import { uniqueNames, upperCaseByUnit } from "../names.ts";
import type { FileLayout, NodeId, NodeStat, VolumeEntry } from "../volume.ts";
import { u32 } from "./fields.ts";
import { layOut } from "./layout.ts";
import { chooseName, readNameRecords } from "./names.ts";
import type { NameRecords } from "./names.ts";
import { kindOfNode, LINK_BYTES_MAX, statOf } from "./node.ts";
import { layOutOnMirrors, readFromAny, readSmall } from "./contents.ts";
import type { Contents } from "./contents.ts";
import { ATTRIBUTE, COMMON, DOS, isDirectory, kindOf, ROOT_RECORD } from "./records.ts";
import type { NetwareStore } from "./store.ts";
import { xattrsOf } from "./xattrs.ts";

/** Entries listed before the event loop gets a turn. */
const ENTRIES_PER_TURN = 2048;

export class Entries {
  readonly #store: NetwareStore;
  readonly #toId: (record: number) => NodeId;
  /** Of the file that was read last from another member of a mirror: the next read comes soon. */
  #mirrored:
    { readonly record: number; readonly layouts: FoundOnce<readonly FileLayout[]> } | undefined;

  /** `toId` gives the node id of a record of this volume. */
  constructor(store: NetwareStore, toId: (record: number) => NodeId) {
    this.#store = store;
    this.#toId = toId;
  }

  /** Throws "not-a-directory", "not-found", and what reading the directory throws. */
  async list(record: number): Promise<VolumeEntry[]> {
    const { dos } = await this.records(record);
    if (!isDirectory(dos, 0)) {
      throw new ReelError("not-a-directory", `cannot list ${this.describe(record)}: it is a file`);
    }
    const tree = await this.#store.tree();
    const { extended, reading, directory } = this.#store;
    const stats: NodeStat[] = [];
    const names: string[] = [];
    const dosNames: string[] = [];
    for (const child of tree.childrenOf(record)) {
      const view = directory.recordHere(child) ?? (await this.#view(child));
      const records = await readNameRecords(directory, child, view);
      const shown = await chooseName(records, reading.codePage, extended);
      names.push(shown.name);
      dosNames.push(shown.dosName);
      stats.push(this.#statOf(child, records));
      if (stats.length % ENTRIES_PER_TURN === 0) await nextTurn();
    }
    return uniqueNames(names, upperCaseByUnit).flatMap((name, index): VolumeEntry[] => {
      const stat = stats[index];
      const shortName = dosNames[index];
      if (stat === undefined) return [];
      return [name === shortName ? { name, stat } : { name, stat, shortName }];
    });
  }

  async stat(record: number): Promise<NodeStat> {
    return this.#statOf(record, await this.records(record));
  }

  /** Throws "is-a-directory", "invalid" for what has no contents, "unsupported", "damaged". */
  async layout(record: number): Promise<FileLayout> {
    const records = await this.records(record);
    const kind = kindOfNode(records);
    const doing = `cannot read ${this.describe(record)}`;
    if (kind === "directory") throw new ReelError("is-a-directory", `${doing}: it is a directory`);
    if (kind !== "file" && kind !== "symlink") {
      throw new ReelError("invalid", `${doing}: it has no contents: it is a ${kind}`);
    }
    const attributes = u32(records.dos, COMMON.attributes);
    if ((attributes & ATTRIBUTE.compressed) !== 0) {
      throw new ReelError(
        "unsupported",
        `${doing}: NetWare has compressed it, in a format that is not known here; ` +
          "a NetWare server can decompress it (flag: Dc)",
      );
    }
    if ((attributes & ATTRIBUTE.migrated) !== 0) {
      throw new ReelError(
        "unsupported",
        `${doing}: its contents were migrated to another medium and are not on this volume`,
      );
    }
    const { firstBlock, sizeBytes } = contentsOf(records);
    const found = await layOut(this.#parts(), firstBlock, sizeBytes);
    if ("layout" in found) return found.layout;
    throw new ReelError("damaged", `${doing}: ${found.fault}`);
  }

  /** The contract's `readOtherCopy`: block by block from the members of the volume's mirrors. */
  async readOtherCopy(
    record: number,
    offsetBytes: number,
    target: Uint8Array,
  ): Promise<number | undefined> {
    const { source } = this.#store;
    if (source.others.length === 0) return undefined;
    if (this.#mirrored?.record !== record) {
      this.#mirrored = { record, layouts: new FoundOnce(async () => this.#layOutOnAll(record)) };
    }
    return readFromAny(source, await this.#mirrored.layouts.get(), offsetBytes, target);
  }

  async #layOutOnAll(record: number): Promise<FileLayout[]> {
    const contents = contentsOf(await this.records(record));
    return [await this.layout(record), ...(await layOutOnMirrors(this.#parts(), contents))];
  }

  /** Throws "invalid" unless it is a symbolic link, "damaged" for one that is too long. */
  async readLink(record: number): Promise<string> {
    const records = await this.records(record);
    if (kindOfNode(records) !== "symlink") {
      throw new ReelError("invalid", `${this.describe(record)} is no symbolic link`);
    }
    const layout = await this.layout(record);
    if (layout.sizeBytes > LINK_BYTES_MAX) {
      throw new ReelError(
        "damaged",
        `cannot read ${this.describe(record)}: a link of ${layout.sizeBytes} bytes is longer than any path`,
      );
    }
    const bytes = await readSmall(this.#parts(), layout, contentsOf(records));
    return Buffer.from(bytes).toString("utf8");
  }

  async xattrs(record: number): Promise<ReadonlyMap<string, Uint8Array>> {
    const { directory, volumeFlags } = this.#store;
    const records = await this.records(record);
    return xattrsOf({ ...this.#parts(), directory, volumeFlags }, records);
  }

  /** The DOS record and its names. Throws "not-found" where no file or directory is. */
  async records(record: number): Promise<NameRecords> {
    return readNameRecords(this.#store.directory, record, await this.#view(record));
  }

  /** "directory record 67 of volume SYS on disk.img". */
  describe(record: number): string {
    return `directory record ${record} of ${this.#store.source.name}`;
  }

  #parts(): Pick<NetwareStore, "source" | "fat" | "suballocation"> {
    const { source, fat, suballocation } = this.#store;
    return { source, fat, suballocation };
  }

  async #view(record: number): Promise<DataView> {
    const { directory } = this.#store;
    const view = await directory.record(record);
    if (view !== undefined) {
      const kind = kindOf(view, 0, record, directory.recordCount);
      if (record === ROOT_RECORD || kind === "file" || kind === "directory") return view;
    }
    throw new ReelError("not-found", `there is no file or directory: ${this.describe(record)}`);
  }

  #statOf(record: number, records: NameRecords): NodeStat {
    const { reading, source, volumeFlags } = this.#store;
    const context = { ...reading, blockBytes: source.map.blockBytes, volumeFlags };
    return statOf(this.#toId(record), records, context);
  }
}

function contentsOf({ dos }: NameRecords): Contents {
  return { firstBlock: u32(dos, DOS.firstBlock), sizeBytes: u32(dos, DOS.size) };
}
