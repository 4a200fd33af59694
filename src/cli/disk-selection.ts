/**
 * Paths and globs that are meant for a disk, of which the first component names partitions (p1, p2),
 * as what each partition is asked for.
 *
 *     /p2/etc/*.conf    p2: /etc/*.conf
 *     /p[12]/boot       p1: /boot, p2: /boot; one of them must have it
 *     /** /x.jpg        every partition: /** /x.jpg; one of them must have it
 *     /p1               p1: all of it
 */
import { isReelError, ReelError } from "../errors.ts";
import { compileComponent, hasWildcard, matchesComponent } from "../tagrestore/glob.ts";
import type { SelectionRequest } from "../tagrestore/select.ts";
import type { DiskSet } from "../tapeimage/disk-set.ts";
import { partitionFolder } from "../tree/disk-trees.ts";

/** What is asked of one partition. */
export interface PartitionRequest {
  /** Name of its folder: "p2". */
  readonly folder: string;
  /** All of it. */
  readonly everything: boolean;
  readonly patterns: readonly string[];
  readonly paths: readonly string[];
  /** Patterns that other partitions may satisfy instead, with the pattern as it was given. */
  readonly optional: readonly { readonly pattern: string; readonly given: string }[];
}

const ANY_DEPTH = "**";
const same = (name: string): string => name;

/**
 * Distributes a request over the partitions whose folders are given; only those that it concerns
 * are in the answer. Throws "not-found" for what names no partition, "invalid" for an empty path.
 */
export function distribute(
  request: SelectionRequest,
  folders: readonly string[],
): readonly PartitionRequest[] {
  const requests = folders.map((folder) => ({
    ...{ folder, everything: false },
    ...{ patterns: [] as string[], paths: [] as string[] },
    optional: [] as { pattern: string; given: string }[],
  }));
  const named = request.patterns !== undefined || request.paths !== undefined;
  if (!named) return requests.map((each) => ({ ...each, everything: true }));
  for (const given of request.patterns ?? []) {
    const targets = targetsOf(componentsOf(given), folders);
    if (targets.length === 0) throw noPartition(given, folders);
    for (const { folder, pattern } of targets) {
      const to = requests.find((each) => each.folder === folder);
      if (targets.length === 1) to?.patterns.push(pattern);
      else to?.optional.push({ pattern, given });
    }
  }
  for (const given of request.paths ?? []) {
    const [folder = "", ...rest] = componentsOf(given);
    const to = requests.find((each) => each.folder === folder);
    if (to === undefined) throw noPartition(given, folders);
    to.paths.push(`/${rest.join("/")}`);
  }
  return requests.filter(
    ({ patterns, paths, optional }) => patterns.length + paths.length + optional.length > 0,
  );
}

function componentsOf(given: string): string[] {
  if (given === "") throw new ReelError("invalid", "an empty path selects nothing");
  return given.split("/").filter((component) => component !== "" && component !== ".");
}

function targetsOf(
  components: readonly string[],
  folders: readonly string[],
): { folder: string; pattern: string }[] {
  const [first, ...rest] = components;
  const pattern = `/${rest.join("/")}`;
  if (first === undefined) return folders.map((folder) => ({ folder, pattern: "/" }));
  if (first === ANY_DEPTH) {
    // The folders themselves may be what the rest means, and whatever is below them.
    const atRoot = rest.length === 0 ? [] : targetsOf(rest, folders);
    return [...atRoot, ...folders.map((folder) => ({ folder, pattern: `/**${pattern}` }))];
  }
  const glob = hasWildcard(first) ? compileComponent(first, same) : undefined;
  const fits = (folder: string): boolean =>
    glob === undefined ? folder === first : matchesComponent(glob, folder);
  return folders.filter(fits).map((folder) => ({ folder, pattern }));
}

function noPartition(given: string, folders: readonly string[]): ReelError {
  const there = folders.length === 0 ? "none is saved" : `there are ${folders.join(", ")}`;
  return new ReelError(
    "not-found",
    `"${given}" names no partition of the disk: a path begins with one, and ${there}`,
  );
}

/** Folder and image of each partition that has one, in the order of the tape. */
export function savedInTapeOrder(set: DiskSet): ReadonlyMap<string, string> {
  const saved = new Map<string, string>();
  const sorted = [...set.partitions].sort((a, b) => (a.facts.image ?? 0) - (b.facts.image ?? 0));
  for (const { facts, image } of sorted) {
    if (image !== undefined) saved.set(partitionFolder(facts.number), image);
  }
  return saved;
}

/** Selects in the partition of this folder; throws "not-found" for what it does not have. */
export type Tries = (folder: string, request: SelectionRequest) => Promise<unknown>;

/**
 * What each partition is asked for once it is known what it has; partitions without anything that
 * was asked for are left out. Throws "not-found" for what matches nothing anywhere, as selecting does.
 */
export async function settle(
  requests: readonly PartitionRequest[],
  tries: Tries,
): Promise<ReadonlyMap<string, SelectionRequest>> {
  const settled = new Map<string, SelectionRequest>();
  const matched = new Set<string>();
  const failures = new Map<string, unknown>();
  for (const { folder, everything, patterns, paths, optional } of requests) {
    const kept = [...patterns];
    for (const { pattern, given } of optional) {
      try {
        await tries(folder, { patterns: [pattern] });
        matched.add(given);
        kept.push(pattern);
      } catch (error) {
        if (!isReelError(error, "not-found")) throw error;
        failures.set(given, error);
      }
    }
    if (everything) settled.set(folder, {});
    else if (kept.length + paths.length > 0) {
      // Both must be found before anything is restored of any partition.
      if (patterns.length + paths.length > 0) await tries(folder, { patterns, paths });
      settled.set(folder, { patterns: kept, paths });
    }
  }
  for (const [given, failure] of failures) if (!matched.has(given)) throw failure;
  return settled;
}
