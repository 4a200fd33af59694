/** The version of this package, as package.json has it. */
import { readFileSync } from "node:fs";

export function packageVersion(): string {
  // The same two steps up from src/cli and from dist/command.
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  const { version } = JSON.parse(text) as { version: string };
  return version;
}
