/**
 * The commands of this folder as a program of their own, for tests that need a real process: a mount
 * is always served by another process than the one that looks at it.
 */
import { run } from "../../src/cli/program.ts";
import { mountCommand } from "../../src/cli/commands/mount.ts";
import { mountsCommand } from "../../src/cli/commands/mounts.ts";
import { tagCommand } from "../../src/cli/commands/tag.ts";
import { tagsCommand } from "../../src/cli/commands/tags.ts";
import { umountCommand } from "../../src/cli/commands/umount.ts";
import { untagCommand } from "../../src/cli/commands/untag.ts";

const status = await run(
  process.argv.slice(2),
  { stdout: process.stdout, stderr: process.stderr, signal: new AbortController().signal },
  [mountCommand, umountCommand, mountsCommand, tagCommand, untagCommand, tagsCommand],
);
process.exit(status);
