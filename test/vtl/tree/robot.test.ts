/** mv, cp, rm and chmod on the tree of a real loader. */
import { expect } from "chai";
import { chmod, readFile, readdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ErrorCode } from "../../../src/errors.ts";
import { openVirtualLoader } from "../../../src/vtl/manage-loaders.ts";
import { openLoaderTree } from "../../../src/vtl/tree/loader-tree.ts";
import { protectVirtualTape } from "../../../src/vtl/virtual-tapes.ts";
import { expectReelError } from "../../support/expect-error.ts";
import { contentOf, idOf } from "../../support/memory-tree.ts";
import { patternBytes } from "../../support/pattern.ts";
import { drive, makeLoader, placesOf, slot } from "../loader-fixture.ts";
import { FILEMARK, makeTree, recordsOf, writeTape, type TreeInFolder } from "./tree-fixture.ts";

describe("a loader as folders", () => {
  let at: TreeInFolder;
  beforeEach(async () => {
    at = await makeTree();
  });
  afterEach(async () => {
    await at.close();
  });

  /** The bytes of a tape, as somebody has it lying about. */
  async function tapeBytes(length = 300_000): Promise<Buffer> {
    const path = join(at.folder, "elsewhere.tap");
    await writeFile(path, "");
    await writeTape(path, recordsOf(patternBytes(length, 3)));
    return readFile(path);
  }

  it("shows elements, and each tape in the one where it is", async () => {
    expect(await at.names("")).to.deep.equal([
      ...["slots", "drives", "import-export", "tapes", "status.txt", "status.json"],
    ]);
    expect(await at.names("slots")).to.deep.equal(["001", "002", "003", "004", "005"]);
    expect(await at.names("drives")).to.deep.equal(["0", "1"]);
    expect(await at.names("import-export")).to.deep.equal(["1", "2"]);
    expect(await at.names("slots/002")).to.deep.equal(["REEL0002.tap"]);
    expect(await at.names("slots/004")).to.deep.equal([]);
    expect(await at.names("tapes")).to.deep.equal(["REEL0001", "REEL0002", "REEL0003"]);
    const { stat } = (await at.tree.lookup(await at.id("slots/001"), "reel0001.TAP")) ?? {};
    expect(stat?.id).to.equal(await at.id("slots/001/REEL0001.tap"));
    for (const name of ["1", "006", "0001", "x"]) {
      expect(await at.tree.lookup(await at.id("slots"), name), name).to.equal(undefined);
    }
  });

  it("gives the bytes of a tape, at any offset", async () => {
    await writeTape(at.tapePath("REEL0001"), recordsOf(patternBytes(200_000)));
    const bytes = await readFile(at.tapePath("REEL0001"));
    const id = await at.id("slots/001/REEL0001.tap");
    expect((await at.tree.stat(id)).sizeBytes).to.equal(bytes.length);
    const target = Buffer.alloc(50_000);
    expect(await at.tree.read(id, 12_345, target)).to.equal(50_000);
    expect(target.equals(bytes.subarray(12_345, 62_345))).to.equal(true);
    expect(await at.tree.read(id, bytes.length, target)).to.equal(0);
  });

  it("loads, unloads, transfers and ejects by renaming; the tape keeps its node", async () => {
    const id = await at.id("slots/001/REEL0001.tap");
    await at.move("slots/001/REEL0001.tap", "drives/0/REEL0001.tap");
    expect(await at.id("drives/0/REEL0001.tap")).to.equal(id);
    expect(await at.names("slots/001")).to.deep.equal([]);
    await at.move("drives/0/REEL0001.tap", "slots/005/REEL0001.tap");
    await at.move("slots/005/REEL0001.tap", "slots/004/reel0001.tap");
    await at.move("slots/004/REEL0001.tap", "import-export/2/REEL0001.tap");
    await at.move("slots/002/REEL0002.tap", "slots/002/REEL0002.tap");
    expect(await placesOf(at.loader)).to.deep.equal([
      ...["REEL0002 storage:2", "REEL0003 storage:3", "REEL0001 import-export:2"],
    ]);
    expect(at.log).to.deep.equal([]);
  });

  it("refuses what a robot cannot do, and says why in status.txt and the log", async () => {
    await at.move("slots/001/REEL0001.tap", "drives/0/REEL0001.tap");
    const refused: [() => Promise<void>, ErrorCode][] = [
      [async () => at.move("slots/002/REEL0002.tap", "drives/0/REEL0002.tap"), "exists"],
      [async () => at.move("slots/002/REEL0002.tap", "slots/003/REEL0002.tap"), "exists"],
      [async () => at.move("slots/002/REEL0002.tap", "slots/004/OTHER.tap"), "no-permission"],
      [async () => at.move("slots/002/REEL0002.tap", "slots/004/REEL0002.aws"), "no-permission"],
      [async () => at.move("slots/002/REEL0002.tap", "slots/REEL0002.tap"), "no-permission"],
      [async () => at.move("slots/002/REEL0002.tap", "tapes/REEL0003/REEL0002.tap"), "read-only"],
      [async () => at.move("slots/002/REEL0002.tap", "slots/002/.fuse_hidden0001"), "busy"],
      [async () => at.move("slots/004/REEL0002.tap", "drives/1/REEL0002.tap"), "not-found"],
      [async () => at.remove("drives/0/REEL0001.tap"), "busy"],
    ];
    for (const [change, code] of refused) await expectReelError(change(), code);
    const using = at.loader.drive(0);
    using.preventRemoval = true;
    await expectReelError(at.move("drives/0/REEL0001.tap", "slots/001/REEL0001.tap"), "busy");
    expect(at.log).to.have.length(refused.length + 1);
    const status = await at.text("status.txt");
    expect(status).to.match(/drive 0 +REEL0001 .*from slot 1/);
    expect(status).to.contain("drive 0 holds REEL0001; unload it first");
    expect(status).to.contain("the name of a tape is its barcode");
    expect(status).to.contain("removal of the tape in drive 0 is prevented");
    const json = JSON.parse(await at.text("status.json")) as { elements: unknown[] };
    expect(json.elements).to.have.length(9);
    expect(await placesOf(at.loader)).to.deep.equal([
      ...["REEL0002 storage:2", "REEL0003 storage:3", "REEL0001 drive:0"],
    ]);
  });

  it("refuses folders, links and attributes", async () => {
    const slots = await at.id("slots");
    const element = await at.id("slots/004");
    await expectReelError(at.writable.createDirectory(slots, "006", { mode: 0 }), "no-permission");
    await expectReelError(at.writable.createSymlink(element, "a", "b", {}), "no-permission");
    await expectReelError(at.writable.removeDirectory(slots, "005"), "no-permission");
    await expectReelError(
      at.writable.createFile(await at.id("tapes/REEL0001"), "x", { mode: 0 }),
      "read-only",
    );
    const id = await at.id("slots/001/REEL0001.tap");
    await expectReelError(
      at.writable.setXattr(id, "user.a", Buffer.from("b"), "any"),
      "unsupported",
    );
    await expectReelError(at.writable.removeXattr(id, "user.a"), "no-attribute");
    await expectReelError(at.writable.setAttributes(slots, { mode: 0o700 }), "no-permission");
  });

  it("sees at once what another process moved, made and deleted", async () => {
    await using other = await openVirtualLoader(at.path);
    const id = await at.id("slots/001/REEL0001.tap");
    await other.move(slot(1), drive(1));
    expect(await at.id("drives/1/REEL0001.tap")).to.equal(id);
    expect(await at.names("slots/001")).to.deep.equal([]);
    await using lock = other.drive(1);
    await lock.write([Buffer.from("record")]);
    await expectReelError(at.move("drives/1/REEL0001.tap", "slots/001/REEL0001.tap"), "busy");
    expect(at.log[0]).to.match(/process \d+ .*is using drive 1/);
  });

  it("makes blank tapes, which the next process finds", async () => {
    await at.copy(new Uint8Array(0), "slots/005/new0001.tap");
    expect(await at.names("slots/005")).to.deep.equal(["NEW0001.tap"]);
    await using other = await openVirtualLoader(at.path);
    expect(await placesOf(other)).to.include("NEW0001 storage:5");
    expect(await at.text("tapes/NEW0001/contents.txt")).to.contain("The tape is blank.");
  });

  it("takes in a tape that is copied, byte for byte, with its time", async () => {
    const bytes = await tapeBytes();
    await at.copy(bytes, "slots/004/x.tap");
    expect(at.log).to.deep.equal([]);
    expect((await readFile(at.tapePath("X"))).equals(bytes)).to.equal(true);
    expect((await at.text("slots/004/X.tap")).length).to.be.above(0);
    expect(await at.names("tapes/X/files")).to.deep.equal(["00.bin"]);
    await at.move("slots/004/X.tap", "drives/0/X.tap");
    expect(await readdir(at.path)).not.to.include("incoming");
    const id = await at.id("drives/0/X.tap");
    await at.writable.setAttributes(id, { modifiedMs: 86_400_000, accessedMs: 1 });
    expect((await at.tree.stat(id)).modifiedMs).to.equal(86_400_000);
  });

  it("takes in foreign tapes, and deletes them though they are never written", async () => {
    const aws = Buffer.from("0300 0000 a000 6162 6300 0003 0040 00".replaceAll(" ", ""), "hex");
    await at.copy(aws, "slots/004/OLD.aws");
    expect(at.log).to.deep.equal([]);
    expect(await at.text("tapes/OLD/files/00.bin")).to.equal("abc");
    expect((await at.tree.stat(await at.id("slots/004/OLD.aws"))).mode ?? 0).to.equal(0o444);
    await at.remove("slots/004/OLD.aws");
    expect(await at.names("slots/004")).to.deep.equal([]);
    expect(await readdir(at.path)).to.have.members([
      ...["loader.json", "loader.json.bak", "slotmap.json", "slotmap.json.bak", "tapes", "drives"],
    ]);
  });

  it("refuses copies with the wrong name, to the wrong place, or of a tape that is there", async () => {
    const bytes = await tapeBytes(1000);
    await expectReelError(at.copy(bytes, "slots/004/notes.txt"), "invalid");
    await expectReelError(at.copy(bytes, "slots/004/a b?.tap"), "invalid");
    await expectReelError(at.copy(bytes, "slots/001/NEW.tap"), "exists");
    await expectReelError(at.copy(bytes, "slots/004/REEL0001.tap"), "exists");
    await expectReelError(at.copy(bytes, "slots/004/REEL0001.aws"), "exists");
    await expectReelError(at.copy(bytes, "drives/0/NEW.tap"), "invalid");
    await expectReelError(at.copy(bytes, "slots/NEW.tap"), "no-permission");
    expect(await at.names("slots/004")).to.deep.equal([]);
  });

  it("never throws away what it cannot take in, and frees the slot again", async () => {
    const text = Buffer.from("This is no tape at all, but a letter to my aunt.\n");
    await at.copy(text, "slots/004/LETTER.tap");
    expect(await at.names("slots/004")).to.deep.equal([]);
    expect(at.log.join()).to.contain("it is no tape");
    const place = /what was copied lies in (\S+)/.exec(await at.text("status.txt"))?.[1] ?? "";
    expect((await readFile(join(place, "LETTER.tap"))).equals(text)).to.equal(true);
    await at.copy(text, "slots/004/LETTER.aws");
    expect(await at.names("slots/004")).to.deep.equal([]);
  });

  it("takes in a tape that is cut, and says so", async () => {
    const bytes = await tapeBytes();
    await at.copy(bytes.subarray(0, bytes.length - 5000), "slots/004/CUT.tap");
    expect(at.log.join()).to.contain("CUT was copied in as it is");
    expect(await at.names("slots/004")).to.deep.equal(["CUT.tap"]);
    expect(await at.text("tapes/CUT/contents.txt")).to.contain("It cannot be read further");
  });

  it("keeps a tape that is being copied in for itself until the copy is closed", async () => {
    const bytes = await tapeBytes();
    const element = await at.id("slots/004");
    const { stat } = await at.writable.createFile(element, "SLOW.tap", { mode: 0o644 });
    at.writable.retain?.(stat.id);
    await at.writable.write(stat.id, 0, bytes.subarray(0, 1000));
    expect((await at.tree.stat(stat.id)).sizeBytes).to.equal(1000);
    const target = Buffer.alloc(10);
    await at.tree.read(stat.id, 990, target);
    expect(target.equals(bytes.subarray(990, 1000))).to.equal(true);
    await expectReelError(at.move("slots/004/SLOW.tap", "slots/005/SLOW.tap"), "busy");
    await expectReelError(at.remove("slots/004/SLOW.tap"), "busy");
    await using other = await openVirtualLoader(at.path);
    await expectReelError(other.move(slot(4), drive(0)), "busy");
    await at.writable.write(stat.id, 1000, bytes.subarray(1000));
    at.writable.release?.(stat.id);
    await at.move("slots/004/SLOW.tap", "slots/005/SLOW.tap");
    expect((await readFile(at.tapePath("SLOW"))).equals(bytes)).to.equal(true);
  });

  it("replaces nothing: a tape that holds data stays as it is", async () => {
    await writeTape(at.tapePath("REEL0001"), ["data", FILEMARK]);
    const before = await readFile(at.tapePath("REEL0001"));
    const id = await at.id("slots/001/REEL0001.tap");
    await expectReelError(at.writable.setAttributes(id, { sizeBytes: 0 }), "exists");
    await expectReelError(at.writable.write(id, 0, Buffer.from("x")), "no-permission");
    await at.move("slots/002/REEL0002.tap", "drives/0/REEL0002.tap");
    const loaded = await at.id("drives/0/REEL0002.tap");
    await expectReelError(at.writable.write(loaded, 0, Buffer.from("x")), "busy");
    expect((await readFile(at.tapePath("REEL0001"))).equals(before)).to.equal(true);
  });

  it("protects a tape by chmod, and then neither deletes nor fills it", async () => {
    const id = await at.id("slots/001/REEL0001.tap");
    await at.writable.setAttributes(id, { mode: 0o444 });
    expect((await at.loader.element(slot(1))).tape?.writeProtected).to.equal(true);
    expect(((await at.tree.stat(id)).mode ?? 0) & 0o222).to.equal(0);
    await expectReelError(at.remove("slots/001/REEL0001.tap"), "read-only");
    await expectReelError(at.writable.write(id, 0, Buffer.from("x")), "read-only");
    await at.writable.setAttributes(id, { mode: 0o644 });
    await at.remove("slots/001/REEL0001.tap");
    await expectReelError(at.tree.stat(id), "not-found");
    expect(await at.names("tapes")).to.deep.equal(["REEL0002", "REEL0003"]);
    await protectVirtualTape(at.loader, "REEL0002", true);
    await chmod(at.tapePath("REEL0003"), 0o444);
    expect(
      ((await at.tree.stat(await at.id("slots/003/REEL0003.tap"))).mode ?? 0) & 0o222,
    ).to.equal(0);
  });

  it("puts aside what a killed process was copying in", async () => {
    const bytes = await tapeBytes();
    const id = (await at.writable.createFile(await at.id("slots/004"), "HALF.aws", { mode: 0o644 }))
      .stat.id;
    await at.writable.write(id, 0, bytes);
    // As if it were another process, that is gone.
    const [draft = ""] = await readdir(join(at.path, "incoming"));
    const gone = draft.replace(`-${process.pid}-`, `-${2 ** 30}-`);
    await rename(join(at.path, "incoming", draft), join(at.path, "incoming", gone));
    const log: string[] = [];
    const { tree } = await openLoaderTree([await openVirtualLoader(at.path)], {
      log: (message) => log.push(message),
    });
    await tree.close();
    const place = /lies in (\S+)/.exec(log.join())?.[1] ?? "";
    expect((await readFile(join(place, "HALF.aws"))).equals(bytes)).to.equal(true);
  });

  it("shows tapes alone when asked to, and changes nothing", async () => {
    await writeTape(at.tapePath("REEL0001"), ["data", FILEMARK]);
    const { tree } = await openLoaderTree([await openVirtualLoader(at.path)], { simple: true });
    const [loader] = await tree.readDirectory(tree.rootId);
    const id = loader?.stat.id ?? 0;
    const tapes = await tree.readDirectory(id);
    expect(tapes.map(({ name }) => name)).to.deep.equal(["REEL0001", "REEL0002", "REEL0003"]);
    await expectReelError(tree.writable?.unlink(id, "REEL0001") ?? Promise.resolve(), "read-only");
    await tree.close();
  });

  it("shows several loaders, and does not let a robot reach into another", async () => {
    const others = [
      await makeLoader({ name: "second", tapes: 1 }),
      await makeLoader({ name: "broken", tapes: 1 }),
    ];
    const loaders = await Promise.all(others.map(async (other) => other.open()));
    const { tree } = await openLoaderTree([await openVirtualLoader(at.path), ...loaders]);
    const entries = await tree.readDirectory(tree.rootId);
    expect(entries.map(({ name }) => name)).to.deep.equal(["vtl", "second", "broken"]);
    await expectReelError(
      tree.writable?.rename(
        await idOf(tree, "second/slots/001"),
        "REEL0001.tap",
        await idOf(tree, "vtl/slots/004"),
        "REEL0001.tap",
      ) ?? Promise.resolve(),
      "no-permission",
    );
    const status = await contentOf(tree, "second/status.txt");
    expect(status.toString()).to.contain("a robot has only its own");
    const broken = others[1]?.path ?? "";
    for (const name of ["slotmap.json", "slotmap.json.bak"]) {
      await writeFile(join(broken, name), "rubbish");
    }
    await expectReelError(idOf(tree, "broken/slots/001"), "damaged");
    expect((await contentOf(tree, "broken/status.txt")).toString()).to.contain("Problem: ");
    expect(await idOf(tree, "second/slots/001/REEL0001.tap")).to.be.a("number");
    await tree.close();
    for (const other of others) await other.remove();
  });
});

describe("a large loader as folders", () => {
  it("lists a thousand slots and tapes without opening one", async function () {
    this.timeout(30_000);
    const at = await makeTree({ slots: 1000, tapes: 990, drives: 4 });
    try {
      expect(await at.names("slots")).to.have.length(1000);
      expect(await at.names("tapes")).to.have.length(990);
      const entries = await at.tree.readDirectory(await at.id("slots"));
      for (const { stat } of entries) await at.tree.readDirectory(stat.id);
      expect(await at.names("slots/0990")).to.deep.equal(["REEL0990.tap"]);
      expect(at.statistics().open).to.equal(0);
    } finally {
      await at.close();
    }
  });
});
