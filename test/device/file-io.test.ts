import { open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { readFully, writeFully } from "../../src/device/file-io.ts";
import { expectReelError } from "../support/expect-error.ts";
import { withTempFolder } from "../support/temp.ts";

describe("whole ranges of a file", () => {
  it("fail with what was done, where and to what when the system refuses", async () => {
    await withTempFolder(async (folder) => {
      const path = join(folder, "file");
      await writeFile(path, "contents");
      const writeOnly = await open(path, "a");
      const read = readFully(writeOnly, "disk.img", 3, new Uint8Array(4));
      expect((await expectReelError(read, "io")).message).to.match(
        /^cannot read 4 bytes at offset 3 of disk\.img: bad file descriptor/,
      );
      await writeOnly.close();
      const readOnly = await open(path, "r");
      const write = writeFully(readOnly, "disk.img", 3, new Uint8Array(4));
      expect((await expectReelError(write, "io")).message).to.match(
        /^cannot write 4 bytes at offset 3 of disk\.img: bad file descriptor/,
      );
      await readOnly.close();
    });
  });
});
