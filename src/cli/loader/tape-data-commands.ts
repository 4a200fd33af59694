/** `reelfs tape ls, dump, cat, write, check, convert`: what is on a tape, in a loader or a file. */
import { ReelError } from "../../errors.ts";
import type { SinkFormat } from "../../tape/containers/tape-sink.ts";
import type { TapeContents, TapeFileContents } from "../../tape/tape-contents.ts";
import type { TapeDrive } from "../../tape/tape-drive.ts";
import type { DumpedObject } from "../../tape/tape-dump.ts";
import type { TapeItem } from "../../vtl/across-tapes.ts";
import { type CommandDefinition, EXIT } from "../command.ts";
import { argumentAt, flagOf, parseWhole, textOf } from "../option-values.ts";
import { formatSize, parseSize } from "../sizes.ts";
import { tableLines } from "../table.ts";
import { addConfigOption, parseDriveTarget, withLoader } from "./open-loader.ts";
import { TAPE_ARGUMENT, withTape } from "./open-tape-target.ts";

const COUNT_MAX = 999_999_999_999_999;
const START_BYTES_MAX = 1024 * 1024;
const BLOCK_BYTES_DEFAULT = 64 * 1024;
const BLOCK_BYTES_MAX = 0xff_ffff;
/** As a shell shows the end by SIGPIPE. */
const READER_GONE_STATUS = 141;

export const listTape: CommandDefinition = {
  name: "ls",
  summary: "list the tape files on a tape",
  description: [
    "Lists what lies between the filemarks of a tape: how many records of which sizes, what they look like, and the labels among them. Tape files count from 0, as mt counts them.",
  ],
  examples: [
    { command: "reelfs tape ls vtl1:REEL0003", does: "What is on a tape of a loader." },
    { command: "reelfs tape ls old.aws", does: "What is on a foreign tape." },
  ],
  configure(command) {
    command.argument("<tape>", TAPE_ARGUMENT);
    addConfigOption(command);
  },
  async run(args, options, terminal) {
    const { describeTape } = await import("../../tape/tape-contents.ts");
    const { progress, signal } = terminal;
    const contents = await withTape(argumentAt(args, 0), options, async (tape, isDrive) =>
      inPlace(tape, isDrive, () => describeTape(tape, { progress, signal })),
    );
    terminal.printJson(contents);
    terminal.print(contentsText(contents));
    if (contents.problem === undefined) return EXIT.done;
    terminal.warn(`reelfs tape ls: ${contents.problem}`);
    return EXIT.damaged;
  },
};

/** A drive ends up where it was. */
async function inPlace<T>(tape: TapeDrive, isDrive: boolean, run: () => Promise<T>): Promise<T> {
  if (!isDrive) return run();
  const { object } = await tape.position();
  try {
    return await run();
  } finally {
    await tape.locate(object);
  }
}

function contentsText(contents: TapeContents): string {
  const { volume, files, filesLeftOut } = contents;
  const rows = files.flatMap((file) => [
    [String(file.file), file.kind, String(file.records), formatSize(file.bytes), recordSizes(file)],
    ...file.labels.map((label) => ["", label.id, "", "", label.text]),
  ]);
  const columns = [
    { title: "FILE", right: true },
    { title: "KIND" },
    { title: "RECORDS", right: true },
    { title: "SIZE", right: true },
    { title: "RECORD SIZES" },
  ];
  return [
    ...(volume === undefined ? [] : [`Volume ${volume.serial} (${volume.encoding})`]),
    ...(files.length === 0 ? ["The tape is blank."] : tableLines(columns, rows)),
    ...(filesLeftOut === 0 ? [] : [`… and ${filesLeftOut} more`]),
  ].join("\n");
}

function recordSizes({ recordBytesMin, recordBytesMax, flawed }: TapeFileContents): string {
  const sizes =
    recordBytesMin === recordBytesMax
      ? `${recordBytesMax}`
      : `${recordBytesMin} to ${recordBytesMax}`;
  return flawed === 0 ? sizes : `${sizes}, ${flawed} flawed`;
}

export const dumpTapeCommand: CommandDefinition = {
  name: "dump",
  summary: "show every record and filemark of a tape",
  description: [
    "Prints one line for each record and filemark, with the label in it if it is one, and the start of each record in hex, ASCII and EBCDIC.",
  ],
  examples: [
    { command: "reelfs tape dump vtl1:REEL0003 --count 5", does: "The first five objects." },
  ],
  configure(command) {
    command
      .argument("<tape>", TAPE_ARGUMENT)
      .option("--from <n>", "first object, from 0")
      .option("--count <n>", "how many objects")
      .option("--bytes <n>", "bytes of each record (64 without it)");
    addConfigOption(command);
  },
  async run(args, options, terminal) {
    const { dumpTape, hexLines } = await import("../../tape/tape-dump.ts");
    const number = (name: string, max: number): number | undefined => {
      const text = textOf(options, name);
      return text === undefined ? undefined : parseWhole(text, `--${name}`, 0, max);
    };
    const wanted = {
      from: number("from", COUNT_MAX),
      count: number("count", COUNT_MAX),
      startBytes: number("bytes", START_BYTES_MAX),
      signal: terminal.signal,
    };
    return withTape(argumentAt(args, 0), options, async (tape, isDrive) =>
      inPlace(tape, isDrive, async () => {
        let status: number = EXIT.done;
        const facts: unknown[] = [];
        for await (const object of dumpTape(tape, wanted)) {
          if (object.kind === "damaged") status = EXIT.damaged;
          if (terminal.json) facts.push(dumpFacts(object));
          else terminal.print(dumpText(object, hexLines));
        }
        terminal.printJson(facts);
        return status;
      }),
    );
  },
};

