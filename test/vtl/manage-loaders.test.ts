import { expect } from "chai";
import { chmod, copyFile, mkdir, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openSimhTape } from "../../src/tape/simh-tape.ts";
import { inventoryVirtualLoader } from "../../src/vtl/inventory.ts";
import {
  adoptVirtualLoader,
  createVirtualLoader,
  deleteVirtualLoader,
  getVirtualLoaderInformation,
  openVirtualLoader,
  setVirtualLoader,
} from "../../src/vtl/manage-loaders.ts";
import { readRegistry, registerLoader, setLoaderDefaults } from "../../src/vtl/registry.ts";
import { expectReelError } from "../support/expect-error.ts";
import { patternBytes } from "../support/pattern.ts";
import { drive, makeLoader, placesOf, slot, type LoaderInFolder } from "./loader-fixture.ts";

describe("virtual loaders on disk", () => {
  let made: LoaderInFolder;

  beforeEach(async () => {
    made = await makeLoader({ slots: 4, drives: 2, tapes: 2, capacityBytes: 1_000_000 });
  });

  afterEach(async () => made.remove());

  it("are found by name and by folder, and say that they are virtual", async () => {
    const { registryPath, path } = made;
    for (const name of ["vtl", path]) {
      await using loader = await openVirtualLoader(name, { registryPath });
      const info = await getVirtualLoaderInformation(loader);
      expect(info).to.include({ name: "vtl", path, driveType: "virtual", fullSlots: 2, slots: 4 });
      expect(info.serial).to.match(/^RFS[0-9A-F]{8}$/);
    }
    const error = await expectReelError(openVirtualLoader("other", { registryPath }), "not-found");
    expect(error.message).to.include("reelfs loader list");
    await expectReelError(openVirtualLoader(made.folder), "not-found");
    await expectReelError(createVirtualLoader({ path, registryPath }), "exists");
    const elsewhere = join(made.folder, "second");
    const twin = { path: elsewhere, name: "vtl", registryPath };
    await expectReelError(createVirtualLoader(twin), "exists");
    expect(await readdir(made.folder)).to.not.include("second");
  });

  it("refuse values that cannot be, by name", async () => {
    const path = join(made.folder, "new");
    const { registryPath } = made;
    for (const [wrong, field] of [
      [{ slots: 0 }, "slots"],
      [{ slots: 10_001 }, "slots"],
      [{ drives: 0 }, "drives"],
      [{ capacityBytes: 5 }, "capacityBytes"],
      [{ barcodePattern: "REEL" }, "barcodePattern"],
      [{ barcodePattern: "reel%d" }, "barcodePattern"],
      [{ policies: { spaceStopPercent: 101 } }, "spaceStopPercent"],
      [{ policies: { scratchSlots: [99] } }, "scratchSlots"],
      [{ name: "../x" }, "name"],
    ] as const) {
      const error = await expectReelError(
        createVirtualLoader({ path, registryPath, ...wrong }),
        "invalid",
      );
      expect(error.message).to.include(field);
    }
    expect(await readdir(made.folder)).to.not.include("new");
  });

  it("take their defaults from the registry", async () => {
    const { registryPath } = made;
    await setLoaderDefaults({ slots: 17, barcodePattern: "%06dL8" }, registryPath);
    const path = join(made.folder, "second");
    await createVirtualLoader({ path, registryPath, tapes: 1 });
    await using loader = await openVirtualLoader("second", { registryPath });
    expect(loader.geometry.slots).to.equal(17);
    expect(await placesOf(loader)).to.deep.equal(["000001L8 storage:1"]);
  });

  it("can be changed, but not so that a tape has no place", async () => {
    const { registryPath } = made;
    await using loader = await made.open();
    await loader.move(slot(2), slot(4));
    await expectReelError(setVirtualLoader(loader, { slots: 3 }), "not-empty");
    await setVirtualLoader(loader, { slots: 9, name: "big" }, { registryPath });
    expect(loader.geometry.slots).to.equal(9);
    expect((await loader.elements()).length).to.equal(11);
    await using again = await openVirtualLoader("big", { registryPath });
    expect(again.geometry.slots).to.equal(9);
    await expectReelError(openVirtualLoader("vtl", { registryPath }), "not-found");
    await setVirtualLoader(loader, { unlimitedCapacity: true, policies: { nextTape: "create" } });
    await loader.folder.refresh();
    expect(loader.folder.config).to.not.have.property("capacityBytes");
    expect(loader.folder.config.policies.nextTape).to.equal("create");
  });

  it("are forgotten with their files left alone, and adopted again as they were", async () => {
    const { registryPath, path } = made;
    await using loader = await made.open();
    await loader.move(slot(1), drive(1));
    const before = await placesOf(loader);
    await loader.close();
    await deleteVirtualLoader("vtl", { registryPath });
    expect((await readRegistry(registryPath)).loaders).to.deep.equal([]);
    const moved = join(made.folder, "elsewhere");
    await rename(path, moved);
    await adoptVirtualLoader({ path: moved, name: "again", registryPath });
    await using adopted = await openVirtualLoader("again", { registryPath });
    expect(await placesOf(adopted)).to.deep.equal(before);
    expect(adopted.name).to.equal("again");
  });

  it("are deleted with everything of theirs when asked, and nothing else", async () => {
    const { registryPath, path } = made;
    await writeFile(join(path, "notes.txt"), "mine");
    await mkdir(join(path, "refused", "1"), { recursive: true });
    await deleteVirtualLoader("vtl", { registryPath, purge: true });
    expect(await readdir(path)).to.deep.equal(["notes.txt"]);
    expect((await readRegistry(registryPath)).loaders).to.deep.equal([]);
    const second = join(made.folder, "second");
    await createVirtualLoader({ path: second, registryPath, tapes: 3 });
    await using loader = await openVirtualLoader(second);
    await loader.move(slot(1), drive(0));
    await loader.drive(0).write([patternBytes(10)]);
    await expectReelError(deleteVirtualLoader("second", { registryPath, purge: true }), "busy");
    await loader.close();
    await deleteVirtualLoader("second", { registryPath, purge: true });
    expect(await readdir(made.folder)).to.not.include("second");
  });

  it("a folder of tapes becomes a loader, with a slot for each", async () => {
    const path = join(made.folder, "tapes");
    await mkdir(path);
    for (let number = 0; number < 12; number++) {
      await using tape = await openSimhTape(join(path, `OLD${number}.tap`), {
        mode: "write",
        create: true,
      });
      await tape.write([patternBytes(100, number)]);
    }
    await writeFile(join(path, "readme.txt"), "not a tape");
    const { registryPath } = made;
    await expectReelError(createVirtualLoader({ path, registryPath, slots: 5 }), "too-small");
    const report = await adoptVirtualLoader({ path, registryPath });
    expect(report.found.length).to.equal(12);
    await using loader = await openVirtualLoader("tapes", { registryPath });
    expect(loader.geometry.slots).to.equal(12);
    expect((await loader.element(slot(1))).tape).to.include({ barcode: "OLD0", usedBytes: 108 });
    expect(await readdir(path)).to.include.members(["readme.txt", "tapes", "loader.json"]);
    await expectReelError(
      adoptVirtualLoader({ path: join(made.folder, "none"), registryPath }),
      "not-found",
    );
  });

  it("the inventory finds what was copied in, and says what is missing or doubled", async () => {
    const tapes = join(made.path, "tapes");
    await copyFile(join(tapes, "REEL0001.tap"), join(tapes, "FOUND1.tap"));
    await copyFile(join(tapes, "REEL0001.tap"), join(tapes, "found2.TAP"));
    await copyFile(join(tapes, "REEL0001.tap"), join(tapes, "reel0001.tap"));
    await copyFile(join(tapes, "REEL0001.tap"), join(tapes, "ZZ.tap"));
    await writeFile(join(tapes, "notes.txt"), "x");
    await writeFile(join(tapes, "not a barcode!.tap"), "x");
    await rm(join(tapes, "REEL0002.tap"));
    await using loader = await made.open();
    await expectReelError(loader.move(slot(2), drive(0)), "not-found");
    expect(await inventoryVirtualLoader(loader)).to.deep.equal({
      found: [
        { barcode: "FOUND1", kind: "storage", number: 2 },
        { barcode: "FOUND2", kind: "storage", number: 3 },
        { barcode: "ZZ", kind: "storage", number: 4 },
      ],
      missing: [{ barcode: "REEL0002", kind: "storage", number: 2 }],
      doubled: [{ barcode: "REEL0001", files: ["REEL0001.tap", "reel0001.tap"] }],
      withoutSlot: [],
      unusable: ["not a barcode!.tap", "notes.txt"],
    });
    await copyFile(join(tapes, "ZZ.tap"), join(tapes, "MORE.tap"));
    expect((await inventoryVirtualLoader(loader)).withoutSlot).to.deep.equal(["MORE"]);
    expect(await placesOf(loader)).to.deep.equal([
      "REEL0001 storage:1",
      "FOUND1 storage:2",
      "FOUND2 storage:3",
      "ZZ storage:4",
    ]);
  });

  it("a copy is read when the file is damaged; when both are, nothing is touched", async () => {
    const map = join(made.path, "slotmap.json");
    const good = await readFile(map, "utf8");
    await writeFile(map, "{ torn");
    {
      await using loader = await made.open();
      expect((await placesOf(loader)).length).to.equal(2);
      expect((await loader.warnings()).join()).to.include("slotmap.json.bak was read instead");
      await loader.move(slot(1), slot(3));
      expect(await loader.warnings()).to.deep.equal([]);
    }
    expect(JSON.parse(await readFile(map, "utf8"))).to.include({ format: "reelfs-slot-map" });
    for (const name of ["slotmap.json", "loader.json"]) {
      const path = join(made.path, name);
      const before = await readFile(path);
      await writeFile(path, good.slice(0, 40));
      await writeFile(`${path}.bak`, "");
      const error = await expectReelError(made.open(), "damaged");
      expect(error.message).to.include(path).and.include(`${path}.bak`);
      expect(await readFile(path, "utf8")).to.equal(good.slice(0, 40));
      expect(await readFile(`${path}.bak`, "utf8")).to.equal("");
      await writeFile(path, before);
    }
  });

  it("the registry is read from its copy, and never overwritten when both are unreadable", async () => {
    const { registryPath } = made;
    await rm(registryPath);
    expect((await readRegistry(registryPath)).notice).to.include("loaders.json.bak");
    await registerLoader({ name: "more", path: "/nowhere" }, registryPath);
    expect((await readRegistry(registryPath)).loaders.map(({ name }) => name)).to.deep.equal([
      "vtl",
      "more",
    ]);
    await writeFile(registryPath, "[]");
    await writeFile(`${registryPath}.bak`, '{"format":"reelfs-loaders","version":1}');
    const error = await expectReelError(
      registerLoader({ name: "x", path: "/x" }, registryPath),
      "damaged",
    );
    expect(error.message).to.include(registryPath).and.include('field "loaders"');
    expect(await readFile(registryPath, "utf8")).to.equal("[]");
  });

  it("every wrong field is named, with its file", async () => {
    const path = join(made.path, "slotmap.json");
    const good = JSON.parse(await readFile(path, "utf8")) as Record<string, unknown>;
    const element = { kind: "storage", number: 1, barcode: "A" };
    const wrong: readonly (readonly [object, string])[] = [
      [{ version: 2 }, "version"],
      [{ format: "x" }, "format"],
      [{ generation: -1 }, "generation"],
      [{ loadCounts: ["a"] }, "loadCounts"],
      [{ elements: {} }, "elements"],
      [{ elements: [{ ...element, kind: "shelf" }] }, "kind"],
      [{ elements: [{ ...element, number: 1.5 }] }, "number"],
      [{ elements: [{ ...element, barcode: "../../x" }] }, "barcode"],
      [{ elements: [{ ...element, barcode: "lower" }] }, "barcode"],
      [{ elements: [element, { ...element, number: 2 }] }, "barcode"],
      [{ elements: [element, { ...element, barcode: "B" }] }, "listed twice"],
      [{ elements: [{ ...element, capacityBytes: "big" }] }, "capacityBytes"],
      [{ elements: [{ ...element, writeProtected: 1 }] }, "writeProtected"],
      [{ elements: [{ ...element, container: "zip" }] }, "container"],
      [{ elements: [{ ...element, source: 5 }] }, "source"],
      [{ elements: [{ ...element, number: 99 }] }, "slots"],
      [{ pending: { operation: "format", tapes: [] } }, "operation"],
      [{ pending: { operation: "export", tapes: [{ element, path: "x" }] } }, "path"],
    ];
    await rm(`${path}.bak`);
    for (const [change, field] of wrong) {
      await writeFile(path, JSON.stringify({ ...good, ...change }));
      const failure = await made.open().then(
        () => undefined,
        (error: unknown) => error,
      );
      expect(failure, JSON.stringify(change)).to.be.instanceOf(Error);
      expect(String(failure)).to.include(field).and.include("slotmap.json");
    }
  });

  it("a read-only file is a write-protected tape", async () => {
    await chmod(join(made.path, "tapes", "REEL0001.tap"), 0o444);
    await using loader = await made.open();
    await loader.move(slot(1), drive(0));
    expect(loader.drive(0).medium()).to.include({ writeProtected: true });
    expect(loader.drive(0).capabilities.writable).to.be.false;
    await expectReelError(loader.drive(0).write([patternBytes(5)]), "read-only");
    await expectReelError(loader.drive(0).erase(), "read-only");
  });
});
