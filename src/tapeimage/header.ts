/**
 * The image header: one JSON object in record 0, so that `strings` on a tape tells a person what it
 * is. Field names and meanings are specified in docs/formats/image.md.
 */
import { ReelError } from "../errors.ts";
import {
  decodeDisk,
  decodePartitionOfDisk,
  type DiskFacts,
  type PartitionOfDisk,
} from "./disk-header.ts";
import { CHAIN_MAX, decodeAncestor, type AncestorFacts } from "./incremental/ancestor-facts.ts";
import { asArray, asNumber, asObject, asString, parseJson, type JsonObject } from "./json.ts";

export const FORMAT_MAJOR = 1;
export const FORMAT_MINOR = 0;

export type Codec = "none" | "zstd";

export interface ImageHeader {
  readonly format: "reelfs-image";
  /** [major, minor]. A newer minor is readable, a newer major is not. */
  readonly version: readonly [number, number];
  readonly uuid: string;
  /** Number of the image on its tape, from 1. */
  readonly number: number;
  /** UUIDs of the images this one needs, itself first; one entry for a full image. */
  readonly chain: readonly string[];
  /** Of an incremental image: what is known of the images in `chain` after the first, in order. */
  readonly ancestors?: readonly AncestorFacts[] | undefined;
  /**
   * "data-first": data, control, map, checksums, trailer. What is written then is known only at the
   * end: in record 0 all section numbers are 0, and the trailer holds the header once more. Absent:
   * map, control, data, checksums, trailer.
   */
  readonly layout?: "data-first" | undefined;
  readonly created: string;
  readonly host: string;
  readonly tool: string;
  readonly source: { readonly path: string; readonly sizeBytes: number };
  readonly volume: {
    readonly kind: string;
    readonly label: string;
    readonly serial: string;
    readonly clusterSizeBytes: number;
    readonly clustersUsed: number;
    readonly files: number;
    readonly directories: number;
    /** Structures that were found damaged and backed up as they are. */
    readonly problems: readonly string[];
  };
  /** Size of the image seen as a device. */
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  /** Raw bytes in a full record of control or data blocks. */
  readonly recordSizeBytes: number;
  readonly codec: Codec;
  readonly codecLevel: number;
  /** Logical blocks covered by one checksum of the trailer. */
  readonly checksumChunkBlocks: number;
  /** Records of each section; they follow one another in this order after the header. */
  readonly sections: {
    readonly map: SectionCounts;
    readonly control: SectionCounts;
    readonly data: SectionCounts;
    readonly checksums: SectionCounts;
    readonly trailer: SectionCounts;
  };
  readonly options: {
    readonly includeDeleted: boolean;
    readonly codePage?: number | undefined;
    readonly timeZoneMinutes?: number | undefined;
    /** Sizes of the devices that were joined to one, in order. */
    readonly segmentBytes?: readonly number[] | undefined;
  };
  /** The image holds the partition table of a whole disk; its partitions have images of their own. */
  readonly disk?: DiskFacts | undefined;
  /** The image is one of a whole disk's. */
  readonly partition?: PartitionOfDisk | undefined;
}

export interface SectionCounts {
  readonly firstRecord: number;
  readonly records: number;
  /** Blocks in control and data, entries in the map, checksums, trailers. */
  readonly items: number;
}

/** Smallest and largest raw record a writer may choose; powers of two. */
export const RECORD_SIZE_MIN = 64 * 1024;
export const RECORD_SIZE_MAX = 4 * 1024 * 1024;
export const RECORD_SIZE_DEFAULT = 256 * 1024;
const BLOCK_SIZE_MIN = 512;
const BLOCK_SIZE_MAX = 64 * 1024;
const SEGMENTS_MAX = 1024;

/** `volume.kind` of the image of a partition table. */
export const DISK_KIND = "disk";

/** The header's JSON, indented so that it reads well in a dump. */
export function encodeHeader(header: ImageHeader): Buffer {
  return Buffer.from(JSON.stringify(header, undefined, 1), "utf8");
}

