/**
 * What a daemon and the command that started it know of one another: how the one is told that it is
 * a daemon, and the one answer that the other waits for.
 */

/** The daemon's first argument, before those of the command: where its output goes meanwhile. */
export const DAEMON_WORD = "--daemon-log=";

/** Descriptor of the daemon that leads to the command. */
export const ANSWER_DESCRIPTOR = 3;

/** One line of JSON. */
export interface Answer {
  /** Does it serve, and will go on alone? If not, it ends now. */
  readonly serving: boolean;
  /** Of the command. */
  readonly status: number;
  /** What the command is to print, as text that is safe for a terminal. */
  readonly stdout: string;
  readonly stderr: string;
}

const LOG_TAIL_CHARACTERS = 400;

/** The end of a log, as one line: what libfuse or Node left there, only they know why they failed. */
export function tailOf(log: string): string {
  return log.trim().slice(-LOG_TAIL_CHARACTERS).replaceAll("\n", "; ");
}

const GROUP = "loader";
const MOUNTING: readonly string[] = ["mount", "expose", "track", `${GROUP} mount`];

/** Words of the command that a line names: `mount`, `loader mount`. */
function commandIn(args: readonly string[]): string {
  return args.slice(0, args[0] === GROUP ? 2 : 1).join(" ");
}

/**
 * Is it clear from the words alone that a daemon is to be started? Where it is not, as with a value
 * that looks like --foreground, the command line is parsed first.
 */
export function asksForDaemon(args: readonly string[]): boolean {
  return MOUNTING.includes(commandIn(args)) && !args.some(mayStayHere);
}

/** --foreground, --help, and what of single letters may hold -f or -h. */
function mayStayHere(word: string): boolean {
  return word === "--foreground" || word === "--help" || /^-[^-]*[fh]/.test(word);
}

/** As messages name it: `reelfs loader mount`. */
export function nameOf(args: readonly string[]): string {
  return `reelfs ${commandIn(args)}`;
}
