/** What is on a tape, as folders: texts, tape files, records, archives, images. */
import { expect } from "chai";
import { execFileSync } from "node:child_process";
import { mkdir, open, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { MemoryDevice } from "../../../src/device/memory-device.ts";
import { openSimhTape } from "../../../src/tape/simh-tape.ts";
import { backupVolume } from "../../../src/tapeimage/backup.ts";
import { walk } from "../../../src/tree/path.ts";
import { RECORDS_LISTED_MAX } from "../../../src/vtl/tree/tape-branch.ts";
import { expectReelError } from "../../support/expect-error.ts";
import { makeFatSample } from "../../support/fat-sample.ts";
import { SUITE_FILES, fileTreeSuite } from "../../support/file-tree-suite.ts";
import { writeTestImage } from "../../support/image-fixture.ts";
import { contentOf, idOf } from "../../support/memory-tree.ts";
import { patternBytes } from "../../support/pattern.ts";
import { drive, slot } from "../loader-fixture.ts";
import {
  FILEMARK,
  makeTree,
  recordsOf,
  subTree,
  tarOf,
  writeObjects,
  writeTape,
  type TreeInFolder,
} from "./tree-fixture.ts";

const LABEL = `VOL1REEL01${" ".repeat(27)}THE OWNER     ${" ".repeat(28)}4`;

fileTreeSuite("a tar on a tape", async () => {
  const at = await makeTree();
  await writeTape(at.tapePath("REEL0001"), recordsOf(await tarOf(at.folder, SUITE_FILES)));
  const tree = subTree(at.tree, await at.id("tapes/REEL0001/tar"));
  return { tree, cleanUp: async () => at.close() };
});

describe("the contents of a tape as folders", () => {
  let at: TreeInFolder;
  let tape: string;
  beforeEach(async () => {
    at = await makeTree();
    tape = at.tapePath("REEL0001");
  });
  afterEach(async () => {
    await at.close();
  });

  async function backUp(path: string): Promise<ReturnType<typeof makeFatSample>> {
    const sample = makeFatSample({ bits: 16, clusters: 5000 });
    const volume = join(at.folder, "volume.img");
    await writeFile(volume, sample.bytes);
    await backupVolume({ sourcePath: volume, tapePath: path, recordSizeBytes: 64 * 1024 });
    return sample;
  }

  it("shows labels, tape files and records", async () => {
    const data = patternBytes(25_000);
    await writeTape(tape, [LABEL, FILEMARK, ...recordsOf(data), "last", FILEMARK, FILEMARK]);
    expect(await at.names("tapes/REEL0001")).to.deep.equal([
      ...["label.txt", "contents.txt", "files", "records"],
    ]);
    expect(await at.text("tapes/REEL0001/label.txt")).to.match(
      /serial +REEL01\nOwner +THE OWNER\n/,
    );
    const contents = await at.text("tapes/REEL0001/contents.txt");
    expect(contents)
      .to.contain("5 records, 4 filemarks")
      .and.match(/\n1 +unknown +3 /);
    expect(await at.names("tapes/REEL0001/files")).to.deep.equal([
      ...["00.bin", "01.bin", "02.bin", "03.bin"],
    ]);
    const file = await contentOf(at.tree, "vtl/tapes/REEL0001/files/01.bin");
    expect(Buffer.compare(file, data)).to.equal(0);
    expect(await at.names("tapes/REEL0001/records")).to.deep.equal([
      ...["000000.bin", "000002.bin", "000003.bin", "000004.bin", "000006.bin"],
    ]);
    expect(await at.text("tapes/REEL0001/records/000006.bin")).to.equal("last");
    const record = await contentOf(at.tree, "vtl/tapes/REEL0001/records/000003.bin");
    expect(Buffer.compare(record, data.subarray(10_240, 20_480))).to.equal(0);
    for (const name of [
      "files/1.bin",
      "files/01",
      "files/04.bin",
      "records/1.bin",
      "records/000001.bin",
    ]) {
      await expectReelError(at.id(`tapes/REEL0001/${name}`), "not-found");
    }
  });

  it("shows a tar as it is, with links, and each of several under its number", async () => {
    const place = join(at.folder, "source");
    await mkdir(join(place, "sub"), { recursive: true });
    await writeFile(join(place, "sub", "a"), "content of a", { mode: 0o640 });
    execFileSync("sh", ["-c", "ln sub/a hard; ln -s sub/a soft"], { cwd: place });
    const args = ["-c", "-C", place, "--sort=name", "."];
    const tar = execFileSync("tar", args);
    await writeTape(tape, [LABEL, FILEMARK, ...recordsOf(tar)]);
    const path = "tapes/REEL0001/tar";
    expect(await at.names(path)).to.have.members(["hard", "soft", "sub"]);
    expect(await at.text(`${path}/hard`)).to.equal("content of a");
    expect(await at.text(`${path}/sub/a`)).to.equal("content of a");
    expect((await at.tree.stat(await at.id(`${path}/sub/a`))).mode).to.equal(0o640);
    const link = await at.id(`${path}/soft`);
    expect(await at.tree.readLink(link)).to.equal("sub/a");
    await expectReelError(at.tree.read(link, 0, Buffer.alloc(1)), "invalid");
    const before = await at.id(`${path}/sub`);
    await writeTape(tape, recordsOf(await tarOf(at.folder, { second: "2" })));
    expect(await at.names("tapes/REEL0001")).not.to.include("tar");
    expect(await at.names("tapes/REEL0001/files")).to.deep.equal([
      ...["00.bin", "01.bin", "01", "02.bin", "02"],
    ]);
    expect(await at.text("tapes/REEL0001/files/02/second")).to.equal("2");
    expect(await at.text("tapes/REEL0001/files/01/sub/a")).to.equal("content of a");
    await expectReelError(at.tree.stat(before), "not-found");
  });

  it("shows the only image as its volume, and several by their numbers", async function () {
    this.timeout(20_000);
    const sample = await backUp(tape);
    const expectVolume = async (path: string): Promise<void> => {
      const found: string[] = [];
      await walk(at.tree, await at.id(path), async (name) => {
        found.push(`/${name}`);
        return undefined;
      });
      expect(found).to.have.members([...sample.expected.keys()]);
      for (const [name, content] of sample.expected) {
        if (content === "directory") continue;
        const bytes = await contentOf(at.tree, `vtl/${path}${name}`);
        expect(Buffer.compare(bytes, content), name).to.equal(0);
      }
    };
    await expectVolume("tapes/REEL0001/image");
    const id = await at.id("tapes/REEL0001/image/HELLO.TXT");
    expect(await at.tree.listXattrs(id)).to.include("user.reelfs.tape-records");
    expect(await at.tree.getXattr(id, "user.reelfs.image")).to.have.length(36);
    expect(await at.text("tapes/REEL0001/contents.txt")).to.contain("Image 1: ");
    await backUp(tape);
    expect(await at.names("tapes/REEL0001/image")).to.deep.equal(["1", "2"]);
    await expectVolume("tapes/REEL0001/image/1");
    await expectVolume("tapes/REEL0001/image/2");
    await expectReelError(at.tree.stat(id), "not-found");
  });

  it("shows why an image cannot be shown, and all else beside it", async function () {
    this.timeout(20_000);
    await backUp(tape);
    // A boot sector of nonsense, as volumes of other kinds have.
    const noise = new MemoryDevice(patternBytes(64 * 512, 9));
    const writer = await openSimhTape(tape, { mode: "write" });
    await writer.spaceToEndOfData();
    await writeTestImage(writer, noise, { used: [[0, 64]], control: [[0, 1]], number: 2 });
    await writer.close();
    expect(await at.names("tapes/REEL0001/image/2")).to.deep.equal(["problem.txt"]);
    expect(await at.text("tapes/REEL0001/image/2/problem.txt")).to.have.length.above(20);
    expect(await at.names("tapes/REEL0001/image/1")).not.to.include("problem.txt");
    expect(await at.names("tapes/REEL0001/files")).to.have.length.above(1);
  });

  it("keeps tapes and views apart when one cannot be read", async () => {
    await rm(at.tapePath("REEL0002"));
    await writeTape(at.tapePath("REEL0003"), ["fine", FILEMARK]);
    expect(await at.names("tapes/REEL0002")).to.deep.equal(["problem.txt"]);
    expect(await at.text("tapes/REEL0002/problem.txt")).to.contain("is gone");
    expect(await at.names("slots/002")).to.deep.equal(["REEL0002.tap"]);
    expect(await at.text("tapes/REEL0003/files/00.bin")).to.equal("fine");
    expect(await at.text("status.txt")).to.contain("REEL0002");
  });

  it("shows a damaged tape as far as it goes, and says where that is", async () => {
    await writeTape(tape, [...recordsOf(patternBytes(20_480)), "more", FILEMARK]);
    const bytes = await readFile(tape);
    await writeFile(tape, bytes.subarray(0, bytes.length - 6));
    expect(await at.text("tapes/REEL0001/contents.txt")).to.match(/cannot be read further: .+/);
    const first = await contentOf(at.tree, "vtl/tapes/REEL0001/files/00.bin");
    expect(Buffer.compare(first, patternBytes(20_480))).to.equal(0);
  });

  it("follows a tape that is being written, as far as records are complete", async () => {
    await at.move("slots/001/REEL0001.tap", "drives/0/REEL0001.tap");
    const writer = await openSimhTape(tape, { mode: "write" });
    const path = "tapes/REEL0001/files/00.bin";
    try {
      await writeObjects(writer, ["one "]);
      expect(await at.text(path)).to.equal("one ");
      const id = await at.id(path);
      await writeObjects(writer, ["two ", "three "]);
      expect((await at.tree.stat(id)).sizeBytes).to.equal(14);
      const target = Buffer.alloc(20);
      expect(await at.tree.read(id, 4, target)).to.equal(10);
      expect(target.toString("latin1", 0, 10)).to.equal("two three ");
      // Half a record, as the kernel shows a write that is under way.
      const half = await open(tape, "a");
      await half.write(Buffer.from([4, 0, 0, 0, ...Buffer.from("ne")]));
      await half.close();
      expect(await at.text(path)).to.equal("one two three ");
      await writeObjects(writer, ["next", FILEMARK, "last"]);
      expect(await at.text(path)).to.equal("one two three next");
      expect(await at.names("tapes/REEL0001/files")).to.deep.equal(["00.bin", "01.bin"]);
      expect(await at.text("tapes/REEL0001/files/01.bin")).to.equal("last");
      expect(await at.text("tapes/REEL0001/records/000005.bin")).to.equal("last");
      expect(await at.id(path)).to.equal(id);
      const { size } = await stat(tape);
      const raw = await at.tree.stat(await at.id("drives/0/REEL0001.tap"));
      expect(raw.sizeBytes).to.equal(size);
    } finally {
      await writer.close();
    }
    expect(await at.text("tapes/REEL0001/files/01.bin")).to.equal("last");
  });

  it("follows a tar that is being written, and shows it whole in the end", async () => {
    const tar = await tarOf(at.folder, { a: patternBytes(30_000, 1), b: patternBytes(30_000, 2) });
    const records = recordsOf(tar, 4096);
    const writer = await openSimhTape(tape, { mode: "write" });
    try {
      await writeObjects(writer, records.slice(0, 4));
      const [first = ""] = await at.names("tapes/REEL0001/tar");
      const part = await contentOf(at.tree, `vtl/tapes/REEL0001/tar/${first}`);
      expect(part.length).to.be.within(1, 16_384);
      expect(
        Buffer.compare(part, patternBytes(30_000, first === "a" ? 1 : 2).subarray(0, part.length)),
      ).to.equal(0);
      await writeObjects(writer, records.slice(4));
    } finally {
      await writer.close();
    }
    expect(await at.names("tapes/REEL0001/tar")).to.have.members(["a", "b"]);
    const whole = await contentOf(at.tree, "vtl/tapes/REEL0001/tar/b");
    expect(Buffer.compare(whole, patternBytes(30_000, 2))).to.equal(0);
  });

  it("is never of an earlier tape: written over, erased, replaced by another file", async () => {
    const show = async (): Promise<string> => at.text("tapes/REEL0001/tar/name");
    const write = async (content: string): Promise<void> => {
      const records = recordsOf(await tarOf(at.folder, { name: content }));
      const writer = await openSimhTape(tape, { mode: "write" });
      await writeObjects(writer, records);
      await writer.close();
    };
    await write("old one");
    expect(await show()).to.equal("old one");
    const id = await at.id("tapes/REEL0001/tar/name");
    // Of the same length, so that nothing but the bytes is another.
    await write("new one");
    expect(await show()).to.equal("new one");
    await expectReelError(at.tree.read(id, 0, Buffer.alloc(10)), "not-found");
    const writer = await openSimhTape(tape, { mode: "write" });
    await writeObjects(writer, ["another record", FILEMARK]);
    expect(await at.names("tapes/REEL0001")).not.to.include("tar");
    await writeObjects(writer, [...recordsOf(await tarOf(at.folder, { name: "appended" }))]);
    expect(await at.text("tapes/REEL0001/files/00.bin")).to.equal("another record");
    expect(await show()).to.equal("appended");
    await writer.close();
    await write("third");
    await rename(tape, join(at.folder, "away.tap"));
    expect(await at.names("tapes/REEL0001")).to.deep.equal(["problem.txt"]);
    await rename(join(at.folder, "away.tap"), tape);
    expect(await show()).to.equal("third");
  });

  it("stays the same wherever the robot puts the tape", async () => {
    await writeTape(tape, recordsOf(await tarOf(at.folder, { name: "content" })));
    const id = await at.id("tapes/REEL0001/tar/name");
    await at.loader.move(slot(1), drive(0));
    await at.loader.move(drive(0), slot(4));
    expect(await at.id("tapes/REEL0001/tar/name")).to.equal(id);
    expect(await at.text("tapes/REEL0001/tar/name")).to.equal("content");
  });
});

describe("the memory that views of tapes take", () => {
  it("is given back to the tapes that are looked at, and nobody sees it", async function () {
    this.timeout(20_000);
    const at = await makeTree({ slots: 12, tapes: 10, cacheBytes: 1 });
    try {
      const ids = new Map<string, number>();
      for (let number = 1; number <= 10; number++) {
        const barcode = `REEL${String(number).padStart(4, "0")}`;
        const tar = await tarOf(at.folder, { name: barcode });
        await writeTape(at.tapePath(barcode), recordsOf(tar));
        ids.set(barcode, await at.id(`tapes/${barcode}/tar/name`));
      }
      expect(at.statistics().open).to.be.at.most(3);
      for (const [barcode, id] of ids) {
        const target = Buffer.alloc(20);
        const length = await at.tree.read(id, 0, target);
        expect(target.toString("latin1", 0, length)).to.equal(barcode);
        expect(await at.id(`tapes/${barcode}/tar/name`)).to.equal(id);
      }
      expect(at.statistics().open).to.be.at.most(3);
    } finally {
      await at.close();
    }
  });

  it("lists a tar of many files, and the first of very many records", async function () {
    this.timeout(30_000);
    const at = await makeTree();
    try {
      const files = Object.fromEntries(
        Array.from({ length: 3000 }, (_, number) => [`file ${number}`, `${number}`]),
      );
      const tar = await tarOf(at.folder, files);
      await writeTape(at.tapePath("REEL0001"), recordsOf(tar));
      expect(await at.names("tapes/REEL0001/tar")).to.have.length(3000);
      expect(await at.text("tapes/REEL0001/tar/file 2718")).to.equal("2718");
      const objects = RECORDS_LISTED_MAX + 10;
      const records = Buffer.concat(
        Array.from({ length: objects }, () => Buffer.from([2, 0, 0, 0, 65, 66, 2, 0, 0, 0])),
      );
      await writeFile(at.tapePath("REEL0002"), records);
      expect(await at.names("tapes/REEL0002/records")).to.have.length(RECORDS_LISTED_MAX);
      const last = String(objects - 1).padStart(6, "0");
      expect(await at.text(`tapes/REEL0002/records/${last}.bin`)).to.equal("AB");
      await expectReelError(
        idOf(at.tree, `vtl/tapes/REEL0002/records/${objects}.bin`),
        "not-found",
      );
    } finally {
      await at.close();
    }
  });
});
