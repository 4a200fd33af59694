/** Images that released versions wrote must stay readable: fixtures are added, never rewritten. */
import { expect } from "chai";
import { createHash } from "node:crypto";
import { copyFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import { openTapeImage } from "../../src/tapeimage/open-image.ts";
import { verifyImage } from "../../src/tapeimage/verify.ts";
import { openImageTree } from "../../src/tree/image-tree.ts";
import { resolvePath } from "../../src/tree/path.ts";
import { withTempFolder } from "../support/temp.ts";

interface Expected {
  readonly label: string;
  readonly kind: string;
  /** SHA-256 by path. */
  readonly files: Readonly<Record<string, string>>;
}

for (const version of ["1.0"]) {
  describe(`an image of format version ${version}`, () => {
    it("opens, verifies, and has its files", async () => {
      await withTempFolder(async (folder) => {
        const fixture = new URL(`../fixtures/image-${version}/`, import.meta.url);
        const text = await readFile(new URL("expected.json", fixture), "utf8");
        const expected = JSON.parse(text) as Expected;
        // A copy, so that no index appears beside the fixture.
        const tape = join(folder, "golden.tap");
        await copyFile(new URL("fat12.tap", fixture), tape);
        await using image = await openTapeImage(tape);
        const { header, state } = image;
        expect(header.version.join(".")).to.equal(version);
        expect(state).to.deep.include({ state: "complete", notices: [] });
        expect(header.volume).to.include({ label: expected.label, kind: expected.kind });
        expect((await verifyImage(image)).damage).to.deep.equal([]);
        const opened = await openImageTree(image);
        for (const [path, sha256] of Object.entries(expected.files)) {
          const { stat } = await resolvePath(opened.tree, path);
          const bytes = new Uint8Array(stat.sizeBytes);
          await opened.tree.read(stat.id, 0, bytes);
          expect(createHash("sha256").update(bytes).digest("hex"), path).to.equal(sha256);
        }
        await opened.close();
      });
    });
  });
}
