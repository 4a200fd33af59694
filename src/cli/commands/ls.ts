/** `reelfs ls`: names on an image, without mounting it. */
import type { FileTree, NodeStat, TreeEntry } from "../../tree/file-tree.ts";
import { isReelError, ReelError, throwIfAborted } from "../../errors.ts";
import { type CommandDefinition, EXIT, type Terminal } from "../command.ts";
import { addAncestorsOption, ancestorPlaces } from "../ancestor-options.ts";
import { escapeName } from "../escape-name.ts";
import { argumentAt, flagOf } from "../option-values.ts";
import { formatDate } from "../sizes.ts";
import { tableLines } from "../table.ts";
import { askForTapeOn } from "../tape-options.ts";

export const lsCommand: CommandDefinition = {
  name: "ls",
  summary: "list files in an image without mounting it",
  description: [
    "Lists PATH in an image, or its root folder. A disk has a folder for each partition, p1, p2, …; a disk or volume that was never backed up is listed just so. Names and sizes come from the start of the image; the tape is not searched for file contents. Characters in names that a terminal would obey are shown as escapes such as \\x1b; --json gives names as they are.",
  ],
  examples: [
    { command: "reelfs ls photos.tap", does: "List the root folder of the last image." },
    { command: "reelfs ls -l photos.tap#1 /DCIM", does: "List a folder, with sizes and dates." },
    { command: "reelfs ls disk.tap /p2/etc", does: "List a folder on partition 2 of a disk." },
    {
      command: "reelfs ls -R --json photos.tap | jq -r '.[].path'",
      does: "The path of every file and folder.",
    },
  ],
  limitations: ["Damaged folders are reported and passed over; the exit status is then 3."],
  seeAlso: ["info", "mount", "restore"],
  configure(command) {
    command
      .argument("<image>", "TAPE for the last image on it, TAPE#N for image N, or a disk or volume")
      .argument("[path]", "folder or file in the image")
      .option("-l, --long", "show permissions, size and date")
      .option("-R, --recursive", "list folders in folders, too");
    addAncestorsOption(command);
  },
  async run(args, options, terminal) {
    const { openBrowsable } = await import("../open-browsable.ts");
    const { resolvePath } = await import("../../tree/path.ts");
    const path = cleanPath(typeof args[1] === "string" ? args[1] : "/");
    const opened = await openBrowsable(argumentAt(args, 0), {
      places: await ancestorPlaces(options),
      askForTape: askForTapeOn(terminal),
    });
    try {
      // A path into one partition of a disk needs that one only.
      const ofParts = path === "" ? ((await opened.check?.()) ?? []) : [];
      for (const notice of [...opened.notices, ...ofParts]) terminal.warn(`reelfs ls: ${notice}`);
      const { stat } = await resolvePath(opened.tree, path);
      const listing = new Listing(opened.tree, terminal, {
        long: flagOf(options, "long"),
        recursive: flagOf(options, "recursive"),
      });
      await listing.show(path, stat);
      return listing.finish();
    } finally {
      await opened.tree.close();
    }
  },
};

/** One slash at the start, none at the end, none doubled; the root is "". */
function cleanPath(path: string): string {
  return `/${path}`.replace(/\/+/g, "/").replace(/\/$/, "");
}

interface ListingOptions {
  readonly long: boolean;
  readonly recursive: boolean;
}

/** A bound for trees that are deeper than any real one. */
const DEPTH_MAX = 512;

class Listing {
  readonly #tree: FileTree;
  readonly #terminal: Terminal;
  readonly #options: ListingOptions;
  readonly #facts: unknown[] = [];
  #damaged = false;
  #sections = 0;

  constructor(tree: FileTree, terminal: Terminal, options: ListingOptions) {
    this.#tree = tree;
    this.#terminal = terminal;
    this.#options = options;
  }

