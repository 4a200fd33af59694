/** What e2fsprogs makes of a volume with a journal: the standard that the replay is held to. */
import { expect } from "chai";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { copyFile, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { BlockDevice } from "../../../../src/device/block-device.ts";
import { MemoryDevice } from "../../../../src/device/memory-device.ts";
import type { JournalFile, JournalReplay } from "../../../../src/volume/ext/journal/journal.ts";
import { readJournal } from "../../../../src/volume/ext/journal/journal.ts";

const SBIN = "/usr/sbin:/sbin";
const ENVIRONMENT = {
  ...process.env,
  PATH: `${process.env["PATH"] ?? ""}:${SBIN}`,
  LC_ALL: "C",
};
const OUTPUT_MAX_BYTES = 64 * 1024 * 1024;
/** e2fsck waits for the disk, which others may keep busy. */
const TOOL_TIMEOUT_MS = 60_000;
const SUPERBLOCK_OFFSET = 1024;
const SUPERBLOCK_BYTES = 1024;
const JOURNAL_INODE = 8;
const EXTENT_OF_STAT = /\((\d+)(?:-(\d+))?\):(\d+)(?:-(\d+))?/g;

export const NO_EXT_TOOLS = "e2fsprogs is not installed";

export function hasExtTools(): boolean {
  const folders = ENVIRONMENT.PATH.split(":");
  return ["mke2fs", "debugfs", "e2fsck"].every((tool) =>
    folders.some((folder) => existsSync(join(folder, tool))),
  );
}

/** Runs a tool and returns what it prints; throws when it fails. */
export function runTool(tool: string, ...args: readonly string[]): string {
  return execFileSync(tool, args, {
    env: ENVIRONMENT,
    encoding: "latin1",
    stdio: ["ignore", "pipe", "pipe"],
    maxBuffer: OUTPUT_MAX_BYTES,
  });
}

/** An empty volume; `options` as for mke2fs. */
export async function makeVolume(
  image: string,
  sizeBytes: number,
  ...options: readonly string[]
): Promise<void> {
  await writeFile(image, "");
  runTool("truncate", "-s", String(sizeBytes), image);
  runTool("mke2fs", "-q", "-F", ...options, image);
}

/** Runs debugfs commands that may write. */
export async function debugfsWrite(image: string, ...commands: readonly string[]): Promise<void> {
  const script = `${image}.cmd`;
  await writeFile(script, `${commands.join("\n")}\n`);
  runTool("debugfs", "-w", "-f", script, image);
  await rm(script);
}

/** Where the journal of a volume lies, by debugfs; undefined where there is none inside. */
export async function journalFileOf(
  image: string,
  device: BlockDevice,
): Promise<JournalFile | undefined> {
  const superblock = Buffer.alloc(SUPERBLOCK_BYTES);
  await device.read(SUPERBLOCK_OFFSET, superblock);
  const stat = runTool("debugfs", "-R", `stat <${JOURNAL_INODE}>`, image);
  const listed = /(?:EXTENTS|BLOCKS):\n([^]*)/.exec(stat)?.[1] ?? "";
  const blocks: number[] = [];
  for (const [, from = "0", to = from, physical = "0"] of listed.matchAll(EXTENT_OF_STAT)) {
    for (let index = Number(from); index <= Number(to); index++) {
      blocks[index] = Number(physical) + index - Number(from);
    }
  }
  if (blocks.length === 0) return undefined;
  return {
    device,
    name: `the journal of ${device.name}`,
    blockSizeBytes: 1024 << superblock.readUInt32LE(24),
    blocks: Float64Array.from(blocks, (block: number | undefined) => block ?? 0),
  };
}

export interface Replayed {
  readonly journal: JournalFile;
  readonly replay: JournalReplay;
  /** Blocks that the replay changed, the journal's own and the superblock left out. */
  readonly changed: number;
}

/**
 * Replays a volume's journal here and, in a copy, by e2fsck, and expects every byte outside the
 * journal and the superblock to be the same.
 */
export async function expectSameAsE2fsck(
  image: string,
  oracle = replayedByE2fsck,
): Promise<Replayed> {
  const original = await readFile(image);
  await using device = new MemoryDevice(original, { name: "volume.img" });
  const journal = await journalFileOf(image, device);
  if (journal === undefined) throw new Error(`no journal in ${image}`);
  const replay = await readJournal(journal);
  const replayed = Buffer.alloc(original.length);
  await replay.device.read(0, replayed);
  const expected = await oracle(image);
  for (const each of [original, replayed, expected]) blankJournal(each, journal);
  const differing = blocksThatDiffer(replayed, expected, journal.blockSizeBytes);
  expect(differing, "blocks that e2fsck sees in another way").to.deep.equal([]);
  const changed = blocksThatDiffer(original, expected, journal.blockSizeBytes).length;
  return { journal, replay, changed };
}

/** The volume after `e2fsck -E journal_only`, which also clears orphaned inodes. */
async function replayedByE2fsck(image: string): Promise<Buffer> {
  return replayedBy("e2fsck", ["-E", "journal_only", "-y"], image);
}

/** The volume after debugfs' `journal_run`. */
export async function replayedByDebugfs(image: string): Promise<Buffer> {
  return replayedBy("debugfs", ["-w", "-R", "journal_run"], image);
}

async function replayedBy(
  tool: string,
  options: readonly string[],
  image: string,
): Promise<Buffer> {
  const copy = `${image}.${tool}`;
  await copyFile(image, copy);
  try {
    const { error } = spawnSync(tool, [...options, copy], {
      env: ENVIRONMENT,
      timeout: TOOL_TIMEOUT_MS,
      killSignal: "SIGKILL",
    });
    if (error !== undefined) throw error;
    return await readFile(copy);
  } finally {
    await rm(copy);
  }
}

/** Zeros where e2fsck writes other things than copies: the journal and the superblock. */
function blankJournal(volume: Buffer, { blocks, blockSizeBytes }: JournalFile): void {
  for (const block of blocks) {
    volume.fill(0, block * blockSizeBytes, (block + 1) * blockSizeBytes);
  }
  volume.fill(0, SUPERBLOCK_OFFSET, SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES);
}

function blocksThatDiffer(a: Buffer, b: Buffer, blockSizeBytes: number): number[] {
  expect(a.length).to.equal(b.length);
  const differing: number[] = [];
  for (let at = 0; at < a.length; at += blockSizeBytes) {
    const end = at + blockSizeBytes;
    if (a.compare(b, at, end, at, end) !== 0) differing.push(at / blockSizeBytes);
  }
  return differing;
}
