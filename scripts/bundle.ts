/**
 * Joins the modules of the command into few files, which is what `reelfs` starts: Node takes half a
 * millisecond and more to find, read and link a module, and a command needs some hundred of them.
 * What only some commands need stays in files of its own (their `await import`s). Packages are left
 * where npm installed them.
 *
 *     scripts/bundle.ts [FOLDER]      dist/command by default
 *
 * FOLDER must lie two below package.json, as src/cli does.
 */
import { rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** The second is the file that threads start with; it is looked for beside the first. */
const ENTRIES = ["src/cli/main.ts", "src/tapeimage/codec-worker.ts"];

await bundleCommand(process.argv[2] ?? "dist/command");

async function bundleCommand(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true });
  await build({
    absWorkingDir: ROOT,
    entryPoints: ENTRIES,
    outdir: folder,
    entryNames: "[name]",
    chunkNames: "part-[hash]",
    bundle: true,
    splitting: true,
    packages: "external",
    platform: "node",
    format: "esm",
    target: "node20.19",
    minifySyntax: true,
    logLevel: "warning",
  });
}
