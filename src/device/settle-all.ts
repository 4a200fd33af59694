/**
 * Waits for all of the work, also when some of it fails, and throws the first failure then: a buffer
 * that was lent to several reads must not be written to when its owner has it back. In a mount that
 * owner is the kernel, and the memory may be another file's answer by then.
 */
export async function settleAll(work: readonly Promise<unknown>[]): Promise<void> {
  for (const outcome of await Promise.allSettled(work)) {
    if (outcome.status === "rejected") throw outcome.reason;
  }
}
