/** The images on a tape. */
import type { ImageSummary, listTape } from "../../tapeimage/open-image.ts";
import type { TapeImage } from "../../tapeimage/tape-image.ts";
import { EXIT, type Terminal } from "../command.ts";
import { counted, formatSize } from "../sizes.ts";
import { tableLines } from "../table.ts";
import { shortDate, usedBytes, volumeName } from "./facts.ts";

/** A row for each; the status is a failure where there is none. */
export function showList(
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

/** Of a disk, and which partition of it the volume is on. */
function imageName({ volume, disk, partition }: TapeImage["header"]): string {
  if (disk !== undefined)
    return `disk (${disk.table}, ${counted(disk.partitions.length, "partition")})`;
  return partition === undefined
    ? volumeName(volume)
    : `p${partition.number} ${volumeName(volume)}`;
}
