/** Skips that say why: the reason is in the test's title, so that every report shows it. */
export function skipUnless(context: Mocha.Context, condition: boolean, reason: string): void {
  if (condition) return;
  if (context.test !== undefined) context.test.title += ` (skipped: ${reason})`;
  context.skip();
}
