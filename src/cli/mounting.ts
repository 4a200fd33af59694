/**
 * What the commands that mount have in common: options, and the life of their daemon. Without
 * --foreground a command starts itself again with it, in the background, and shows what that
 * process reports; with it, it mounts, reports, and serves until it is unmounted.
 */
import type { Command } from "commander";
import type { Servable } from "../fuse/daemon.ts";
import { EXIT, type OptionValues, type Terminal } from "./command.ts";
import { flagOf, parseWhole } from "./option-values.ts";
import { parseSize } from "./sizes.ts";

const ID_MAX = 2 ** 32 - 2;

/** Overlay of a mount or an exposed volume that was not given --overlay-size. */
export const OVERLAY_BYTES_DEFAULT = 1024 ** 3;

export function addForegroundOption(command: Command): void {
  command.option("-f, --foreground", "serve in this process, until it is interrupted or unmounted");
}

/** `what`: whose owner and group they are. */
export function addOwnerOptions(command: Command, what: string): void {
  command
    .option("--uid <number>", `owner of ${what} (default: you)`, (text: string) =>
      parseWhole(text, "--uid", 0, ID_MAX),
    )
    .option("--gid <number>", `group of ${what} (default: yours)`, (text: string) =>
      parseWhole(text, "--gid", 0, ID_MAX),
    );
}

export function addOverlayOption(command: Command): void {
  command.option("--overlay-size <size>", "room for changes (default: 1G)", (text: string) =>
    parseSize(text, "--overlay-size"),
  );
}

/** `what` is kept in it; `size`: how large it is by default. */
export function addCacheOption(command: Command, what: string, size: string): void {
  command.option("--cache-size <size>", `memory for ${what} (default: ${size})`, (text: string) =>
    parseSize(text, "--cache-size"),
  );
}

/** A warning for each operation that failed for a reason of ours, not of the caller's. */
export function errorsTo(warn: (message: string) => void) {
  return (operation: string, error: unknown): void => {
    warn(`${operation}: ${error instanceof Error ? error.message : String(error)}`);
  };
}

/** What a mount tells of itself: as --json gives it and the daemon reports it. */
export interface MountingFacts {
  readonly mountpoint: string;
}

export interface Mounting<Facts extends MountingFacts> {
  /** Words of the command: `["loader", "mount"]`. */
  readonly command: readonly string[];
  /** Its arguments, the mount point last. */
  readonly args: readonly string[];
  /** Options of the command, by camel-cased name, that its daemon is given again. */
  readonly passedOn: readonly string[];
  /** How values are written that are not as they were typed. */
  readonly written?: Readonly<Record<string, (value: number) => string>>;
  /** Mounts. What it opened it closes when it fails. */
  mount(warn: (message: string) => void): Promise<{ served: Servable; facts: Facts }>;
  show(facts: Facts): void;
}

/** Mounts, in the background unless --foreground was given; returns the exit status. */
export async function runMounting<Facts extends MountingFacts>(
  mounting: Mounting<Facts>,
  options: OptionValues,
  terminal: Terminal,
): Promise<number> {
  if (flagOf(options, "foreground")) await serve(mounting, terminal);
  else await startDaemon(mounting, options, terminal);
  return EXIT.done;
}

async function startDaemon<Facts extends MountingFacts>(
  mounting: Mounting<Facts>,
  options: OptionValues,
  terminal: Terminal,
): Promise<void> {
  const { startInBackground } = await import("../fuse/daemon.ts");
  const { mountFiles } = await import("../fuse/registry.ts");
  const { mountpointOf } = await import("../fuse/mountinfo.ts");
  const { command, args } = mounting;
  const { log } = await mountFiles(await mountpointOf(args.at(-1) ?? ""));
  const chosen = [...optionWords(mounting, options), "--", ...args];
  const { facts } = await startInBackground({
    args: [...command, "--foreground", "--quiet", ...chosen],
    log,
    signal: terminal.signal,
  });
  // The child is this program: what it reports is what its `mount` returned.
  mounting.show(facts as unknown as Facts);
}

async function serve<Facts extends MountingFacts>(
  mounting: Mounting<Facts>,
  terminal: Terminal,
): Promise<void> {
  const { reportFailure, reportReady, serveUntilUnmounted } = await import("../fuse/daemon.ts");
  const { removeRecord } = await import("../fuse/registry.ts");
  const warn = (message: string): void => {
    terminal.warn(`reelfs ${mounting.command.join(" ")}: ${message}`);
  };
  let mounted: Awaited<ReturnType<typeof mounting.mount>>;
  try {
    mounted = await mounting.mount(warn);
  } catch (error) {
    await reportFailure(error);
    throw error;
  }
  await reportReady(mounted.facts);
  mounting.show(mounted.facts);
  await serveUntilUnmounted(mounted.served, warn);
  await removeRecord(mounted.facts.mountpoint);
}

/** The options again, as words of a command line. */
function optionWords<Facts extends MountingFacts>(
  { passedOn, written }: Mounting<Facts>,
  options: OptionValues,
): string[] {
  return passedOn.flatMap((name) => {
    const option = `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    const value = options[name];
    if (value === true) return [option];
    const values: readonly unknown[] = Array.isArray(value) ? value : [value];
    return values.flatMap((each) => {
      if (typeof each === "number") return [`${option}=${written?.[name]?.(each) ?? each}`];
      return typeof each === "string" ? [`${option}=${each}`] : [];
    });
  });
}
