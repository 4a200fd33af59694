/**
 * Taking up what an interrupted restore left: which rows it had published, and whether what is there
 * is still what it published.
 */
import type { EntryTable } from "./entry-table.ts";
import type { Remains } from "./journal.ts";
import { inParallel, lstat, unlink } from "./raw-files.ts";
import type { StagedFiles } from "./staged-files.ts";
import type { TargetDirectories } from "./target-directories.ts";

const CHECKS_UNDER_WAY = 32;
/** Filesystems keep times to two seconds at worst (FAT). */
const TIME_TOLERANCE_MS = 2000;

export interface EarlierRunParts {
  readonly table: EntryTable;
  readonly directories: TargetDirectories;
  readonly staged: StagedFiles;
  /** The row is restored already. */
  readonly resumed: (row: number) => void;
  /** What is there is ours, and not whole: it is to be replaced. */
  readonly replace: (row: number) => void;
}

/** What an interrupted run published stays, if it still is what was published; the rest goes. */
export async function takeUp(remains: Remains, parts: EarlierRunParts): Promise<void> {
  for (const row of remains.staged) {
    const isPublished = remains.published.has(row) && (await isSameFile(row, parts));
    await unlink(parts.staged.pathOf(row));
    if (!isPublished) continue;
    if (isUnsure(row, remains, parts)) parts.replace(row);
    else parts.resumed(row);
  }
  const rows = [...remains.published].filter((row) => !remains.staged.has(row));
  await inParallel(rows.length, CHECKS_UNDER_WAY, async (index) => {
    await checkPublished(rows[index] ?? 0, remains, parts);
  });
}

/** Its contents may be gone, which its size and time do not tell. */
function isUnsure(row: number, { unsure }: Remains, { table }: EarlierRunParts): boolean {
  return unsure.has(row) && table.kindOf(row) === "file" && table.sizeOf(row) > 0;
}

async function isSameFile(row: number, { staged, directories }: EarlierRunParts): Promise<boolean> {
  try {
    const [here, final] = await Promise.all([
      lstat(staged.pathOf(row)),
      lstat(directories.pathOf(row)),
    ]);
    return here.ino === final.ino && here.dev === final.dev;
  } catch {
    return false;
  }
}

async function checkPublished(
  row: number,
  remains: Remains,
  parts: EarlierRunParts,
): Promise<void> {
  const { table } = parts;
  if (row >= table.length || !table.isNeeded(row)) return;
  switch (await compare(row, finalPathOf(row, parts), table)) {
    case "same":
      if (isUnsure(row, remains, parts)) parts.replace(row);
      else parts.resumed(row);
      break;
    case "emptied":
      // A power cut took the contents.
      parts.replace(row);
      break;
    case "other":
      // A power cut may take the time as well; nobody's work is lost with an empty file.
      if (isUnsure(row, remains, parts) && (await isEmpty(finalPathOf(row, parts)))) {
        parts.replace(row);
      }
      break;
  }
}

async function isEmpty(path: string): Promise<boolean> {
  const stat = await lstat(path).catch(() => undefined);
  return stat?.isFile() === true && stat.size === 0;
}

function finalPathOf(row: number, { directories }: EarlierRunParts): string {
  try {
    return directories.pathOf(row);
  } catch {
    return "";
  }
}

/**
 * Is what has this path a restored row? "emptied": it has the row's time but not its size or kind.
 * "other": nothing is there, or somebody has worked on it since: it is theirs now.
 */
export async function compare(
  row: number,
  path: string,
  table: EntryTable,
): Promise<"same" | "emptied" | "other"> {
  const stat = await lstat(path).catch(() => undefined);
  if (stat === undefined) return "other";
  if (Math.abs(stat.mtimeMs - table.modifiedMsOf(row)) > TIME_TOLERANCE_MS) return "other";
  const isSame = {
    file: stat.isFile() && stat.size === table.sizeOf(row),
    directory: stat.isDirectory(),
    symlink: stat.isSymbolicLink(),
    fifo: stat.isFIFO(),
    socket: stat.isSocket(),
    block: stat.isBlockDevice(),
    character: stat.isCharacterDevice(),
  }[table.kindOf(row)];
  return isSame ? "same" : "emptied";
}
