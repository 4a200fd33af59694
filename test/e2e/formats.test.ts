/**
 * Every format from end to end: back up, mount, compare with what others read, restore chosen
 * files and all of them, restore the volume, and let the format's own checker look at it.
 */
import { expect } from "chai";
import { lchown, mkdir, readFile, rename, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { exfatCase, extCases, fatCase, makeDirtyExt } from "../support/format-cases.ts";
import { netwareCase, ntfsCase } from "../support/format-cases.ts";
import type { FormatCase } from "../support/format-cases.ts";
import { type FormatBench, NOBODY, useFormatBench } from "../support/format-bench.ts";
import { expectListing, expectTree, expectVolume, partOf } from "../support/format-tree.ts";
import { readKnownTree, settableByAnybody } from "../support/format-tree.ts";
import type { KnownTree } from "../support/format-tree.ts";
import { hasTool } from "../support/mountpoint.ts";
import { skipUnless } from "../support/skip.ts";

const MIB = 1024 * 1024;
const DEVICES = ["block", "character"];

interface ImageFacts {
  readonly header: {
    readonly volume: {
      readonly kind: string;
      readonly clustersUsed: number;
      readonly clusterSizeBytes: number;
    };
  };
}

describe("every format, from end to end", function () {
  this.timeout(240_000);
  const benchHere = useFormatBench();

  for (const each of [...extCases, ntfsCase, exfatCase(), netwareCase(), fatCase]) {
    describe(each.name, () => {
      formatTests(each, benchHere);
    });
  }

  it("shows an ext4 volume that was copied while mounted as its journal makes it", async function () {
    const [format] = extCases;
    const trouble = format?.trouble();
    skipUnless(this, trouble === undefined, trouble ?? "");
    if (format === undefined) return;
    const bench = benchHere();
    await mkdir(bench.at("dirty"));
    const [image, tape] = [bench.at("dirty/volume.img"), bench.at("dirty/volume.tap")];
    await makeDirtyExt(image);
    const known = await format.view(image);
    const made = await bench.run("backup", image, tape);
    expect(made.status, made.stderr).to.equal(0);
    expect(made.stderr).to.contain("journal");
    const out = bench.at("dirty/out");
    const { status, stderr } = await bench.run("restore", tape, "--to", out);
    expect(status, stderr).to.equal(0);
    expectTree(await readKnownTree(out), known, { without: ["directory"] });
    const target = bench.at("dirty/restored.img");
    await bench.run("restore-image", tape, target);
    expectVolume(await format.view(target), known);
    await bench.withMount(
      [tape, "--read-only"],
      async (root) => {
        expectVolume(await readKnownTree(root), known);
      },
      /journal was replayed/,
    );
  });
});

function formatTests(format: FormatCase, benchOf: () => FormatBench): void {
  let bench: FormatBench;
  let image = "";
  let tape = "";
  /** What somebody else reads on the volume. */
  let known: KnownTree;

  before(async function () {
    const trouble = format.trouble();
    skipUnless(this, trouble === undefined, trouble ?? "");
    bench = benchOf();
    await mkdir(bench.at("work"));
    image = bench.at("work/volume.img");
    tape = bench.at("work/volume.tap");
    await format.make(image);
    known = await format.view(image);
    await bench.succeed("backup", image, tape);
  });
  after(async () => {
    await rm(benchOf().at("work"), { recursive: true, force: true });
  });

  async function restored(name: string, ...args: string[]): Promise<KnownTree> {
    const out = bench.at("work", name);
    await bench.succeed("restore", "--to", out, ...args);
    return readKnownTree(out);
  }

  it("is known by its kind, its use and its names, and is sound", async () => {
    const { header } = await bench.json<ImageFacts>("info", `${tape}#1`);
    const { kind, clustersUsed, clusterSizeBytes } = header.volume;
    expect(kind).to.equal(format.kind);
    expect(clustersUsed * clusterSizeBytes).to.equal(format.usedBytes(image));
    expectListing(await bench.json("ls", "-R", tape), known);
    expectListing(await bench.json("ls", "-R", image), known);
    const { sound } = await bench.json<{ sound: boolean }>("verify", tape);
    expect(sound).to.equal(true);
  });

  it("shows in a mount what others show of it", async () => {
    await bench.withMount([tape, "--read-only"], async (root) => {
      expectVolume(await readKnownTree(root), known);
    });
  });

  it("shows it below an overlay, takes edits there, and gives what is tagged", async () => {
    const before = await readFile(tape);
    await bench.withMount([tape], async (root) => {
      expectVolume(await readKnownTree(root), known);
      const tagged = format.selection.map((path) => join(root, path));
      await bench.succeed("tag", ...tagged);
      await writeFile(join(root, "new"), "here for now");
      await rename(join(root, format.selection[0] ?? ""), join(root, "moved"));
      expectTree(await restored("tagged", "--tagged", root), partOf(known, format.selection), {
        without: ["directory", "links"],
      });
    });
    expect(before.equals(await readFile(tape)), "the tape is as it was").to.equal(true);
  });

  it("gives back everything to root", async () => {
    const found = await restored("all", tape);
    expectTree(found, known, { without: ["directory"] });
  });

  it("gives back a selection by path", async () => {
    const found = await restored("some", tape, ...format.selection);
    expectTree(found, partOf(known, format.selection), { without: ["directory", "links"] });
  });

  it("gives an ordinary user all that is his to have, and says what is not", async function () {
    skipUnless(this, hasTool("setpriv"), "setpriv is missing: install util-linux");
    const home = bench.at("work/home");
    await mkdir(home);
    await lchown(home, NOBODY, NOBODY);
    const { status, stderr } = await bench.runAsNobody("restore", tape, "--to", join(home, "out"));
    expect(status, stderr).to.equal(0);
    const found = await readKnownTree(join(home, "out"));
    expectTree(found, settableByAnybody(known), { without: ["directory"], kindsNot: DEVICES });
    expect([...found.values()].filter(({ owner }) => owner !== `${NOBODY}:${NOBODY}`)).to.be.empty;
    const devices = [...known.values()].filter(({ kind }) => DEVICES.includes(kind)).length;
    if (devices > 0) expect(stderr).to.contain(`${devices} devices`);
    if (!format.without.includes("owner")) expect(stderr).to.contain("only root gives files away");
  });

  it("comes back as a volume on something larger, sound to its checker", async () => {
    const target = bench.at("work/larger.img");
    await writeFile(target, "");
    await truncate(target, (await stat(image)).size + 3 * MIB);
    await bench.succeed("restore-image", "--verify", tape, target);
    await format.check(target, (await stat(image)).size);
    if (format.isBuilt !== true) expectVolume(await format.view(target), known);
    else {
      await bench.withMount([target, "--read-only"], async (root) => {
        expectVolume(await readKnownTree(root), known);
      });
    }
  });
}
