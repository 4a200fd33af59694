/**
 * What a file thread does: whole files written and named, one system call after another. Every call
 * blocks, which is what makes it cheap: the same call by way of a promise costs several times as
 * much. So it is for a thread of its own, never for one that others wait for.
 */
import {
  closeSync,
  fchmodSync,
  fchownSync,
  ftruncateSync,
  futimesSync,
  linkSync,
  lstatSync,
  openSync,
  renameSync,
  unlinkSync,
  writeSync,
} from "node:fs";

import type { FileOutcome, FileToName, FileToWrite, FileWork } from "./file-protocol.ts";
import { CREATE_FLAGS, isErrno, NO_LINK_ERRNOS, timeOf } from "./raw-files.ts";

/** Never throws: what fails for a file is its outcome. */
export function perform(work: FileWork): FileOutcome[] {
  if ("name" in work) {
    const target = { linksWork: true };
    return work.name.map((file) => outcomeOf(() => giveName(file, target)));
  }
  const memory = Buffer.from(work.memory);
  return work.write.map((file) => outcomeOf(() => writeFile(file, memory)));
}

function outcomeOf(work: () => FileOutcome): FileOutcome {
  try {
    return work();
  } catch (error) {
    const { code = "", errno = 0, message } = error as NodeJS.ErrnoException;
    return { code, errno, message };
  }
}

function writeFile(file: FileToWrite, memory: Buffer): "done" {
  const { at, length, offset, owner, mode } = file;
  const fd = openSync(file.path, CREATE_FLAGS, file.createMode);
  try {
    for (let done = 0; done < length;) {
      done += writeSync(fd, memory, at + done, length - done, offset + done);
    }
    if (offset + length < file.sizeBytes) ftruncateSync(fd, file.sizeBytes);
    // In this order: a change of owner takes the set-ID bits away.
    if (owner !== undefined) fchownSync(fd, owner.uid, owner.gid);
    if (mode !== undefined) fchmodSync(fd, mode);
    futimesSync(fd, timeOf(file.accessedMs), timeOf(file.modifiedMs));
  } finally {
    closeSync(fd);
  }
  return "done";
}

function giveName({ from, to, replace }: FileToName, target: { linksWork: boolean }): FileOutcome {
  if (replace) {
    renameSync(from, to);
    return "done";
  }
  if (target.linksWork) {
    try {
      // Unlike rename(2), link(2) never replaces: nothing can slip in between look and use.
      linkSync(from, to);
      unlinkSync(from);
      return "done";
    } catch (error) {
      if (isErrno(error, "EEXIST")) return "exists";
      if (!isErrno(error, ...NO_LINK_ERRNOS)) throw error;
      // Of this file there may only be too many.
      if (!isErrno(error, "EMLINK")) target.linksWork = false;
    }
  }
  if (lstatSync(to, { throwIfNoEntry: false }) !== undefined) return "exists";
  renameSync(from, to);
  return "done";
}
