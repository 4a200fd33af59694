import { expect } from "chai";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { openSimhTape } from "../../src/tape/simh-tape.ts";
import { importVirtualTapes } from "../../src/vtl/import-export.ts";
import { compileScript } from "../support/compiled-script.ts";
import { patternBytes } from "../support/pattern.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { makeLoader, type LoaderInFolder } from "./loader-fixture.ts";

const ROUNDS = Number(process.env["REELFS_ROUNDS"] ?? 20);
const RECORD_BYTES = 3000;
/** Of a round, from when the process works. */
const LIFE_MS_MAX = 60;

/** Runs the robot until it is killed; returns what it said. */
async function runAndKill(
  script: string,
  made: LoaderInFolder,
  seed: number,
  lifeMs: number,
): Promise<string[]> {
  const outside = join(made.folder, "outside");
  const child = spawn(process.execPath, [script, made.path, outside], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, REELFS_SEED: String(seed) },
  });
  const exited = once(child, "exit");
  const lines: string[] = [];
  for await (const line of createInterface(child.stdout)) {
    if (line === "ready") setTimeout(() => child.kill("SIGKILL"), lifeMs);
    else lines.push(line);
  }
  const [code] = (await exited) as [number | null];
  expect(code, `the process of REELFS_SEED=${seed} ended by itself`).to.equal(null);
  return lines;
}

describe("a loader whose process is killed", () => {
  it("has every tape in one place, and every acknowledged filemark", async function () {
    this.timeout(120_000);
    const random = seededRandom();
    const made = await makeLoader({ slots: 6, drives: 2, importExport: 1, tapes: 4 });
    const outside = join(made.folder, "outside");
    await mkdir(outside);
    const compiled = join(made.folder, "compiled");
    await mkdir(compiled);
    const source = fileURLToPath(new URL("robot-process.ts", import.meta.url));
    const script = await compileScript(source, compiled);
    const marks = new Map<string, number>();
    try {
      for (let round = 0; round < ROUNDS; round++) {
        const note = `round ${round}, ${random.seedNote}`;
        const seed = 1 + random.below(2 ** 30);
        const lines = await runAndKill(script, made, seed, random.below(LIFE_MS_MAX));
        const deleted = noteMarks(lines, marks);
        await using loader = await made.open();
        // What an export had finished is taken in again, as a person would.
        for (const name of await readdir(outside)) {
          if (!name.endsWith(".tap")) continue;
          // It may have come from the import/export element, with every slot full.
          const elements = await loader.elements();
          const element = elements.find(({ kind, tape }) => kind !== "drive" && tape === undefined);
          await importVirtualTapes(loader, [join(outside, name)], { element });
        }
        await expectAgreement(loader.folder.tapesPath, await barcodesOf(loader), note);
        await expectMarks(loader.folder.tapesPath, marks, deleted, note);
      }
    } finally {
      await made.remove();
    }
  });
});

/** Remembers acknowledged filemarks; returns the tape that may or may not be deleted. */
function noteMarks(lines: readonly string[], marks: Map<string, number>): string | undefined {
  let deleting: string | undefined;
  for (const line of lines) {
    const [what, barcode = "", objects] = line.split(" ");
    deleting = what === "deleting" ? barcode : undefined;
    if (what === "mark") marks.set(barcode, Number(objects));
    // One that was refused shows when the tape is looked for.
    if (what === "deleting") marks.delete(barcode);
  }
  return deleting;
}

async function barcodesOf(loader: {
  elements(): Promise<readonly { readonly tape?: { readonly barcode: string } | undefined }[]>;
}): Promise<string[]> {
  return (await loader.elements()).flatMap(({ tape }) => tape?.barcode ?? []).sort();
}

async function expectAgreement(
  tapesPath: string,
  barcodes: readonly string[],
  note: string,
): Promise<void> {
  expect(new Set(barcodes).size, note).to.equal(barcodes.length);
  const files = (await readdir(tapesPath)).filter((name) => name.endsWith(".tap"));
  expect(files.sort(), note).to.deep.equal(barcodes.map((barcode) => `${barcode}.tap`));
}

async function expectMarks(
  tapesPath: string,
  marks: ReadonlyMap<string, number>,
  deleted: string | undefined,
  note: string,
): Promise<void> {
  const target = new Uint8Array(RECORD_BYTES);
  for (const [barcode, objects] of marks) {
    if (barcode === deleted) continue;
    await using tape = await openSimhTape(join(tapesPath, `${barcode}.tap`), { mode: "read" });
    for (let object = 0; object < objects; object++) {
      const read = await tape.read(target);
      const what = `${note}: ${barcode} object ${object}`;
      expect(read.kind, what).to.equal(object % 3 === 2 ? "filemark" : "record");
      if (read.kind !== "record") continue;
      expect(Buffer.compare(target, patternBytes(RECORD_BYTES, object)), what).to.equal(0);
    }
  }
}
