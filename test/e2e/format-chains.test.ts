/**
 * Chains of incremental backups of real volumes that change between them: every generation is
 * what others read on the volume at that time, however it is looked at.
 */
import { expect } from "chai";
import { createHash } from "node:crypto";
import { appendFile, copyFile, link, mkdir, open, rename, rm } from "node:fs/promises";
import { readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { extCases, ntfsCase } from "../support/format-cases.ts";
import type { FormatCase } from "../support/format-cases.ts";
import { type FormatBench, useFormatBench } from "../support/format-bench.ts";
import { expectVolume, readKnownTree } from "../support/format-tree.ts";
import type { KnownNode, KnownTree } from "../support/format-tree.ts";
import { randomBytes, withRandom } from "../support/random.ts";
import type { SeededRandom } from "../support/seeded-random.ts";
import { skipUnless } from "../support/skip.ts";

const GENERATIONS = 3;
const CHANGES = 25;
const CHANGED_BYTES_MAX = 60_000;

interface Generation {
  readonly spec: string;
  readonly known: KnownTree;
  /** The file of the volume as it was. */
  readonly image: string;
}

describe("chains of backups of volumes that change", function () {
  this.timeout(240_000);
  const benchHere = useFormatBench();

  for (const each of [...extCases.slice(0, 1), ntfsCase]) {
    describe(each.name, () => {
      chainTests(each, benchHere);
    });
  }
});

function chainTests(format: FormatCase, benchOf: () => FormatBench): void {
  let bench: FormatBench;
  let tape = "";
  let seedNote = "";
  const generations: Generation[] = [];
  const newest = (): Generation => {
    const last = generations.at(-1);
    if (last === undefined) throw new Error("no generation was made");
    return last;
  };

  before(async function () {
    const trouble = format.trouble();
    skipUnless(this, trouble === undefined, trouble ?? "");
    bench = benchOf();
    await mkdir(bench.at("chain"));
    const image = bench.at("chain/volume.img");
    tape = bench.at("chain/daily.tap");
    await format.make(image);
    await withRandom(async (random) => {
      ({ seedNote } = random);
      for (let number = 1; number <= GENERATIONS; number++) {
        if (number > 1) {
          await format.change?.(image, async (root) => changeTree(random, root, number));
        }
        const parent = number === 1 ? [] : ["--parent", "auto"];
        const made = await bench.json<{ parent?: string }>("backup", ...parent, image, tape);
        expect(made.parent !== undefined, "is incremental").to.equal(number > 1);
        const copy = bench.at("chain", `${number}.img`);
        await copyFile(image, copy);
        generations.push({
          spec: `${tape}#${number}`,
          known: await format.view(copy),
          image: copy,
        });
      }
    });
  });
  afterEach(function () {
    const { err } = this.currentTest ?? {};
    if (err !== undefined) err.message += `\n(repeat with ${seedNote})`;
  });
  after(async () => {
    await rm(benchOf().at("chain"), { recursive: true, force: true });
  });

  it("verifies every generation, and mounts each as it was", async () => {
    for (const { spec, known } of generations) {
      const { sound } = await bench.json<{ sound: boolean }>("verify", spec);
      expect(sound, spec).to.equal(true);
      await bench.withMount([spec, "--read-only"], async (root) => {
        expectVolume(await readKnownTree(root), known);
      });
    }
  });

  it("restores every generation as a sound volume, with nothing that was not on it", async () => {
    for (const { spec, image, known } of generations) {
      const target = bench.at("chain/restored.img");
      await bench.succeed("restore-image", spec, target);
      expectVolume(await format.view(target), known);
      const [was, is] = [await readFile(image), await readFile(target)];
      expect(differingBlocks(is, was), `${spec} has what was never on the volume`).to.equal(0);
      await format.check(target, was.length);
      await rm(target);
    }
  });

  it("names what has changed from each generation to the next", async () => {
    for (const [index, later] of generations.slice(1).entries()) {
      const earlier = generations[index];
      if (earlier === undefined) continue;
      const found = await bench.json<{ change: string; path: string }[]>(
        "diff",
        earlier.spec,
        later.spec,
      );
      const lines = found.map(({ change, path }) => `${change} ${path}`);
      expect(lines.sort()).to.deep.equal(differences(earlier.known, later.known));
      expect(lines.length).to.be.above(CHANGES / 5);
    }
    const { spec, image } = newest();
    expect(await bench.json("diff", spec, image)).to.deep.equal([]);
  });

  it("consolidates the last into a full image that is the same without the others", async () => {
    const full = bench.at("chain/full.tap");
    await bench.succeed("consolidate", newest().spec, full);
    await rename(tape, `${tape}.away`);
    try {
      const { sound } = await bench.json<{ sound: boolean }>("verify", full);
      expect(sound).to.equal(true);
      const target = bench.at("chain/consolidated.img");
      await bench.succeed("restore-image", full, target);
      await rename(`${tape}.away`, tape);
      const direct = bench.at("chain/direct.img");
      await bench.succeed("restore-image", newest().spec, direct);
      expect(await hashOf(target)).to.equal(await hashOf(direct));
    } finally {
      await rename(`${tape}.away`, tape).catch(() => undefined);
    }
    await bench.withMount([full, "--read-only"], async (root) => {
      expectVolume(await readKnownTree(root), newest().known);
    });
    await rm(full);
  });

  it("shows all generations in one mount, by their times", async () => {
    await bench.withMount(["--history", tape], async (root) => {
      const moments = (await readdir(root)).sort();
      expect(moments.pop()).to.equal("latest");
      expect(moments).to.have.lengthOf(GENERATIONS);
      for (const [index, moment] of moments.entries()) {
        const { known = new Map<string, KnownNode>() } = generations[index] ?? {};
        expectVolume(await readKnownTree(join(root, moment)), known);
      }
      expectVolume(await readKnownTree(join(root, "latest")), newest().known);
    });
  });
}

/** Blocks of `is` that are neither zeros nor those of `was`. */
function differingBlocks(is: Buffer, was: Buffer): number {
  const zeros = Buffer.alloc(512);
  let count = 0;
  for (let at = 0; at < is.length; at += 512) {
    const part = is.subarray(at, at + 512);
    if (!part.equals(was.subarray(at, at + 512)) && !part.equals(zeros)) count++;
  }
  return count;
}

async function hashOf(path: string): Promise<string> {
  return createHash("sha256")
    .update(await readFile(path))
    .digest("hex");
}

/** What `reelfs diff` should say, by what others read on the volume before and after. */
function differences(before: KnownTree, after: KnownTree): string[] {
  const lines: string[] = [];
  const isFolder = (node: KnownNode): boolean => node.kind === "directory";
  const facts = (node: KnownNode): string => {
    const { kind, sizeBytes, modifiedMs, mode, owner } = node;
    const ofFile = isFolder(node) ? [] : [sizeBytes, modifiedMs];
    return JSON.stringify([kind, mode, owner, ...ofFile]);
  };
  for (const path of new Set([...before.keys(), ...after.keys()])) {
    const [a, b] = [before.get(path), after.get(path)];
    if (a === undefined) lines.push(`added ${path}`);
    else if (b === undefined) lines.push(`removed ${path}`);
    else if (isFolder(a) !== isFolder(b)) lines.push(`removed ${path}`, `added ${path}`);
    else if (facts(a) !== facts(b)) lines.push(`changed ${path}`);
  }
  return lines.sort();
}

/** Files made, written, cut, moved, linked and removed at random. */
async function changeTree(random: SeededRandom, root: string, number: number): Promise<void> {
  const top = join(root, `made for ${number}`);
  await mkdir(top);
  for (let change = 0; change < CHANGES; change++) {
    const files = await filesBelow(root);
    const pick = files[random.below(files.length)] ?? "";
    const data = randomBytes(random, random.below(CHANGED_BYTES_MAX));
    const fresh = join(top, `file ${change}`);
    switch (random.below(7)) {
      case 0:
        await appendFile(pick, data);
        break;
      case 1:
        await truncate(pick, random.below(20_000));
        break;
      case 2:
        await rename(pick, fresh);
        break;
      case 3:
        await rm(pick);
        break;
      case 4:
        await link(pick, fresh);
        break;
      case 5:
        await overwrite(pick, data, random.below(100_000));
        break;
      default:
        await writeFile(fresh, data);
    }
  }
}

async function overwrite(path: string, data: Uint8Array, offset: number): Promise<void> {
  const file = await open(path, "r+");
  try {
    await file.write(data, 0, data.length, offset);
  } finally {
    await file.close();
  }
}

async function filesBelow(root: string): Promise<string[]> {
  const found = await readdir(root, { recursive: true, withFileTypes: true });
  const files = found.filter((entry) => entry.isFile());
  return files.map((entry) => join(entry.parentPath, entry.name)).sort();
}
