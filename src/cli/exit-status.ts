/** The one table from what went wrong to the status a shell sees. */
import { type ErrorCode, ReelError } from "../errors.ts";
import { EXIT } from "./command.ts";

/** Codes that are not simply "failed". */
const STATUS_OF_CODE: Partial<Record<ErrorCode, number>> = {
  damaged: EXIT.damaged,
  invalid: EXIT.usage,
  aborted: EXIT.interrupted,
};

/** What the statuses mean, in the words of help and man pages. */
export const EXIT_MEANINGS: readonly (readonly [status: number, meaning: string])[] = [
  [EXIT.done, "Done."],
  [EXIT.failed, "It could not be done; the message on standard error says why."],
  [EXIT.usage, "The command line makes no sense; nothing was done."],
  [EXIT.damaged, "Data is damaged; what is sound was still done, where the command says so."],
  [EXIT.interrupted, "Interrupted (Ctrl-C or SIGTERM), after cleaning up."],
];

/** Of several errors (an AggregateError) the first that says more than "failed" counts. */
export function exitStatusOf(error: unknown): number {
  if (error instanceof AggregateError) {
    const statuses = error.errors.map((each: unknown) => exitStatusOf(each));
    return statuses.find((status) => status !== EXIT.failed) ?? EXIT.failed;
  }
  if (isAbortError(error)) return EXIT.interrupted;
  return error instanceof ReelError ? (STATUS_OF_CODE[error.code] ?? EXIT.failed) : EXIT.failed;
}

/** What Node's own calls throw when their AbortSignal fires. */
export function isAbortError(error: unknown): boolean {
  return error instanceof Error && error.name === "AbortError";
}
