import { expect } from "chai";
import { access } from "node:fs/promises";
import { join } from "node:path";
import { createVirtualLoader, openVirtualLoader } from "../../src/vtl/manage-loaders.ts";
import { readRegistry } from "../../src/vtl/registry.ts";
import { inventoryVirtualLoader } from "../../src/vtl/inventory.ts";
import { patternBytes } from "../support/pattern.ts";
import { makeTempFolder } from "../support/temp.ts";
import { drive, makeLoader, placesOf, slot } from "./loader-fixture.ts";

describe("loaders of ordinary size", () => {
  it("a thousand slots with a thousand tapes are made, moved, listed and inventoried", async function () {
    this.timeout(30_000);
    const made = await makeLoader({ slots: 1000, drives: 8, importExport: 10, tapes: 990 });
    try {
      await using loader = await made.open();
      expect((await loader.elements()).length).to.equal(1018);
      expect((await placesOf(loader)).length).to.equal(990);
      await loader.move(slot(990), slot(1000));
      for (let number = 0; number < 8; number++) {
        await loader.move(slot(number * 100 + 1), drive(number));
      }
      expect(loader.drive(7).medium()?.barcode).to.equal("REEL0701");
      const report = await inventoryVirtualLoader(loader);
      expect(Object.values(report).flat()).to.deep.equal([]);
      await using again = await made.open();
      expect(await placesOf(again)).to.deep.equal(await placesOf(loader));
    } finally {
      await made.remove();
    }
  });

  it("ten loaders work at once, each with its own", async function () {
    this.timeout(30_000);
    const { folder, remove } = await makeTempFolder();
    const registryPath = join(folder, "loaders.json");
    const names = Array.from({ length: 10 }, (_, index) => `vtl${index}`);
    try {
      await Promise.all(
        names.map(async (name) =>
          createVirtualLoader({ path: join(folder, name), registryPath, slots: 4, tapes: 3 }),
        ),
      );
      expect(
        (await readRegistry(registryPath)).loaders.map(({ name }) => name).sort(),
      ).to.deep.equal(names);
      await Promise.all(
        names.map(async (name, salt) => {
          await using loader = await openVirtualLoader(name, { registryPath });
          for (let tape = 1; tape <= 3; tape++) {
            await loader.move(slot(tape), drive(0));
            const one = loader.drive(0);
            for (let record = 0; record < 5; record++) {
              await one.write([patternBytes(1000, salt * 100 + tape * 10 + record)]);
            }
            await one.writeFilemarks(1);
            await loader.move(drive(0), slot(tape));
          }
        }),
      );
      for (const [salt, name] of names.entries()) {
        await using loader = await openVirtualLoader(name, { registryPath });
        await loader.move(slot(2), drive(0));
        const target = new Uint8Array(1000);
        await loader.drive(0).locate(3);
        await loader.drive(0).read(target);
        expect(Buffer.compare(target, patternBytes(1000, salt * 100 + 23)), name).to.equal(0);
      }
      await access(registryPath);
    } finally {
      await remove();
    }
  });
});
