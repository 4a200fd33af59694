/** The options of a backup that say how a volume in use is held still, and what they ask for. */
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type Command, Option } from "commander";
import { isReelError, ReelError } from "../errors.ts";
import type { LiveBackup } from "../live/live-backup.ts";
import type { TrackedBackup } from "../track/tracked-backup.ts";
import { ancestorPlaces } from "./ancestor-options.ts";
import type { OptionValues, Terminal } from "./command.ts";
import { numberOf, textOf } from "./option-values.ts";
import { parseSize } from "./sizes.ts";

/** Of a tracked volume, and of one that is mounted as it is. */
const TRACKED_WAYS = ["wait", "copy"] as const;
const MOUNTED_WAYS = ["fsfreeze", "lvm"] as const;
/** Ways that need room for what is written meanwhile. */
const WAYS_WITH_ROOM = ["copy", "lvm"];

/** Standard output and standard error may go to files on the volume. */
const OUTPUTS = ["/proc/self/fd/1", "/proc/self/fd/2"];

export function addFreezeOptions(command: Command): void {
  command
    .addOption(
      new Option(
        "--freeze <how>",
        "keep a volume in use as it is until it is read. A mounted one: with fsfreeze all writers wait; with lvm a snapshot of the logical volume is read; as root. With --tracked: writes to blocks that are still to be read wait (wait, the default), or their originals are copied first (copy)",
      ).choices([...MOUNTED_WAYS, ...TRACKED_WAYS]),
    )
    .option(
      "--freeze-size <size>",
      "room for the originals of what is written meanwhile: with copy, writes wait when it is full (default: 1G); with lvm, the backup fails (default: a fifth of the volume)",
      (text: string) => parseSize(text, "--freeze-size"),
    );
}

/** Options that make no sense together. @throws ReelError "invalid" */
export function checkFreeze(options: OptionValues, isTracked: boolean): void {
  const how = textOf(options, "freeze");
  const ways: readonly string[] = isTracked ? TRACKED_WAYS : MOUNTED_WAYS;
  if (how !== undefined && !ways.includes(how)) {
    const subject = isTracked ? "a tracked volume" : "a volume without --tracked";
    throw new ReelError(
      "invalid",
      `--freeze ${how} is not possible for ${subject}; choose ${ways.join(" or ")}`,
    );
  }
  const hasSize = numberOf(options, "freezeSize") !== undefined;
  if (hasSize && (how === undefined || !WAYS_WITH_ROOM.includes(how))) {
    throw new ReelError("invalid", "--freeze-size is for --freeze copy and --freeze lvm");
  }
}

export interface LiveWish {
  readonly sources: readonly string[];
  readonly tapeFile: string;
  readonly tracked?: TrackedBackup | undefined;
}

/** Does the work with what is to be frozen held still, and lets go of it in any case. */
export async function withLive<T>(
  wish: LiveWish,
  options: OptionValues,
  terminal: Terminal,
  work: (live: LiveBackup) => Promise<T>,
): Promise<T> {
  const live = await beginLive(wish, options, terminal);
  let result: T;
  try {
    result = await work(live);
  } catch (error) {
    await live.close().catch((another: unknown) => {
      // Of a backup that was stopped because of it, the one says no more than the other.
      const isOne = another === error || isReelError(error, "aborted");
      throw isOne ? another : new AggregateError([error, another], "the backup failed");
    });
    throw error;
  }
  await live.close();
  return result;
}

async function beginLive(
  { sources, tapeFile, tracked }: LiveWish,
  options: OptionValues,
  terminal: Terminal,
): Promise<LiveBackup> {
  const { LiveBackup } = await import("../live/live-backup.ts");
  const how = textOf(options, "freeze");
  const furtherTapes = (textOf(options, "tapes") ?? "").split(",").filter((name) => name !== "");
  return LiveBackup.begin({
    sources,
    mountedFrom: tracked && [await trackedFileOf(tracked)],
    isSnapshot: tracked !== undefined,
    freeze: how === "fsfreeze" || how === "lvm" ? how : undefined,
    snapshotBytes: how === "lvm" ? numberOf(options, "freezeSize") : undefined,
    writesTo: [
      ...[tapeFile, ...furtherTapes, tmpdir(), ...OUTPUTS],
      // Reading a tape may leave an index beside it.
      ...(await ancestorPlaces(options)),
    ],
    signal: terminal.signal,
    warn: (text) => {
      terminal.warn(`reelfs backup: ${text}`);
    },
  });
}

/** A loop device stands on the tracker's own file, not on the snapshot of it. */
async function trackedFileOf({ filePath }: TrackedBackup): Promise<string> {
  const { VOLUME_FILE } = await import("../track/track-tree.ts");
  return join(dirname(filePath), VOLUME_FILE);
}