function dumpFacts(object: DumpedObject): object {
  if (object.kind !== "record") return object;
  return { ...object, start: Buffer.from(object.start).toString("hex") };
}

function dumpText(object: DumpedObject, hexLines: (bytes: Uint8Array) => string[]): string {
  const place = `${object.object}: file ${object.file}`;
  if (object.kind === "filemark") return `${place}, filemark`;
  if (object.kind === "damaged") return `${place}, damaged: ${object.message}`;
  const flawed = object.flawed ? ", read with errors" : "";
  const label = object.label === undefined ? "" : `, ${object.label.id} (${object.label.encoding})`;
  const head = `${place}, record of ${object.lengthBytes} bytes${flawed}${label}`;
  return [head, ...hexLines(object.start).map((line) => `    ${line}`)].join("\n");
}

export const checkTapeCommand: CommandDefinition = {
  name: "check",
  summary: "check the structure of a tape",
  description: [
    "Reads a tape from end to end, in both directions, and says what is wrong with it.",
  ],
  examples: [{ command: "reelfs tape check old.tap", does: "Is the tape whole?" }],
  configure(command) {
    command.argument("<tape>", TAPE_ARGUMENT);
    addConfigOption(command);
  },
  async run(args, options, terminal) {
    const { checkTape } = await import("../../tape/tape-check.ts");
    const { progress, signal } = terminal;
    const check = await withTape(argumentAt(args, 0), options, async (tape, isDrive) =>
      inPlace(tape, isDrive, () => checkTape(tape, { progress, signal })),
    );
    terminal.printJson(check);
    const { records, filemarks, bytes, flawed, problems, firstProblem, complete } = check;
    const sums = [`${records} records`, `${filemarks} filemarks`, formatSize(bytes)];
    if (flawed > 0) sums.push(`${flawed} records flawed`);
    terminal.print(sums.join(", "));
    if (firstProblem !== undefined) {
      const more = problems > 1 ? ` (and ${problems - 1} more)` : "";
      terminal.warn(`reelfs tape check: ${firstProblem.message}${more}`);
    }
    return problems === 0 && complete ? EXIT.done : EXIT.damaged;
  },
};

const FORMATS: readonly SinkFormat[] = ["simh", "e11", "aws", "het", "plain"];
const FORMAT_OF_EXTENSION: Readonly<Record<string, SinkFormat>> = {
  tap: "simh",
  e11: "e11",
  aws: "aws",
  het: "het",
};

export const convertTapeCommand: CommandDefinition = {
  name: "convert",
  summary: "copy a tape to a file of another format",
  description: [
    "Reads SIMH, E11, AWS and HET tapes, which it recognises, and plain files; writes the format of --format, or what the name of the new file says (.tap, .e11, .aws, .het), else a plain file with the bytes of one tape file.",
  ],
  examples: [
    { command: "reelfs tape convert old.aws REEL0009.tap", does: "Make a foreign tape writable." },
    { command: "reelfs tape convert vtl1:REEL0003 out.tar --file 1", does: "One tape file, bare." },
  ],
  configure(command) {
    command
      .argument("<from>", TAPE_ARGUMENT)
      .argument("<to>", "the file to make")
      .option("--format <name>", FORMATS.join(", "))
      .option("--file <n>", "only this tape file, from 0")
      .option("--overwrite", "replace the file");
    addConfigOption(command);
  },
  async run(args, options, terminal) {
    const { createTapeSink } = await import("../../tape/containers/tape-sink.ts");
    const { convertTape } = await import("../../tape/containers/convert.ts");
    const to = argumentAt(args, 1);
    const format = formatOf(textOf(options, "format"), to);
    const file = textOf(options, "file");
    const number = file === undefined ? undefined : parseWhole(file, "--file", 0, COUNT_MAX);
    const { progress, signal } = terminal;
    const result = await withTape(argumentAt(args, 0), options, async (tape, isDrive) =>
      inPlace(tape, isDrive, async () => {
        const sink = await createTapeSink(to, format, { overwrite: flagOf(options, "overwrite") });
        return convertTape(tape, sink, { file: number, progress, signal });
      }),
    );
    terminal.printJson({ ...result, format, path: to });
    const { records, filemarks, bytes } = result;
    terminal.print(`${records} records, ${filemarks} filemarks, ${formatSize(bytes)}`);
    return EXIT.done;
  },
};

