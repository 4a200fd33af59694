/** The command. What is installed starts it by joined-main.ts. */
import { asksForDaemon } from "./daemon-answer.ts";

void main(process.argv.slice(2));

/** What starts a daemon only loads what it needs for that (background.ts). */
async function main(args: readonly string[]): Promise<void> {
  if (asksForDaemon(args)) {
    const { runInBackground } = await import("./background.ts");
    process.exit(await runInBackground(args));
  }
  const { runAsProcess } = await import("./process.ts");
  await runAsProcess();
}
