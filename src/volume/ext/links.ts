/** Where the target of a symbolic link is. */
import { INCOMPAT } from "./features.ts";
import { BLOCK_FIELD, INODE_FLAG } from "./inode.ts";
import type { Inode } from "./inode.ts";

/**
 * Is the target in the place of the block numbers? It is when it is short and has no blocks; with
 * ea_inode the block count says nothing, as it includes those of attributes.
 */
export function isFastLink(inode: Inode): boolean {
  const { sizeBytes, superblock } = inode;
  if (sizeBytes >= BLOCK_FIELD.lengthBytes || inode.hasFlag(INODE_FLAG.extents)) return false;
  if ((superblock.incompat & INCOMPAT.eaInode) !== 0) return true;
  const clusterBytes = superblock.blockSizeBytes * superblock.clusterBlocks;
  const attributeBytes = inode.attributeBlock === 0 ? 0 : clusterBytes;
  return inode.allocatedBytes <= attributeBytes;
}
