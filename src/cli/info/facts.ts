/** How `reelfs info` words what images, volumes and partitions have in common. */
import type { DiskPartition } from "../../tapeimage/disk-header.ts";
import type { TapeImage } from "../../tapeimage/tape-image.ts";
import type { VolumeInfo } from "../../volume/volume.ts";
import type { Terminal } from "../command.ts";
import { escapeName } from "../escape-name.ts";
import { formatDate, formatSize } from "../sizes.ts";
import { tableLines } from "../table.ts";

type VolumeHeader = Pick<TapeImage["header"]["volume"], "kind" | "label" | "serial">;

/** "PHOTOS (fat32)". */
export function volumeName(volume: Pick<VolumeHeader, "kind" | "label">): string {
  const label = volume.label === "" ? "" : `${escapeName(volume.label)} `;
  return `${label}(${escapeName(volume.kind)})`;
}

/** To stand behind a name; empty where there is none. */
export function serialOf({ serial }: VolumeHeader): string {
  return serial === "" ? "" : `, serial ${escapeName(serial)}`;
}

/** As the header of an image says it. */
export function usedBytes(volume: TapeImage["header"]["volume"]): number {
  return volume.clustersUsed * volume.clusterSizeBytes;
}

/** The date of a header, which may be anything. */
export function shortDate(iso: string): string {
  const ms = Date.parse(iso);
  return Number.isNaN(ms) ? escapeName(iso) : formatDate(ms);
}

/** "bootSector" as "boot sector". */
export function detailRows(details: VolumeInfo["details"]): [string, string][] {
  return Object.entries(details).map(([name, value]) => [
    name.replace(/(?<=[a-z0-9])[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`),
    typeof value === "boolean" ? (value ? "yes" : "no") : escapeName(String(value)),
  ]);
}

type PartitionFacts = Pick<
  DiskPartition,
  "number" | "startBytes" | "sizeBytes" | "type" | "typeName" | "name" | "kind" | "label" | "image"
>;

/** A table of them; nothing where there are none. */
export function showPartitions(partitions: readonly PartitionFacts[], terminal: Terminal): void {
  if (partitions.length === 0) return;
  const isSaved = partitions.some(({ image }) => image !== undefined);
  const rows = partitions.map((each) => [
    `p${each.number}`,
    formatSize(each.startBytes),
    formatSize(each.sizeBytes),
    volumeName(each),
    escapeName(each.typeName === "" ? each.type : each.typeName),
    escapeName(each.name),
    ...(isSaved ? [each.image === undefined ? "not saved" : `#${each.image}`] : []),
  ]);
  const columns = [
    { title: "partition" },
    { title: "start", right: true },
    { title: "size", right: true },
    { title: "volume" },
    { title: "type" },
    { title: "name" },
    ...(isSaved ? [{ title: "image" }] : []),
  ];
  terminal.print(tableLines(columns, rows).join("\n"));
}
