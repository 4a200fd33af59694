/**
 * A restore that kills itself: run by journal.test.ts in a process of its own.
 * Arguments: target directory; seed of the moment of death, or "live"; "resume" to go on.
 */
import { restoreSelection } from "../../src/tagrestore/restore.ts";
import { selectEntries } from "../../src/tagrestore/select.ts";
import { patternBytes } from "../support/pattern.ts";
import { stubImage } from "../support/stub-image.ts";
import type { StubFile } from "../support/stub-image.ts";

const [, program = "", directory = "", death = "live", mode = ""] = process.argv;

export const KILLED_FILES: readonly StubFile[] = [
  { path: "/large", content: patternBytes(300_000, 1), fragmentBlocks: 16 },
  ...Array.from({ length: 1500 }, (_, i) => ({
    path: `/d${i % 7}/f${i}`,
    content: patternBytes((i * 37) % 1100, i),
    modifiedMs: 1_000_000_000_000 + i * 1000,
  })),
];

async function restore(): Promise<void> {
  const seed = Number(death);
  const beforeRecord = (_: number, delivered: number): void => {
    // Not at the record itself, but a moment later: in the middle of whatever goes on then.
    if (death === "live" || delivered !== seed % 40) return;
    setTimeout(() => process.kill(process.pid, "SIGKILL"), (seed >>> 8) % 12);
  };
  const stub = stubImage(KILLED_FILES, { blocksPerRecord: 64, beforeRecord });
  const { table } = await selectEntries(stub.volume, {});
  await restoreSelection(stub, table, directory, { resume: mode === "resume" });
}

if (program.endsWith("killed-restore.ts")) await restore();
