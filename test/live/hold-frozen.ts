/** Freezes what is mounted of a source, says so, and never ends: it is there to be killed. */
import { LiveBackup } from "../../src/live/live-backup.ts";

await LiveBackup.begin({
  ...{ sources: [process.argv[2] ?? ""], freeze: "fsfreeze", writesTo: [] },
  warn: () => undefined,
});
process.send?.("frozen");
