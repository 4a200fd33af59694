import { stat, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { expect } from "chai";
import { makeFolder } from "../../src/device/sync-directory.ts";
import { withTempFolder } from "../support/temp.ts";

describe("a folder that is to last", () => {
  it("is made with those above it, and may be there already", async () => {
    await withTempFolder(async (folder) => {
      const deep = join(folder, "one/two/three");
      for (let time = 0; time < 2; time++) {
        await makeFolder(`${deep}/`, { mode: 0o700 });
        expect((await stat(deep)).mode & 0o777).to.equal(0o700);
      }
      await makeFolder(relative(process.cwd(), join(folder, "four")));
      expect((await stat(join(folder, "four"))).isDirectory()).to.equal(true);
    });
  });

  it("is refused where a file is in the way", async () => {
    await withTempFolder(async (folder) => {
      await writeFile(join(folder, "file"), "");
      const error = await makeFolder(join(folder, "file/folder")).catch((e: unknown) => e);
      expect(error).to.have.property("code", "ENOTDIR");
    });
  });
});
