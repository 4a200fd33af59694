import { readdir, readlink, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { PrivateFile } from "../../src/cache/private-file.ts";
import { expectReelError } from "../support/expect-error.ts";
import { patternBytes } from "../support/pattern.ts";
import { withTempFolder } from "../support/temp.ts";

/** Files of `folder` that this process has open, as the paths they had. */
async function openFilesIn(folder: string): Promise<{ fd: string; path: string }[]> {
  const found: { fd: string; path: string }[] = [];
  for (const fd of await readdir("/proc/self/fd")) {
    const path = await readlink(join("/proc/self/fd", fd)).catch(() => "");
    if (path.startsWith(`${folder}/`)) found.push({ fd, path });
  }
  return found;
}

describe("PrivateFile", () => {
  it("has no name, and bits that let nobody else in, from the moment it is open", async () => {
    await withTempFolder(async (folder) => {
      const file = await PrivateFile.open(folder);
      expect(await readdir(folder)).to.deep.equal([]);
      const [opened] = await openFilesIn(folder);
      const found = await stat(join("/proc/self/fd", opened?.fd ?? ""));
      expect(found.nlink).to.equal(0);
      expect(found.mode & 0o777).to.equal(0o600);
      await file.close();
      expect(await openFilesIn(folder)).to.deep.equal([]);
    });
  });

  it("reads back what was written, with zeros where nothing was", async () => {
    await withTempFolder(async (folder) => {
      const file = await PrivateFile.open(folder);
      const bytes = patternBytes(5000);
      await file.write(10_000, bytes);
      await file.write(3, bytes.subarray(0, 100));
      expect(file.sizeBytes).to.equal(15_000);
      const expected = new Uint8Array(15_000);
      expected.set(bytes, 10_000);
      expected.set(bytes.subarray(0, 100), 3);
      const target = new Uint8Array(15_000);
      await file.read(0, target);
      expect(Buffer.compare(target, expected)).to.equal(0);
      await file.close();
    });
  });

  it("refuses what lies outside", async () => {
    const file = await PrivateFile.open();
    await file.write(0, new Uint8Array(10));
    await expectReelError(file.read(5, new Uint8Array(6)), "out-of-range");
    await expectReelError(file.read(-1, new Uint8Array(1)), "out-of-range");
    await expectReelError(file.write(-1, new Uint8Array(1)), "out-of-range");
    await file.close();
  });

  it("finishes what is under way before it is closed, and takes nothing new", async () => {
    const file = await PrivateFile.open();
    let isWritten = false;
    const write = file.write(0, new Uint8Array(1 << 20)).then(() => {
      isWritten = true;
    });
    await file.close();
    expect(isWritten).to.be.true;
    await write;
    await file.close();
    await expectReelError(file.read(0, new Uint8Array(1)), "closed");
    await expectReelError(file.write(0, new Uint8Array(1)), "closed");
  });

  it("says in which folder it could not be made", async () => {
    await withTempFolder(async (folder) => {
      const absent = join(folder, "absent");
      const error = await expectReelError(PrivateFile.open(absent), "not-found");
      expect(error.message).to.include(`cannot make a temporary file in ${absent}`);
      await writeFile(join(folder, "file"), "");
      await expectReelError(PrivateFile.open(join(folder, "file")), "not-a-directory");
    });
  });
});
