/**
 * Every command, in the order of `reelfs --help`. A command's file is loaded at every start: what
 * it needs to do its work is imported in its `run`.
 */
import type { CommandDefinition } from "../command.ts";
import { backupCommand } from "./backup.ts";
import { changerCommand } from "./changer.ts";
import { commitCommand } from "./commit.ts";
import { consolidateCommand } from "./consolidate.ts";
import { diffCommand } from "./diff.ts";
import { exposeCommand } from "./expose.ts";
import { infoCommand } from "./info.ts";
import { loaderCommand } from "./loader.ts";
import { lsCommand } from "./ls.ts";
import { mountCommand } from "./mount.ts";
import { mountsCommand } from "./mounts.ts";
import { mtCommand } from "./mt.ts";
import { restoreCommand } from "./restore.ts";
import { restoreImageCommand } from "./restore-image.ts";
import { scsiCommand } from "./scsi.ts";
import { tagCommand } from "./tag.ts";
import { tagsCommand } from "./tags.ts";
import { tapeCommand } from "./tape.ts";
import { trackCommand } from "./track.ts";
import { umountCommand } from "./umount.ts";
import { untagCommand } from "./untag.ts";
import { verifyCommand } from "./verify.ts";

export const COMMANDS: readonly CommandDefinition[] = [
  backupCommand,
  infoCommand,
  lsCommand,
  verifyCommand,
  mountCommand,
  exposeCommand,
  commitCommand,
  trackCommand,
  umountCommand,
  mountsCommand,
  tagCommand,
  untagCommand,
  tagsCommand,
  restoreCommand,
  restoreImageCommand,
  diffCommand,
  consolidateCommand,
  loaderCommand,
  tapeCommand,
  mtCommand,
  changerCommand,
  scsiCommand,
];
