import { expect } from "chai";
import { readFile, truncate, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import {
  CODE_FILE,
  CodeFile,
  packCode,
  requireOfParts,
  scriptOf,
} from "../../src/cli/part-code.ts";
import { withTempFolder } from "../support/temp.ts";

const ONE = `"use strict"; const { two } = require("./two.js"); exports.sum = () => two() + 1;
  exports.name = require("node:path").basename(__filename); exports.again = () => require("./two.js");`;
const TWO = `"use strict"; globalThis.partsTestLoads = (globalThis.partsTestLoads ?? 0) + 1;
  exports.two = function two() { return 2; };`;

interface One {
  readonly sum: () => number;
  readonly name: string;
  readonly again: () => { readonly two: () => number };
}

/** Two parts, with code for them, and a file of that code. */
async function makeParts(folder: string): Promise<void> {
  const code = new Map<string, Buffer>();
  for (const [name, source] of Object.entries({ "one.js": ONE, "two.js": TWO })) {
    await writeFile(join(folder, name), source);
    code.set(name, scriptOf(source, join(folder, name)).createCachedData());
  }
  await writeFile(join(folder, CODE_FILE), packCode(code));
}

function loadOne(folder: string): One {
  const outside = createRequire(import.meta.url) as (id: string) => unknown;
  return requireOfParts(folder, outside)("./one.js") as One;
}

describe("parts of the joined command", () => {
  it("are loaded once each, with the code that was kept for them", async () => {
    await withTempFolder(async (folder) => {
      await makeParts(folder);
      const kept = CodeFile.open(join(folder, CODE_FILE));
      const script = scriptOf(TWO, join(folder, "two.js"), kept?.codeOf("two.js"));
      expect(script.cachedDataRejected).to.be.false;
      expect(kept?.codeOf("three.js")).to.equal(undefined);
      kept?.close();
      Object.assign(globalThis, { partsTestLoads: 0 });
      const one = loadOne(folder);
      expect(one.sum()).to.equal(3);
      expect(one.name).to.equal("one.js");
      expect(one.again().two()).to.equal(2);
      expect((globalThis as { partsTestLoads?: number }).partsTestLoads).to.equal(1);
    });
  });

  it("are compiled where there is no code for them, or none that V8 takes", async () => {
    await withTempFolder(async (folder) => {
      const path = join(folder, CODE_FILE);
      await makeParts(folder);
      const sound = await readFile(path);
      const foreign = Buffer.from(sound);
      // Where V8 notes its own version.
      const at = sound.indexOf(scriptOf(ONE, "").createCachedData().subarray(0, 8));
      foreign.fill(0xa5, at, at + 16);
      await writeFile(path, foreign);
      expect(loadOne(folder).sum()).to.equal(3);
      for (const length of [0, 3, 20, sound.length - 9]) {
        await writeFile(path, sound);
        await truncate(path, length);
        expect(loadOne(folder).sum(), `${length} bytes`).to.equal(3);
      }
      await writeFile(path, Buffer.alloc(64, 0xff));
      expect(CodeFile.open(path)).to.equal(undefined);
      expect(loadOne(folder).sum()).to.equal(3);
    });
  });
});
