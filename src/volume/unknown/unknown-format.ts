/**
 * A volume that no format understands, as one file: `volume.img`, the whole device. A backup of it
 * keeps every block that is not zeros, save for those that a tool of the system knows to be free; of
 * swap space, which is written anew at every start of the system, its header alone.
 *
 * Nothing needs to be read to mount it, so it is never wrong: what was recognised is only shown.
 */
import type { BlockDevice } from "../../device/block-device.ts";
import { CallGate } from "../../device/checked-device.ts";
import { ExtentSet, ExtentSetBuilder } from "../../device/extents.ts";
import { ReelError, throwIfAborted } from "../../errors.ts";
import { askFreeSpace } from "../free-space/ask-free-space.ts";
import {
  describeStart,
  HEAD_BYTES,
  recognise,
  tailSuperblockOffsets,
  type Recognised,
} from "../signatures.ts";
import type {
  FileLayout,
  NodeId,
  NodeStat,
  SurveyOptions,
  Volume,
  VolumeEntry,
  VolumeFormat,
  VolumeInfo,
  VolumeOptions,
  VolumeSurvey,
} from "../volume.ts";
import { findContents } from "./find-contents.ts";

export const UNKNOWN_KIND = "unknown";
export const UNKNOWN_FILE = "volume.img";

const ROOT_ID: NodeId = 0;
const FILE_ID: NodeId = 1;
const NAME_MAX_BYTES = 255;
const BLOCK_SIZES = [4096, 2048, 1024, 512] as const;
const SECTOR_BYTES = 512;

export interface UnknownOptions extends VolumeOptions {
  /** Why a format that should know the volume could not read it. */
  readonly fault?: string | undefined;
  /** The name of the one file. */
  readonly fileName?: string | undefined;
}

export const unknownFormat = {
  name: UNKNOWN_KIND,

  /** Every device can be copied. */
  async probe(): Promise<boolean> {
    return Promise.resolve(true);
  },

  /** Throws "unsupported" for what is not a whole number of sectors: a file, and no volume. */
  async open(device: BlockDevice, options: UnknownOptions = {}): Promise<Volume> {
    const blockSizeBytes = BLOCK_SIZES.find((size) => device.sizeBytes % size === 0);
    if (blockSizeBytes === undefined || device.sizeBytes === 0) {
      throw new ReelError(
        "unsupported",
        `cannot read a volume on ${device.name}: it holds ${await describeStart(device)}, and its ` +
          `${device.sizeBytes} bytes are no whole number of sectors of ${SECTOR_BYTES} bytes`,
      );
    }
    return new UnknownVolume(device, {
      blockSizeBytes,
      recognised: await recognise(device),
      holds: await describeStart(device),
      ...options,
    });
  },
} satisfies VolumeFormat;

interface UnknownFacts extends UnknownOptions {
  readonly blockSizeBytes: number;
  readonly recognised: Recognised | undefined;
  readonly holds: string;
}

class UnknownVolume implements Volume {
  readonly info: VolumeInfo;
  readonly rootId = ROOT_ID;
  readonly #device: BlockDevice;
  readonly #facts: UnknownFacts;
  readonly #gate: CallGate;
  #clustersUsed: number | undefined;

  constructor(device: BlockDevice, facts: UnknownFacts) {
    this.#device = device;
    this.#facts = facts;
    this.#gate = new CallGate(`the volume on ${device.name}`);
    const { blockSizeBytes, holds, fault } = facts;
    const blockCount = device.sizeBytes / blockSizeBytes;
    this.info = {
      ...{ kind: UNKNOWN_KIND, label: "", serial: "" },
      ...{ blockSizeBytes, blockCount },
      ...{ clusterSizeBytes: blockSizeBytes, clusterCount: blockCount },
      ...{ caseSensitive: true, nameMaxBytes: NAME_MAX_BYTES },
      notices: [noticeOf(facts)],
      details: { holds, ...(fault === undefined ? {} : { fault }) },
    };
  }

  async survey(options: SurveyOptions = {}): Promise<VolumeSurvey> {
    return this.#gate.run(async () => {
      throwIfAborted(options.signal, `surveying ${this.#device.name}`);
      const { used, notices } = await this.#findUsed(options);
      this.#clustersUsed = used.total;
      return {
        ...{ used, control: used.intersect(this.#lookedAt()), clustersUsed: used.total },
        ...{ files: 1, directories: 0, problems: [], notices },
      };
    });
  }

