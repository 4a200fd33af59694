/**
 * Runs `reelfs loader mount --foreground` with the arguments given, as the command line does, and
 * sends what it shows, or why it failed.
 */
import { commandGroup, type CommandDefinition } from "../../../src/cli/command.ts";
import { mountLoadersCommand } from "../../../src/cli/loader/mount-loaders.ts";
import { run } from "../../../src/cli/program.ts";

const group: CommandDefinition = commandGroup(
  { name: "loader", summary: "loaders", description: ["Loaders."], examples: [] },
  [mountLoadersCommand],
);
const stdout = {
  write: (text: string): void => {
    tell({ ready: true, facts: JSON.parse(text) as object });
  },
};
let said = "";
const stderr = {
  write: (text: string): void => {
    said += text;
    process.stderr.write(text);
  },
};
const args = ["loader", "mount", "--json", ...process.argv.slice(2)];
process.exitCode = await run(args, { stdout, stderr, signal: new AbortController().signal }, [
  group,
]);
if (process.connected) tell({ ready: false, message: said });

function tell(report: object): void {
  process.send?.(report, undefined, undefined, () => {
    process.disconnect();
  });
}
