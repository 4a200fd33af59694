/**
 * Real volumes with a rich tree, one case for each format: who fills them, who else can read them,
 * who counts their blocks and who checks them.
 */
import { expect } from "chai";
import { execFileSync } from "node:child_process";
import {
  chmod,
  copyFile,
  lchown,
  link,
  mkdir,
  truncate,
  utimes,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";
import { dumpExfat, fsckExfat, hasExfatTools, NO_EXFAT_TOOLS } from "./exfat-tools.ts";
import { exfatSample } from "./exfat-sample.ts";
import { canMountExt, countBlocks, hasExtTools, hasTool } from "./ext-tools.ts";
import { makeExtImage, NO_EXT_TOOLS, NO_KERNEL, runTool, withKernelMount } from "./ext-tools.ts";
import { makeSampleFolder } from "./ext-sample.ts";
import { fsck, hasFatTools, NO_FAT_TOOLS } from "./fat-tools.ts";
import { knownFrom, leaveOut, readKnownTree } from "./format-tree.ts";
import type { Facet, KnownNode, KnownTree } from "./format-tree.ts";
import { makeNetwareSample, NFS_NAME } from "./netware-sample.ts";
import { fillSample } from "./ntfs-sample.ts";
import { hasNtfsTools, makeNtfsImage, NO_NTFS_TOOLS, withNtfsMount } from "./ntfs-volume.ts";
import { patternBytes } from "./pattern.ts";
import { withTempFolder } from "./temp.ts";
import { endKernelMount } from "./end-kernel-mount.ts";

export interface FormatCase {
  readonly name: string;
  /** As `reelfs info` names it. */
  readonly kind: string;
  /** Why it cannot be tested here; undefined where it can. */
  readonly trouble: () => string | undefined;
  /** Makes a volume in a file. */
  readonly make: (image: string) => Promise<void>;
  /** What is on a volume, as somebody else than ReelFS reads it. */
  readonly view: (image: string) => Promise<KnownTree>;
  /** The view is of what a builder wrote, whatever image it is asked of. */
  readonly isBuilt?: boolean;
  /** Bytes in use as somebody else counts them. */
  readonly usedBytes: (image: string) => number;
  /** Fails when the format's own checker finds anything wrong with a volume on something larger. */
  readonly check: (image: string, volumeBytes: number) => unknown;
  /** What a volume of the format does not have. */
  readonly without: readonly Facet[];
  /** What is tagged, and restored by path. */
  readonly selection: readonly string[];
  /** Opens a volume for changes; only where chains are tried. */
  readonly change?: (image: string, use: (root: string) => Promise<void>) => Promise<void>;
}

const MIB = 1024 * 1024;
const ACL = "u:1234:rwx,g:4321:r-x,m::rwx";

function extTrouble(): string | undefined {
  if (!hasExtTools()) return NO_EXT_TOOLS;
  if (!canMountExt()) return NO_KERNEL;
  return ["setfattr", "setfacl"].every(hasTool) ? undefined : "attr and acl are not installed";
}

export function extCase(name: string, kind: string, options: readonly string[]): FormatCase {
  return {
    name,
    kind,
    trouble: extTrouble,
    make: async (image) => {
      await makeExtImage(image, 24 * MIB, options);
      await changeExt(image, fillExt);
    },
    view: async (image) => withKernelMount(image, async (root) => readKnownTree(root)),
    usedBytes: (image) => {
      const { blocks, free } = countBlocks(image);
      const size = /^Block size: +(\d+)$/m.exec(runTool("dumpe2fs", "-h", image))?.[1];
      return (blocks - free) * Number(size);
    },
    check: (image) => runTool("e2fsck", "-fn", image),
    without: [],
    selection: ["/folder", "/special", "/large.bin", "/long-link"],
    change: changeExt,
  };
}

/** Mounts a volume for writing through the kernel. */
async function changeExt(image: string, use: (root: string) => Promise<void>): Promise<void> {
  await withTempFolder(async (folder) => {
    const mountpoint = join(folder, "mounted");
    await mkdir(mountpoint);
    runTool("mount", "-o", "loop,nodiscard", image, mountpoint);
    try {
      await use(mountpoint);
    } finally {
      endKernelMount(mountpoint);
    }
  });
}

async function fillExt(root: string): Promise<void> {
  await makeSampleFolder(root);
  const at = (name: string): string => join(root, "special", name);
  await mkdir(at("."));
  runTool("mknod", at("disk"), "b", "259", "70000");
  runTool("mknod", at("terminal"), "c", "4", "64");
  await writeFile(at("program"), patternBytes(5000, 20));
  await lchown(at("program"), 1000, 100);
  await chmod(at("program"), 0o6755);
  await writeFile(at("secret"), patternBytes(70, 21), { mode: 0o600 });
  await lchown(at("secret"), 100_000, 200_000);
  runTool("setfattr", "-n", "user.origin", "-v", "a camera", at("secret"));
  runTool("setfattr", "-n", "trusted.mark", "-v", "0x00ff0010", at("secret"));
  runTool("setfattr", "-n", "user.long", "-v", "x".repeat(700), at("program"));
  await writeFile(at("shared"), patternBytes(9000, 22));
  runTool("setfacl", "-m", ACL, at("shared"));
  await link(at("shared"), join(root, "folder/deep/shared too"));
  await mkdir(at("drop"));
  await chmod(at("drop"), 0o3775);
  runTool("setfacl", "-m", ACL, at("drop"));
  runTool("setfacl", "-d", "-m", ACL, at("drop"));
  runTool("setfattr", "-n", "user.folder", "-v", "yes", at("drop"));
  await lchown(join(root, "short-link"), 7, 8);
  await utimes(at("secret"), 1_234_567_890.123, 4_200_000_000.25);
}

export const ntfsCase: FormatCase = {
  name: "NTFS",
  kind: "ntfs",
  trouble: () => {
    if (!hasNtfsTools()) return NO_NTFS_TOOLS;
    return ["ntfsinfo", "ntfsfix", "getfattr"].every(hasTool) ? undefined : NO_NTFS_TOOLS;
  },
  make: async (image) => {
    await makeNtfsImage(image, { sizeBytes: 24 * MIB, clusterBytes: 4096 }, async (filler) => {
      await fillSample(filler, 4096);
      // More than most filesystems take in one attribute: it would not come back in a restore.
      runTool("setfattr", "-x", "user.long", filler.at("/resident.txt"));
      await filler.xattr("/resident.txt", "user.stream", patternBytes(1500, 7));
    });
  },
  view: async (image) =>
    withNtfsMount(image, "ro,streams_interface=xattr", async (root) =>
      readKnownTree(root, ["mode", "owner"]),
    ),
  usedBytes: (image) => {
    const facts = runTool("ntfsinfo", "-m", image);
    const clusters = Number(/Volume Size in Clusters: (\d+)/.exec(facts)?.[1]);
    const free = Number(/Free Clusters: (\d+)/.exec(facts)?.[1]);
    const size = Number(/Cluster Size: (\d+)/.exec(facts)?.[1]);
    return (clusters - free) * size;
  },
  check: async (image, volumeBytes) => {
    // It looks for the second boot sector at the end of the device only.
    await truncate(image, volumeBytes);
    runTool("ntfsfix", "-n", image);
  },
  without: ["mode", "owner"],
  selection: ["/Documents", "/links", "/packed", "/resident.txt", "/sparse"],
  change: async (image, use) => withNtfsMount(image, "streams_interface=xattr,compression", use),
};

const STAMPS = { exfat: Date.UTC(2001, 1, 3, 4, 5, 6), netware: Date.UTC(2002, 2, 4, 5, 6, 8) };

export function exfatCase(): FormatCase {
  const sample = exfatSample({ clusters: 4096, sectorsPerClusterShift: 2, label: "REEL" });
  const { builder, bytes, expected } = sample;
  return {
    name: "exFAT",
    kind: "exfat",
    isBuilt: true,
    trouble: () => (hasExfatTools() ? undefined : NO_EXFAT_TOOLS),
    make: async (image) => writeFile(image, bytes),
    view: async () => Promise.resolve(knownFrom(expected, { modifiedMs: STAMPS.exfat })),
    usedBytes: (image) => {
      const { clusters, freeClusters, clusterBytes } = dumpExfat(image);
      expect(clusters - freeClusters).to.equal(builder.marked.size);
      return (clusters - freeClusters) * clusterBytes;
    },
    check: (image) => {
      const { isClean, output } = fsckExfat(image);
      expect(isClean, output).to.equal(true);
    },
    without: ["mode", "owner", "links", "xattrs"],
    selection: ["/Fragments", "/hello.txt", "/two pieces.bin"],
  };
}

export function netwareCase(): FormatCase {
  const blockBytes = 4096;
  const shape = { blockBytes, segmentBlocks: [2200], suballocation: true };
  const { builder, bytes, expected } = makeNetwareSample(shape);
  const nodes = new Map(knownFrom(expected, { modifiedMs: STAMPS.netware }));
  const withMode = (name: string, facts: Partial<KnownNode>): void => {
    const path = `/Letters of 1994/${name}`;
    const node = nodes.get(path);
    if (node === undefined) throw new RangeError(`no ${path} in the sample`);
    nodes.set(path, { ...node, ...facts });
  };
  withMode(NFS_NAME, { mode: 0o644, owner: "500:100" });
  withMode("PIPE", { mode: 0o644 });
  return {
    name: "NetWare 386",
    kind: "netware",
    isBuilt: true,
    trouble: () => undefined,
    make: async (image) => writeFile(image, bytes),
    view: async () => Promise.resolve(nodes),
    usedBytes: () => builder.entries.size * blockBytes,
    // Nothing that checks such volumes runs here: the caller reads all of it instead.
    check: () => undefined,
    without: ["links", "xattrs"],
    selection: ["/Letters of 1994/DEEP", "/HELLO.TXT"],
  };
}

const UTC = { ...process.env, TZ: "UTC", PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` };
const runInUtc = (command: string, ...args: string[]): string =>
  execFileSync(command, args, { env: UTC, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
const CLUSTER_BYTES = 512;

export const fatCase: FormatCase = {
  name: "FAT32",
  kind: "fat32",
  trouble: () => (hasFatTools() ? undefined : NO_FAT_TOOLS),
  make: async (image) =>
    withTempFolder(async (folder) => {
      await writeFile(image, "");
      await truncate(image, 40 * MIB);
      runInUtc("mkfs.fat", "-F", "32", "-s", "1", "-n", "REEL", image);
      const top = join(folder, "Photos of 2024");
      await mkdir(join(top, "empty"), { recursive: true });
      await writeFile(join(top, "Großvater 🎞 in the garden.jpeg"), patternBytes(123_456, 1));
      await writeFile(join(top, "IMG_0001.JPG"), patternBytes(40_000, 2));
      await writeFile(join(folder, "nothing"), "");
      for (let i = 0; i < 30; i++) {
        await writeFile(join(top, `a long name, number ${i}`), patternBytes(i * 77, i));
      }
      await utimes(join(top, "IMG_0001.JPG"), 1_000_000_000, 1_000_000_000);
      runInUtc("mcopy", "-s", "-m", "-i", image, top, join(folder, "nothing"), "::");
    }),
  view: async (image) =>
    withTempFolder(async (folder) => {
      runInUtc("mcopy", "-s", "-m", "-n", "-i", image, "::*", folder);
      const tree = await readKnownTree(folder, fatCase.without);
      // mcopy gives folders the time at which it made them, and FAT has no root to stat.
      const isFolder = ({ kind }: KnownNode): boolean => kind === "directory";
      return new Map(
        [...tree]
          .filter(([path]) => path !== "")
          .map(([path, node]) => [path, isFolder(node) ? leaveOut(node, ["modified"]) : node]),
      );
    }),
  usedBytes: (image) => (fsck(image)?.clustersUsed ?? Number.NaN) * CLUSTER_BYTES,
  check: (image) => runInUtc("fsck.fat", "-n", image),
  without: ["mode", "owner", "links", "xattrs", "directory"],
  selection: ["/Photos of 2024/IMG_0001.JPG", "/nothing"],
};

export const extCases: readonly FormatCase[] = [
  extCase("ext4", "ext4", ["-t", "ext4", "-b", "4096", "-I", "256"]),
  extCase("ext2 with blocks of 1 KiB", "ext2", ["-t", "ext2", "-b", "1024", "-I", "256"]),
  extCase("ext4 with inline data and bigalloc", "ext4", [
    ...["-t", "ext4", "-I", "512", "-C", "16384"],
    ...["-O", "inline_data,bigalloc,metadata_csum,64bit"],
  ]),
];

/** An ext4 volume copied while it was mounted: the newest of it is in its journal only. */
export async function makeDirtyExt(image: string): Promise<void> {
  const mounted = `${image}.mounted`;
  await makeExtImage(mounted, 24 * MIB, ["-t", "ext4", "-b", "4096", "-I", "256"]);
  await changeExt(mounted, async (root) => {
    await fillExt(root);
    runTool("sync", "-f", root);
    await copyFile(mounted, image);
  });
}