/**
 * Reads a header and checks every field that sizes or places anything.
 *
 * @throws ReelError "damaged" for a field that is missing or makes no sense, "unsupported" for a
 *   newer major version.
 */
export function decodeHeader(bytes: Uint8Array, where: string): ImageHeader {
  return decodeHeaderJson(asObject(parseJson(bytes, where), where), where);
}

/** The same of a header inside other JSON. */
export function decodeHeaderJson(json: JsonObject, where: string): ImageHeader {
  if (json["format"] !== "reelfs-image") {
    throw new ReelError("damaged", `${where}: not the header of a ReelFS image`);
  }
  const [major, minor] = asArray(json, "version", where).map(Number);
  if (major === undefined || minor === undefined || !(major <= FORMAT_MAJOR)) {
    throw new ReelError(
      "unsupported",
      `${where}: the image has format version ${major ?? "?"}.${minor ?? "?"}; this program reads ` +
        `versions up to ${FORMAT_MAJOR}.x: use a newer ReelFS`,
    );
  }
  const source = asObject(json["source"], where);
  const header: ImageHeader = {
    format: "reelfs-image",
    version: [major, minor],
    uuid: asUuid(asString(json, "uuid", where), where),
    number: asNumber(json, "number", where),
    chain: asArray(json, "chain", where).map((uuid) => asUuid(String(uuid), where)),
    created: asString(json, "created", where),
    host: asString(json, "host", where),
    tool: asString(json, "tool", where),
    source: {
      path: asString(source, "path", where),
      sizeBytes: asNumber(source, "sizeBytes", where),
    },
    volume: decodeVolume(asObject(json["volume"], where), where),
    sizeBytes: asNumber(json, "sizeBytes", where),
    blockSizeBytes: powerOfTwo(json, "blockSizeBytes", BLOCK_SIZE_MIN, BLOCK_SIZE_MAX, where),
    recordSizeBytes: powerOfTwo(json, "recordSizeBytes", RECORD_SIZE_MIN, RECORD_SIZE_MAX, where),
    codec: asCodec(asString(json, "codec", where), where),
    codecLevel: asNumber(json, "codecLevel", where),
    checksumChunkBlocks: asNumber(json, "checksumChunkBlocks", where),
    sections: decodeSections(asObject(json["sections"], where), where),
    options: decodeOptions(asObject(json["options"], where), where),
    ...decodeWhole(json, where),
    ...decodeChain(json, where),
  };
  checkSections(header, where);
  return header;
}

function decodeVolume(json: JsonObject, where: string): ImageHeader["volume"] {
  return {
    kind: asString(json, "kind", where),
    label: asString(json, "label", where),
    serial: asString(json, "serial", where),
    clusterSizeBytes: asNumber(json, "clusterSizeBytes", where),
    clustersUsed: asNumber(json, "clustersUsed", where),
    files: asNumber(json, "files", where),
    directories: asNumber(json, "directories", where),
    problems: asArray(json, "problems", where).map(String),
  };
}

/** What only the images of a whole disk have. */
function decodeWhole(json: JsonObject, where: string): Pick<ImageHeader, "disk" | "partition"> {
  const { disk, partition } = json;
  return {
    ...(disk === undefined ? {} : { disk: decodeDisk(asObject(disk, where), where) }),
    ...(partition === undefined
      ? {}
      : { partition: decodePartitionOfDisk(asObject(partition, where), where) }),
  };
}

function decodeOptions(json: JsonObject, where: string): ImageHeader["options"] {
  const codePage = json["codePage"];
  const timeZone = json["timeZoneMinutes"];
  return {
    includeDeleted: json["includeDeleted"] === true,
    ...(typeof codePage === "number" ? { codePage } : {}),
    ...(typeof timeZone === "number" ? { timeZoneMinutes: timeZone } : {}),
    ...(json["segmentBytes"] === undefined ? {} : { segmentBytes: decodeSegments(json, where) }),
  };
}

