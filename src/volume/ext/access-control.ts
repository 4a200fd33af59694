/**
 * POSIX access control lists: from the short form that ext stores to the one that getxattr(2) gives
 * (`struct posix_acl_xattr_header` and `..._entry` of the kernel).
 */

const STORED = { version: 1, headerBytes: 4, shortEntryBytes: 4, entryBytes: 8 } as const;
const SHOWN = { version: 2, headerBytes: 4, entryBytes: 8, undefinedId: 0xffffffff } as const;
/** Entries that name a user or a group carry an id. */
const TAGS_WITH_ID = [0x02, 0x08];
const TAGS_WITHOUT_ID = [0x01, 0x04, 0x10, 0x20];

/** The list as programs read it; undefined when the stored form is not sound. */
export function accessControlValue(stored: Uint8Array): Uint8Array | undefined {
  const view = new DataView(stored.buffer, stored.byteOffset, stored.byteLength);
  if (stored.length < STORED.headerBytes || view.getUint32(0, true) !== STORED.version) {
    return undefined;
  }
  const shown = new DataView(
    new ArrayBuffer(
      SHOWN.headerBytes +
        Math.floor((stored.length - STORED.headerBytes) / STORED.shortEntryBytes) *
          SHOWN.entryBytes,
    ),
  );
  shown.setUint32(0, SHOWN.version, true);
  let to: number = SHOWN.headerBytes;
  for (let at: number = STORED.headerBytes; at < stored.length; to += SHOWN.entryBytes) {
    if (at + STORED.shortEntryBytes > stored.length) return undefined;
    const tag = view.getUint16(at, true);
    const hasId = TAGS_WITH_ID.includes(tag);
    const length = hasId ? STORED.entryBytes : STORED.shortEntryBytes;
    if ((!hasId && !TAGS_WITHOUT_ID.includes(tag)) || at + length > stored.length) return undefined;
    shown.setUint16(to, tag, true);
    shown.setUint16(to + 2, view.getUint16(at + 2, true), true);
    shown.setUint32(to + 4, hasId ? view.getUint32(at + 4, true) : SHOWN.undefinedId, true);
    at += length;
  }
  return new Uint8Array(shown.buffer, 0, to);
}
