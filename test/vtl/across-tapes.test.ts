import { expect } from "chai";
import { join } from "node:path";
import { openSimhTape } from "../../src/tape/simh-tape.ts";
import {
  SpanningWriter,
  readAcrossTapes,
  writeAcrossTapes,
  type TapeItem,
} from "../../src/vtl/across-tapes.ts";
import type { LoaderPolicies } from "../../src/vtl/loader-config.ts";
import type { VirtualLoader } from "../../src/vtl/virtual-loader.ts";
import { createVirtualTapes } from "../../src/vtl/virtual-tapes.ts";
import { expectReelError } from "../support/expect-error.ts";
import { patternBytes } from "../support/pattern.ts";
import { drive, makeLoader, placesOf, slot, type LoaderInFolder } from "./loader-fixture.ts";

const CAPACITY_BYTES = 10_000;

describe("writing on over several tapes", () => {
  let made: LoaderInFolder;
  let loader: VirtualLoader;

  const start = async (policies: Partial<LoaderPolicies>, slots = 5): Promise<void> => {
    made = await makeLoader({ slots, tapes: 1, capacityBytes: CAPACITY_BYTES, policies });
    loader = await made.open();
    await loader.move(slot(1), drive(0));
  };

  afterEach(async () => {
    await loader.close();
    await made.remove();
  });

  /** A filemark after every third record. */
  function* items(count: number, sizeBytes = 990): Generator<TapeItem> {
    for (let record = 0; record < count; record++) {
      yield patternBytes(sizeBytes, record);
      if (record % 3 === 2) yield "filemark";
    }
  }

  const readBack = async (barcodes: readonly string[]): Promise<TapeItem[]> => {
    const found: TapeItem[] = [];
    for await (const item of readAcrossTapes(loader, barcodes)) {
      found.push(item === "filemark" ? item : Buffer.from(item));
    }
    return found;
  };

  const expectSame = (found: readonly TapeItem[], wanted: readonly TapeItem[]): void => {
    expect(found.length).to.equal(wanted.length);
    for (const [index, item] of wanted.entries()) {
      const same = found[index];
      if (item === "filemark" || same === undefined) expect(same).to.equal(item);
      else expect(Buffer.compare(Buffer.from(same), item), `item ${index}`).to.equal(0);
    }
  };

  it("makes the next tape, loads it and goes on, and everything is read back", async () => {
    await start({ nextTape: "create" });
    const tapes = await writeAcrossTapes(loader, 0, items(45));
    expect(tapes.map(({ barcode }) => barcode)).to.deep.equal([
      "REEL0001",
      "REEL0002",
      "REEL0003",
      "REEL0004",
      "REEL0005",
    ]);
    expect(tapes.reduce((sum, { records }) => sum + records, 0)).to.equal(45);
    expect(await placesOf(loader)).to.include.members(["REEL0001 storage:1", "REEL0005 drive:0"]);
    expectSame(await readBack(tapes.map(({ barcode }) => barcode)), [...items(45)]);
    // Each full tape ends with a filemark, within its capacity.
    await loader.move(drive(0), slot(5));
    for (const { barcode } of tapes.slice(0, -1)) {
      const path = join(made.path, "tapes", `${barcode}.tap`);
      await using tape = await openSimhTape(path, { mode: "read" });
      await tape.spaceToEndOfData();
      expect((await tape.read(new Uint8Array(0), { reverse: true })).kind).to.equal("filemark");
    }
    for (const each of await loader.elements()) {
      expect(each.tape?.usedBytes ?? 0).to.be.at.most(CAPACITY_BYTES);
    }
  });

  it("takes blank tapes out of the pool, and no others", async () => {
    await start({ nextTape: "scratch-pool", scratchSlots: [3, 4] });
    // REEL0001 is in the drive, its slot is taken, and goes back to slot 5.
    await createVirtualTapes(loader, { barcodes: ["ONE", "TWO", "USED", "BLANK"] });
    const used = join(made.path, "tapes", "USED.tap");
    await using tape = await openSimhTape(used, { mode: "write" });
    await tape.write([patternBytes(10)]);
    await tape.close();
    const tapes = await writeAcrossTapes(loader, 0, items(12));
    expect(tapes.map(({ barcode }) => barcode)).to.deep.equal(["REEL0001", "BLANK"]);
    const failure = await expectReelError(writeAcrossTapes(loader, 0, items(12)), "end-of-medium");
    expect(failure.message).to.include("scratch pool");
  });

  it("without a policy the writer meets the end of the medium, after early warning", async () => {
    await start({ nextTape: "none", earlyWarningBytes: 3000 });
    const writer = await SpanningWriter.start(loader, 0);
    const warnings: boolean[] = [];
    const failure = await expectReelError(
      (async () => {
        for (;;) warnings.push((await writer.write([patternBytes(992)])).earlyWarning);
      })(),
      "end-of-medium",
    );
    expect(failure.message).to.include("REEL0001");
    expect(warnings.length).to.equal(9);
    expect(warnings.indexOf(true)).to.equal(6);
    await writer.writeFilemarks(1);
    expect(await placesOf(loader)).to.deep.equal(["REEL0001 drive:0"]);
  });

  it("says why there is no next tape, and what was written is in order", async () => {
    await start({ nextTape: "create" }, 2);
    const failure = await expectReelError(writeAcrossTapes(loader, 0, items(40)), "end-of-medium");
    expect(failure.message).to.include("REEL0002 is full").and.include("slots are empty");
    expect(await placesOf(loader)).to.deep.equal(["REEL0001 storage:1", "REEL0002 drive:0"]);
    expect((await readBack(["REEL0001", "REEL0002"])).length).to.be.greaterThan(15);
  });

  it("a record that fits on no tape is refused", async () => {
    await start({ nextTape: "create" });
    await expectReelError(writeAcrossTapes(loader, 0, [patternBytes(20_000)]), "end-of-medium");
  });

  it("stops when it is told to", async () => {
    await start({ nextTape: "create" });
    const stop = new AbortController();
    const endless = (function* (): Generator<TapeItem> {
      for (let record = 0; ; record++) {
        if (record === 5) stop.abort();
        yield patternBytes(10, record);
      }
    })();
    await expectReelError(writeAcrossTapes(loader, 0, endless, { signal: stop.signal }), "aborted");
    expect((await loader.drive(0).position()).object).to.equal(5);
  });
});
