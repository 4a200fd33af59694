/** `reelfs info`: which images a tape holds, and what is in one. */
import type { BlockDevice } from "../../device/block-device.ts";
import { isReelError, ReelError } from "../../errors.ts";
import type { DiskPartition } from "../../tapeimage/disk-header.ts";
import type { ImageSummary, listTape } from "../../tapeimage/open-image.ts";
import type { RawSource } from "../../tapeimage/find-source.ts";
import type { TapeImage } from "../../tapeimage/tape-image.ts";
import type { PartitionTable } from "../../volume/partitions/partition-table.ts";
import type { VolumeInfo } from "../../volume/volume.ts";
import { type CommandDefinition, EXIT, type Terminal } from "../command.ts";
import { addAncestorsOption, ancestorPlaces } from "../ancestor-options.ts";
import { escapeName } from "../escape-name.ts";
import { tapeFileOf } from "../loader/loader-tape.ts";
import { argumentAt, flagOf } from "../option-values.ts";
import { counted, formatDate, formatSize } from "../sizes.ts";
import { tableLines } from "../table.ts";
import { askForTapeOn } from "../tape-options.ts";

export const infoCommand: CommandDefinition = {
  name: "info",
  summary: "list the images on a tape, or show all about one",
  description: [
    "Lists the images on TAPE with their dates, volumes, sizes and states. With TAPE#N, shows all that the header of image N says, and what is wrong with it, if anything.",
    "Of a disk or volume that is no backup, shows its partitions, or what its filesystem says of itself.",
    "An image is complete; interrupted, when its backup did not finish or the tape was cut; or rebuilt, when its header was lost and what is known comes from its records. Whether its data are sound is for verify to say.",
  ],
  examples: [
    { command: "reelfs info photos.tap", does: "List the images on a tape." },
    { command: "reelfs info photos.tap#2", does: "Show all about the second image." },
    {
      command: "reelfs info /dev/sda",
      does: "Show the partitions of a disk, and what is on them.",
    },
    {
      command: "reelfs info --exceptions server.tap#3",
      does: "List the files that were open for writing while the volume was backed up.",
    },
    {
      command: "reelfs info --json photos.tap",
      does: "The same facts for a program: an object with an array of images.",
    },
  ],
  seeAlso: ["ls", "verify", "backup", "diff"],
  configure(command) {
    command
      .argument("<tape>", "tape file, TAPE#N for one image on it, or a disk or volume")
      .option(
        "--exceptions",
        "of an image, list files that were open for writing during the backup",
      )
      .option("--chain", "of an image, list those that it stands on, and whether they are there");
    addAncestorsOption(command);
  },
  async run(args, options, terminal) {
    const text = argumentAt(args, 0);
    const { openRawSource } = await import("../../tapeimage/find-source.ts");
    const raw = await openRawSource(text);
    if (raw !== undefined) return showRaw(raw, terminal);
    const spec = await tapeFileOf(text);
    const library = await import("../../tapeimage/open-image.ts");
    const { path, number, places: more } = await library.parseImageSpec(spec);
    const lookup = {
      places: [...more, ...(await ancestorPlaces(options))],
      askForTape: askForTapeOn(terminal),
    };
    const wantsChain = flagOf(options, "chain");
    const wantsExceptions = flagOf(options, "exceptions");
    if (number === undefined && !wantsChain && !wantsExceptions) {
      return showList(path, await library.listTape(path, lookup), terminal);
    }
    const { images } = await library.listTape(path, lookup);
    // Opening says what listing cannot see, and why an image is not there.
    const image = await library.openTapeImage(spec, lookup);
    try {
      if (wantsExceptions) return showExceptions(image, terminal);
      if (wantsChain) return await showChain(image, terminal);
      const summary = images.find((each) => each.number === number);
      showImage(image, summary, await readVolumeFacts(image), terminal);
    } finally {
      await image.close();
    }
    return EXIT.done;
  },
};

function showExceptions({ name, state }: TapeImage, terminal: Terminal): number {
  const { paths = [], more = false } = state.exceptions ?? {};
  terminal.printJson({ image: name, exceptions: paths, moreExceptions: more });
  if (paths.length > 0) terminal.print(paths.map(escapeName).join("\n"));
  if (more) terminal.warn("reelfs info: there were more such files than the image names");
  return EXIT.done;
}

/** The status tells whether all of them are there. */
async function showChain(image: TapeImage, terminal: Terminal): Promise<number> {
  const { chainOf, chainTable } = await import("../chain-table.ts");
  const chain = await chainOf(image);
  terminal.printJson({ image: image.name, chain });
  terminal.print(chainTable(chain));
  const problems = chain.flatMap(({ problem }) => problem ?? []);
  for (const problem of problems) terminal.warn(`reelfs info: ${problem}`);
  return problems.length === 0 ? EXIT.done : EXIT.damaged;
}

