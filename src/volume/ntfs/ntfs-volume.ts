/** An NTFS volume, read-only, to the Volume contract. */
import { FoundOnce } from "../../device/found-once.ts";
import { ReelError } from "../../errors.ts";
import { upperCaseByUnit } from "../names.ts";
import type {
  FileLayout,
  NodeId,
  NodeStat,
  SurveyOptions,
  Volume,
  VolumeEntry,
  VolumeInfo,
  VolumeProblem,
  VolumeSurvey,
} from "../volume.ts";
import { readBitmap } from "./bitmap.ts";
import { layoutOf, openContents } from "./contents.ts";
import type { Inode } from "./inode.ts";
import { completeInode } from "./inode.ts";
import { listDirectory } from "./listing.ts";
import type { Mft } from "./mft.ts";
import { isHiddenRecord, loadNode, ROOT_RECORD } from "./node.ts";
import type { Node } from "./node.ts";
import type { Contents } from "./stream.ts";
import { surveyNtfs } from "./survey.ts";
import { foldWith } from "./upcase.ts";
import { readXattrs } from "./xattrs.ts";

/** Files whose contents stay open between reads: each may keep some decoded data. */
const OPEN_CONTENTS_MAX = 16;

export interface NtfsParts {
  readonly mft: Mft;
  readonly info: VolumeInfo;
  /** Undefined where $UpCase could not be read. */
  readonly upcase: Uint16Array | undefined;
  /** Those met on opening; every survey begins with them. */
  readonly problems: readonly VolumeProblem[];
}

export class NtfsVolume implements Volume {
  readonly info: VolumeInfo;
  readonly rootId: NodeId = ROOT_RECORD;
  readonly #mft: Mft;
  readonly #upcase: Uint16Array | undefined;
  readonly #problems: readonly VolumeProblem[];
  readonly #contents = new Map<NodeId, Promise<Contents>>();
  readonly #freeClusters = new FoundOnce(async () => this.#countFree());
  #isClosed = false;

  constructor({ mft, info, upcase, problems }: NtfsParts) {
    this.#mft = mft;
    this.info = info;
    this.#upcase = upcase;
    this.#problems = problems;
  }

  async survey(options: SurveyOptions = {}): Promise<VolumeSurvey> {
    this.#checkOpen();
    const { blockSizeBytes } = this.info;
    return surveyNtfs({ mft: this.#mft, blockSizeBytes, problems: this.#problems }, options);
  }

  async readDirectory(id: NodeId): Promise<readonly VolumeEntry[]> {
    const { inode, node } = await this.#load(id);
    const { kind } = node.stat;
    if (kind !== "directory") {
      const what = this.#mft.describe(id);
      throw new ReelError("not-a-directory", `cannot list ${what}: it is a ${kind}`);
    }
    return listDirectory(this.#mft, inode);
  }

  async stat(id: NodeId): Promise<NodeStat> {
    return (await this.#load(id)).node.stat;
  }

  async layout(id: NodeId): Promise<FileLayout> {
    return layoutOf(this.#mft, await this.#loadFile(id, "lay out"));
  }

  async read(id: NodeId, offsetBytes: number, target: Uint8Array): Promise<number> {
    this.#checkOpen();
    if (!Number.isSafeInteger(offsetBytes) || offsetBytes < 0) {
      throw new ReelError("invalid", `cannot read at offset ${offsetBytes} of a file`);
    }
    const contents = await this.#openContents(id);
    const count = Math.max(0, Math.min(target.length, contents.sizeBytes - offsetBytes));
    if (count === 0) return 0;
    await contents.read(offsetBytes, Buffer.from(target.buffer, target.byteOffset, count));
    return count;
  }

  async readLink(id: NodeId): Promise<string> {
    const { node } = await this.#load(id);
    if (node.target !== undefined) return node.target;
    throw new ReelError("invalid", `${this.#mft.describe(id)} is no symbolic link`);
  }

  async xattrs(id: NodeId): Promise<ReadonlyMap<string, Uint8Array>> {
    return readXattrs(this.#mft, await this.#loadInode(id));
  }

  foldName(name: string): string {
    return this.#upcase === undefined ? upperCaseByUnit(name) : foldWith(this.#upcase, name);
  }

  async freeClusters(): Promise<number> {
    this.#checkOpen();
    return this.#freeClusters.get();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#contents.clear();
  }

  #checkOpen(): void {
    if (!this.#isClosed) return;
    throw new ReelError("closed", `the volume on ${this.#mft.device.name} was closed`);
  }

  async #countFree(): Promise<number> {
    return this.info.clusterCount - (await readBitmap(this.#mft)).total;
  }

  async #loadInode(id: NodeId): Promise<Inode> {
    this.#checkOpen();
    const record = isHiddenRecord(id) ? undefined : await this.#mft.record(id);
    const isBase = record?.base === undefined;
    if (id === ROOT_RECORD && !(isBase && record?.isDirectory === true)) {
      const what = this.#mft.describe(id);
      throw new ReelError("damaged", `cannot read ${what}: the root is not marked as a directory`);
    }
    if (record === undefined || !isBase) {
      throw new ReelError("not-found", `${this.#mft.describe(id)} is no file or directory`);
    }
    return completeInode(this.#mft, record);
  }

  async #load(id: NodeId): Promise<{ inode: Inode; node: Node }> {
    const inode = await this.#loadInode(id);
    return { inode, node: await loadNode(this.#mft, inode) };
  }

  async #loadFile(id: NodeId, doing: string): Promise<Inode> {
    const { inode, node } = await this.#load(id);
    const { kind } = node.stat;
    if (kind === "file") return inode;
    const code = kind === "directory" ? "is-a-directory" : "invalid";
    throw new ReelError(code, `cannot ${doing} ${this.#mft.describe(id)}: it is a ${kind}`);
  }

  /** Contents opened lately, so that reading a file piece by piece does not start anew each time. */
  async #openContents(id: NodeId): Promise<Contents> {
    const open = this.#contents.get(id) ?? this.#openFile(id);
    this.#contents.delete(id);
    this.#contents.set(id, open);
    if (this.#contents.size > OPEN_CONTENTS_MAX) {
      for (const oldest of this.#contents.keys()) {
        this.#contents.delete(oldest);
        break;
      }
    }
    try {
      return await open;
    } catch (error) {
      if (this.#contents.get(id) === open) this.#contents.delete(id);
      throw error;
    }
  }

  async #openFile(id: NodeId): Promise<Contents> {
    return openContents(this.#mft, await this.#loadFile(id, "read"));
  }
}
