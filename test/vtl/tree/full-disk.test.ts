import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { expectReelError } from "../../support/expect-error.ts";
import { patternBytes } from "../../support/pattern.ts";
import { makeTree, writeTape } from "./tree-fixture.ts";

describe("a tape that is copied into a loader on a full disk", () => {
  it("is refused, takes no room there, and goes in when there is some again", async () => {
    const space = { totalBytes: 1e9, freeBytes: 9e8 };
    const at = await makeTree({ sampleSpace: async () => Promise.resolve({ ...space }) });
    const elsewhere = await mkdtemp(join(tmpdir(), "reelfs-test-"));
    try {
      const path = join(elsewhere, "FULL01.tap");
      await writeFile(path, "");
      await writeTape(path, [patternBytes(200_000), patternBytes(200_000)]);
      const bytes = await readFile(path);
      const { stat } = await at.writable.createFile(await at.id("slots/004"), "FULL01.tap", {
        mode: 0o644,
      });
      at.writable.retain?.(stat.id);
      // The first record is whole: it would do for a tape that is damaged behind it.
      await at.writable.write(stat.id, 0, bytes.subarray(0, 300_000));
      space.freeBytes = 0;
      await at.loader.spaceStatus();
      await expectReelError(
        at.writable.write(stat.id, 300_000, bytes.subarray(300_000)),
        "no-space",
      );
      at.writable.release?.(stat.id);
      await at.tree.stat(stat.id).catch(() => undefined);
      expect(await at.names("slots/004")).to.deep.equal([]);
      expect(await readdir(at.path)).to.not.include.members(["incoming"]);
      expect(await readdir(at.path)).to.not.include.members(["refused"]);
      space.freeBytes = 9e8;
      await at.loader.spaceStatus();
      await at.copy(bytes, "slots/004/FULL01.tap");
      expect((await readFile(at.tapePath("FULL01"))).equals(bytes)).to.equal(true);
    } finally {
      await at.close();
      await rm(elsewhere, { recursive: true, force: true });
    }
  });
});
