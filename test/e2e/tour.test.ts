/**
 * docs/tour.md, typed again: each command runs for real in a fresh folder, one after another, and
 * says what the page says it says. How the two are compared is told at the end of the page.
 * REELFS_TOUR=write puts what was said in the place of what the page had.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { compileScript } from "../support/compiled-script.ts";
import { hasTool, makePlace, requireFuse, runTool, type Place } from "../support/mountpoint.ts";
import { skipUnless } from "../support/skip.ts";
import { REMOVAL } from "../support/temp.ts";

const ROOT = join(import.meta.dirname, "../..");
const PAGE = join(ROOT, "docs/tour.md");
const SCRIPT = join(import.meta.dirname, "expose-cli.ts");
const HOME_SHOWN = "/home/anna";
const PROMPT = "$ ";
const FENCE_BEGIN = "```console";
const FENCE_END = "```";

/** What differs from run to run, and what stands for it; applied in this order. */
const VARYING: readonly (readonly [what: RegExp, shown: string])[] = [
  [/\d{4}-\d\d-\d\d[ T]\d\d[:-]\d\d([:-]\d\d)?/g, "DATE"],
  [/[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}/g, "UUID"],
  [/\b[\d.,]+ ([KMGT]iB|B|bytes)\/s/g, "RATE"],
  [/\b[\d.,]+ ([KMGT]iB|B|bytes)\b/g, "SIZE"],
  [/\b\d+(\.\d+)? (ms|s|min)\b/g, "TIME"],
  [/\d+%/g, "PERCENT"],
  [/(serving +)\d+/g, "$1PID"],
  [/\d+\.\d+\.\d+/g, "VERSION"],
  [/ +/g, " "],
  [/ +$/gm, ""],
];

interface Step {
  readonly command: string;
  /** Lines of the page: that of the command, and those of what it says. */
  readonly line: number;
  readonly said: string;
}

/** The steps of the page, in order. A step's text ends at the next prompt or the end of its block. */
function stepsOf(page: string): Step[] {
  const steps: { command: string; line: number; said: string[] }[] = [];
  let inBlock = false;
  for (const [line, text] of page.split("\n").entries()) {
    if (text === FENCE_BEGIN) inBlock = true;
    else if (text === FENCE_END) inBlock = false;
    else if (inBlock && text.startsWith(PROMPT)) {
      steps.push({ command: text.slice(PROMPT.length), line, said: [] });
    } else if (inBlock) steps.at(-1)?.said.push(text);
  }
  return steps.map(({ said, ...step }) => ({ ...step, said: said.join("\n") }));
}

function comparable(said: string): string {
  return VARYING.reduce((text, [what, shown]) => text.replace(what, shown), said);
}

/** The page with what was said instead of what it had, where the two differ. */
function rewritten(page: string, steps: readonly Step[], said: readonly string[]): string {
  const lines = page.split("\n");
  for (let index = steps.length - 1; index >= 0; index--) {
    const step = steps[index];
    const now = said[index];
    if (step === undefined || now === undefined) continue;
    if (comparable(step.said) === comparable(now)) continue;
    const before = step.said === "" ? 0 : step.said.split("\n").length;
    lines.splice(step.line + 1, before, ...(now === "" ? [] : now.split("\n")));
  }
  return lines.join("\n");
}

describe("docs/tour.md", function () {
  this.timeout(600_000);
  let place: Place;
  let home = "";
  let env: Record<string, string> = {};

  before(async function () {
    requireFuse(this);
    for (const [tool, debianPackage] of [
      ["bash", "bash"],
      ["mcopy", "mtools"],
      ["mkfs.fat", "dosfstools"],
    ] as const) {
      skipUnless(this, hasTool(tool), `${tool} (${debianPackage}) is not installed`);
    }
    place = await makePlace();
    home = join(place.folder, "anna");
    const [bin, compiled] = [join(place.folder, "bin"), join(place.folder, "js")];
    for (const each of [home, bin, compiled]) await mkdir(each);
    const script = await compileScript(SCRIPT, compiled);
    // It tells its version.
    await copyFile(join(ROOT, "package.json"), join(compiled, "package.json"));
    const program = join(bin, "reelfs");
    await writeFile(program, `#!/bin/sh\nexec "${process.execPath}" "${script}" "$@"\n`);
    await chmod(program, 0o755);
    const settings = { HOME: home, LC_ALL: "C.UTF-8", TZ: "UTC", MTOOLS_SKIP_CHECK: "1" };
    const path = `${bin}:${process.env["PATH"] ?? ""}`;
    env = { ...place.env, ...settings, PATH: path, TMPDIR: tmpdir(), COLUMNS: "80" };
  });

  after(async () => {
    if (home === "") return;
    for (const line of (await readFile("/proc/self/mounts", "utf8")).split("\n")) {
      const mountpoint = line.split(" ")[1] ?? "";
      if (mountpoint.startsWith(`${home}/`)) await runTool("fusermount3", ["-uz", mountpoint]);
    }
    const mounts = await readFile("/proc/self/mounts", "utf8");
    // Never through a mount that did not go away.
    if (!mounts.includes(` ${home}/`)) await rm(home, REMOVAL);
    await place.remove();
  });

  /** What a command says on both streams, as a terminal shows them together. */
  async function typed(command: string): Promise<string> {
    const child = spawn("bash", ["-c", `exec 2>&1\n${command}`], {
      cwd: home,
      env,
      stdio: ["ignore", "pipe", "inherit"],
    });
    let said = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (said += text));
    await once(child, "close");
    return said.replaceAll(home, HOME_SHOWN).replace(/\n$/, "");
  }

  it("says what it says when it is typed again", async () => {
    const page = await readFile(PAGE, "utf8");
    const steps = stepsOf(page);
    expect(steps).to.have.length.greaterThan(50);
    const said: string[] = [];
    for (const { command } of steps) said.push(await typed(command));
    if (process.env["REELFS_TOUR"] === "write") {
      await writeFile(PAGE, rewritten(page, steps, said));
      return;
    }
    const session = (saidOf: (step: Step, index: number) => string): string =>
      steps
        .map((step, index) => `line ${step.line + 1}: ${step.command}\n${saidOf(step, index)}`)
        .join("\n");
    expect(session((_, index) => comparable(said[index] ?? ""))).to.equal(
      session((step) => comparable(step.said)),
    );
  });
});
