/** What `reelfs backup` says at its end. */
import type { BackupResult } from "../tapeimage/backup-options.ts";
import type { DiskBackupResult } from "../tapeimage/backup-disk.ts";
import type { Terminal } from "./command.ts";
import { escapeName } from "./escape-name.ts";
import { counted, formatDuration, formatSize } from "./sizes.ts";

/** `kind` of a volume that no format understands. */
const UNKNOWN_KIND = "unknown";

export function tellVolume(result: BackupResult, seconds: number, terminal: Terminal): void {
  warnOf(result, "", terminal);
  terminal.print([contentsLine(result), totalsLine([result], seconds)].join("\n"));
  terminal.printJson({ ...result, seconds });
}

export function tellDisk(result: DiskBackupResult, seconds: number, terminal: Terminal): void {
  const { disk, facts, partitions } = result;
  warnOf(disk, "", terminal);
  for (const each of partitions) warnOf(each.result, `partition ${each.number}: `, terminal);
  const saved = counted(partitions.length, "partition");
  const all = [disk, ...partitions.map((each) => each.result)];
  terminal.print(
    [
      `${escapeName(disk.image)}: ${facts.table.toUpperCase()} partition table of a disk of ${formatSize(disk.sizeBytes)}, ${saved} of ${facts.partitions.length} saved`,
      ...partitions.map((each) => `${contentsLine(each.result)}: partition ${each.number}`),
      totalsLine(all, seconds),
    ].join("\n"),
  );
  terminal.printJson({
    ...disk,
    disk: facts,
    partitions: partitions.map((each) => ({ partition: each.number, ...each.result })),
    seconds,
  });
}

function warnOf(result: BackupResult, what: string, terminal: Terminal): void {
  const { problems, notices } = result;
  for (const notice of notices) terminal.warn(`reelfs backup: ${what}${notice}`);
  for (const problem of problems) {
    terminal.warn(
      `reelfs backup: ${what}the volume has a flaw, which was copied as it is: ${problem}`,
    );
  }
  const open = exceptionsLine(result);
  if (open !== undefined) terminal.warn(`reelfs backup: ${what}${open}`);
}

function exceptionsLine({ exceptions, moreExceptions, image }: BackupResult): string | undefined {
  const { length } = exceptions;
  if (length === 0) return undefined;
  const were = `${counted(length, "file")}${moreExceptions ? " and more" : ""} ${length === 1 ? "was" : "were"}`;
  return `${were} open for writing: "reelfs info --exceptions ${escapeName(image)}" names them`;
}

function contentsLine({ image, volume, sizeBytes }: BackupResult): string {
  const name = escapeName(volume.label === "" ? volume.serial : volume.label);
  const what = `${name === "" ? "a volume" : name} (${volume.kind}, ${formatSize(sizeBytes)})`;
  const files = `${counted(volume.files, "file")} in ${counted(volume.directories, "folder")}`;
  return `${escapeName(image)}: ${volume.kind === UNKNOWN_KIND ? "" : `${files} of `}${what}`;
}

function totalsLine(results: readonly BackupResult[], seconds: number): string {
  let [rawBytes, storedBytes] = [0, 0];
  for (const result of results) {
    rawBytes += result.rawBytes;
    storedBytes += result.storedBytes;
  }
  const share = rawBytes === 0 ? 100 : (storedBytes / rawBytes) * 100;
  return `${formatSize(rawBytes)} in use, ${formatSize(storedBytes)} on tape (${share.toFixed(0)}%), in ${formatDuration(seconds)}: ${formatSize(rawBytes / seconds)}/s`;
}
