/** A disk or a volume that is no backup. */
import type { BlockDevice } from "../../device/block-device.ts";
import { isReelError, ReelError } from "../../errors.ts";
import type { RawSource } from "../../tapeimage/find-source.ts";
import type { PartitionTable } from "../../volume/partitions/partition-table.ts";
import { EXIT, type Terminal } from "../command.ts";
import { escapeName } from "../escape-name.ts";
import { formatSize } from "../sizes.ts";
import { tableLines } from "../table.ts";
import { detailRows, serialOf, showPartitions, volumeName } from "./facts.ts";

/** Its partitions, or what its filesystem says of itself. Closes the device. */
export async function showRaw(
  { device, table, fault }: RawSource,
  terminal: Terminal,
): Promise<number> {
  await using open = device;
  if (fault !== undefined) throw fault;
  if (table === undefined) await showVolume(open, terminal);
  else await showDisk(open, table, terminal);
  return EXIT.done;
}

async function showVolume(open: BlockDevice, terminal: Terminal): Promise<void> {
  const { openVolume } = await import("../../volume/formats.ts");
  const volume = await openVolume(open).catch((error: unknown) => {
    if (!isReelError(error, "unsupported")) throw error;
    const what = `${open.name} holds no ReelFS image; ${error.message}`;
    throw new ReelError("unsupported", what, { cause: error });
  });
  const { info } = volume;
  await volume.close();
  const { details, notices = [], ...facts } = info;
  terminal.printJson({
    source: open.name,
    sizeBytes: open.sizeBytes,
    ...facts,
    details,
    notices,
  });
  const rows = [
    ["volume", `${volumeName(info)}${serialOf(info)}`],
    ["size", formatSize(open.sizeBytes)],
    ...detailRows(details),
  ];
  terminal.print(tableLines([{}, {}], rows).join("\n"));
  for (const notice of notices) terminal.warn(`notice: ${notice}`);
}

async function showDisk(
  open: BlockDevice,
  table: PartitionTable,
  terminal: Terminal,
): Promise<void> {
  const { describePartitions } = await import("../../tapeimage/backup-disk.ts");
  const { entries, kind, sectorSizeBytes, notices, uuid } = table;
  const volumes = await describePartitions(open, table);
  const partitions = entries.map((entry, index) => ({
    ...entry,
    kind: volumes[index]?.kind ?? "",
    label: volumes[index]?.label ?? "",
  }));
  const facts = { source: open.name, sizeBytes: open.sizeBytes };
  terminal.printJson({ ...facts, table: kind, uuid, sectorSizeBytes, partitions, notices });
  terminal.print(
    `${escapeName(open.name)}: ${kind.toUpperCase()} partition table, ${formatSize(open.sizeBytes)}`,
  );
  showPartitions(partitions, terminal);
  for (const notice of notices) terminal.warn(`notice: ${notice}`);
}
