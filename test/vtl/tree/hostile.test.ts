/** Names and tapes that somebody made to do harm; nothing may hang, crash, hide the rest or leak out. */
import { expect } from "chai";
import { readFile, writeFile } from "node:fs/promises";
import { isReelError } from "../../../src/errors.ts";
import { walk } from "../../../src/tree/path.ts";
import type { FileTree, NodeId } from "../../../src/tree/file-tree.ts";
import { expectReelError } from "../../support/expect-error.ts";
import { patternBytes } from "../../support/pattern.ts";
import { randomBytes, withRandom } from "../../support/random.ts";
import {
  FILEMARK,
  makeTree,
  recordsOf,
  tarOf,
  writeTape,
  type TreeInFolder,
} from "./tree-fixture.ts";

const BLOCK_BYTES = 512;

/** A header of a tar as somebody may write it by hand. */
function tarHeader(
  name: Uint8Array | string,
  options: { size?: number; type?: string; link?: string } = {},
): Buffer {
  const header = Buffer.alloc(BLOCK_BYTES);
  Buffer.from(name).copy(header, 0, 0, 100);
  header.write("0000644\0", 100);
  header.write("0000000\0", 108);
  header.write("0000000\0", 116);
  header.write(`${(options.size ?? 0).toString(8).padStart(11, "0")}\0`, 124);
  header.write("00000000000\0", 136);
  header.fill(" ", 148, 156);
  header.write(options.type ?? "0", 156);
  header.write(options.link ?? "", 157);
  header.write("ustar\x0000", 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return header;
}

function longName(name: string): Buffer[] {
  const data = Buffer.alloc(Math.ceil((name.length + 1) / BLOCK_BYTES) * BLOCK_BYTES);
  data.write(name);
  return [tarHeader("././@LongLink", { size: name.length + 1, type: "L" }), data];
}

/** Looks at everything below a node; returns how many nodes there were. Only ReelErrors may come. */
async function lookAtAll(tree: FileTree, id: NodeId): Promise<number> {
  let count = 0;
  const look = async (entryId: NodeId, kind: string): Promise<void> => {
    count++;
    await tree.stat(entryId);
    await tree.listXattrs(entryId);
    if (kind === "file") await tree.read(entryId, 0, Buffer.alloc(1000));
    if (kind === "symlink") await tree.readLink(entryId);
  };
  await walk(
    tree,
    id,
    async (_path, { stat: { id: each, kind } }) => {
      await look(each, kind).catch(onlyReelErrors);
      return undefined;
    },
    {
      failed: (_path, error) => {
        onlyReelErrors(error);
      },
    },
  );
  return count;
}

function onlyReelErrors(error: unknown): void {
  if (!isReelError(error) || error.code === "internal") throw error;
}

describe("hostile tapes in the tree of a loader", function () {
  this.timeout(20_000);
  let at: TreeInFolder;
  beforeEach(async () => {
    at = await makeTree();
  });
  afterEach(async () => {
    await at.close();
  });

  it("a tar's names lead nowhere else, and every one can be found", async () => {
    const endless = "x".repeat(5000);
    const blocks = [
      tarHeader("../../etc/passwd"),
      tarHeader("/absolute"),
      tarHeader("a/../../b"),
      tarHeader(Buffer.from("latin1-\xe9", "latin1")),
      tarHeader("new\nline"),
      tarHeader("file"),
      tarHeader("file/below it"),
      tarHeader("loop", { type: "2", link: "loop" }),
      tarHeader("out", { type: "2", link: "/etc/passwd" }),
      tarHeader("hard to nothing", { type: "1", link: "nowhere" }),
      tarHeader("device", { type: "3" }),
      ...longName(endless),
      tarHeader("cut"),
      ...longName(`${endless}/inner`),
      tarHeader("cut"),
      Buffer.alloc(1024),
    ];
    await writeTape(at.tapePath("REEL0001"), recordsOf(Buffer.concat(blocks)));
    const names = await at.names("tapes/REEL0001/tar");
    expect(names).to.include.members(["etc", "absolute", "a", "latin1-é", "new\nline", "file"]);
    expect(Math.max(...names.map((name) => Buffer.byteLength(name)))).to.be.at.most(255);
    for (const name of names) {
      const found = await at.tree.lookup(await at.id("tapes/REEL0001/tar"), name);
      expect(found?.name, name).to.equal(name);
    }
    expect(await at.names("tapes/REEL0001/tar/file")).to.deep.equal(["below it"]);
    for (const name of ["..", ".", "", "../tar"]) {
      expect(await at.tree.lookup(await at.id("tapes/REEL0001/tar"), name), name).to.equal(
        undefined,
      );
    }
    const nothing = await at.id("tapes/REEL0001/tar/hard to nothing");
    await expectReelError(at.tree.read(nothing, 0, Buffer.alloc(1)), "damaged");
    expect(await lookAtAll(at.tree, await at.id("tapes/REEL0001"))).to.be.above(15);
  });

  it("a tar that says it is larger than the tape is as long as what is there", async () => {
    const blocks = [tarHeader("huge", { size: 0o77777777777 }), Buffer.alloc(1024, "z")];
    await writeTape(at.tapePath("REEL0001"), recordsOf(Buffer.concat(blocks)));
    expect(await at.text("tapes/REEL0001/tar/huge")).to.equal("z".repeat(1024));
  });

  it("labels and volume names cannot move a terminal's cursor", async () => {
    const label = `VOL1\x1b[2J\x07${" ".repeat(69)}4`;
    await writeTape(at.tapePath("REEL0001"), [
      label.padEnd(80),
      FILEMARK,
      "\x1b]0;x\x07",
      FILEMARK,
    ]);
    for (const name of ["label.txt", "contents.txt"]) {
      expect(await at.text(`tapes/REEL0001/${name}`)).not.to.match(/[^\n\x20-\x7e…]/);
    }
  });

  it("tapes of random bytes, and damaged ones, show what can be shown", async () => {
    await withRandom(async (random) => {
      const tar = await tarOf(at.folder, { a: patternBytes(3000), deep: { b: "b" } });
      await writeTape(at.tapePath("REEL0001"), ["text", FILEMARK, ...recordsOf(tar, 2048)]);
      const good = await readFile(at.tapePath("REEL0001"));
      for (let round = 0; round < 40; round++) {
        const bytes = Buffer.from(good);
        for (let change = random.below(6); change >= 0; change--) {
          bytes[random.below(bytes.length)] = random.below(256);
        }
        const cut = bytes.subarray(
          0,
          random.below(4) === 0 ? random.below(bytes.length) : undefined,
        );
        const noise = Buffer.from(randomBytes(random, random.below(3000)));
        await writeFile(at.tapePath("REEL0002"), random.below(5) === 0 ? noise : cut);
        const shown = await lookAtAll(at.tree, await at.id("tapes/REEL0002"));
        expect(shown, random.seedNote).to.be.at.least(1);
      }
      expect(await at.text("tapes/REEL0001/files/00.bin"), random.seedNote).to.equal("text");
    });
  });

  it("names that are none find nothing and make nothing", async () => {
    const element = await at.id("slots/004");
    for (const name of ["", ".", "..", "a/b", "a\0b", "../001", "\ud800.tap", ".tap", "?.tap"]) {
      expect(await at.tree.lookup(element, name), JSON.stringify(name)).to.equal(undefined);
      const made = at.writable.createFile(element, name, { mode: 0o644 });
      await expectReelError(made, "invalid");
    }
    const long = `${"A".repeat(300)}.tap`;
    await expectReelError(at.writable.createFile(element, long, { mode: 0o644 }), "name-too-long");
    await at.copy(new Uint8Array(0), "slots/004/A%2FB.tap");
    expect(await at.names("slots/004")).to.deep.equal(["A%2FB.tap"]);
    expect(await at.names("tapes")).to.include("A%2FB");
    expect(await at.names("tapes/A%2FB")).to.include("contents.txt");
    await expectReelError(
      at.writable.write(await at.id("slots/004/A%2FB.tap"), -1, Buffer.alloc(1)),
      "invalid",
    );
    await expectReelError(at.tree.stat(Number.NaN), "not-found");
    await expectReelError(at.tree.stat(-1), "not-found");
  });
});
