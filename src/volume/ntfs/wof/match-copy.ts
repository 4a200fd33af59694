/** What the two decoders share: copying from what was already decoded, and saying what is wrong. */
import { ReelError } from "../../../errors.ts";

/** Copies `length` bytes from `offset` bytes back; where they overlap, what was copied repeats. */
export function copyMatch(target: Uint8Array, at: number, offset: number, length: number): void {
  const end = at + length;
  if (offset === 1) {
    target.fill(target[at - 1] ?? 0, at, end);
    return;
  }
  for (let to = at; to < end; to++) target[to] = target[to - offset] ?? 0;
}

/** Why a match cannot be copied, if it cannot. */
export function faultOfMatch(
  target: Uint8Array,
  at: number,
  offset: number,
  length: number,
): string | undefined {
  if (offset > at) return `a match ${offset} bytes back, from byte ${at}`;
  if (length > target.length - at) {
    return `a match of ${length} bytes, and ${target.length - at} are to come`;
  }
  return undefined;
}

export function damagedData(kind: string, fault: string): ReelError {
  return new ReelError("damaged", `cannot decode ${kind} data: it has ${fault}`);
}
