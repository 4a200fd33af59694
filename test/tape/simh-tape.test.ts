import { join } from "node:path";
import { openSimhTape } from "../../src/tape/simh-tape.ts";
import { tapeDriveSuite } from "../support/tape-drive-suite.ts";
import { makeTempFolder } from "../support/temp.ts";

for (const useIndex of [true, false]) {
  tapeDriveSuite(`a .tap file ${useIndex ? "with" : "without"} its index`, async () => {
    const { folder, remove } = await makeTempFolder();
    const path = join(folder, "test.tap");
    return {
      open: async (mode, limits) =>
        openSimhTape(path, { mode, create: mode === "write", useIndex, ...limits }),
      remove,
    };
  });
}
