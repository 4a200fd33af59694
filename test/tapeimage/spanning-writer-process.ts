/** Backs up argv[2] to argv[3] and, when full, argv[4] and on; for tests that kill it. */
import { nextOfFiles } from "../../src/tape/set/open-for-writing.ts";
import { backupVolume } from "../../src/tapeimage/backup.ts";

const CAPACITY_BYTES = 1024 * 1024;

const [, , sourcePath = "", tapePath = "", ...further] = process.argv;
const next = nextOfFiles(further, CAPACITY_BYTES);
await backupVolume(
  {
    ...{ sourcePath, tapePath, recordSizeBytes: 64 * 1024, codec: "none" },
    tapes: {
      capacityBytes: CAPACITY_BYTES,
      nextTape: async (sequence, previous) => {
        process.stdout.write(`tape ${sequence}\n`);
        return next(sequence, previous);
      },
    },
  },
  { progress: ({ phase, done }) => process.stdout.write(`${phase} ${done}\n`) },
);
process.stdout.write("acknowledged\n");
