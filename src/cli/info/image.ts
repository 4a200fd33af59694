/** All about one image. */
import { isReelError } from "../../errors.ts";
import type { ImageSummary } from "../../tapeimage/open-image.ts";
import type { TapeImage } from "../../tapeimage/tape-image.ts";
import type { VolumeInfo } from "../../volume/volume.ts";
import { EXIT, type Terminal } from "../command.ts";
import { escapeName } from "../escape-name.ts";
import { counted, formatSize } from "../sizes.ts";
import { tableLines } from "../table.ts";
import { detailRows, serialOf, shortDate, showPartitions, usedBytes, volumeName } from "./facts.ts";

/** The files that were open for writing during the backup. */
export function showExceptions({ name, state }: TapeImage, terminal: Terminal): number {
  const { paths = [], more = false } = state.exceptions ?? {};
  terminal.printJson({ image: name, exceptions: paths, moreExceptions: more });
  if (paths.length > 0) terminal.print(paths.map(escapeName).join("\n"));
  // Not where a script reads the names.
  else terminal.warn(`reelfs info: ${escapeName(name)} names no file that was open for writing`);
  if (more) terminal.warn("reelfs info: there were more such files than the image names");
  return EXIT.done;
}

/** The status tells whether all of them are there. */
export async function showChain(image: TapeImage, terminal: Terminal): Promise<number> {
  const { chainOf, chainTable } = await import("../chain-table.ts");
  const chain = await chainOf(image);
  terminal.printJson({ image: image.name, chain });
  terminal.print(chainTable(chain));
  const problems = chain.flatMap(({ problem }) => problem ?? []);
  for (const problem of problems) terminal.warn(`reelfs info: ${problem}`);
  return problems.length === 0 ? EXIT.done : EXIT.damaged;
}

interface VolumeFacts {
  readonly details: VolumeInfo["details"];
  readonly notices: readonly string[];
}

/** What header, trailer and volume say; `summary` is what the list of the tape has of it. */
export async function showImage(
  image: TapeImage,
  summary: ImageSummary | undefined,
  terminal: Terminal,
): Promise<number> {
  const { details, notices: ofVolume } = await readVolumeFacts(image);
  const { header, state } = image;
  const { volume } = header;
  const notices = [...state.notices, ...ofVolume];
  terminal.printJson({
    tape: image.tapePath,
    number: image.number,
    state: state.state,
    notices,
    records: image.recordCount,
    storedBytes: summary?.trailer?.storedBytes,
    finished: summary?.trailer?.finished,
    exceptions: state.exceptions?.paths.length ?? 0,
    usedBytes: usedBytes(volume),
    mappedBytes: image.map.blocksMapped * header.blockSizeBytes,
    details,
    header,
  });
  const stored = summary?.trailer?.storedBytes;
  const facts: readonly (readonly [string, string | undefined])[] = [
    ["image", escapeName(image.name)],
    ["uuid", header.uuid],
    ["state", state.state],
    ...backupFacts(header),
    ["size", formatSize(header.sizeBytes)],
    [
      "used",
      `${formatSize(usedBytes(volume))} in ${counted(volume.clustersUsed, "cluster")} of ${formatSize(volume.clusterSizeBytes)}`,
    ],
    ["on tape", stored === undefined ? undefined : formatSize(stored)],
    ["made against", parentText(header)],
    ["open for writing", exceptionsText(image)],
    [
      "records",
      `${image.recordCount.toLocaleString("en")} of ${formatSize(header.recordSizeBytes)}, ${codecName(header)}`,
    ],
    ["format", header.version.join(".")],
    ...detailRows(details),
  ];
  const rows = facts.flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]));
  terminal.print(tableLines([{}, {}], rows).join("\n"));
  if (header.disk !== undefined) showPartitions(header.disk.partitions, terminal);
  for (const notice of notices) terminal.warn(`notice: ${notice}`);
  for (const problem of volume.problems) terminal.warn(`flaw of the volume: ${problem}`);
  return EXIT.done;
}

function exceptionsText({ state }: TapeImage): string | undefined {
  const { paths = [], more = false } = state.exceptions ?? {};
  if (paths.length === 0) return undefined;
  return `${counted(paths.length, "file")}${more ? " and more" : ""}, see --exceptions`;
}

/** Of an incremental image. */
function parentText({ ancestors, chain }: TapeImage["header"]): string | undefined {
  const parent = ancestors?.[0];
  if (parent === undefined) return undefined;
  return `${escapeName(`${parent.tape}#${parent.number}`)}, ${counted(chain.length, "image")} in the chain`;
}

/** Of a header that was lost, and pieced together from the records, nothing of this is known. */
function backupFacts(header: TapeImage["header"]): readonly (readonly [string, string])[] {
  const { created, host, source, tool, volume } = header;
  if (created === "") return [];
  return [
    ["created", `${shortDate(created)} on ${escapeName(host)}, ${escapeName(tool)}`],
    ["source", escapeName(source.path)],
    ...wholeFacts(header),
    ["volume", `${volumeName(volume)}${serialOf(volume)}`],
    ["files", volume.files.toLocaleString("en")],
    ["folders", volume.directories.toLocaleString("en")],
  ];
}

/** What a disk's images say of the disk. */
function wholeFacts({ disk, partition }: TapeImage["header"]): [string, string][] {
  if (disk !== undefined) {
    const { table, partitions, sectorSizeBytes } = disk;
    const saved = partitions.filter(({ image }) => image !== undefined).length;
    return [
      [
        "disk",
        `${table.toUpperCase()} partition table, sectors of ${sectorSizeBytes} bytes, ` +
          `${saved} of ${counted(partitions.length, "partition")} saved`,
      ],
    ];
  }
  if (partition === undefined) return [];
  return [["partition", `${partition.number} of disk ${escapeName(partition.disk)}`]];
}

function codecName(header: TapeImage["header"]): string {
  if (header.created === "") return "codec unknown";
  return header.codec === "none" ? "not compressed" : `${header.codec} level ${header.codecLevel}`;
}

/** What the volume in an image says of itself; of one that cannot be opened, why. */
async function readVolumeFacts(image: TapeImage): Promise<VolumeFacts> {
  if (image.header.disk !== undefined) return { details: {}, notices: [] };
  const { openImageVolume } = await import("../../tapeimage/image-volume.ts");
  try {
    const volume = await openImageVolume(image);
    const { details, notices = [] } = volume.info;
    await volume.close();
    return { details, notices };
  } catch (error) {
    if (!isReelError(error)) throw error;
    return { details: {}, notices: [error.message] };
  }
}
