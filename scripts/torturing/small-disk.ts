/** A file system of a few MiB, in memory, to be filled. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { must, type Step } from "./kind.ts";

export const smallDiskTrouble = (): string | undefined =>
  process.getuid?.() === 0 ? undefined : "only root can mount a small disk";

export interface SmallDisk {
  readonly folder: string;
  readonly what: string;
  /** Gives it room. */
  readonly grow: (mebibytes: number) => Promise<void>;
}

/** A folder that is not there yet. */
export async function newFolder(...names: string[]): Promise<string> {
  const folder = join(...names);
  await mkdir(folder);
  return folder;
}

export async function withSmallDisk(
  step: Step,
  mebibytes: number,
  use: (disk: SmallDisk) => Promise<void>,
): Promise<void> {
  const { workshop } = step;
  const folder = await newFolder(step.folder, "disk");
  const tool = async (...line: string[]): Promise<void> => {
    const ran = await workshop.tool(line);
    must(ran.status === 0, `${line.join(" ")}: ${ran.stderr}`);
  };
  await tool("mount", "-t", "tmpfs", "-o", `size=${mebibytes}m`, "reelfs-torture", folder);
  try {
    await use({
      folder,
      what: `a disk of ${mebibytes} MiB`,
      grow: async (more) => tool("mount", "-o", `remount,size=${more}m`, folder),
    });
  } finally {
    const ran = await workshop.tool(["umount", folder]);
    if (ran.status !== 0) await tool("umount", "-l", folder);
  }
}