function formatOf(named: string | undefined, path: string): SinkFormat {
  if (named === undefined) {
    const extension = /\.([^./]+)$/.exec(path)?.[1]?.toLowerCase() ?? "";
    return FORMAT_OF_EXTENSION[extension] ?? "plain";
  }
  const format = FORMATS.find((each) => each === named);
  if (format !== undefined) return format;
  throw new ReelError("invalid", `--format: "${named}" is none of ${FORMATS.join(", ")}`);
}

export const catTape: CommandDefinition = {
  name: "cat",
  summary: "write the bytes of a tape file to standard output",
  description: [
    "Joins the records of a tape file. Of a drive it reads from where the tape stands to the next filemark, and leaves the tape behind that, as a program does that reads a tape device; of a tape or a file, the tape file that --file names, or the first.",
  ],
  examples: [
    { command: "reelfs tape cat vtl1:0 | tar t", does: "The next tape file in drive 0." },
    { command: "reelfs tape cat vtl1:REEL0003 --file 2 --output two.bin", does: "One tape file." },
  ],
  configure(command) {
    command
      .argument("<tape>", TAPE_ARGUMENT)
      .option("--file <n>", "tape file, from 0")
      .option("--output <file>", "make this file instead");
    addConfigOption(command);
  },
  async run(args, options, terminal) {
    const { writeBytes } = await import("./byte-streams.ts");
    const file = textOf(options, "file");
    const output = textOf(options, "output");
    // A terminal obeys some bytes, and a tape may hold any.
    if (output === undefined && terminal.interactive) {
      throw new ReelError(
        "invalid",
        "a tape's bytes are not for a terminal; redirect them, or name a file with --output",
      );
    }
    return withTape(argumentAt(args, 0), options, async (tape, isDrive) => {
      if (file !== undefined || !isDrive) {
        await goToFile(tape, parseWhole(file ?? "0", "--file", 0, COUNT_MAX));
      }
      const isWhole = await writeBytes(recordsOf(tape), output, terminal.signal);
      return isWhole ? EXIT.done : READER_GONE_STATUS;
    });
  },
};

async function goToFile(tape: TapeDrive, file: number): Promise<void> {
  await tape.rewind();
  const { passed } = await tape.space("filemarks", file);
  if (passed === file) return;
  throw new ReelError("not-found", `${tape.name} has no tape file ${file}: the last is ${passed}`);
}

/** Records up to the next filemark, which is passed. */
async function* recordsOf(tape: TapeDrive): AsyncGenerator<Uint8Array> {
  let buffer = Buffer.allocUnsafe(BLOCK_BYTES_DEFAULT);
  for (;;) {
    const read = await tape.read(buffer);
    if (read.kind !== "record") return;
    if (read.lengthBytes > buffer.length) {
      const { object } = await tape.position();
      buffer = Buffer.allocUnsafe(read.lengthBytes);
      await tape.locate(object - 1);
      continue;
    }
    // A copy: it is still on its way when the next one is read.
    yield Buffer.from(buffer.subarray(0, read.lengthBytes));
  }
}

export const writeTape: CommandDefinition = {
  name: "write",
  summary: "write bytes to the tape in a drive",
  description: [
    "Writes standard input, or FILE, to the tape in a drive, from where it stands on, in records of the block size, and a filemark behind. When the tape is full, the loader goes on with the next one if its policy says so; which tapes were written to is printed.",
  ],
  examples: [
    { command: "tar c /home | reelfs tape write vtl1:0", does: "A tar on the tape in drive 0." },
  ],
  configure(command) {
    command
      .argument("<drive>", "LOADER for its drive 0, LOADER:N for drive N")
      .argument("[file]", "what to write; standard input without it")
      .option("-b, --block-size <size>", "bytes of a record; else as mt setblk says, or 64K")
      .option("--no-filemark", "write no filemark behind");
    addConfigOption(command);
  },
  async run(args, options, terminal) {
    const { writeAcrossTapes } = await import("../../vtl/across-tapes.ts");
    const target = parseDriveTarget(argumentAt(args, 0));
    const path = typeof args[1] === "string" ? args[1] : undefined;
    return withLoader(target.loader, options, terminal, async (loader) => {
      const set = await loader.drive(target.drive).blockBytes();
      const given = textOf(options, "blockSize");
      const wanted = given === undefined ? set : parseSize(given, "--block-size");
      const blockBytes = parseWhole(
        String(wanted === 0 ? BLOCK_BYTES_DEFAULT : wanted),
        "--block-size",
        1,
        BLOCK_BYTES_MAX,
      );
      const source = itemsOf(path, blockBytes, options["filemark"] !== false);
      const { progress, signal } = terminal;
      const tapes = await writeAcrossTapes(loader, target.drive, source, { progress, signal });
      terminal.printJson(tapes);
      for (const { barcode, records, bytes } of tapes) {
        terminal.print(`${barcode}: ${records} records, ${formatSize(bytes)}`);
      }
      return EXIT.done;
    });
  },
};

async function* itemsOf(
  path: string | undefined,
  blockBytes: number,
  withFilemark: boolean,
): AsyncGenerator<TapeItem> {
  const { readBlocks } = await import("./byte-streams.ts");
  yield* readBlocks(path, blockBytes);
  if (withFilemark) yield "filemark";
}
