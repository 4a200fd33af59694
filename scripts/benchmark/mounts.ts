/** The mounts that are compared: the same files, served by different programs. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Peers } from "./peers.ts";
import type { Stage } from "./stage.ts";
import type { Served, Workshop } from "./workshop.ts";

export interface MountedFiles extends Served {
  /** Where the root of the files is. */
  readonly root: string;
}

export interface Mounter {
  readonly name: string;
  /** Makes what is mounted, and returns its files and folders: what mounting reads. */
  readonly backing: () => Promise<string>;
  readonly mount: () => Promise<MountedFiles>;
}

/** `reelfs mount`; returns when the mount can be used, leaving a daemon. */
export async function mountReelfs(
  workshop: Workshop,
  image: string,
  ...options: readonly string[]
): Promise<MountedFiles> {
  const mountpoint = await workshop.newMountpoint();
  const said = await workshop.reelfs("mount", "--json", ...options, image, mountpoint);
  const { pid } = JSON.parse(said) as { pid: number };
  return { root: mountpoint, mountpoint, pid };
}

export function reelfsMounter(workshop: Workshop, tape: () => Promise<string>): Mounter {
  return {
    name: "reelfs mount",
    backing: tape,
    mount: async () => mountReelfs(workshop, await tape(), "--read-only"),
  };
}

export function fuse2fsMounter(workshop: Workshop, volume: () => Promise<string>): Mounter {
  return {
    name: "fuse2fs",
    backing: volume,
    mount: async () => {
      const mountpoint = await workshop.newMountpoint();
      const args = ["-f", "-o", "ro", await volume(), mountpoint];
      const pid = await workshop.serve(mountpoint, "fuse2fs", args);
      return { root: mountpoint, mountpoint, pid };
    },
  };
}

/** ReelFS first, then those that are there. */
export function allMounters(stage: Stage, peers: Peers): Mounter[] {
  const { workshop } = stage;
  return [
    reelfsMounter(workshop, stage.tape),
    ...(peers.has("fuse2fs") ? [fuse2fsMounter(workshop, stage.ext4)] : []),
    ...(peers.has("restic") ? [resticMounter(stage)] : []),
    ...(peers.has("borg") ? [borgMounter(stage)] : []),
    ...(peers.has("ratarmount") ? [ratarmountMounter(stage)] : []),
  ];
}

function resticMounter(stage: Stage): Mounter {
  const { workshop, resticEnvironment: env } = stage;
  return {
    name: "restic mount",
    backing: stage.restic,
    mount: async () => {
      const mountpoint = await workshop.newMountpoint();
      const args = ["mount", "--no-lock", mountpoint];
      const pid = await workshop.serve(mountpoint, "restic", args, { env });
      return { root: join(mountpoint, "snapshots", "latest"), mountpoint, pid };
    },
  };
}

function borgMounter(stage: Stage): Mounter {
  const { workshop, borgEnvironment: env } = stage;
  return {
    name: "borg mount",
    backing: stage.borg,
    mount: async () => {
      const mountpoint = await workshop.newMountpoint();
      const args = ["mount", "--foreground", "::files", mountpoint];
      const pid = await workshop.serve(mountpoint, "borg", args, { env });
      return { root: mountpoint, mountpoint, pid };
    },
  };
}

/** With its index made anew each time, for it is part of mounting. */
function ratarmountMounter(stage: Stage): Mounter {
  const { workshop } = stage;
  return {
    name: "ratarmount",
    backing: stage.tar,
    mount: async () => {
      const mountpoint = await workshop.newMountpoint();
      const index = ["--index-file", workshop.at("tar-index"), "--recreate-index"];
      const args = ["-f", ...index, await stage.tar(), mountpoint];
      const pid = await workshop.serve(mountpoint, "ratarmount", args);
      return { root: mountpoint, mountpoint, pid };
    },
  };
}

/** The most memory that a process and its children have had, in bytes. */
export async function peakMemoryBytes(pid: number): Promise<number> {
  let total = 0;
  for (const each of [pid, ...(await descendants(pid))]) {
    const status = await readFile(`/proc/${each}/status`, "utf8").catch(() => "");
    total += Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
  }
  return total;
}

async function descendants(pid: number): Promise<number[]> {
  const parents = new Map<number, number>();
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const text = await readFile(`/proc/${name}/status`, "utf8").catch(() => "");
    parents.set(Number(name), Number(/^PPid:\s+(\d+)$/m.exec(text)?.[1] ?? 0));
  }
  const found: number[] = [];
  for (let next: number[] = [pid]; next.length > 0;) {
    next = [...parents].filter(([, parent]) => next.includes(parent)).map(([child]) => child);
    found.push(...next);
  }
  return found;
}
