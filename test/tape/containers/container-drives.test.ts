import { join } from "node:path";
import { openTape } from "../../../src/tape/open-tape.ts";
import { tapeDriveSuite } from "../../support/tape-drive-suite.ts";
import { makeTempFolder } from "../../support/temp.ts";
import { convertFile } from "./tapes.ts";

/** What is written goes to a .tap; what is opened for reading is that tape, converted. */
for (const format of ["e11", "aws", "het"] as const) {
  tapeDriveSuite(`a tape converted to ${format}`, async () => {
    const { folder, remove } = await makeTempFolder();
    const tap = join(folder, "test.tap");
    return {
      open: async (mode, limits) => {
        if (mode === "write") return openTape(tap, { mode, create: true, ...limits });
        const path = join(folder, `test.${format}`);
        await convertFile(tap, path, format);
        return openTape(path, { mode });
      },
      remove,
    };
  });
}
