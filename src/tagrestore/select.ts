/**
 * Which files a restore is about: walks the volume along the paths and globs that were given, and
 * only where they can lead. A directory that is selected brings everything below it.
 */
import { ReelError, isReelError } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import type { NodeId, NodeStat, Volume, VolumeEntry } from "../volume/volume.ts";
import { EntryTable } from "./entry-table.ts";
import { Pacer } from "./pacer.ts";
import { PatternTree } from "./pattern-tree.ts";
import type { PatternState } from "./pattern-tree.ts";
import { isSafeName, problemOf } from "./problems.ts";
import type { RestoreProblem } from "./problems.ts";

export interface SelectionRequest {
  /** Paths and globs as a person types them; see glob.ts. */
  readonly patterns?: Iterable<string> | undefined;
  /** Paths that mean themselves, wildcards or not: a list of files, tags. */
  readonly paths?: Iterable<string> | undefined;
}

export interface Selection {
  readonly table: EntryTable;
  readonly files: number;
  readonly directories: number;
  /** Bytes in the files selected, by their directory entries. */
  readonly bytes: number;
  /** Directories that could not be read, names that cannot be restored. */
  readonly problems: readonly RestoreProblem[];
}

/** Deeper trees than any system can create; a guard against damage. */
const DEPTH_MAX = 2048;
const UNMATCHED_SHOWN_MAX = 5;

/** One directory to walk: its row, the state of the patterns in it, and whether all of it is meant. */
interface Visit {
  readonly row: number;
  readonly id: NodeId;
  readonly depth: number;
  readonly state: PatternState;
  readonly everything: boolean;
}

/**
 * Selects what the request names; everything when it names nothing at all (both lists undefined).
 * Throws "not-found" naming each path or glob that matches nothing, "invalid" for unusable ones.
 */
export async function selectEntries(
  volume: Volume,
  request: SelectionRequest,
  options: RunOptions = {},
): Promise<Selection> {
  const tree = patternTree(volume, request);
  const walk = new SelectionWalk(volume, tree, new Pacer("choosing files", options.signal));
  await walk.run();
  const unmatched = tree?.unmatched() ?? [];
  if (unmatched.length > 0) throw nothingMatches(unmatched, walk.problems);
  return walk;
}

function patternTree(volume: Volume, request: SelectionRequest): PatternTree | undefined {
  if (request.patterns === undefined && request.paths === undefined) return undefined;
  const tree = new PatternTree((name) => volume.foldName(name));
  for (const pattern of request.patterns ?? []) tree.add(pattern, false);
  for (const path of request.paths ?? []) tree.add(path, true);
  return tree;
}

function nothingMatches(
  unmatched: readonly string[],
  problems: readonly RestoreProblem[],
): ReelError {
  const shown = unmatched.slice(0, UNMATCHED_SHOWN_MAX).map((text) => `"${text}"`);
  const more =
    unmatched.length > shown.length ? ` and ${unmatched.length - shown.length} more` : "";
  const unread = problems[0];
  const hint =
    unread === undefined
      ? "see what there is with `reelfs ls`"
      : `and ${unread.path} could not be read: ${unread.message}`;
  return new ReelError(
    "not-found",
    `nothing in the image matches ${shown.join(", ")}${more}; ${hint}`,
  );
}

class SelectionWalk implements Selection {
  readonly table = new EntryTable();
  readonly problems: RestoreProblem[] = [];
  files = 0;
  directories = 0;
  bytes = 0;
  readonly #volume: Volume;
  readonly #tree: PatternTree | undefined;
  readonly #pacer: Pacer;
  readonly #stack: Visit[] = [];
  readonly #seen = new Set<NodeId>();

  constructor(volume: Volume, tree: PatternTree | undefined, pacer: Pacer) {
    this.#volume = volume;
    this.#tree = tree;
    this.#pacer = pacer;
  }

  async run(): Promise<void> {
    const id = this.#volume.rootId;
    const row = this.table.add(0, "", await this.#volume.stat(id));
    const { state, selected } = this.#tree?.start() ?? { state: [], selected: true };
    this.table.markNeeded(row);
    this.#stack.push({ row, id, depth: 0, state, everything: selected });
    for (let visit = this.#stack.pop(); visit !== undefined; visit = this.#stack.pop()) {
      await this.#pacer.breathe();
      await this.#directory(visit);
    }
  }

  async #directory(visit: Visit): Promise<void> {
    if (this.#seen.has(visit.id) || visit.depth > DEPTH_MAX) {
      const message = `the directory is reached twice, or is over ${DEPTH_MAX} levels deep`;
      this.#problem(visit.row, new ReelError("damaged", message));
      return;
    }
    this.#seen.add(visit.id);
    let entries;
    try {
      entries = await this.#volume.readDirectory(visit.id);
    } catch (error) {
      if (isReelError(error, "aborted") || isReelError(error, "closed")) throw error;
      this.#problem(visit.row, error);
      return;
    }
    const below: Visit[] = [];
    for (const entry of entries) {
      const next = this.#entry(visit, entry);
      if (next !== undefined) below.push(next);
      await this.#pacer.breathe();
    }
    // Popped from the end: reversed, the directories come in the order of the volume.
    for (const next of below.reverse()) this.#stack.push(next);
  }

  /** Adds the entry to the table if it matters; returns what to walk, for a directory. */
  #entry(visit: Visit, { name, stat, isNotUtf8 }: VolumeEntry): Visit | undefined {
    const isDirectory = stat.kind === "directory";
    const step = this.#tree?.step(visit.state, name, isDirectory);
    const selected = visit.everything || step?.selected === true;
    const state = step?.state ?? [];
    if (!selected && !(isDirectory && state.length > 0)) return undefined;
    if (!isSafeName(name)) {
      this.#problem(
        visit.row,
        new ReelError("damaged", `it holds the name ${JSON.stringify(name)}`),
      );
      return undefined;
    }
    const row = this.table.add(visit.row, name, stat);
    if (isNotUtf8 === true) this.table.markRenamed(row);
    if (selected) this.#select(row, stat);
    if (!isDirectory) return undefined;
    return { row, id: stat.id, depth: visit.depth + 1, state, everything: selected };
  }

  #select(row: number, stat: NodeStat): void {
    this.table.markNeeded(row);
    if (stat.kind === "directory") {
      this.directories++;
    } else {
      this.files++;
      this.bytes += stat.sizeBytes;
    }
  }

  #problem(row: number, error: unknown): void {
    this.problems.push(problemOf(this.table.pathOf(row), error));
  }
}