function showList(
  path: string,
  { images, notices }: Awaited<ReturnType<typeof listTape>>,
  terminal: Terminal,
): number {
  const facts = images.map((each) => summaryFacts(path, each));
  terminal.printJson({ tape: path, images: facts, notices });
  for (const notice of notices) terminal.warn(`reelfs info: ${notice}`);
  if (images.length === 0) {
    terminal.warn(
      `reelfs info: ${path} holds no ReelFS image; name a tape that "reelfs backup" has written to`,
    );
    return EXIT.failed;
  }
  const rows = images.map(({ number, state, header, trailer }) => [
    String(number),
    header === undefined ? "unknown" : shortDate(header.created),
    header === undefined ? "unknown" : imageName(header),
    header === undefined ? "" : formatSize(header.sizeBytes),
    header === undefined ? "" : formatSize(usedBytes(header.volume)),
    trailer === undefined ? "" : formatSize(trailer.storedBytes),
    header === undefined ? "" : header.volume.files.toLocaleString("en"),
    state,
  ]);
  const columns = [
    { title: "#", right: true },
    { title: "date" },
    { title: "volume" },
    { title: "size", right: true },
    { title: "used", right: true },
    { title: "on tape", right: true },
    { title: "files", right: true },
    { title: "state" },
  ];
  terminal.print(tableLines(columns, rows).join("\n"));
  return EXIT.done;
}

function showImage(
  image: TapeImage,
  summary: ImageSummary | undefined,
  { details, notices: ofVolume }: VolumeFacts,
  terminal: Terminal,
): void {
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

function serialOf({ serial }: VolumeHeader): string {
  return serial === "" ? "" : `, serial ${escapeName(serial)}`;
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

type PartitionFacts = Pick<
  DiskPartition,
  "number" | "startBytes" | "sizeBytes" | "type" | "typeName" | "name" | "kind" | "label" | "image"
>;

function showPartitions(partitions: readonly PartitionFacts[], terminal: Terminal): void {
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

interface VolumeFacts {
  readonly details: VolumeInfo["details"];
  readonly notices: readonly string[];
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

/** "bootSector" as "boot sector". */
function detailRows(details: VolumeInfo["details"]): [string, string][] {
  return Object.entries(details).map(([name, value]) => [
    name.replace(/(?<=[a-z0-9])[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`),
    typeof value === "boolean" ? (value ? "yes" : "no") : escapeName(String(value)),
  ]);
}

/** A disk or a volume that is no backup. */
async function showRaw({ device, table, fault }: RawSource, terminal: Terminal): Promise<number> {
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

function summaryFacts(path: string, image: ImageSummary): Record<string, unknown> {
  const { header, trailer } = image;
  return {
    image: `${path}#${image.number}`,
    number: image.number,
    uuid: image.uuid,
    state: image.state,
    records: image.records,
    storedBytes: trailer?.storedBytes,
    created: header?.created,
    finished: trailer?.finished,
    sizeBytes: header?.sizeBytes,
    usedBytes: header === undefined ? undefined : usedBytes(header.volume),
    volume: header?.volume,
    disk: header?.disk,
    partition: header?.partition,
  };
}

type VolumeHeader = Pick<TapeImage["header"]["volume"], "kind" | "label" | "serial">;

/** Of a disk, and which partition of it the volume is on. */
function imageName({ volume, disk, partition }: TapeImage["header"]): string {
  if (disk !== undefined)
    return `disk (${disk.table}, ${counted(disk.partitions.length, "partition")})`;
  return partition === undefined
    ? volumeName(volume)
    : `p${partition.number} ${volumeName(volume)}`;
}

function volumeName(volume: Pick<VolumeHeader, "kind" | "label">): string {
  const label = volume.label === "" ? "" : `${escapeName(volume.label)} `;
  return `${label}(${escapeName(volume.kind)})`;
}

function usedBytes(volume: TapeImage["header"]["volume"]): number {
  return volume.clustersUsed * volume.clusterSizeBytes;
}

function codecName(header: TapeImage["header"]): string {
  if (header.created === "") return "codec unknown";
  return header.codec === "none" ? "not compressed" : `${header.codec} level ${header.codecLevel}`;
}

/** The date of a header, which may be anything. */
function shortDate(iso: string): string {
  const ms = Date.parse(iso);
  return Number.isNaN(ms) ? escapeName(iso) : formatDate(ms);
}
