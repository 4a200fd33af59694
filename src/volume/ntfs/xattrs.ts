/** Extended attributes of Linux: named streams, and what Linux' own driver keeps in $EA. */
import { uniqueNames } from "../names.ts";
import { EA_MAX_BYTES, parseExtendedAttributes, userAttributes } from "./extended-attributes.ts";
import type { Inode } from "./inode.ts";
import { attributesOf } from "./inode.ts";
import type { Mft } from "./mft.ts";
import { TYPE } from "./record.ts";
import { openStream, readWhole } from "./stream.ts";
import { openNamedStream, WOF_STREAM } from "./contents.ts";

/** Longer streams are not shown: getxattr(2) takes no more. */
export const XATTR_MAX_BYTES = 64 * 1024;
/** Of "user." and the name together. */
const NAME_MAX_BYTES = 255;
const STREAMS_MAX = 1024;

/** By full name: "user.Zone.Identifier". Throws "damaged", "unsupported". */
export async function readXattrs(mft: Mft, inode: Inode): Promise<Map<string, Uint8Array>> {
  const found = new Map<string, Uint8Array>();
  const streams = attributesOf(inode, TYPE.data).filter(({ name, value, extent }) => {
    const sizeBytes = value?.length ?? extent?.sizeBytes ?? 0;
    return name !== "" && name !== WOF_STREAM && sizeBytes <= XATTR_MAX_BYTES;
  });
  const names = uniqueNames(
    streams.slice(0, STREAMS_MAX).map(({ name }) => name),
    (name) => name,
  );
  for (const [index, name] of names.entries()) {
    const fullName = `user.${name}`;
    if (Buffer.byteLength(fullName) > NAME_MAX_BYTES) continue;
    const contents = openNamedStream(mft, inode, streams[index]?.name ?? "");
    const bytes = Buffer.alloc(contents.sizeBytes);
    await contents.read(0, bytes);
    found.set(fullName, bytes);
  }
  const ea = openStream(mft, inode, TYPE.extendedAttributes);
  if (ea === undefined) return found;
  for (const [name, value] of await userEas(mft, ea)) {
    if (!found.has(name)) found.set(name, value);
  }
  return found;
}

async function userEas(mft: Mft, ea: NonNullable<ReturnType<typeof openStream>>) {
  return userAttributes(parseExtendedAttributes(await readWhole(mft, ea, EA_MAX_BYTES)));
}
