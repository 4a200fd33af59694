/**
 * Joins the modules of the command into few files, which is what `reelfs` starts: Node takes half a
 * millisecond and more to find, read and link a module, and a command needs some hundred of them.
 * What only some commands need stays in files of its own (their `await import`s). Packages are left
 * where npm installed them.
 *
 *     scripts/bundle.ts [FOLDER]      dist/command by default
 *
 * FOLDER must lie two below package.json, as src/cli does.
 *
 *     main.js        what is started: loads the others
 *     command.js     the command, and what all commands need
 *     part-….js      what some of them need
 *     parts.code     what V8 of this Node makes of all these (src/cli/part-code.ts)
 *     …-worker.js    what threads start with
 *
 * The parts are CommonJS: modules of ECMAScript are loaded by asynchronous steps, each of which takes
 * longer than to load a part, and V8's code cannot be kept for them.
 */
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { setFlagsFromString } from "node:v8";
import { build, type BuildOptions } from "esbuild";
import { CODE_FILE, packCode, scriptOf } from "../src/cli/part-code.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

const MAIN = { main: "src/cli/joined-main.ts" };
const COMMAND = { command: "src/cli/main.ts" };
/** The files that threads start with: they are looked for beside the parts. */
const WORKER_ENDING = "-worker.ts";

const COMMON: BuildOptions = {
  absWorkingDir: ROOT,
  platform: "node",
  target: "node20.19",
  charset: "ascii",
  minifySyntax: true,
  logLevel: "warning",
};
const AS_COMMONJS: BuildOptions = {
  format: "cjs",
  supported: { "dynamic-import": false },
  define: { "import.meta.url": "moduleUrl" },
  // Modules are strict without a word.
  banner: { js: '"use strict";' },
  // Of import.meta there is no more; what asks for it does so where TypeScript is run as it is.
  logOverride: { "empty-import-meta": "silent" },
};
const MODULE_URL = 'const moduleUrl = require("node:url").pathToFileURL(__filename).href;';

await bundleCommand(resolve(ROOT, process.argv[2] ?? "dist/command"));

async function bundleCommand(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true });
  await build({
    ...COMMON,
    entryPoints: { ...COMMAND, ...(await workers()) },
    outdir: folder,
    chunkNames: "part-[hash]",
    bundle: true,
    packages: "external",
    splitting: true,
    format: "esm",
  });
  const names = await readdir(folder);
  const entryPoints = names.map((name) => join(folder, name));
  const asCommonJs = { ...COMMON, ...AS_COMMONJS, outdir: folder };
  await build({ ...asCommonJs, entryPoints, allowOverwrite: true });
  await build({ ...asCommonJs, entryPoints: MAIN, bundle: true });
  for (const name of [...names, "main.js"]) await giveUrl(join(folder, name));
  await writeFile(join(folder, "package.json"), '{ "type": "commonjs" }\n');
  await writeFile(join(folder, CODE_FILE), packCode(await codeOf(folder, names)));
}

async function workers(): Promise<Record<string, string>> {
  const files = (await readdir(join(ROOT, "src"), { recursive: true })).filter((path) =>
    path.endsWith(WORKER_ENDING),
  );
  return Object.fromEntries(files.map((path) => [basename(path, ".ts"), join("src", path)]));
}

/** What was import.meta.url. "use strict" must stay the first that is said. */
async function giveUrl(path: string): Promise<void> {
  const source = await readFile(path, "utf8");
  if (!source.includes("moduleUrl")) return;
  await writeFile(path, source.replace('"use strict";', `"use strict"; ${MODULE_URL}`));
}

/** All functions, not only those that run when a part is loaded. */
async function codeOf(folder: string, names: readonly string[]): Promise<Map<string, Buffer>> {
  const code = new Map<string, Buffer>();
  setFlagsFromString("--no-lazy");
  const scripts = new Map<string, ReturnType<typeof scriptOf>>();
  for (const name of names) {
    const path = join(folder, name);
    scripts.set(name, scriptOf(await readFile(path, "latin1"), path));
  }
  // V8 notes with the code which options there are now.
  setFlagsFromString("--lazy");
  for (const [name, script] of scripts) code.set(name, script.createCachedData());
  return code;
}
