import { expect } from "chai";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeLabel } from "../../src/tape/labels.ts";
import { openSimhTape } from "../../src/tape/simh-tape.ts";
import { withTempFolder } from "../support/temp.ts";

const PAGE = new URL("../../docs/formats/tap.md", import.meta.url);

/** The bytes of the page's hex dump. */
async function dumpOnPage(): Promise<Buffer> {
  const lines = (await readFile(PAGE, "utf8")).split("\n");
  const dump = lines.map((line) => /^ {4}[0-9a-f]{8}: ((?:[0-9a-f]{4} ?)+)/.exec(line)?.[1] ?? "");
  return Buffer.from(dump.join("").replaceAll(" ", ""), "hex");
}

describe("docs/formats/tap.md", () => {
  it("shows the very bytes that we write", async () => {
    await withTempFolder(async (folder) => {
      const path = join(folder, "example.tap");
      await using drive = await openSimhTape(path, { mode: "write", create: true });
      await writeLabel(drive, "REEL07");
      await drive.write([Buffer.from("hello")]);
      await drive.writeFilemarks(1);
      const offsets: (number | undefined)[] = [];
      for (const object of [0, 1, 2, 3]) offsets.push(await drive.objectOffsetBytes?.(object));
      expect(offsets).to.deep.equal([0, 88, 92, 106]);
      expect(await readFile(path)).to.deep.equal(await dumpOnPage());
    });
  });
});
