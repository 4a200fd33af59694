/** That a promise is rejected with a ReelError of one code. */
import { expect } from "chai";
import { ReelError } from "../../src/errors.ts";
import type { ErrorCode } from "../../src/errors.ts";

/** Resolves to the error, for looking at its message. */
export async function expectReelError(
  promise: Promise<unknown>,
  code: ErrorCode,
): Promise<ReelError> {
  let error: unknown;
  try {
    await promise;
  } catch (caught) {
    error = caught;
  }
  expect(error, `nothing was thrown where "${code}" should have been`).to.be.instanceOf(ReelError);
  const failure = error as ReelError;
  expect(failure.code, failure.message).to.equal(code);
  return failure;
}
