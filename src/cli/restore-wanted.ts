/** What a restore is asked for, from its arguments and options: an image, and paths in it. */
import { createReadStream } from "node:fs";
import { realpath } from "node:fs/promises";
import { fromSystem, ReelError } from "../errors.ts";
import type { SelectionRequest } from "../tagrestore/select.ts";
import type { OptionValues } from "./command.ts";
import { flagOf, textOf } from "./option-values.ts";
import { formatSize } from "./sizes.ts";

const LIST_BYTES_MAX = 256 * 1024 * 1024;

export interface Wanted {
  readonly spec: string;
  /** What the image must be, where that is known. */
  readonly uuid?: string;
  readonly request: SelectionRequest;
}

type Arguments = readonly (string | readonly string[] | undefined)[];

/** Options that make no sense together, found before anything is opened. */
export function checkRestoreOptions(args: Arguments, options: OptionValues): void {
  const has = (name: string): boolean => textOf(options, name) !== undefined;
  const complain = (message: string): never => {
    throw new ReelError("invalid", message);
  };
  if (has("tagged") && (args[0] !== undefined || has("filesFrom"))) {
    complain("--tagged says which image and which files; name no others with it");
  }
  if (!has("tagged") && args[0] === undefined) complain("name the image to restore from");
  if (!has("to") && !flagOf(options, "plan")) complain("say where to restore to with --to DIR");
  if (has("drive") && !flagOf(options, "plan")) complain("--drive is for --plan");
  if (flagOf(options, "null") && !has("filesFrom")) complain("--null is for --files-from");
}

export async function whatIsWanted(args: Arguments, options: OptionValues): Promise<Wanted> {
  const mountpoint = textOf(options, "tagged");
  if (mountpoint !== undefined) return taggedIn(mountpoint);
  const spec = typeof args[0] === "string" ? args[0] : "";
  const patterns = typeof args[1] === "object" && args[1].length > 0 ? args[1] : undefined;
  const listPath = textOf(options, "filesFrom");
  const paths =
    listPath === undefined ? undefined : await readList(listPath, flagOf(options, "null"));
  return { spec, request: { patterns, paths } };
}

async function taggedIn(mountpoint: string): Promise<Wanted> {
  const { taggedPaths } = await import("../fuse/control.ts");
  const full = await realpath(mountpoint).catch((error: unknown) => {
    throw fromSystem(error, `cannot restore what is tagged in ${mountpoint}`);
  });
  const { image, paths } = await taggedPaths(full);
  if (image.uuid === "") {
    throw new ReelError(
      "unsupported",
      `cannot restore what is tagged in ${mountpoint}: it shows ${image.spec}, and not one image of ` +
        `a backup; mount that (reelfs mount TAPE#N) and tag files there, or copy them from ${mountpoint}`,
    );
  }
  if (paths.length === 0) {
    throw new ReelError(
      "not-found",
      `nothing is tagged in ${mountpoint}; tag files there with "reelfs tag" first`,
    );
  }
  return { spec: image.spec, uuid: image.uuid, request: { paths } };
}

/** "photos.tap" names its last image, which may be another by now. */
export function checkUuid(name: string, uuid: string, wanted: string | undefined): void {
  if (wanted === undefined || wanted === uuid) return;
  throw new ReelError(
    "not-found",
    `${name} is not the image that is mounted: the tape was changed since; mount it again`,
  );
}

async function readList(listPath: string, nulls: boolean): Promise<string[]> {
  const chunks: Buffer[] = [];
  let lengthBytes = 0;
  try {
    // In pieces: it may be a pipe or a device that never ends.
    for await (const chunk of createReadStream(listPath === "-" ? "/dev/stdin" : listPath)) {
      lengthBytes += (chunk as Buffer).length;
      if (lengthBytes > LIST_BYTES_MAX) {
        throw new ReelError("invalid", `${listPath}: longer than ${formatSize(LIST_BYTES_MAX)}`);
      }
      chunks.push(chunk as Buffer);
    }
  } catch (error) {
    throw fromSystem(error, `cannot read the list of files ${listPath}`);
  }
  const paths = Buffer.concat(chunks, lengthBytes)
    .toString("utf8")
    .split(nulls ? "\0" : /\r?\n/);
  const named = paths.filter((path) => path !== "");
  if (named.length === 0) throw new ReelError("invalid", `${listPath} names no files`);
  return named;
}
