/** Runs `reelfs loader mount --foreground` with the arguments given, as the command line does. */
import { commandGroup, type CommandDefinition } from "../../../src/cli/command.ts";
import { mountLoadersCommand } from "../../../src/cli/loader/mount-loaders.ts";
import { run } from "../../../src/cli/program.ts";

const group: CommandDefinition = commandGroup(
  { name: "loader", summary: "loaders", description: ["Loaders."], examples: [] },
  [mountLoadersCommand],
);
process.exitCode = await run(
  ["loader", "mount", ...process.argv.slice(2)],
  { stdout: process.stdout, stderr: process.stderr, signal: new AbortController().signal },
  [group],
);
