/**
 * Extended attributes in the sense of OS/2 ($EA), which Linux and WSL use: owner, group, mode and
 * device number of a file, and, by Linux' own driver, attributes of users. Layout: "$EA" of the
 * Linux-NTFS documentation; names: Microsoft's page "File Permissions for WSL".
 */
import { deviceNumber } from "../../device/device-number.ts";
import { fault } from "./damage.ts";

const EA = { nextOffset: 0, nameLength: 5, valueLength: 6, name: 8 } as const;
/** Windows allows no more of them on a file. */
export const EA_MAX_BYTES = 64 * 1024;
const USER_PREFIX = "user.";
const LX_NAMES = {
  uid: "$LXUID",
  gid: "$LXGID",
  mode: "$LXMOD",
  device: "$LXDEV",
} as const;

export interface UnixAttributes {
  readonly uid?: number;
  readonly gid?: number;
  /** With the file type. */
  readonly mode?: number;
  readonly deviceNumber?: number;
}

/** All of them by name. Throws a fault. */
export function parseExtendedAttributes(bytes: Buffer): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  for (let at = 0; at + EA.name < bytes.length;) {
    const next = bytes.readUInt32LE(at + EA.nextOffset);
    const nameEnd = at + EA.name + bytes.readUInt8(at + EA.nameLength);
    // A zero byte stands between name and value.
    const valueEnd = nameEnd + 1 + bytes.readUInt16LE(at + EA.valueLength);
    if (valueEnd > bytes.length || (next !== 0 && next < valueEnd - at)) {
      throw fault(`its $EA is wrong at byte ${at}`);
    }
    const name = bytes.toString("utf8", at + EA.name, nameEnd);
    if (!found.has(name)) found.set(name, bytes.subarray(nameEnd + 1, valueEnd));
    if (next === 0) break;
    at += next;
  }
  return found;
}

/** What Linux keeps of a file's inode. */
export function unixAttributes(attributes: ReadonlyMap<string, Buffer>): UnixAttributes {
  const number = (name: string): number | undefined => {
    const value = attributes.get(name);
    return value?.length === 4 ? value.readUInt32LE(0) : undefined;
  };
  const uid = number(LX_NAMES.uid);
  const gid = number(LX_NAMES.gid);
  const mode = number(LX_NAMES.mode);
  const device = attributes.get(LX_NAMES.device);
  return {
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
    ...(mode === undefined ? {} : { mode }),
    ...(device?.length === 8
      ? { deviceNumber: deviceNumber(device.readUInt32LE(0), device.readUInt32LE(4)) }
      : {}),
  };
}

/** Those that Linux' driver shows as they are: "user.comment". */
export function userAttributes(attributes: ReadonlyMap<string, Buffer>): [string, Buffer][] {
  return [...attributes].filter(
    ([name]) => name.startsWith(USER_PREFIX) && name.length > USER_PREFIX.length,
  );
}
