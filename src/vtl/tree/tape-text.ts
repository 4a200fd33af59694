/** What label.txt and contents.txt say of a tape. */
import { isReelError } from "../../errors.ts";
import type { LabelRecord } from "../../tape/label-records.ts";
import type { TapeContents, TapeFileContents } from "../../tape/tape-contents.ts";
import { formatBytes } from "../format-bytes.ts";
import type { FoundImageFacts } from "./tape-content.ts";

/** Label records that label.txt shows; a tape of labels alone could have millions. */
const LABELS_MAX = 1000;
/** Tape files that contents.txt shows. */
const FILES_MAX = 10_000;
/** What came from a tape and would move a terminal's cursor, or worse. */
const CONTROLS = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

function printable(text: string): string {
  return text.replace(CONTROLS, "?");
}

function lines(all: readonly string[]): string {
  return all.map((line) => `${line.trimEnd()}\n`).join("");
}

/** The volume label field by field, then every label record as it stands. */
export function labelText({ volume, files }: TapeContents): string {
  const head =
    volume === undefined
      ? ["This tape has no volume label."]
      : [
          `Volume serial  ${printable(volume.serial)}`,
          `Owner          ${printable(volume.owner)}`,
          `Encoding       ${volume.encoding.toUpperCase()}`,
        ];
  const records: string[] = [];
  let left = 0;
  for (const { file, labels } of files) {
    if (records.length + labels.length > LABELS_MAX) left += labels.length;
    else records.push(...labels.map((label) => labelLine(file, label)));
  }
  if (left > 0) records.push(`… and ${left} more`);
  return lines(records.length === 0 ? head : [...head, "", ...records]);
}

function labelLine(file: number, { text, encoding }: LabelRecord): string {
  const note = encoding === "ascii" ? "" : ` (${encoding.toUpperCase()})`;
  return `tape file ${file}${note}: ${printable(text)}`;
}

const COLUMNS = [6, 14, 10, 12];

function row(...cells: readonly string[]): string {
  return cells.map((cell, at) => cell.padEnd(COLUMNS[at] ?? 0)).join("  ");
}

/** Records, filemarks and images; `images` may be why they could not be looked for. */
export function contentsText(
  contents: TapeContents,
  images: readonly FoundImageFacts[] | Error,
): string {
  const { files, records, filemarks, bytes, problem, volume } = contents;
  const left = contents.filesLeftOut + Math.max(0, files.length - FILES_MAX);
  const head = [
    volume === undefined ? "No volume label" : `Volume ${printable(volume.serial)}`,
    `${records} records, ${filemarks} filemarks, ${formatBytes(bytes)} of data`,
    ...(problem === undefined ? [] : [`It cannot be read further: ${printable(problem)}`]),
  ];
  const table =
    files.length === 0
      ? ["The tape is blank."]
      : [
          row("FILE", "KIND", "RECORDS", "DATA", "RECORD SIZES"),
          ...files.slice(0, FILES_MAX).map(fileRow),
          ...(left === 0 ? [] : [`… and ${left} more`]),
        ];
  return lines([...head, "", ...table, ...imageLines(images)]);
}

function fileRow(file: TapeFileContents): string {
  const { recordBytesMin, recordBytesMax, flawed, endedBy } = file;
  const sizes =
    recordBytesMin === recordBytesMax
      ? String(recordBytesMax)
      : `${recordBytesMin} to ${recordBytesMax}`;
  const notes = [
    ...(flawed === 0 ? [] : [`${flawed} flawed`]),
    ...(endedBy === "filemark" ? [] : [endedBy === "damage" ? "damaged behind" : "no filemark"]),
  ];
  const cells = [String(file.file), file.kind, String(file.records), formatBytes(file.bytes)];
  return row(...cells, [sizes, ...notes].join(", "));
}

function imageLines(images: readonly FoundImageFacts[] | Error): string[] {
  if (images instanceof Error) {
    const why = isReelError(images) ? images.message : "they cannot be looked for";
    return ["", `Images: ${printable(why)}`];
  }
  return images.flatMap(({ number, uuid, state, header }) => {
    const first = `Image ${number}: ${uuid}${state === "complete" ? "" : `, ${state}`}`;
    if (header === undefined) return ["", first];
    const { volume, created, source, sizeBytes } = header;
    const label = volume.label === "" ? "" : ` "${printable(volume.label)}"`;
    return [
      "",
      first,
      `  ${printable(volume.kind)} volume${label}, ${formatBytes(sizeBytes)}, from ${printable(source.path)}`,
      `  backed up ${printable(created)}`,
    ];
  });
}
