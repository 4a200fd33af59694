/**
 * Which attributes are structure: to be read when a volume is opened, when its directories are
 * walked and its files described. Of these, the survey makes the control set, so that on a mounted
 * tape image none of it costs a tape movement.
 */
import { BITMAP_RECORD } from "./bitmap.ts";
import { WOF_STREAM } from "./contents.ts";
import { INDEX_NAME } from "./directory-index.ts";
import { FILE_FLAG, parseStandardInformation } from "./file-name.ts";
import type { NtfsGeometry } from "./geometry.ts";
import { mayBeInterix } from "./interix.ts";
import { LOG_RECORD, LOG_START_BYTES } from "./log-file.ts";
import { isHiddenRecord } from "./node.ts";
import { TYPE } from "./record.ts";
import type { Attribute, FileRecord } from "./record.ts";
import { UPCASE_RECORD } from "./upcase.ts";
import { XATTR_MAX_BYTES } from "./xattrs.ts";

/** `controlClusters` of an attribute that is structure from end to end. */
const ALL = Number.POSITIVE_INFINITY;
const REMARKS_MAX = 1000;

export class ControlRules {
  readonly #clusterBytes: number;
  /** Streams that are on the volume, and in its image, but that nobody is shown. */
  readonly remarks: { readonly number: number; readonly message: string }[] = [];

  constructor({ clusterBytes }: NtfsGeometry) {
    this.#clusterBytes = clusterBytes;
  }

  /** How many clusters of a non-resident attribute, from its start, are control. */
  controlClusters(record: FileRecord, attribute: Attribute): number {
    const number = record.base?.number ?? record.number;
    const { type, name } = attribute;
    if (type === TYPE.attributeList) return ALL;
    if (number === LOG_RECORD) return Math.ceil(LOG_START_BYTES / this.#clusterBytes);
    if (isHiddenRecord(number)) return isNeededToOpen(number, attribute) ? ALL : 0;
    switch (type) {
      case TYPE.indexAllocation:
      case TYPE.bitmap:
        return name === INDEX_NAME ? ALL : 0;
      case TYPE.reparsePoint:
      case TYPE.extendedAttributes:
        return ALL;
      case TYPE.data:
        return this.#isShownWhole(record, attribute, number) ? ALL : 0;
      default:
        return 0;
    }
  }

  /** Data that is read to describe a file: extended attributes, what may be a special file. */
  #isShownWhole(record: FileRecord, { name, extent }: Attribute, number: number): boolean {
    if (extent === undefined || name === WOF_STREAM) return false;
    const { firstCluster, lastCluster, sizeBytes } = extent;
    if (name === "") return firstCluster === 0 && mayBeInterix(sizeBytes) && isSystem(record);
    // Only the first part of a stream knows its size.
    if (firstCluster > 0) return lastCluster * this.#clusterBytes < XATTR_MAX_BYTES;
    if (sizeBytes <= XATTR_MAX_BYTES) return true;
    if (this.remarks.length < REMARKS_MAX) {
      const message = `its stream "${name}" of ${sizeBytes} bytes is too long to be shown as an extended attribute`;
      this.remarks.push({ number, message });
    }
    return false;
  }
}

function isNeededToOpen(number: number, { type, name }: Attribute): boolean {
  return (
    type === TYPE.data && name === "" && (number === BITMAP_RECORD || number === UPCASE_RECORD)
  );
}

function isSystem({ attributes }: FileRecord): boolean {
  const value = attributes.find(({ type }) => type === TYPE.standardInformation)?.value;
  return value !== undefined && (parseStandardInformation(value).flags & FILE_FLAG.system) !== 0;
}
