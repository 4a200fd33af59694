/** `reelfs info`: which images a tape holds, and what is in one. */
import type { ImageSummary } from "../../tapeimage/open-image.ts";
import type { TapeImage } from "../../tapeimage/tape-image.ts";
import { type CommandDefinition, EXIT, type Terminal } from "../command.ts";
import { escapeName } from "../escape-name.ts";
import { tapeFileOf } from "../loader/loader-tape.ts";
import { argumentAt } from "../option-values.ts";
import { counted, formatDate, formatSize } from "../sizes.ts";
import { tableLines } from "../table.ts";

export const infoCommand: CommandDefinition = {
  name: "info",
  summary: "list the images on a tape, or show all about one",
  description: [
    "Lists the images on TAPE with their dates, volumes, sizes and states. With TAPE#N, shows all that the header of image N says, and what is wrong with it, if anything.",
    "An image is complete; interrupted, when its backup did not finish or the tape was cut; or rebuilt, when its header was lost and what is known comes from its records. Whether its data are sound is for verify to say.",
  ],
  examples: [
    { command: "reelfs info photos.tap", does: "List the images on a tape." },
    { command: "reelfs info photos.tap#2", does: "Show all about the second image." },
    {
      command: "reelfs info --json photos.tap",
      does: "The same facts for a program: an object with an array of images.",
    },
  ],
  seeAlso: ["ls", "verify", "backup"],
  configure(command) {
    command.argument("<tape>", "tape file, or TAPE#N for one image on it");
  },
  async run(args, _options, terminal) {
    const spec = await tapeFileOf(argumentAt(args, 0));
    const library = await import("../../tapeimage/open-image.ts");
    const { path, number } = await library.parseImageSpec(spec);
    if (number === undefined) {
      return showList(path, await library.listImages(path), terminal);
    }
    const images = await library.listImages(path);
    // Opening says what listing cannot see, and why an image is not there.
    const image = await library.openTapeImage(spec);
    try {
      const summary = images.find((each) => each.number === number);
      showImage(image, summary, terminal);
    } finally {
      await image.close();
    }
    return EXIT.done;
  },
};

function showList(path: string, images: readonly ImageSummary[], terminal: Terminal): number {
  terminal.printJson({ tape: path, images: images.map((each) => summaryFacts(path, each)) });
  if (images.length === 0) {
    terminal.warn(
      `reelfs info: ${path} holds no ReelFS image; name a tape that "reelfs backup" has written to`,
    );
    return EXIT.failed;
  }
  const rows = images.map(({ number, state, header, trailer }) => [
    String(number),
    header === undefined ? "unknown" : shortDate(header.created),
    header === undefined ? "unknown" : volumeName(header.volume),
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

function showImage(image: TapeImage, summary: ImageSummary | undefined, terminal: Terminal): void {
  const { header, state } = image;
  const { volume } = header;
  terminal.printJson({
    tape: image.tapePath,
    number: image.number,
    state: state.state,
    notices: state.notices,
    records: image.recordCount,
    storedBytes: summary?.trailer?.storedBytes,
    finished: summary?.trailer?.finished,
    usedBytes: usedBytes(volume),
    mappedBytes: image.map.blocksMapped * header.blockSizeBytes,
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
    [
      "records",
      `${image.recordCount.toLocaleString("en")} of ${formatSize(header.recordSizeBytes)}, ${codecName(header)}`,
    ],
    ["format", header.version.join(".")],
  ];
  const rows = facts.flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]));
  terminal.print(tableLines([{}, {}], rows).join("\n"));
  for (const notice of state.notices) terminal.warn(`notice: ${notice}`);
  for (const problem of volume.problems) terminal.warn(`flaw of the volume: ${problem}`);
}

/** Of a header that was lost, and pieced together from the records, nothing of this is known. */
function backupFacts(header: TapeImage["header"]): readonly (readonly [string, string])[] {
  const { created, host, source, tool, volume } = header;
  if (created === "") return [];
  return [
    ["created", `${shortDate(created)} on ${escapeName(host)}, ${escapeName(tool)}`],
    ["source", escapeName(source.path)],
    ["volume", `${volumeName(volume)}, serial ${escapeName(volume.serial)}`],
    ["files", volume.files.toLocaleString("en")],
    ["folders", volume.directories.toLocaleString("en")],
  ];
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
  };
}

type VolumeFacts = TapeImage["header"]["volume"];

function volumeName(volume: VolumeFacts): string {
  const label = volume.label === "" ? "" : `${escapeName(volume.label)} `;
  return `${label}(${escapeName(volume.kind)})`;
}

function usedBytes(volume: VolumeFacts): number {
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
