/** The contract of every volume, on volumes of each kind that mke2fs can make. */
import { extCase } from "../../support/ext-sample.ts";
import { hasExtTools, NO_EXT_TOOLS } from "../../support/ext-tools.ts";
import { skipUnless } from "../../support/skip.ts";
import { volumeSuite } from "../../support/volume-suite.ts";

const MIB = 1024 * 1024;
const NO_JOURNAL = "^has_journal";
const NO_CHECKSUMS = "^has_journal,^metadata_csum";

/** Without checksums damage gets as far as the parsers: those are the ones that are tried hardest. */
const SHAPES: readonly (readonly [string, number, readonly string[]])[] = [
  ["ext2 in blocks of 1 KiB", MIB, ["-t", "ext2", "-b", "1024"]],
  ["ext2 without any feature", MIB, ["-b", "1024", "-r", "0", "-O", "none"]],
  ["ext3 with inodes of 128 bytes", 3 * MIB, ["-t", "ext3", "-I", "128", "-b", "1024"]],
  ["ext4 as mke2fs makes it", 4 * MIB, ["-t", "ext4", "-O", NO_JOURNAL]],
  ["ext4 without checksums", MIB, ["-t", "ext4", "-b", "1024", "-O", NO_CHECKSUMS]],
  [
    "ext4 with uninit_bg",
    2 * MIB,
    ["-t", "ext4", "-b", "1024", "-g", "512", "-O", `${NO_CHECKSUMS},uninit_bg,^flex_bg`],
  ],
  ["bigalloc", 4 * MIB, ["-t", "ext4", "-b", "1024", "-C", "4096", "-O", `${NO_JOURNAL},bigalloc`]],
  ["inline data", MIB, ["-t", "ext4", "-b", "1024", "-O", `${NO_CHECKSUMS},inline_data`]],
  [
    "meta_bg and 64bit",
    2 * MIB,
    ["-t", "ext4", "-b", "1024", "-g", "256", "-O", `${NO_JOURNAL},64bit,meta_bg,^resize_inode`],
  ],
  [
    "sparse_super2",
    2 * MIB,
    ["-t", "ext4", "-b", "1024", "-g", "512", "-O", "sparse_super2,^has_journal,^resize_inode"],
  ],
];

for (const [name, sizeBytes, options] of SHAPES) {
  describe(name, () => {
    before(function () {
      skipUnless(this, hasExtTools(), NO_EXT_TOOLS);
    });
    volumeSuite(name, extCase(sizeBytes, options));
  });
}
