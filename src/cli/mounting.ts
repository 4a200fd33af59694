/**
 * What the commands that mount have in common: options, and the life of who serves. With
 * --foreground, and in a daemon, a command mounts and serves until it is unmounted; otherwise it is
 * run again as a daemon (background.ts).
 */
import type { Command } from "commander";
import { ReelError } from "../errors.ts";
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

/** What a mount tells of itself: as --json gives it. */
export interface MountingFacts {
  readonly mountpoint: string;
}

interface Mounted<Facts extends MountingFacts> {
  readonly served: Servable;
  readonly facts: Facts;
}

export interface Mounting<Facts extends MountingFacts> {
  /** As messages name the command: "loader mount". */
  readonly name: string;
  /** Mounts. What it opened it closes when it fails. */
  mount(warn: (message: string) => void): Promise<Mounted<Facts>>;
  show(facts: Facts): void;
}

/** Mounts, in the background unless --foreground was given; returns the exit status. */
export async function runMounting<Facts extends MountingFacts>(
  mounting: Mounting<Facts>,
  options: OptionValues,
  terminal: Terminal,
): Promise<number> {
  const { background } = terminal;
  const isServer = background?.parent !== undefined || flagOf(options, "foreground");
  if (!isServer && background !== undefined) return background.start();
  const warn = (message: string): void => {
    terminal.warn(`reelfs ${mounting.name}: ${message}`);
  };
  await serve(await mountNow(mounting, terminal, warn), mounting, { terminal, warn });
  return EXIT.done;
}

/** What a mount in a daemon failed for may stand in its log, where nobody would look for it. */
async function mountNow<Facts extends MountingFacts>(
  mounting: Mounting<Facts>,
  terminal: Terminal,
  warn: (message: string) => void,
): Promise<Mounted<Facts>> {
  try {
    return await mounting.mount(warn);
  } catch (error) {
    throw terminal.background?.parent?.explain(error) ?? error;
  }
}

async function serve<Facts extends MountingFacts>(
  { served, facts }: Mounted<Facts>,
  mounting: Mounting<Facts>,
  { terminal, warn }: { readonly terminal: Terminal; readonly warn: (message: string) => void },
): Promise<void> {
  const { serveUntilUnmounted } = await import("../fuse/daemon.ts");
  const { mountFiles, removeRecord } = await import("../fuse/registry.ts");
  const { signal, background } = terminal;
  try {
    const { log } = await mountFiles(facts.mountpoint);
    await serveUntilUnmounted(served, warn, () => {
      if (signal.aborted) throw new ReelError("aborted", "mounting was interrupted");
      mounting.show(facts);
      background?.parent?.ready(log);
    });
  } catch (error) {
    // Whoever asked for the mount is told that there is none.
    await served.unmount({ lazy: true });
    await served.finished;
    throw error;
  } finally {
    await removeRecord(facts.mountpoint);
  }
}
