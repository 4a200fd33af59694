/**
 * Disks that take what is written to them and fail to store it (test/support/late-disk.ts): with a
 * network disk, a thin volume or a USB stick that is how most failures look. A command hears of it
 * when it syncs, and must not end with 0; then the power fails, too, and the same is asked as after
 * any other interruption.
 */
import { lateDiskTrouble, withLateDisk } from "../../test/support/late-disk.ts";
import { must, type Kind } from "./kind.ts";
import { settleMachine } from "./power.ts";
import { POWER_OPERATIONS } from "./power-operations.ts";
import type { Ran } from "./workshop.ts";

/** Enough for the tables of the file system, now and then for all there is to store. */
const LEFT_BYTES = [0, 64 << 10, 1 << 20, 8 << 20];
const CAUSE = /input\/output|I\/O error|space|room|read-only|needs cleaning/i;

/** A mount is no part of the disk. */
const OPERATIONS = POWER_OPERATIONS.filter(({ name }) => name !== "commit");

export const lateKind: Kind = {
  name: "late",
  does: "disks that take what is written, and fail to store it: sync is when a command hears of it",
  trouble: lateDiskTrouble,
  weight: 3,
  run: async (step) => {
    const { random, workshop } = step;
    const operation = random.pick(OPERATIONS);
    const journalFails = random.below(3) === 0;
    await withLateDisk(step.folder, { journalFails }, async (disk) => {
      const { args, after, cleanUp } = await operation.prepare({ ...step, folder: disk.folder });
      try {
        const left = random.below(1 + random.pick(LEFT_BYTES));
        await disk.leave(left);
        const ran = await workshop.apart(args);
        step.say(
          `${operation.name} with ${left} bytes left${journalFails ? ", the journal fails" : ""}`,
        );
        step.say(`status ${String(ran.status)}: ${ran.stderr.trim()}`);
        if (ran.status !== 0) checkMessage(ran, disk.folder, operation.name);
        await disk.restart();
        await settleMachine(disk.folder);
        await after(ran);
      } finally {
        await cleanUp?.();
      }
    });
  },
};

/** What was asked of a loader may be refused for what it is. */
function checkMessage({ stderr }: Ran, folder: string, name: string): void {
  if (name === "loader") return;
  must(CAUSE.test(stderr), `it does not say what the disk did: ${stderr}`);
  must(stderr.includes(folder) || /REEL\d/.test(stderr), `it does not name its file: ${stderr}`);
}
