/**
 * How an encrypted name is shown without its key: as Linux shows it where a directory has no index.
 * It is base64url of two hashes (zero here), and the encrypted name: all of it up to 149 bytes, else
 * its first 149 bytes and the SHA-256 of the rest. (`struct fscrypt_nokey_name` of the kernel.)
 */
import { createHash } from "node:crypto";

const HASH_BYTES = 8;
const NAME_BYTES_MAX = 149;

/** Stable, at most 252 characters, and different for different names. */
export function nokeyName(encrypted: Uint8Array): string {
  const parts = [new Uint8Array(HASH_BYTES), encrypted.subarray(0, NAME_BYTES_MAX)];
  if (encrypted.length > NAME_BYTES_MAX) {
    parts.push(createHash("sha256").update(encrypted.subarray(NAME_BYTES_MAX)).digest());
  }
  return Buffer.concat(parts).toString("base64url");
}
