import { expect } from "chai";
import { readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { MemoryDevice } from "../../src/device/memory-device.ts";
import { openTapeImage } from "../../src/tapeimage/open-image.ts";
import { openRestoreTargets } from "../../src/tapeimage/restore-segments.ts";
import type { TapeImage } from "../../src/tapeimage/tape-image.ts";
import { expectReelError } from "../support/expect-error.ts";
import { makeTestTape } from "../support/image-fixture.ts";
import { patternBytes } from "../support/pattern.ts";
import { withTempFolder } from "../support/temp.ts";

const BLOCK = 512;
const SEGMENTS = [100 * BLOCK, 60 * BLOCK];

/** An image of two segments whose header says that it is of this kind. */
async function withImage(
  kind: string,
  body: (image: TapeImage, file: (name: string, sizeBytes: number) => Promise<string>) => unknown,
): Promise<void> {
  await withTempFolder(async (folder) => {
    const device = new MemoryDevice(Uint8Array.from(patternBytes(160 * BLOCK)));
    const { path } = await makeTestTape(folder, device, { used: [[0, 160]], control: [] });
    await using image = await openTapeImage(path);
    const { header } = image;
    const shown = new Proxy(image, {
      get: (target, property) => {
        if (property === "header") {
          const options = { ...header.options, segmentBytes: SEGMENTS };
          return { ...header, volume: { ...header.volume, kind }, options };
        }
        const value: unknown = Reflect.get(target, property, target);
        return typeof value === "function" ? (value.bind(target) as unknown) : value;
      },
    });
    await body(shown, async (name, sizeBytes) => {
      await writeFile(join(folder, name), "");
      await truncate(join(folder, name), sizeBytes);
      return join(folder, name);
    });
  });
}

describe("restoring to several targets", () => {
  it("of a NetWare volume, each segment begins where its target does", async () => {
    await withImage("netware", async (image, file) => {
      const paths = [await file("a", 120 * BLOCK), await file("b", 60 * BLOCK)];
      const target = await openRestoreTargets(paths, image, {});
      const bytes = patternBytes(160 * BLOCK);
      await target.device.write(0, bytes);
      await target.close();
      const [a = "", b = ""] = paths;
      const [one, two] = [await readFile(a), await readFile(b)];
      expect(one.subarray(0, 100 * BLOCK).equals(bytes.subarray(0, 100 * BLOCK))).to.be.true;
      expect(one.subarray(100 * BLOCK).every((byte) => byte === 0)).to.be.true;
      expect(two.equals(bytes.subarray(100 * BLOCK))).to.be.true;
    });
  });

  it("of a NetWare volume, there must be as many, each as large as it was", async () => {
    await withImage("netware", async (image, file) => {
      const [large, small] = [await file("large", 200 * BLOCK), await file("small", 59 * BLOCK)];
      const single = await expectReelError(openRestoreTargets(large, image, {}), "invalid");
      expect(single.message).to.match(/2 segments needs as many targets, of at least 51200, 30720/);
      await expectReelError(openRestoreTargets([large, small], image, {}), "too-small");
    });
  });

  it("of any other volume, it is only the room that counts", async () => {
    await withImage("ext4", async (image, file) => {
      const single = await openRestoreTargets(await file("one", 160 * BLOCK), image, {});
      await single.close();
      const paths = [await file("a", 10 * BLOCK), await file("b", 10 * BLOCK), await file("c", 1)];
      await expectReelError(openRestoreTargets(paths, image, {}), "too-small");
      const rest = paths.slice(0, 2).concat(join(paths[0] ?? "", "..", "new"));
      const target = await openRestoreTargets(rest, image, {});
      expect(target.device.sizeBytes).to.equal(160 * BLOCK);
      await target.close();
    });
  });
});
