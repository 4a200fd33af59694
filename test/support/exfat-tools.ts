/** What exfatprogs make of a volume: the standard that the exFAT reader is held to. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";

const SBIN = "/usr/sbin:/sbin";
const ENVIRONMENT = {
  ...process.env,
  PATH: `${process.env["PATH"] ?? ""}:${SBIN}`,
  LC_ALL: "C.UTF-8",
};

const BITMAP_TYPE = 0x81;

export const NO_EXFAT_TOOLS = "exfatprogs are not installed";

export function hasExfatTools(): boolean {
  const folders = ENVIRONMENT.PATH.split(":");
  return ["mkfs.exfat", "fsck.exfat", "dump.exfat"].every((tool) =>
    folders.some((folder) => existsSync(`${folder}/${tool}`)),
  );
}

/** Runs a tool and returns what it prints; throws when it fails. */
export function runTool(tool: string, args: readonly string[]): string {
  return execFileSync(tool, args, {
    env: ENVIRONMENT,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });
}

export interface ExfatCheck {
  readonly isClean: boolean;
  /** With the root. */
  readonly directories: number;
  readonly files: number;
  readonly output: string;
}

/** `fsck.exfat -n`; the counts are NaN when it gave up before. */
export function fsckExfat(image: string): ExfatCheck {
  const { status, stdout, stderr } = spawnSync("fsck.exfat", ["-n", image], {
    env: ENVIRONMENT,
    encoding: "utf8",
  });
  const output = `${stdout}${stderr}`;
  const match = /directories (\d+), files (\d+)/.exec(output);
  return {
    isClean: status === 0 && output.includes(": clean."),
    directories: Number(match?.[1] ?? Number.NaN),
    files: Number(match?.[2] ?? Number.NaN),
    output,
  };
}

export interface ExfatDump {
  readonly clusters: number;
  /** NaN where dump.exfat missed the bitmap: it looks for it in the second entry of the root. */
  readonly freeClusters: number;
  readonly clusterBytes: number;
  readonly label: string;
  readonly serial: number;
  readonly rootCluster: number;
}

/** `dump.exfat`. */
export function dumpExfat(image: string): ExfatDump {
  const output = runTool("dump.exfat", [image]);
  const field = (name: string) => new RegExp(`^${name}[^:]*:[ \\t]*(.*)$`, "m").exec(output)?.[1];
  const hasBitmap = Number(field("Bitmap entry type")) === BITMAP_TYPE;
  return {
    clusters: Number(field("Total Clusters")),
    freeClusters: hasBitmap ? Number(field("Free Clusters")) : Number.NaN,
    clusterBytes: Number(field("Cluster size")),
    label: field("Volume label") ?? "",
    serial: Number(field("Volume Serial")),
    rootCluster: Number(field("Root Cluster")),
  };
}
