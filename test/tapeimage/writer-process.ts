/** Backs up argv[2] to argv[3], saying on standard output how far it is; for tests that kill it. */
import { backupVolume } from "../../src/tapeimage/backup.ts";

const [, , sourcePath = "", tapePath = ""] = process.argv;
await backupVolume(
  { sourcePath, tapePath, recordSizeBytes: 64 * 1024 },
  { progress: ({ phase, done }) => process.stdout.write(`${phase} ${done}\n`) },
);
process.stdout.write("acknowledged\n");
