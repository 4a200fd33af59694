/** The SCSI devices over a loader that is a folder: what a backup program does from end to end. */
import { expect } from "chai";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { lunOfDrive, ScsiTarget, type ScsiTargetOptions } from "../../../src/vtl/scsi/target.ts";
import { createVirtualLoader, openVirtualLoader } from "../../../src/vtl/manage-loaders.ts";
import { exportVirtualTape, importVirtualTapes } from "../../../src/vtl/import-export.ts";
import { storedCartridgeMemories } from "../../../src/vtl/stored-cartridge-memory.ts";
import type { VirtualLoader } from "../../../src/vtl/virtual-loader.ts";
import { createVirtualTapes, deleteVirtualTape } from "../../../src/vtl/virtual-tapes.ts";
import type { TapeLoader } from "../../../src/vtl/tape-loader.ts";
import { patternBytes } from "../../support/pattern.ts";
import { makeTempFolder } from "../../support/temp.ts";
import {
  CHANGER,
  Host,
  loadUnload,
  locate10,
  moveMedium,
  read,
  readElementStatus,
  readPosition,
  rewind,
  space6,
  testUnitReady,
  write,
  writeFilemarks,
} from "./host.ts";

const SLOT_1 = 0x1000;
const SLOT_3 = 0x1002;
const DRIVE_0 = 0x0100;
const DRIVE_1 = 0x0101;
const RECORD_BYTES = 64 * 1024;

describe("SCSI over a virtual loader on disk", () => {
  let path: string;
  let loader: TapeLoader;
  let opened: VirtualLoader;
  let remove: () => Promise<void>;

  beforeEach(async () => {
    const made = await makeTempFolder();
    remove = made.remove;
    path = join(made.folder, "vtl");
    const registryPath = join(made.folder, "loaders.json");
    await createVirtualLoader({ path, slots: 4, drives: 2, importExport: 1, registryPath });
    opened = await openVirtualLoader(path);
    await createVirtualTapes(opened, { barcodes: ["TAPE01", "TAPE02"] });
    loader = opened;
  });

  afterEach(async () => {
    await loader.close();
    await remove();
  });

  const hosts = async (
    options: ScsiTargetOptions = {},
  ): Promise<{ changer: Host; first: Host; second: Host }> => {
    const target = new ScsiTarget(loader, options);
    const changer = await new Host(target, CHANGER).settle();
    const first = await new Host(target, lunOfDrive(0)).settle();
    const second = await new Host(target, lunOfDrive(1)).settle();
    return { changer, first, second };
  };

  it("backs up to a tape, and reads it back in the other drive and after a restart", async () => {
    const { changer, first, second } = await hosts();
    await changer.good(moveMedium(SLOT_1, DRIVE_0));
    await first.fails(testUnitReady, "06/28/00");
    for (let record = 0; record < 4; record++) {
      await first.good(write(RECORD_BYTES), patternBytes(RECORD_BYTES, record));
    }
    await first.good(writeFilemarks(1));
    await first.good(rewind);
    await first.good(loadUnload(0));
    await first.fails(testUnitReady, "02/04/02");
    await changer.good(moveMedium(DRIVE_0, DRIVE_1));
    await second.fails(testUnitReady, "06/28/00");
    await second.good(locate10(2));
    const third = await second.good(read(RECORD_BYTES));
    expect(Buffer.compare(third, patternBytes(RECORD_BYTES, 2))).to.equal(0);

    await loader.close();
    await second.fails(read(1), "02/04/03");
    await changer.fails(readElementStatus(0), "02/04/03");
    loader = await openVirtualLoader(path);
    const again = await hosts();
    await again.second.good(space6(1, 1));
    expect((await again.second.good(readPosition(0))).readUInt32BE(4)).to.equal(5);
    await again.second.fails(space6(0, 1), "08/00/05");
  });

  it("keeps what hosts write into the chip with the cartridge, wherever it goes", async () => {
    await loader.move({ kind: "storage", number: 1 }, { kind: "drive", number: 0 });
    const name = Buffer.from("LTFS".padEnd(32));
    const list = Buffer.concat([Buffer.from("0000002508010100 20".replace(" ", ""), "hex"), name]);
    const writeAttribute = [0x8d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, list.length, 0, 0];
    const readAttribute = [0x8c, 0, 0, 0, 0, 0, 0, 0, 0x08, 0x01, 0, 0, 1, 0, 0, 0];
    const vendorName = async (): Promise<string> => {
      const { first } = await hosts({ memories: storedCartridgeMemories(opened) });
      return (await first.good(readAttribute)).subarray(9, 41).toString("latin1");
    };
    {
      const { first } = await hosts({ memories: storedCartridgeMemories(opened) });
      await first.good(writeAttribute, list);
    }
    await loader.close();
    opened = await openVirtualLoader(path);
    loader = opened;
    expect(await vendorName()).to.equal(name.toString());

    const outside = join(path, "..", "TAPE01.tap");
    await loader.move({ kind: "drive", number: 0 }, { kind: "storage", number: 1 });
    await exportVirtualTape(opened, "TAPE01", outside);
    expect(await readdir(join(path, "tapes"))).to.deep.equal(["TAPE02.tap"]);
    await importVirtualTapes(opened, [outside]);
    await loader.move({ kind: "storage", number: 1 }, { kind: "drive", number: 0 });
    expect(await vendorName()).to.equal(name.toString());

    await writeFile(join(path, "tapes", "TAPE01.tap.mam"), "{");
    const { first } = await hosts({ memories: storedCartridgeMemories(opened) });
    await first.fails(readAttribute, "03/11/12");
    await loader.move({ kind: "drive", number: 0 }, { kind: "storage", number: 1 });
    await deleteVirtualTape(opened, "TAPE01");
    expect(await readdir(join(path, "tapes"))).to.deep.equal(["TAPE02.tap"]);
  });

  it("sees what others do with the loader", async () => {
    const { changer, first } = await hosts();
    await loader.move({ kind: "storage", number: 1 }, { kind: "drive", number: 0 });
    await changer.fails(testUnitReady, "06/28/00");
    await first.fails(testUnitReady, "06/28/00");
    await changer.good(moveMedium(DRIVE_0, SLOT_3));
    expect((await loader.element({ kind: "storage", number: 3 })).tape?.barcode).to.equal("TAPE01");
    await first.fails(testUnitReady, "02/3a/00");
  });
});
