/**
 * The control set of a volume whose format is not known, found by watching: which blocks must be
 * there to mount the volume and to walk all of it?
 *
 *     source ─► recording ─► overlay ─► volume.img (FUSE) ─► loop device ─► mount, walk
 *                  │
 *                  └─► the blocks that were read
 *
 * The source is only read. What the kernel writes, as when it replays a journal, stays in the
 * overlay. The volume is mounted twice: read-only, to be walked; then for writing, because that
 * reads more (free space, the summaries of every group), and a mount of the image with its overlay
 * is one for writing.
 *
 * Nothing must read ahead, or file contents beside a directory would count as part of it. The loop
 * device reads the file directly, and is told to fetch what is asked for and no more.
 */
import { mkdir, rmdir } from "node:fs/promises";
import type { BlockDevice } from "../device/block-device.ts";
import type { ExtentSet } from "../device/extents.ts";
import { openFileDevice } from "../device/file-device.ts";
import { closeAll, isReelError } from "../errors.ts";
import { unmountPath } from "../fuse/unmount.ts";
import type { RunOptions } from "../progress.ts";
import { overlayOn, VOLUME_FILE } from "./expose-source.ts";
import { mountLoop, mountOptionsFor, requireRoot, restoreReadAhead } from "./loop-mount.ts";
import { RecordingDevice } from "./recording-device.ts";
import { runProgram } from "./run-program.ts";
import { ServedFile } from "./served-file.ts";

export interface LearnOptions {
  /** Unit of the control set in bytes. Default 4096. */
  readonly blockSizeBytes?: number | undefined;
  /** Room for what the kernel writes while it looks. Default 1 GiB. */
  readonly overlayBytes?: number | undefined;
}

export interface LearnedVolume {
  /** Blocks that mounting and walking read; the last may reach beyond the end of the device. */
  readonly control: ExtentSet;
  /** Whatever is no directory, by name: a file with two names counts twice. */
  readonly files: number;
  /** Without the root. */
  readonly directories: number;
  /** What could not be looked at, one sentence each. */
  readonly problems: readonly string[];
}

const BLOCK_BYTES_DEFAULT = 4096;
const OVERLAY_BYTES_DEFAULT = 1024 ** 3;
const PROBLEMS_MAX = 100;
const DIRECTORY_LETTER = 0x64;

/**
 * Mounts a volume through the kernel, walks it, and tells which blocks that needed. As root.
 *
 * @param source a path, or a device, which stays the caller's
 * @throws ReelError "no-permission" unless root; "unsupported" when FUSE, loop devices or a program
 *   are missing, or the kernel does not know the filesystem; "damaged" when it does not accept it;
 *   "aborted"
 */
export async function learnControlSet(
  source: string | BlockDevice,
  options: LearnOptions = {},
  run: RunOptions = {},
): Promise<LearnedVolume> {
  const device = typeof source === "string" ? await openFileDevice(source) : source;
  try {
    return await learn(device, options, run);
  } finally {
    if (typeof source === "string") await device.close();
  }
}

async function learn(
  device: BlockDevice,
  options: LearnOptions,
  run: RunOptions,
): Promise<LearnedVolume> {
  requireRoot(`cannot learn what belongs to the structure of ${device.name}`);
  const mountOptions = await mountOptionsFor(device);
  const blockSizeBytes = options.blockSizeBytes ?? BLOCK_BYTES_DEFAULT;
  const recording = new RecordingDevice(device, { blockSizeBytes });
  const overlay = await overlayOn(recording, options.overlayBytes ?? OVERLAY_BYTES_DEFAULT);
  const file = await ServedFile.start(overlay, {
    name: device.name,
    fileName: VOLUME_FILE,
    modifiedMs: 0,
  });
  const looking = { file, name: device.name, mountOptions, run };
  try {
    await mkdir(file.walkFolder, { mode: 0o700 });
    const counts = await whileMounted(looking, true, async (place) => walk(place, run));
    await whileMounted(looking, false, async () => undefined).catch(unlessAborted);
    return { ...counts, control: recording.blocksRead() };
  } finally {
    await closeAll(
      { close: async () => rmdir(file.walkFolder).catch(() => undefined) },
      { close: async () => file.end() },
    );
  }
}

/** Some volumes cannot be mounted for writing; then nobody will. */
function unlessAborted(error: unknown): void {
  if (isReelError(error, "aborted") || !isReelError(error)) throw error;
}

interface Looking {
  readonly file: ServedFile;
  readonly name: string;
  readonly mountOptions: readonly string[];
  readonly run: RunOptions;
}

async function whileMounted<T>(
  { file, name, mountOptions, run }: Looking,
  readOnly: boolean,
  work: (place: string) => Promise<T>,
): Promise<T> {
  const place = file.walkFolder;
  const { signal } = run;
  const mounting = { name, readOnly, mountOptions, signal, readAhead: false };
  const device = await mountLoop(file.path, place, mounting);
  try {
    return await work(place);
  } finally {
    await unmountPath(place).catch(async () => unmountPath(place, { lazy: true }));
    // The next loop device must not find the file as this one has not left it yet.
    await file.whenClosed();
    await restoreReadAhead(device);
  }
}

/** Looks at every name, link and attribute below a folder. File contents are not looked at. */
async function walk(
  place: string,
  run: RunOptions,
): Promise<Pick<LearnedVolume, "files" | "directories" | "problems">> {
  const { signal, progress } = run;
  let files = 0;
  let directories = -1;
  const found = await runProgram(
    "find",
    // One letter for each name; size and link target make find ask for what is not in the folder.
    [place, "-fprintf", "/dev/null", "%s%l", "-printf", "%y"],
    {
      signal,
      onOutput: (letters) => {
        for (const letter of letters) {
          if (letter === DIRECTORY_LETTER) directories++;
          else files++;
        }
        progress?.({ phase: "looking at files", done: files + directories, unit: "files" });
      },
    },
  );
  await readAttributes(place, signal);
  const problems = found.stderr
    .split("\n")
    .filter((line) => line !== "")
    .slice(0, PROBLEMS_MAX)
    .map((line) => line.replace(/^find: /, "").replaceAll(place, ""));
  return { files, directories: Math.max(0, directories), problems };
}

/** Extended attributes with getfattr; where it is not installed, those that ls asks for (ACLs). */
async function readAttributes(place: string, signal: AbortSignal | undefined): Promise<void> {
  const onOutput = (): void => undefined;
  try {
    const args = ["-R", "-P", "-h", "-d", "-m", "-", "--absolute-names", "--", place];
    await runProgram("getfattr", args, { signal, onOutput });
  } catch (error) {
    if (!isReelError(error, "unsupported")) throw error;
    await runProgram("ls", ["-lARn", "--", place], { signal, onOutput });
  }
}
