/**
 * Setting extended attributes, which Node cannot: `setfattr --restore` takes them for many files on
 * its standard input, in the format of getfattr(1):
 *
 *     # file: NAME
 *     user.comment=0sYmFzZTY0
 *
 * NAMEs are never those of the volume: files are named by their number in the staging folder, which
 * is the tool's working directory, and directories by descriptors that were opened before.
 * Access control lists are the attributes system.posix_acl_access and system.posix_acl_default.
 */
import type { LossCounter } from "./losses.ts";
import { runTool } from "./run-tool.ts";

export type Xattrs = ReadonlyMap<string, Uint8Array>;

export interface XattrTarget {
  /** Relative to the working directory, or absolute; ASCII without blanks and backslashes. */
  readonly name: string;
  readonly xattrs: Xattrs;
}

/** Bytes of values given to one run of the tool. */
const VALUE_BYTES_MAX = 4 << 20;

export class XattrSetter {
  readonly #losses: LossCounter;
  /** False once the tool turned out not to be installed. */
  #isInstalled = true;

  constructor(losses: LossCounter) {
    this.#losses = losses;
  }

  /**
   * Sets the attributes of all targets and counts those that could not be set. With `follow`, names
   * that are links are followed: only for links of /proc.
   */
  async set(
    targets: readonly XattrTarget[],
    options: { cwd: string; follow: boolean; descriptors?: readonly number[] },
  ): Promise<void> {
    let batch: XattrTarget[] = [];
    let bytes = 0;
    for (const target of targets) {
      batch.push(target);
      for (const value of target.xattrs.values()) bytes += value.length;
      if (bytes < VALUE_BYTES_MAX) continue;
      await this.#setBatch(batch, options);
      batch = [];
      bytes = 0;
    }
    if (batch.length > 0) await this.#setBatch(batch, options);
  }

  async #setBatch(
    targets: readonly XattrTarget[],
    { cwd, follow, descriptors }: { cwd: string; follow: boolean; descriptors?: readonly number[] },
  ): Promise<void> {
    const all = targets.reduce((sum, { xattrs }) => sum + xattrs.size, 0);
    if (!this.#isInstalled) {
      this.#losses.xattrs += all;
      return;
    }
    const input = Buffer.from(targets.map(restoreText).join(""), "latin1");
    const args = follow ? ["--restore=-"] : ["-h", "--restore=-"];
    const result = await runTool("setfattr", args, { cwd, input, descriptors });
    this.#isInstalled = result.isInstalled;
    // One line for each attribute that it could not set; it goes on after each.
    const failed = result.errors.split("\n").filter((line) => line.startsWith("setfattr: ")).length;
    const wasCut = result.status === undefined || (result.status !== 0 && failed === 0);
    this.#losses.xattrs += wasCut ? all : Math.min(all, failed);
  }
}

function restoreText({ name, xattrs }: XattrTarget): string {
  const lines = [`# file: ${name}`];
  for (const [attribute, value] of xattrs) {
    const text = value.length === 0 ? '""' : `0s${Buffer.from(value).toString("base64")}`;
    lines.push(`${escaped(attribute)}=${text}`);
  }
  return `${lines.join("\n")}\n\n`;
}

/** Everything but plain letters as the octal escapes that getfattr(1) writes. */
function escaped(attribute: string): string {
  const bytes = Buffer.from(attribute).toString("latin1");
  return bytes.replace(/[^A-Za-z0-9._-]/g, (byte) => {
    return `\\${byte.charCodeAt(0).toString(8).padStart(3, "0")}`;
  });
}
