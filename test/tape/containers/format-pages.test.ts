/** The worked examples of the format pages are what we write and read. */
import { expect } from "chai";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openTape } from "../../../src/tape/open-tape.ts";
import { makeTempFolder } from "../../support/temp.ts";
import * as tap from "../tap-builder.ts";
import { convertFile, objectsOf } from "./tapes.ts";

const DOCS = join(import.meta.dirname, "../../../docs/formats");

async function exampleOf(page: string): Promise<Buffer> {
  const text = await readFile(join(DOCS, page), "utf8");
  const lines = Array.from(text.matchAll(/^ {4}[0-9a-f]{8}: ((?:[0-9a-f]{2,4} )+)/gm));
  return Buffer.from(lines.map(([, hex = ""]) => hex.replaceAll(" ", "")).join(""), "hex");
}

const RECORDS = [tap.record(Buffer.from("abc")), tap.FILEMARK];

for (const [page, format, parts] of [
  ["e11.md", "e11", RECORDS],
  ["aws-het.md", "aws", [...RECORDS, tap.record(Buffer.from("de"))]],
] as const) {
  it(`the worked example of docs/formats/${page} is right`, async () => {
    const { folder, remove } = await makeTempFolder();
    try {
      await writeFile(join(folder, "a.tap"), Buffer.concat(parts));
      await convertFile(join(folder, "a.tap"), join(folder, "b"), format);
      const example = await exampleOf(page);
      expect(await readFile(join(folder, "b"))).to.deep.equal(example);
      await writeFile(join(folder, "c"), example);
      await using drive = await openTape(join(folder, "c"));
      expect((await objectsOf(drive)).slice(0, 2)).to.deep.equal(["616263", "|"]);
    } finally {
      await remove();
    }
  });
}
