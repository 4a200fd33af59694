/** Loader folders that somebody else has filled: what is in them leads nowhere else. */
import { expect } from "chai";
import { execFileSync } from "node:child_process";
import { lstat, mkdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { takeLock } from "../../src/tape/tape-lock.ts";
import { openSimhTape } from "../../src/tape/simh-tape.ts";
import { writeDriveState } from "../../src/vtl/drive-state.ts";
import { exportVirtualTape } from "../../src/vtl/import-export.ts";
import { inventoryVirtualLoader } from "../../src/vtl/inventory.ts";
import { openVirtualLoader } from "../../src/vtl/manage-loaders.ts";
import { storedCartridgeMemories } from "../../src/vtl/stored-cartridge-memory.ts";
import {
  createVirtualTapes,
  eraseVirtualTape,
  labelVirtualTape,
  protectVirtualTape,
} from "../../src/vtl/virtual-tapes.ts";
import { expectReelError } from "../support/expect-error.ts";
import { makeLoader, placesOf, type LoaderInFolder } from "./loader-fixture.ts";

describe("the folder of a loader that is somebody else's", () => {
  let made: LoaderInFolder;
  /** A file of the victim's. */
  let precious: string;
  const inLoader = (...names: string[]): string => join(made.path, ...names);

  beforeEach(async () => {
    made = await makeLoader({ slots: 3, tapes: 2 });
    precious = join(made.folder, "precious");
    await writeFile(precious, "precious");
  });

  afterEach(async () => made.remove());

  const expectUntouched = async (): Promise<void> => {
    expect(await readFile(precious, "utf8")).to.equal("precious");
  };

  const setSlotMap = async (fields: object): Promise<void> => {
    const file = inLoader("slotmap.json");
    const map = JSON.parse(await readFile(file, "utf8")) as object;
    await writeFile(file, JSON.stringify({ ...map, ...fields }));
  };

  it("has no file written through links that stand where files are to be", async () => {
    const names = ["slotmap.json.new", "slotmap.json.bak.new", "loader.json.new"];
    for (const name of names) await symlink(precious, inLoader(name));
    await symlink(precious, inLoader("drives", "1.json.new"));
    await symlink(precious, inLoader("tapes", "REEL0001.tap.mam.new"));
    await symlink(precious, join(made.folder, "out.tap.mam.new"));
    const loader = await made.open();
    await createVirtualTapes(loader, { count: 1 });
    await writeDriveState(inLoader("drives", "1.json"), { blockBytes: 512 });
    const memory = storedCartridgeMemories(loader)("REEL0001");
    await memory.write(new Map([[0x801, Buffer.from("app")]]));
    await exportVirtualTape(loader, "REEL0001", join(made.folder, "out.tap"));
    await loader.close();
    await expectUntouched();
    expect((await lstat(inLoader("slotmap.json"))).isFile()).to.equal(true);
    expect(await readFile(join(made.folder, "out.tap.mam"), "utf8")).to.contain("0801");
  });

  it("has no tape that is a link to another file", async () => {
    const path = inLoader("tapes", "REEL0001.tap");
    await rm(path);
    await symlink(precious, path);
    const loader = await made.open();
    await expectReelError(eraseVirtualTape(loader, "REEL0001"), "invalid");
    await expectReelError(labelVirtualTape(loader, "REEL0001", { force: true }), "invalid");
    await expectReelError(protectVirtualTape(loader, "REEL0001", false), "invalid");
    const report = await inventoryVirtualLoader(loader);
    expect(report.missing.map(({ barcode }) => barcode)).to.deep.equal(["REEL0001"]);
    expect(report.unusable).to.deep.equal(["REEL0001.tap"]);
    await loader.close();
    await expectUntouched();
  });

  it("has no tapes deleted elsewhere, whatever is said to be pending", async () => {
    const other = await makeLoader({ slots: 2, tapes: 1 });
    try {
      const theirs = join(other.path, "tapes", "REEL0001.tap");
      {
        await using tape = await openSimhTape(theirs, { mode: "write" });
        await tape.write([Buffer.from("data")]);
      }
      await rename(inLoader("tapes"), inLoader("own"));
      await symlink(join(other.path, "tapes"), inLoader("tapes"));
      const element = { kind: "storage", number: 1, barcode: "REEL0001" };
      await setSlotMap({ elements: [], pending: { operation: "delete", tapes: [{ element }] } });
      const error = await expectReelError(made.open(), "invalid");
      expect(error.message).to.contain("tapes is a symbolic link");
      expect((await lstat(theirs)).size).to.be.greaterThan(0);
    } finally {
      await other.remove();
    }
  });

  it("is refused where a file of it is a device or a pipe, without waiting for it", async () => {
    for (const name of ["slotmap.json", "slotmap.json.bak"]) {
      await rm(inLoader(name));
      await symlink("/dev/zero", inLoader(name));
    }
    const error = await expectReelError(made.open(), "damaged");
    expect(error.message).to.contain("not a regular file");
    execFileSync("mkfifo", [inLoader("loader.lock")]);
    const asking = takeLock(inLoader("loader.lock"), { doing: "cannot look", using: "looks" });
    await expectReelError(asking, "busy");
  });

  it("cannot change what all objects have, by names that JavaScript knows", async () => {
    const text = await readFile(inLoader("loader.json"), "utf8");
    const bad = text.replace("{", '{"__proto__": {"capacityBytes": 5}, "constructor": 1,');
    await writeFile(inLoader("loader.json"), bad);
    await setSlotMap(JSON.parse('{"__proto__": {"pending": 5}, "toString": []}') as object);
    const loader = await made.open();
    expect(await placesOf(loader)).to.have.length(2);
    expect(loader.folder.config.capacityBytes).to.equal(undefined);
    expect(({} as Record<string, unknown>)["capacityBytes"]).to.equal(undefined);
    await loader.close();
  });

  it("is refused with the field's name where numbers and lists are absurd or deep", async () => {
    const deep = "[".repeat(200_000) + "]".repeat(200_000);
    const cases: readonly [text: string, field: string][] = [
      ['"generation": 1e400', "generation"],
      ['"generation": -1', "generation"],
      ['"generation": "1"', "generation"],
      ['"elements": {}', "elements"],
      [`"elements": ${deep}`, "elements"],
      [`"elements": [{"kind":"storage","number":1e15,"barcode":"A"}]`, "number"],
      [`"elements": [{"kind":"storage","number":1,"barcode":"../../a"}]`, "barcode"],
      [`"elements": [{"kind":"storage","number":1,"barcode":"A\\u0000"}]`, "barcode"],
      [`"elements": [{"kind":"storage","number":1,"barcode":"A\\n"}]`, "barcode"],
    ];
    const rest = { format: "reelfs-slot-map", version: 1, generation: 1, loadCounts: [] };
    for (const [text, field] of cases) {
      const others = Object.entries({ ...rest, elements: [] })
        .filter(([name]) => !text.startsWith(`"${name}"`))
        .map(([name, value]) => `"${name}": ${JSON.stringify(value)}`);
      await rm(inLoader("slotmap.json.bak"), { force: true });
      await writeFile(inLoader("slotmap.json"), `{${[text, ...others].join(",")}}`);
      const error = await expectReelError(openVirtualLoader(made.path), "damaged");
      expect(error.message, text.slice(0, 60)).to.contain(field);
    }
  });

  it("is made where no folder is led elsewhere for it", async () => {
    const path = join(made.folder, "new");
    await mkdir(path);
    await symlink(precious, join(path, "loader.json.new"));
    const fresh = await makeLoader({ path, slots: 1 });
    try {
      await expectUntouched();
    } finally {
      await fresh.remove();
    }
  });
});
