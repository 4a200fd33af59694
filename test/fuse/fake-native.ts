/** The addon's signals, recorded instead of sent: for tests of who answers what, how often. */
import {
  type Binding,
  OPERATIONS,
  type OperationName,
  type Signals,
} from "../../src/fuse/binding.ts";

export interface Signalled {
  readonly name: OperationName;
  readonly result: number;
  readonly rest: readonly unknown[];
}

export function fakeBinding(): { binding: Binding; signalled: Signalled[] } {
  const signalled: Signalled[] = [];
  const signals = Object.fromEntries(
    OPERATIONS.map((name) => [
      name,
      (_: Buffer, result: number, ...rest: unknown[]) => {
        // The addon reuses its words: keep what they were.
        signalled.push({
          name,
          result,
          rest: rest.map((each) => (each instanceof Uint32Array ? each.slice() : each)),
        });
      },
    ]),
  );
  const numbers = Object.fromEntries(OPERATIONS.map((name, index) => [name, index]));
  const binding: Binding = {
    signals: signals as unknown as Signals,
    numbers: numbers as Record<OperationName, number>,
    mount: () => {
      throw new Error("nothing is mounted here");
    },
  };
  return { binding, signalled };
}

/** A call as the addon passes it, with its two times where utimens has them. */
export function fakeCall(accessedMs = 0, modifiedMs = 0): Buffer {
  const call = Buffer.alloc(200);
  call.writeBigInt64LE(BigInt(accessedMs), 104);
  call.writeBigInt64LE(BigInt(modifiedMs), 112);
  return call;
}
