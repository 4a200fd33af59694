import { expect } from "chai";
import { spawnSync } from "node:child_process";
import { copyFile, mkdir, readFile, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openSimhTape } from "../../src/tape/simh-tape.ts";
import {
  isBarcode,
  parseBarcodePattern,
  parseTapeFileName,
  tapeFileName,
} from "../../src/vtl/barcode.ts";
import { exportVirtualTape, importVirtualTapes } from "../../src/vtl/import-export.ts";
import {
  createVirtualTape,
  createVirtualTapes,
  deleteVirtualTape,
  eraseVirtualTape,
  labelVirtualTape,
  protectVirtualTape,
} from "../../src/vtl/virtual-tapes.ts";
import type { VirtualLoader } from "../../src/vtl/virtual-loader.ts";
import { expectReelError } from "../support/expect-error.ts";
import { patternBytes } from "../support/pattern.ts";
import { skipUnless } from "../support/skip.ts";
import { drive, mail, makeLoader, placesOf, slot, type LoaderInFolder } from "./loader-fixture.ts";

describe("the tapes of a virtual loader", () => {
  let made: LoaderInFolder;
  let loader: VirtualLoader;

  beforeEach(async () => {
    made = await makeLoader({ slots: 6, drives: 2, importExport: 2, tapes: 2 });
    loader = await made.open();
  });

  afterEach(async () => {
    await loader.close();
    await made.remove();
  });

  const fill = async (barcode: string, records: number): Promise<string> => {
    const path = join(made.path, "tapes", `${barcode}.tap`);
    await using tape = await openSimhTape(path, { mode: "write" });
    for (let record = 0; record < records; record++) await tape.write([patternBytes(100, record)]);
    return path;
  };

  it("are made with the next free numbers, all of them or none", async () => {
    await deleteVirtualTape(loader, "REEL0001");
    const tapes = await createVirtualTapes(loader, { count: 3 });
    expect(tapes.map(({ tape }) => tape.barcode)).to.deep.equal([
      "REEL0001",
      "REEL0003",
      "REEL0004",
    ]);
    await expectReelError(createVirtualTapes(loader, { count: 3 }), "no-space");
    expect((await placesOf(loader)).length).to.equal(4);
    await expectReelError(createVirtualTape(loader, { barcode: "REEL0003" }), "exists");
    await expectReelError(createVirtualTape(loader, { barcode: "not so" }), "invalid");
    await expectReelError(createVirtualTape(loader, { element: slot(1) }), "exists");
    await expectReelError(createVirtualTape(loader, { element: slot(70) }), "invalid");
    await createVirtualTape(loader, { barcode: "X/Y%1", element: mail(2) });
    expect(await readdir(join(made.path, "tapes"))).to.include("X%2FY%251.tap");
    expect(await loader.element(mail(2))).to.include({ placedByOperator: true });
    // A file that lies there is somebody's tape, in the slot map or not.
    await writeFile(join(made.path, "tapes", "REEL0005.tap"), "data");
    await expectReelError(createVirtualTape(loader, { barcode: "REEL0005" }), "exists");
    expect((await createVirtualTape(loader)).tape.barcode).to.equal("REEL0006");
  });

  it("are deleted and erased only when nobody uses or protects them", async () => {
    const path = await fill("REEL0001", 3);
    await protectVirtualTape(loader, "REEL0001", true);
    await expectReelError(deleteVirtualTape(loader, "REEL0001"), "read-only");
    await expectReelError(eraseVirtualTape(loader, "REEL0001"), "read-only");
    await protectVirtualTape(loader, "REEL0001", false);
    {
      await using writer = await openSimhTape(path, { mode: "write" });
      await writer.spaceToEndOfData();
      for (const call of [
        () => deleteVirtualTape(loader, "REEL0001"),
        () => eraseVirtualTape(loader, "REEL0001"),
        () => loader.move(slot(1), slot(5)),
      ]) {
        const error = await expectReelError(call(), "busy");
        expect(error.message).to.include(`process ${process.pid}`);
      }
    }
    await loader.move(slot(1), drive(0));
    await expectReelError(deleteVirtualTape(loader, "REEL0001"), "busy");
    await eraseVirtualTape(loader, "REEL0001");
    expect((await stat(path)).size).to.equal(0);
    await loader.move(drive(0), slot(1));
    await deleteVirtualTape(loader, "REEL0001");
    await expectReelError(deleteVirtualTape(loader, "REEL0001"), "not-found");
    expect(await readdir(join(made.path, "tapes"))).to.deep.equal(["REEL0002.tap"]);
  });

  it("get a label that mtdump and everybody can read", async function () {
    expect(await labelVirtualTape(loader, "REEL0001")).to.equal("EL0001");
    await expectReelError(labelVirtualTape(loader, "REEL0001"), "exists");
    expect(await labelVirtualTape(loader, "REEL0001", { serial: "A1", force: true })).to.equal(
      "A1",
    );
    await expectReelError(labelVirtualTape(loader, "REEL0002", { serial: "TOOLONG" }), "invalid");
    const path = join(made.path, "tapes", "REEL0001.tap");
    expect((await readFile(path)).toString("latin1", 4, 10)).to.equal("VOL1A1");
    skipUnless(this, spawnSync("mtdump", []).error === undefined, "mtdump is not installed");
    const dump = spawnSync("mtdump", [path]).stdout.toString();
    expect(dump)
      .to.include("80")
      .and.not.match(/error|invalid/i);
  });

  it("are moved in and out, whole, and never over another", async () => {
    const outside = join(made.folder, "outside");
    await mkdir(outside);
    const bytes = await readFile(await fill("REEL0001", 20));
    const path = join(outside, "REEL0001.tap");
    expect(await exportVirtualTape(loader, "REEL0001", path)).to.equal(path);
    expect(Buffer.compare(await readFile(path), bytes)).to.equal(0);
    expect(await placesOf(loader)).to.deep.equal(["REEL0002 storage:2"]);
    await expectReelError(exportVirtualTape(loader, "REEL0002", path), "exists");
    await expectReelError(exportVirtualTape(loader, "REEL0001", `${path}2`), "not-found");
    await copyFile(path, join(outside, "KEEP.tap"));
    await importVirtualTapes(loader, [join(outside, "KEEP.tap")], { copy: true });
    await importVirtualTapes(loader, [path], { barcode: "OTHER1", element: slot(6) });
    await expectReelError(importVirtualTapes(loader, [join(outside, "KEEP.tap")]), "exists");
    await expectReelError(importVirtualTapes(loader, [join(outside, "none.tap")]), "not-found");
    await writeFile(join(outside, "x y z"), "");
    await expectReelError(importVirtualTapes(loader, [join(outside, "x y z")]), "invalid");
    await expectReelError(importVirtualTapes(loader, [outside], { barcode: "DIR" }), "invalid");
    expect((await readdir(outside)).sort()).to.deep.equal(["KEEP.tap", "x y z"]);
    expect(await placesOf(loader)).to.deep.equal([
      "KEEP storage:1",
      "REEL0002 storage:2",
      "OTHER1 storage:6",
    ]);
    await loader.move(slot(6), drive(0));
    await expectReelError(exportVirtualTape(loader, "OTHER1", path), "busy");
    const target = new Uint8Array(100);
    expect(await loader.drive(0).read(target)).to.include({ lengthBytes: 100 });
    expect(Buffer.compare(target, patternBytes(100, 0))).to.equal(0);
  });

  it("of another system can sit in a slot and be read", async () => {
    // One record "HELLO" and a filemark, as AWSTAPE has them.
    const aws = Buffer.from([5, 0, 0, 0, 0xa0, 0, 72, 69, 76, 76, 79, 0, 0, 5, 0, 0x40, 0]);
    const path = join(made.folder, "old.aws");
    await writeFile(path, aws);
    await importVirtualTapes(loader, [path]);
    await loader.move(slot(3), drive(1));
    expect(loader.drive(1).medium()).to.include({ barcode: "OLD", writeProtected: true });
    const target = new Uint8Array(10);
    expect(await loader.drive(1).read(target)).to.include({ kind: "record", lengthBytes: 5 });
    expect(Buffer.from(target).toString("latin1", 0, 5)).to.equal("HELLO");
    expect((await loader.drive(1).read(target)).kind).to.equal("filemark");
    await expectReelError(loader.drive(1).write([target]), "read-only");
  });
});

