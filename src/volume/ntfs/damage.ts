/**
 * How the parsers of this folder say what is wrong. A parser throws the bare fault ("its run 3
 * points beyond the volume"); whoever knows which object it was parsing says so around it.
 */
import { isReelError, ReelError } from "../../errors.ts";

/** A ReelError "damaged" that says only what is wrong. */
export function fault(message: string): ReelError {
  return new ReelError("damaged", message);
}

/** Puts "cannot read X: " before a fault; any other error stays as it is. */
export function naming(what: string, error: unknown): unknown {
  if (!isReelError(error, "damaged") && !isReelError(error, "unsupported")) return error;
  return new ReelError(error.code, `cannot read ${what}: ${error.message}`, { cause: error });
}

/**
 * A 64-bit field as a number. Throws "damaged" where it is beyond what any volume can hold; `what`
 * names the field.
 */
export function unsigned64(bytes: Buffer, offset: number, what: string): number {
  const value = bytes.readBigUInt64LE(offset);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw fault(`its ${what} is ${value}, more than any volume holds`);
  }
  return Number(value);
}