  async show(path: string, stat: NodeStat): Promise<void> {
    if (stat.kind === "directory") {
      await this.#folder(path, stat, 0);
      return;
    }
    const name = path.slice(path.lastIndexOf("/") + 1);
    this.#add(path.slice(0, path.lastIndexOf("/")), [{ name, stat }]);
  }

  finish(): number {
    this.#terminal.printJson(this.#facts);
    return this.#damaged ? EXIT.damaged : EXIT.done;
  }

  async #folder(path: string, folder: NodeStat, depth: number): Promise<void> {
    throwIfAborted(this.#terminal.signal, "listing");
    const entries = await this.#entries(path, folder, depth);
    if (entries === undefined) return;
    if (this.#options.recursive) {
      this.#terminal.print(`${this.#sections++ === 0 ? "" : "\n"}${escapeName(path) || "/"}:`);
    }
    this.#add(path, entries);
    if (!this.#options.recursive) return;
    for (const { name, stat } of entries) {
      if (stat.kind === "directory") await this.#folder(`${path}/${name}`, stat, depth + 1);
    }
  }

  /** Sorted by name; undefined for a folder that is damaged. */
  async #entries(
    path: string,
    folder: NodeStat,
    depth: number,
  ): Promise<readonly TreeEntry[] | undefined> {
    try {
      if (depth > DEPTH_MAX) throw new ReelError("damaged", "folders lie too deep in one another");
      const entries = await this.#tree.readDirectory(folder.id);
      return [...entries].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
    } catch (error) {
      if (!isReelError(error, "damaged")) throw error;
      this.#damaged = true;
      this.#terminal.warn(`reelfs ls: cannot list ${escapeName(path) || "/"}: ${error.message}`);
      return undefined;
    }
  }

  #add(path: string, entries: readonly TreeEntry[]): void {
    if (this.#terminal.json) {
      for (const entry of entries) this.#facts.push(entryFacts(path, entry));
      return;
    }
    if (entries.length === 0) return;
    const lines = this.#options.long
      ? tableLines([{}, { right: true }, {}, {}], entries.map(longRow))
      : entries.map(shownName);
    this.#terminal.print(lines.join("\n"));
  }
}

function entryFacts(path: string, { name, stat }: TreeEntry): Record<string, unknown> {
  return {
    path: `${path}/${name}`,
    kind: stat.kind,
    sizeBytes: stat.sizeBytes,
    allocatedBytes: stat.allocatedBytes,
    modified: isoTime(stat.modifiedMs),
    created: stat.createdMs === undefined ? undefined : isoTime(stat.createdMs),
    mode: stat.mode,
    readOnly: stat.readOnly,
    attributes: stat.attributes,
  };
}

/** Undefined for a time that no calendar has. */
function isoTime(ms: number): string | undefined {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString();
}

function shownName({ name, stat }: TreeEntry): string {
  return escapeName(name) + (stat.kind === "directory" ? "/" : "");
}

function longRow(entry: TreeEntry): string[] {
  const { stat } = entry;
  return [
    permissions(stat),
    stat.kind === "directory" ? "" : stat.sizeBytes.toLocaleString("en"),
    formatDate(stat.modifiedMs),
    shownName(entry),
  ];
}

const KIND_LETTER: Readonly<Record<NodeStat["kind"], string>> = {
  file: "-",
  directory: "d",
  symlink: "l",
  fifo: "p",
  socket: "s",
  block: "b",
  character: "c",
};

/** As a mount shows them: a format without permissions gets the usual ones. */
function permissions(stat: NodeStat): string {
  const usual = stat.kind === "directory" ? 0o755 : 0o644;
  const mode = (stat.mode ?? usual) & (stat.readOnly === true ? ~0o222 : 0o777);
  const letters = Array.from("rwxrwxrwx", (letter, i) => (mode & (0o400 >> i) ? letter : "-"));
  return KIND_LETTER[stat.kind] + letters.join("");
}