  async #findUsed(
    options: SurveyOptions,
  ): Promise<{ used: ExtentSet; notices: readonly string[] }> {
    const { blockSizeBytes, recognised } = this.#facts;
    const { sizeBytes } = this.#device;
    const wantedBytes = recognised?.headerBytes ?? sizeBytes;
    const endBytes = Math.min(sizeBytes, wantedBytes);
    const { within, notices } = await this.#askedFor(options);
    const look = { blockSizeBytes, endBytes, within, ...options };
    return { used: await findContents(this.#device, look), notices };
  }

  /** The blocks that are not free, where that is known, and what to say of it. */
  async #askedFor(
    options: SurveyOptions,
  ): Promise<{ within?: ExtentSet | undefined; notices: readonly string[] }> {
    const { recognised, blockSizeBytes } = this.#facts;
    // What deleted files still seem to occupy is what is free.
    if (recognised?.role !== "volume" || options.includeDeleted === true) return { notices: [] };
    const answer = await askFreeSpace(this.#device, options);
    if (answer === undefined) return { notices: [] };
    if ("doubt" in answer) {
      return {
        notices: [
          `blocks that are free are kept, too, as what they are is not known: ${answer.doubt}`,
        ],
      };
    }
    const { free, tool } = answer;
    const whole = ExtentSet.from([[0, this.info.blockCount]]);
    const within = whole.subtract(wholeBlocks(free, blockSizeBytes));
    const notice = `the ${free.total} bytes that are free, as ${tool} knows, are left out`;
    return { within, notices: [notice] };
  }

  /** What is looked at to say what it holds: a mount of the image will ask for it again. */
  #lookedAt(): ExtentSet {
    const { blockSizeBytes } = this.#facts;
    const { sizeBytes } = this.#device;
    const headBlocks = Math.ceil(Math.min(HEAD_BYTES, sizeBytes) / blockSizeBytes);
    const tail = tailSuperblockOffsets(sizeBytes).map(
      (offset) => [Math.floor(offset / blockSizeBytes), 1] as const,
    );
    return ExtentSet.from([[0, headBlocks], ...tail]);
  }

  async readDirectory(id: NodeId): Promise<readonly VolumeEntry[]> {
    return this.#gate.run(async () => {
      const stat = this.#stat(id);
      if (stat.kind !== "directory") {
        throw new ReelError("not-a-directory", `${this.#fileName()} is no directory`);
      }
      return Promise.resolve([{ name: this.#fileName(), stat: this.#stat(FILE_ID) }]);
    });
  }

  async stat(id: NodeId): Promise<NodeStat> {
    return this.#gate.run(async () => Promise.resolve(this.#stat(id)));
  }

  async layout(id: NodeId): Promise<FileLayout> {
    return this.#gate.run(async () => {
      if (this.#stat(id).kind === "directory") {
        throw new ReelError("is-a-directory", `the root of ${this.#device.name} is a directory`);
      }
      const { sizeBytes } = this.#device;
      return Promise.resolve({
        ...{ sizeBytes, length: 1, direct: true },
        fileOffsets: new Float64Array(1),
        deviceOffsets: new Float64Array(1),
        lengths: Float64Array.of(sizeBytes),
      });
    });
  }

  foldName(name: string): string {
    return name;
  }

  /** Everything counts as in use until a survey has found what is zeros. */
  async freeClusters(): Promise<number> {
    return this.#gate.run(async () => {
      const { clusterCount } = this.info;
      return Promise.resolve(clusterCount - (this.#clustersUsed ?? clusterCount));
    });
  }

  async close(): Promise<void> {
    return this.#gate.close(async () => Promise.resolve());
  }

  #fileName(): string {
    return this.#facts.fileName ?? UNKNOWN_FILE;
  }

  #stat(id: NodeId): NodeStat {
    const isRoot = id === ROOT_ID;
    if (!isRoot && id !== FILE_ID) {
      throw new ReelError("not-found", `there is no node ${id} on ${this.#device.name}`);
    }
    const sizeBytes = isRoot ? 0 : this.#device.sizeBytes;
    return {
      ...{ id, kind: isRoot ? "directory" : "file", sizeBytes, allocatedBytes: sizeBytes },
      ...{ linkCount: isRoot ? 2 : 1, modifiedMs: 0, accessedMs: 0, changedMs: 0 },
    };
  }
}

/** The blocks that lie in stretches of bytes from end to end. */
function wholeBlocks(bytes: ExtentSet, blockSizeBytes: number): ExtentSet {
  const blocks = new ExtentSetBuilder();
  for (const [start, count] of bytes) {
    const first = Math.ceil(start / blockSizeBytes);
    blocks.add(first, Math.floor((start + count) / blockSizeBytes) - first);
  }
  return blocks.build();
}

function noticeOf({ recognised, holds, fault }: UnknownFacts): string {
  if (recognised?.role === "swap") {
    return `it holds ${holds}: only its header is kept, what is swapped out is worth nothing later`;
  }
  const why = fault ?? `no filesystem is known here: it holds ${holds}`;
  return `${why}; it is shown as one file, and kept but for its zeros`;
}
