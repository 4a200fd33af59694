/** Writes docs/man: one page per command, and the overview. `npm run man` */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { COMMANDS } from "../src/cli/commands/index.ts";
import { manPages } from "../src/cli/man.ts";

const folder = new URL("../docs/man/", import.meta.url);
const pages = manPages(COMMANDS);
mkdirSync(folder, { recursive: true });
for (const name of readdirSync(folder)) {
  if (name.endsWith(".1") && !pages.has(name)) rmSync(new URL(name, folder));
}
for (const [name, text] of pages) writeFileSync(new URL(name, folder), text);
