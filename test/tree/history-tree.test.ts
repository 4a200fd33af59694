import { expect } from "chai";
import { join } from "node:path";
import { backupVolume } from "../../src/tapeimage/backup.ts";
import { openHistory } from "../../src/tree/history-tree.ts";
import { makeFatVolume, needsFatTools } from "../support/fat-volume.ts";
import { withTempFolder } from "../support/temp.ts";

const MIB = 1024 * 1024;

describe("the history of a volume", () => {
  before(function () {
    needsFatTools(this);
  });

  it("says how many images on the tapes it does not show, and why", async () => {
    await withTempFolder(async (folder) => {
      const tapePath = join(folder, "t.tap");
      const backUp = async (sourcePath: string, times: number): Promise<void> => {
        for (let i = 0; i < times; i++) await backupVolume({ sourcePath, tapePath });
      };
      const shown = async (momentsMax?: number): Promise<[number, string]> => {
        const { tree, notices } = await openHistory([tapePath], { momentsMax });
        const names = await tree.readDirectory(tree.rootId);
        await tree.close();
        return [names.length, notices.join("; ")];
      };
      const one = await makeFatVolume(folder, { sizeBytes: 2 * MIB, bits: 12, files: 2 });
      await backUp(one.path, 1);
      const other = await makeFatVolume(folder, {
        name: "other.img",
        sizeBytes: 3 * MIB,
        bits: 12,
        files: 2,
      });
      await backUp(other.path, 3);

      const otherVolume = "1 image of another volume is on these tapes, and not shown";
      expect(await shown()).to.deep.equal([4, otherVolume]);
      const [names, said] = await shown(2);
      expect(names).to.equal(3);
      expect(said).to.include(otherVolume).and.include("1 older image is not shown");
      expect((await shown(1))[1]).to.include("2 older images are not shown");
    });
  });
});