function decodeSegments(json: JsonObject, where: string): readonly number[] {
  const sizes = asArray(json, "segmentBytes", where).map(Number);
  const areSound = sizes.every((size) => Number.isSafeInteger(size) && size > 0);
  if (areSound && sizes.length <= SEGMENTS_MAX) return sizes;
  throw new ReelError("damaged", `${where}: field "segmentBytes" is no list of sizes`);
}

function decodeSections(json: JsonObject, where: string): ImageHeader["sections"] {
  const section = (name: string): SectionCounts => {
    const counts = asObject(json[name], `${where}, section "${name}"`);
    return {
      firstRecord: asNumber(counts, "firstRecord", where),
      records: asNumber(counts, "records", where),
      items: asNumber(counts, "items", where),
    };
  };
  return {
    map: section("map"),
    control: section("control"),
    data: section("data"),
    checksums: section("checksums"),
    trailer: section("trailer"),
  };
}

/** What only incremental images have. */
function decodeChain(json: JsonObject, where: string): Pick<ImageHeader, "ancestors" | "layout"> {
  const { ancestors, layout } = json;
  if (layout !== undefined && layout !== "data-first") {
    throw new ReelError("unsupported", `${where}: layout ${JSON.stringify(layout)} is not known`);
  }
  return {
    ...(layout === undefined ? {} : { layout }),
    ...(ancestors === undefined
      ? {}
      : {
          ancestors: asArray(json, "ancestors", where).map((each) =>
            decodeAncestor(asObject(each, where), where),
          ),
        }),
  };
}

/** Is this the header as it stands before the data, without numbers? */
export function isWithoutNumbers({ layout, sections }: ImageHeader): boolean {
  return layout === "data-first" && sections.trailer.records === 0;
}

/** Sections follow one another, and hold as many records as their items need. */
function checkSections(header: ImageHeader, where: string): void {
  const { map, control, data, checksums, trailer } = header.sections;
  const chainAgrees =
    header.chain.length === 1 + (header.ancestors?.length ?? 0) &&
    header.chain.length <= CHAIN_MAX &&
    header.chain[0] === header.uuid &&
    (header.ancestors ?? []).every(({ uuid }, index) => uuid === header.chain[index + 1]);
  if (!chainAgrees) {
    throw new ReelError("damaged", `${where}: the chain of images contradicts itself`);
  }
  if (isWithoutNumbers(header)) return;
  const order =
    header.layout === "data-first"
      ? [data, control, map, checksums, trailer]
      : [map, control, data, checksums, trailer];
  const perRecord = header.recordSizeBytes / header.blockSizeBytes;
  let next = 1;
  const chained = order.every(({ firstRecord, records }) => {
    const follows = firstRecord === next;
    next += records;
    return follows;
  });
  const filled = [control, data].every((it) => it.records === Math.ceil(it.items / perRecord));
  const blocks = header.sizeBytes / header.blockSizeBytes;
  if (
    !chained ||
    !filled ||
    trailer.records !== 1 ||
    !Number.isInteger(blocks) ||
    control.items + data.items > blocks
  ) {
    throw new ReelError("damaged", `${where}: the header's record counts contradict one another`);
  }
}

function powerOfTwo(
  json: JsonObject,
  field: string,
  min: number,
  max: number,
  where: string,
): number {
  const value = asNumber(json, field, where);
  if (value < min || value > max || !Number.isInteger(Math.log2(value))) {
    throw new ReelError("damaged", `${where}: field "${field}" is ${value}`);
  }
  return value;
}

function asCodec(text: string, where: string): Codec {
  if (text === "none" || text === "zstd") return text;
  throw new ReelError("unsupported", `${where}: codec "${text}" is not known`);
}

function asUuid(text: string, where: string): string {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text)) {
    throw new ReelError("damaged", `${where}: "${text.slice(0, 40)}" is not a UUID`);
  }
  return text;
}
