/**
 * Power that fails: the calls of a command are recorded, the disk is rebuilt as it may be found
 * after a cut at any of them (power-disk.ts), and the same is asked as after a kill. What was
 * acknowledged before the cut must be there; nothing may claim to be whole that is not.
 */
import { cp, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { uptime } from "node:os";
import { join } from "node:path";
import type { SeededRandom } from "../../test/support/seeded-random.ts";
import { must, type Kind } from "./kind.ts";
import { PowerDisk } from "./power-disk.ts";
import { readRecording, recordingUnder } from "./power-log.ts";
import { POWER_OPERATIONS } from "./power-operations.ts";
import { newFolder } from "./small-disk.ts";
import { straceTrouble } from "./strace.ts";

/** Cuts of one recording: to record takes longer than to look. */
const CUTS = 4;
const BOOT_ID_FILE = "/proc/sys/kernel/random/boot_id";
const OTHER_BOOT = "00000000-0000-4000-8000-000000000000";
const NOTE_BYTES_MAX = 1 << 20;
/** Later than what the clock is off by. */
const MARGIN_SECONDS = 60;

const power: Kind = {
  name: "power",
  does: "power cuts at any call of commands, with what was not synced lost or half on the disk",
  trouble: straceTrouble,
  weight: 4,
  run: async (step) => {
    const { random, workshop, folder } = step;
    const logs = await newFolder(`${folder}-calls`);
    const before = `${folder}-before`;
    const operation = random.pick(POWER_OPERATIONS);
    step.say(operation.name);
    const { args, after, record, cleanUp } = await operation.prepare(step);
    try {
      const how = { recursive: true, preserveTimestamps: true, verbatimSymlinks: true };
      await cp(folder, before, how);
      const options = { under: recordingUnder(`${logs}/calls`), env: { UV_THREADPOOL_SIZE: "1" } };
      const ran = await (record?.(options) ?? workshop.apart(args, options));
      const calls = await readRecording(logs);
      const times = await timesUnder(folder);
      for (let cut = 0; cut < CUTS; cut++) {
        const at = chooseCut(random, calls.length);
        const disk = await PowerDisk.of(folder, before);
        for (const call of calls.slice(0, at)) await disk.play(call);
        // The time of a file may come to the disk before its bytes, or not at all.
        const lasting = random.below(2) === 0 ? times : new Map<string, Date>();
        await disk.writeOut(random, { settle: async (path) => settle(path, lasting) });
        const isEnded = at === calls.length;
        const status = isEnded ? String(ran.status) : "not ended";
        step.say(`power cut ${cut + 1} at call ${at} of ${calls.length}, ${status}`);
        await after(isEnded ? ran : { ...ran, status: null, stdout: "" });
      }
    } finally {
      await cleanUp?.();
      await rm(before, { recursive: true, force: true });
      await rm(logs, { recursive: true, force: true });
    }
  },
};

/** Of every file, when it was changed. */
async function timesUnder(folder: string): Promise<ReadonlyMap<string, Date>> {
  const times = new Map<string, Date>();
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) times.set(path, (await stat(path)).mtime);
  }
  return times;
}

/** After all of them, where most was promised, in a third of all cases. */
function chooseCut(random: SeededRandom, count: number): number {
  return random.below(3) === 0 ? count : random.below(count + 1);
}

/** The machine has been started again since: notes of it are of another start, locks are old. */
async function settle(path: string, times: ReadonlyMap<string, Date>): Promise<void> {
  // Drafts of locks have names that are longer.
  if (/\.json|journal$|\.lock/.test(path)) await settleNote(path);
  const seconds = Date.now() / 1000 - uptime() - MARGIN_SECONDS;
  const time = path.includes(".lock") ? seconds : times.get(path);
  if (time !== undefined) await utimes(path, time, time);
}

/** As `settle`, of all files in a folder, which keep their times. */
export async function settleMachine(folder: string): Promise<void> {
  for (const path of (await timesUnder(folder)).keys()) await settle(path, new Map());
}

async function settleNote(path: string): Promise<void> {
  const [bytes, bootId] = [await readFile(path), await readFile(BOOT_ID_FILE, "latin1")];
  must(bytes.length < NOTE_BYTES_MAX, `${path} has ${bytes.length} bytes`);
  const text = bytes.toString("latin1");
  if (!text.includes(bootId.trim())) return;
  await writeFile(path, text.replaceAll(bootId.trim(), OTHER_BOOT), "latin1");
}

export const powerKinds: readonly Kind[] = [power];