describe("barcodes", () => {
  it("are 1 to 32 of the characters that labels have", () => {
    for (const right of ["A", "000001L8", "A B", "X".repeat(32), "$%+-./", "."]) {
      expect(isBarcode(right), right).to.be.true;
    }
    for (const wrong of ["", " A", "A ", "X".repeat(33), "a", "Ä", "A\n", "A\0B", "A:B"]) {
      expect(isBarcode(wrong), wrong).to.be.false;
    }
  });

  it("have one file name each, which says them again", () => {
    for (const barcode of ["A", "..", "../../ETC", "%2F", "A/B", "A.TAP", ".", "100%", "/"]) {
      const name = tapeFileName(barcode, "tap");
      expect(name).to.not.include("/");
      expect(name).to.not.match(/^\./);
      expect(parseTapeFileName(name)).to.deep.equal({ barcode, container: "tap" });
    }
    expect(parseTapeFileName("x.tar")).to.equal(undefined);
    expect(parseTapeFileName(".tap")).to.equal(undefined);
  });

  it("are made by patterns", () => {
    expect(parseBarcodePattern("REEL%04d", "").barcodeOf(7)).to.equal("REEL0007");
    expect(parseBarcodePattern("%dX", "").barcodeOf(12)).to.equal("12X");
    for (const wrong of ["REEL", "%s", "%d%d", "reel%d", "%99d", "%020d", ""]) {
      expect(() => parseBarcodePattern(wrong, "cannot"), wrong).to.throw(/pattern/);
    }
  });
});
