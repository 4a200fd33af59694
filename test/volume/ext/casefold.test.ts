import { expect } from "chai";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openFileDevice } from "../../../src/device/file-device.ts";
import { VolumeTree } from "../../../src/tree/volume-tree.ts";
import { PROJECT_XATTR } from "../../../src/volume/ext/attributes.ts";
import { foldCase } from "../../../src/volume/ext/case-fold.ts";
import { extFormat } from "../../../src/volume/ext/ext-format.ts";
import {
  debugfs,
  hasExtTools,
  makeExtImage,
  NO_EXT_TOOLS,
  runTool,
} from "../../support/ext-tools.ts";
import { skipUnless } from "../../support/skip.ts";
import { withTempFolder } from "../../support/temp.ts";

const MIB = 1024 * 1024;
const NAMES = ["Straße.TXT", "ΟΔΥΣΣΕΥΣ", "Ärger.txt", "README"];

describe("names in either case on ext4", () => {
  it("are the same where Unicode folds them to the same", () => {
    for (const [one, other] of [
      ["README.txt", "ReadMe.TXT"],
      ["Straße", "STRASSE"],
      ["Straße", "STRAẞE"],
      ["ὈΔΥΣΣΕΎΣ", "ὀδυσσεύς"],
      // Composed and decomposed; with a soft hyphen that is not seen.
      ["Ärger", "a\u0308RGER"],
      ["co\u00adop", "COOP"],
      ["\u212bngstr\u00f6m", "ÅNGSTRÖM"],
      ["\ufb03", "FFI"],
      ["\u0130stanbul", "i\u0307STANBUL"],
      ["\u017ftrange", "STRANGE"],
    ] as const) {
      expect(foldCase(one), one).to.equal(foldCase(other));
    }
    for (const [one, other] of [
      ["kız", "kiz"],
      ["Ärger", "Arger"],
      ["a", "b"],
    ] as const) {
      expect(foldCase(one), one).not.to.equal(foldCase(other));
    }
  });

  it("fold every letter as a case-insensitive pattern does", () => {
    // The simple case folding of regular expressions, which is Unicode's own.
    const letters = Array.from({ length: 0x1e944 }, (_, code) =>
      code >= 0xd800 && code < 0xe000 ? "" : String.fromCodePoint(code),
    ).filter((letter) => /^\p{Changes_When_Casefolded}$/u.test(letter));
    expect(letters.length).to.be.above(1000);
    for (const letter of letters) {
      for (const other of [letter.toLowerCase(), letter.toUpperCase()]) {
        const isSame = new RegExp(`^${letter}$`, "iu").test(other);
        if (isSame) expect(foldCase(letter), letter).to.equal(foldCase(other));
      }
    }
  });

  it("are looked up so in directories that are marked, and in no others", async function () {
    skipUnless(this, hasExtTools(), NO_EXT_TOOLS);
    await withTempFolder(async (folder) => {
      const image = join(folder, "volume.img");
      const files = join(folder, "files");
      for (const place of ["folding", "exact"]) {
        await mkdir(join(files, place), { recursive: true });
        for (const name of NAMES) await writeFile(join(files, place, name), "contents");
      }
      await makeExtImage(image, 8 * MIB, ["-t", "ext4", "-O", "casefold"], files);
      runTool("debugfs", "-w", "-R", "sif folding flags 0x40080000", image);
      await using device = await openFileDevice(image);
      const tree = new VolumeTree(await extFormat.open(device), device);
      const find = async (parent: number, name: string) => (await tree.lookup(parent, name))?.name;
      const folding = (await tree.lookup(tree.rootId, "folding"))?.stat.id ?? 0;
      const exact = (await tree.lookup(tree.rootId, "exact"))?.stat.id ?? 0;
      expect(await find(tree.rootId, "FOLDING")).to.equal(undefined);
      for (const [name, asked] of [
        ["Straße.TXT", "STRASSE.txt"],
        ["ΟΔΥΣΣΕΥΣ", "Οδυσσευς"],
        ["Ärger.txt", "a\u0308rger.TXT"],
        ["README", "readme"],
      ] as const) {
        expect(await find(folding, name)).to.equal(name);
        expect(await find(folding, asked), asked).to.equal(name);
        expect(await find(exact, name)).to.equal(name);
        expect(await find(exact, asked), asked).to.equal(undefined);
      }
      expect(await find(folding, "readme2")).to.equal(undefined);
      await tree.close();
    });
  });
});

describe("projects on ext4", () => {
  it("are shown as an attribute of the files that have one", async function () {
    skipUnless(this, hasExtTools(), NO_EXT_TOOLS);
    await withTempFolder(async (folder) => {
      const image = join(folder, "volume.img");
      const files = join(folder, "files");
      await mkdir(join(files, "folder"), { recursive: true });
      for (const name of ["one", "none"]) await writeFile(join(files, name), "contents");
      const features = ["-t", "ext4", "-I", "256", "-O", "project,quota"];
      await makeExtImage(image, 8 * MIB, features, files);
      runTool("debugfs", "-w", "-R", "sif one projid 70000", image);
      runTool("debugfs", "-w", "-R", "sif folder projid 7", image);
      expect(debugfs(image, "stat one")).to.match(/Project: *70000/);
      await using device = await openFileDevice(image);
      const volume = await extFormat.open(device);
      const found = new Map<string, string | undefined>();
      for (const { name, stat } of await volume.readDirectory(volume.rootId)) {
        const value = (await volume.xattrs?.(stat.id))?.get(PROJECT_XATTR);
        found.set(name, value && Buffer.from(value).toString());
      }
      expect(found.get("one")).to.equal("70000");
      expect(found.get("folder")).to.equal("7");
      expect(found.get("none")).to.equal(undefined);
    });
  });
});
