/** What every TapeLoader must do (the rules of src/vtl/tape-loader.ts), run on each implementation. */
import { expect } from "chai";
import type {
  ElementAddress,
  ElementKind,
  ElementStatus,
  TapeLoader,
} from "../../src/vtl/tape-loader.ts";
import { expectReelError } from "./expect-error.ts";
import { patternBytes } from "./pattern.ts";

/**
 * A loader of 6 slots, 2 drives and 2 import/export elements; tapes TAPE01 to TAPE03 are in slots
 * 1 to 3, writable and blank.
 */
export interface LoaderFixture {
  /** The same loader each time; the one before was closed. */
  open(): Promise<TapeLoader>;
  remove(): Promise<void>;
}

const slot = (number: number): ElementAddress => ({ kind: "storage", number });
const drive = (number: number): ElementAddress => ({ kind: "drive", number });
const mail = (number: number): ElementAddress => ({ kind: "import-export", number });

export function tapeLoaderSuite(name: string, make: () => Promise<LoaderFixture>): void {
  describe(`${name} keeps the rules of TapeLoader`, () => {
    let fixture: LoaderFixture;
    let loader: TapeLoader;

    beforeEach(async () => {
      fixture = await make();
      loader = await fixture.open();
    });

    afterEach(async () => {
      await loader.close();
      await fixture.remove();
    });

    const reopen = async (): Promise<void> => {
      await loader.close();
      loader = await fixture.open();
    };

    /** Barcode and place of every tape: "TAPE01 storage:1". */
    const places = async (): Promise<string[]> =>
      (await loader.elements()).flatMap(({ kind, number, tape }) =>
        tape === undefined ? [] : [`${tape.barcode} ${kind}:${number}`],
      );

    const barcodeAt = async (address: ElementAddress): Promise<string | undefined> =>
      (await loader.element(address)).tape?.barcode;

    it("shows every element in order, with its tape", async () => {
      const elements = await loader.elements();
      const numbers = (kind: ElementKind): number[] =>
        elements.filter((each) => each.kind === kind).map((each) => each.number);
      expect(elements.map((each) => each.kind)).to.deep.equal([
        ...Array<string>(6).fill("storage"),
        ...Array<string>(2).fill("drive"),
        ...Array<string>(2).fill("import-export"),
      ]);
      expect(numbers("storage")).to.deep.equal([1, 2, 3, 4, 5, 6]);
      expect(numbers("drive")).to.deep.equal([0, 1]);
      expect(numbers("import-export")).to.deep.equal([1, 2]);
      expect(await places()).to.deep.equal([
        "TAPE01 storage:1",
        "TAPE02 storage:2",
        "TAPE03 storage:3",
      ]);
      for (const each of elements) {
        const alone: ElementStatus = await loader.element(each);
        expect(alone).to.deep.equal(each);
      }
    });

    it("moves tapes between all kinds of elements, and keeps them there", async () => {
      await loader.move(slot(1), drive(1));
      await loader.move(slot(2), mail(2));
      await loader.move(slot(3), slot(6));
      const after = ["TAPE03 storage:6", "TAPE01 drive:1", "TAPE02 import-export:2"];
      expect(await places()).to.deep.equal(after);
      expect((await loader.element(drive(1))).source).to.deep.equal(slot(1));
      expect(await loader.element(mail(2))).to.deep.include({ placedByOperator: false });
      await reopen();
      expect(await places()).to.deep.equal(after);
      await loader.move(drive(1), drive(0));
      expect((await loader.element(drive(0))).source, "the slot it came from").to.deep.equal(
        slot(1),
      );
      await loader.move(drive(0), slot(1));
      await loader.move(mail(2), slot(2));
      expect(await places()).to.deep.equal([
        "TAPE01 storage:1",
        "TAPE02 storage:2",
        "TAPE03 storage:6",
      ]);
    });

    it("refuses what a robot cannot do, and changes nothing", async () => {
      await loader.move(slot(1), drive(0));
      const before = await places();
      await expectReelError(loader.move(slot(4), drive(1)), "not-found");
      await expectReelError(loader.move(slot(2), drive(0)), "exists");
      await expectReelError(loader.move(slot(2), slot(3)), "exists");
      await expectReelError(loader.move(slot(2), slot(2)), "exists");
      for (const wrong of [slot(0), slot(7), drive(2), drive(-1), mail(0), mail(3), slot(1.5)]) {
        await expectReelError(loader.move(slot(2), wrong), "invalid");
        await expectReelError(loader.move(wrong, slot(5)), "invalid");
        await expectReelError(loader.element(wrong), "invalid");
      }
      expect(() => loader.drive(2))
        .to.throw()
        .with.property("code", "invalid");
      expect(await places()).to.deep.equal(before);
    });

    it("exchanges tapes, also in a circle", async () => {
      await loader.move(slot(1), drive(0));
      await loader.exchange(slot(2), drive(0), slot(1));
      expect(await barcodeAt(drive(0))).to.equal("TAPE02");
      expect(await barcodeAt(slot(1))).to.equal("TAPE01");
      expect(await barcodeAt(slot(2))).to.equal(undefined);
      await loader.exchange(slot(1), drive(0), slot(1));
      expect(await places()).to.deep.equal([
        "TAPE02 storage:1",
        "TAPE03 storage:3",
        "TAPE01 drive:0",
      ]);
      await expectReelError(loader.exchange(slot(1), drive(0), slot(3)), "exists");
      await expectReelError(loader.exchange(slot(5), drive(0), slot(5)), "not-found");
      await expectReelError(loader.exchange(slot(1), slot(5), slot(6)), "not-found");
      expect(await barcodeAt(drive(0))).to.equal("TAPE01");
    });

    it("a drive reads back what it wrote, in whatever drive", async () => {
      await loader.move(slot(1), drive(0));
      const first = loader.drive(0);
      expect(first.ready).to.be.true;
      expect(first.medium()).to.include({ barcode: "TAPE01", writeProtected: false, usedBytes: 0 });
      expect(first.capabilities.writable).to.be.true;
      await first.write([patternBytes(5000, 1)]);
      await first.writeFilemarks(1);
      expect(first.medium()?.usedBytes).to.be.greaterThan(5000);
      await loader.move(drive(0), drive(1));
      const target = new Uint8Array(6000);
      expect(await loader.drive(1).read(target)).to.include({ lengthBytes: 5000 });
      expect(Buffer.compare(target.subarray(0, 5000), patternBytes(5000, 1))).to.equal(0);
      expect((await loader.drive(1).read(target)).kind).to.equal("filemark");
      await expectReelError(first.read(target), "no-medium");
    });

    it("without a tape, or with one that is unloaded, a drive has no medium", async () => {
      const one = loader.drive(0);
      expect(one.medium()).to.equal(undefined);
      expect(one.ready).to.be.false;
      for (const call of [
        () => one.position(),
        () => one.rewind(),
        () => one.write([patternBytes(3)]),
        () => one.load(),
        () => one.unload(),
      ]) {
        await expectReelError(call(), "no-medium");
      }
      await loader.move(slot(1), drive(0));
      await one.write([patternBytes(3)]);
      await one.unload();
      expect(one.ready).to.be.false;
      expect(one.medium()?.barcode).to.equal("TAPE01");
      await expectReelError(one.position(), "no-medium");
      await one.load();
      expect(one.ready).to.be.true;
      expect(await one.position()).to.include({ object: 0, beginning: true });
      await one.unload();
      await loader.move(drive(0), slot(1));
      expect(await barcodeAt(slot(1))).to.equal("TAPE01");
    });

    it("counts the tapes put into a drive", async () => {
      const one = loader.drive(0);
      const before = one.loadCount;
      await loader.move(slot(1), drive(0));
      expect(one.loadCount).to.equal(before + 1);
      await one.unload();
      await one.load();
      await loader.move(drive(0), slot(1));
      await loader.move(slot(2), drive(0));
      await loader.exchange(slot(3), drive(0), slot(2));
      expect(one.loadCount).to.equal(before + 3);
      await reopen();
      expect(loader.drive(0).loadCount).to.equal(before + 3);
    });

    it("keeps a tape whose removal is prevented", async () => {
      await loader.move(slot(1), drive(0));
      loader.drive(0).preventRemoval = true;
      await expectReelError(loader.move(drive(0), slot(1)), "busy");
      await expectReelError(loader.exchange(slot(2), drive(0), slot(1)), "busy");
      expect(await barcodeAt(drive(0))).to.equal("TAPE01");
      loader.drive(0).preventRemoval = false;
      await loader.move(drive(0), slot(1));
    });

    it("a tape left in a drive is there again, at its beginning", async () => {
      await loader.move(slot(2), drive(1));
      for (let record = 0; record < 3; record++) {
        await loader.drive(1).write([patternBytes(100, record)]);
      }
      await reopen();
      const again = loader.drive(1);
      expect(again.medium()?.barcode).to.equal("TAPE02");
      expect(again.ready).to.be.true;
      expect(await again.position()).to.include({ object: 0, beginning: true });
      expect(await again.read(new Uint8Array(100))).to.include({ lengthBytes: 100 });
    });

    it("erases from here on", async () => {
      await loader.move(slot(1), drive(0));
      const one = loader.drive(0);
      for (let record = 0; record < 4; record++) await one.write([patternBytes(50, record)]);
      await one.locate(2);
      await one.erase();
      expect(await one.position()).to.include({ object: 2 });
      expect((await one.read(new Uint8Array(50))).kind).to.equal("end-of-data");
      await one.rewind();
      expect(await one.read(new Uint8Array(50))).to.include({ kind: "record", lengthBytes: 50 });
      await one.rewind();
      await one.erase();
      expect((await one.read(new Uint8Array(50))).kind).to.equal("end-of-data");
      expect(one.medium()?.usedBytes).to.equal(0);
    });

    it("many moves at once are done one after another", async () => {
      await loader.move(slot(1), drive(0));
      const tries = await Promise.allSettled([
        ...Array.from({ length: 4 }, () => loader.move(slot(2), slot(5))),
        ...Array.from({ length: 4 }, () => loader.move(slot(3), slot(5))),
        loader.move(drive(0), drive(1)),
        loader.exchange(slot(2), drive(0), slot(6)),
      ]);
      expect(tries.some((each) => each.status === "fulfilled")).to.be.true;
      const tapes = (await places()).map((each) => each.split(" ")[0]).sort();
      expect(tapes).to.deep.equal(["TAPE01", "TAPE02", "TAPE03"]);
    });

    it("after closing, nothing works, and closing again is no harm", async () => {
      const one = loader.drive(0);
      await loader.close();
      await loader.close();
      await expectReelError(loader.elements(), "closed");
      await expectReelError(loader.element(slot(1)), "closed");
      await expectReelError(loader.move(slot(1), slot(4)), "closed");
      await expectReelError(one.position(), "closed");
      expect(() => loader.drive(0))
        .to.throw()
        .with.property("code", "closed");
    });
  });
}
