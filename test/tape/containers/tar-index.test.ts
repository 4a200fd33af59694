import { expect } from "chai";
import { chmod, link, mkdir, open, readFile, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openTape } from "../../../src/tape/open-tape.ts";
import { openTapeFile, type TapeFileReader } from "../../../src/tape/tape-file-stream.ts";
import { indexTar, type TarChild, type TarIndex } from "../../../src/tape/tar-index.ts";
import { ReelError } from "../../../src/errors.ts";
import { expectReelError } from "../../support/expect-error.ts";
import { randomBytes, withRandom } from "../../support/random.ts";
import { skipUnless } from "../../support/skip.ts";
import { makeTempFolder } from "../../support/temp.ts";
import { hasTool, pipe } from "./tapes.ts";
import { BLOCK, END, file, header, onTape, padded, seal } from "./tar-blocks.ts";

async function indexOf(...parts: Uint8Array[]): Promise<TarIndex> {
  return indexTar(await onTape(Buffer.concat(parts)));
}

function paths(index: TarIndex, path = ""): string[] {
  return Array.from(index.children(path)).flatMap((child) => [
    `${child.path}${child.isDirectory ? "/" : ""}`,
    ...(child.isDirectory ? paths(index, child.path) : []),
  ]);
}

const KIND_OF_LETTER: Readonly<Record<string, string>> = {
  "-": "file",
  d: "directory",
  l: "symlink",
  h: "hard-link",
  c: "character-device",
  p: "fifo",
};

interface Listed {
  readonly kind: string | undefined;
  readonly owner: string;
  readonly size: number;
  readonly time: string;
  readonly path: string;
  readonly link: string;
}

/** What `tar -tv` says of an archive. */
function listByTar(archive: string): Listed[] {
  const output = pipe("tar", [
    "-tvf",
    archive,
    "--numeric-owner",
    "--full-time",
    "--quoting-style=literal",
  ]);
  return output
    .toString()
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      const match = /^(\S)\S{9} +(\S+) +(\d+) (\S+ [\d:]+)\S* +(.*)$/.exec(line);
      const [, letter = "", owner = "", size = "", time = "", rest = ""] = match ?? [];
      const [path = "", link = ""] = rest.split(/ -> | link to /);
      return {
        kind: KIND_OF_LETTER[letter],
        owner,
        size: Number(size),
        time,
        path: path
          .replace(/^\.?\//, "")
          .replace(/\/$/, "")
          .replace(/^\.$/, ""),
        link: letter === "h" ? link.replace(/^\.\//, "") : link,
      };
    });
}

function listByIndex(index: TarIndex): Listed[] {
  return Array.from({ length: index.count }, (_, each) => {
    const entry = index.entry(each);
    return {
      kind: entry.kind,
      owner: `${entry.uid}/${entry.gid}`,
      size: entry.kind === "file" ? entry.sizeBytes : 0,
      time: new Date(Math.floor(entry.mtimeSeconds) * 1000)
        .toISOString()
        .slice(0, 19)
        .replace("T", " "),
      path: entry.path,
      link: entry.linkTarget.replace(/^\.\//, ""),
    };
  });
}

describe("the index of a tar archive on tape", () => {
  let folder: string;
  let remove: () => Promise<void>;

  beforeEach(async () => ({ folder, remove } = await makeTempFolder()));
  afterEach(() => remove());

  /** A tree with everything that archives have trouble with. */
  async function makeTree(): Promise<string> {
    const tree = join(folder, "tree");
    const long = join(tree, "d".repeat(90), "e".repeat(120), "f".repeat(200));
    await mkdir(long, { recursive: true });
    await writeFile(join(long, "g".repeat(150)), "long");
    await writeFile(join(tree, "empty"), "");
    await writeFile(join(tree, "näme with spaces ☃"), "x".repeat(1000));
    await writeFile(join(tree, "block"), "x".repeat(512));
    await utimes(join(tree, "block"), 1_000_000_000.25, 1_000_000_000.25);
    await chmod(join(tree, "block"), 0o4751);
    await symlink("../../etc/passwd", join(tree, "link"));
    await symlink("t".repeat(300), join(tree, "long link"));
    await link(join(tree, "block"), join(tree, "hard"));
    pipe("mkfifo", [join(tree, "pipe")]);
    await using sparse = await open(join(tree, "sparse"), "w");
    for (let at = 1; at < 40; at++) await sparse.write("data", at * 100_000);
    await sparse.truncate(5_000_000);
    return tree;
  }

  for (const [format, flags] of [
    ["gnu", []],
    ["gnu, sparse", ["--sparse"]],
    ["posix", []],
    ["posix, sparse", ["--sparse"]],
    ["posix, sparse 0.1", ["--sparse", "--sparse-version=0.1"]],
    ["posix, sparse 0.0", ["--sparse", "--sparse-version=0.0"]],
    ["oldgnu", []],
  ] as const) {
    it(`is what tar -tv says (${format}), at any record size`, async function () {
      skipUnless(this, hasTool("tar"), "tar is not installed");
      const tree = await makeTree();
      const archive = join(folder, "a.tar");
      const name = format.replace(/,.*/, "");
      pipe("tar", ["-b20", `--format=${name}`, ...flags, "-cf", archive, "-C", tree, "."]);
      const listed = listByTar(archive).map((each) =>
        each.kind === "file" ? each : { ...each, size: 0 },
      );
      for (const blockBytes of [10_240, 512, 700_000]) {
        await using drive = await openTape(archive, { container: "plain", blockBytes });
        const index = await indexTar(await openTapeFile(drive, 0));
        expect(index.problems).to.deep.equal([]);
        expect(index.complete).to.be.true;
        expect(listByIndex(index)).to.deep.equal(listed);
        const sparse = index.find("sparse")?.entry;
        expect(sparse?.sparse !== undefined).to.equal(flags.length > 0);
        expect(sparse?.sizeBytes).to.equal(5_000_000);
      }
    });
  }

  it("gives the bytes of a file where it says", async function () {
    skipUnless(this, hasTool("tar"), "tar is not installed");
    const tree = await makeTree();
    const archive = join(folder, "a.tar");
    pipe("tar", ["-cf", archive, "-C", tree, "."]);
    const reader = await onTape(await readFile(archive), 3000);
    const index = await indexTar(reader);
    const entry = index.find("näme with spaces ☃")?.entry;
    const data = new Uint8Array(entry?.sizeBytes ?? 0);
    expect(await reader.read(entry?.dataOffsetBytes ?? 0, data)).to.equal(1000);
    expect(Buffer.from(data).toString()).to.equal("x".repeat(1000));
    const hard = index.find("hard")?.entry ?? index.find("block")?.entry;
    const target = [index.find("hard"), index.find("block")].find(
      (child) => child?.entry?.kind === "file",
    );
    expect(hard).to.not.equal(undefined);
    const link = [index.find("hard"), index.find("block")].find(
      (child) => child?.entry?.kind === "hard-link",
    )?.entry;
    expect(link && index.linkedEntry(link)?.index).to.equal(target?.entry?.index);
  });

  it("lists 100,000 files without reading what is in them", async function () {
    this.timeout(60_000);
    const body = new Uint8Array(100 * BLOCK);
    const parts: Buffer[] = [];
    const bulk = 100_000;
    for (let each = 0; each < bulk; each++) parts.push(header(`d${each % 100}/f${each}`, "0", 0));
    parts.push(header("big", "0", body.length), Buffer.from(body), END);
    const index = await indexTar(await onTape(Buffer.concat(parts), 262_144));
    expect(index.count).to.equal(bulk + 1);
    expect(Array.from(index.children("")).length).to.equal(101);
    expect(Array.from(index.children("d42")).length).to.equal(1000);
    expect(index.find("d42/f99942")?.entry?.index).to.equal(99_942);
  });

  it("hops over records that hold nothing but data", async () => {
    const data = new Uint8Array(50 * 10_240);
    const archive = Buffer.concat([header("a", "0", data.length), data, file("b", "b"), END]);
    const reader = await onTape(archive);
    const touched = new Set<number>();
    const counting: TapeFileReader = {
      ...reader,
      name: reader.name,
      sizeBytes: reader.sizeBytes,
      records: reader.records,
      complete: reader.complete,
      recordOffsetBytes: (record) => reader.recordOffsetBytes(record),
      recordLengthBytes: (record) => reader.recordLengthBytes(record),
      readRecord: async (record) => reader.readRecord(record),
      refresh: async () => reader.refresh(),
      read: async (offsetBytes, target) => {
        touched.add(Math.floor(offsetBytes / 10_240));
        return reader.read(offsetBytes, target);
      },
    };
    const index = await indexTar(counting);
    expect(paths(index)).to.deep.equal(["a", "b"]);
    expect(Array.from(touched)).to.deep.equal([0, 50]);
  });

  describe("of an archive that means harm", () => {
    it("keeps every name inside of its tree", async () => {
      const index = await indexOf(
        file("/etc/passwd", "1"),
        file("../../../root/.ssh/key", "2"),
        file("a/../../b/./c", "3"),
        file("..", "4"),
        file("./", "5"),
        header("out", "2", 0, "/etc"),
        file("out/passwd", "6"),
        END,
      );
      expect(paths(index)).to.deep.equal([
        "etc/",
        "etc/passwd",
        "root/",
        "root/.ssh/",
        "root/.ssh/key",
        "a/",
        "a/b/",
        "a/b/c",
        "out/",
        "out/passwd",
      ]);
      expect(index.find("../../etc/passwd")?.entry?.index).to.equal(0);
    });

    it("lets the last of several entries of a name win", async () => {
      const index = await indexOf(
        file("a", "first"),
        header("b", "1", 0, "a"),
        file("./a", "the last"),
        header("c", "5", 0),
        file("c", "now a file"),
        END,
      );
      expect(paths(index)).to.deep.equal(["a", "b", "c"]);
      expect(index.find("a")?.entry?.sizeBytes).to.equal(8);
      const link = index.find("b")?.entry;
      expect(link && index.linkedEntry(link)?.sizeBytes).to.equal(5);
    });

    it("never follows hard links in a circle", async () => {
      const index = await indexOf(
        header("a", "1", 0, "b"),
        header("b", "1", 0, "a"),
        header("self", "1", 0, "self"),
        END,
      );
      for (let each = 0; each < index.count; each++) {
        expect(index.linkedEntry(index.entry(each))).to.equal(undefined);
      }
    });

    it("says when a file is longer than the archive, however long", async () => {
      for (const sizeBytes of [5000, 0o77777777777]) {
        const index = await indexOf(file("a", "x"), header("b", "0", sizeBytes), file("c"));
        expect(index.complete).to.be.false;
        expect(index.find("b")?.entry?.isWhole).to.be.false;
        expect(index.problems.join()).to.include("ends within what begins at byte 1024");
      }
      const absurd = header("big", "0", 0);
      absurd.set([0x80, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 124);
      const negative = header("less", "0", 0);
      negative.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe], 124);
      const index = await indexOf(file("a"), seal(absurd), seal(negative), file("c"), END);
      expect(paths(index)).to.deep.equal(["a", "c"]);
      expect(index.problems.length).to.equal(2);
    });

    it("finds the next header behind a damaged one", async () => {
      const archive = Buffer.concat([file("a", "1"), file("b", "2"), file("c", "3"), END]);
      archive.fill(0xee, 2 * BLOCK, 2 * BLOCK + 40);
      const index = await indexTar(await onTape(archive, 512));
      expect(paths(index)).to.deep.equal(["a", "c"]);
      expect(index.problems).to.deep.equal(["the header at byte 1024 is damaged"]);
    });

    it("passes over names and headers beyond all measure", async () => {
      const deep = Buffer.from(`${"a/".repeat(2000)}b`);
      const long = new Uint8Array(1024 * 1024 + 1).fill(97);
      const index = await indexOf(
        header("././@LongLink", "L", deep.length),
        padded(deep),
        file("short"),
        header("././@LongLink", "L", long.length),
        padded(long),
        file("kept"),
        header("pax", "x", 9),
        padded(Buffer.from("99 path=x")),
        file("also"),
        END,
      );
      expect(paths(index)).to.deep.equal(["kept", "also"]);
      expect(index.problems.length).to.equal(3);
    });

    it("is an error where there is no archive at all", async () => {
      await expectReelError(indexOf(Buffer.from("no tar")), "damaged");
      await expectReelError(indexOf(new Uint8Array(2048).fill(1)), "damaged");
      expect((await indexOf(END)).complete).to.be.true;
    });

    it("with random damage, is listed or refused, in bounded time", async function () {
      this.timeout(15_000);
      await withRandom(async (random) => {
        const pax = Buffer.from("19 path=some/where\n22 size=00000000000001\n");
        const good = Buffer.concat([
          file("a/b", "hello"),
          header("x", "x", pax.length),
          padded(pax),
          file("c", "1"),
          header("h", "1", 0, "a/b"),
          header("s", "S", 0),
          file("z"),
          END,
        ]);
        const until = Date.now() + 700;
        for (let round = 0; round < 400 && Date.now() < until; round++) {
          const bad = Buffer.from(good);
          for (let changes = 1 + random.below(3); changes > 0; changes--) {
            const block = random.below(bad.length / BLOCK) * BLOCK;
            const at = random.below(500);
            bad.set(randomBytes(random, 1 + random.below(12)), block + at);
            if (random.below(2) === 0) seal(bad.subarray(block, block + BLOCK));
          }
          try {
            const index = await indexTar(await onTape(bad, 700));
            for (const path of paths(index)) expect(path).to.not.match(/(^|\/)\.\.?(\/|$)/);
          } catch (error) {
            expect(error, String(error)).to.be.instanceOf(ReelError);
          }
        }
      });
    });
  });

  it("knows fifos, and devices with their numbers", async () => {
    const device = (name: string, type: string, magic: string): Buffer => {
      const block = header(name, type, 0);
      block.write(magic, 257, 8, "latin1");
      block.write("0000403\0", 329);
      block.write("0201001\0", 337);
      return seal(block);
    };
    const index = await indexOf(
      device("ustar", "3", "ustar\x0000"),
      device("gnu", "4", "ustar  \0"),
      device("v7", "3", "\0".repeat(8)),
      device("fifo", "6", "ustar\x0000"),
      END,
    );
    const found = Array.from(index.children(""), ({ entry }) => [entry?.kind, entry?.deviceNumber]);
    // 259:66049, as Linux packs it.
    expect(found).to.deep.equal([
      ["character-device", 0x1021_0301],
      ["block-device", 0x1021_0301],
      ["character-device", 0],
      ["fifo", 0],
    ]);
  });

  it("knows V7 directories, volume labels, global headers and names that are no UTF-8", async () => {
    const v7 = header("old/", "0", 0);
    v7.fill(0, 257, 265);
    const odd = header("caf\u00e9/x", "0", 0);
    const index = await indexOf(
      header("LABEL", "V", 0),
      header("g", "g", 17),
      padded(Buffer.from("17 mtime=1234567\n")),
      seal(v7),
      odd,
      file("old/f", "1"),
      END,
    );
    expect(index.volumeLabel).to.equal("LABEL");
    expect(paths(index)).to.deep.equal(["old/", "old/f", "café/", "café/x"]);
    expect(index.find("old/f")?.entry?.mtimeSeconds).to.equal(1_234_567);
    const child: TarChild | undefined = index.find("café");
    expect(child?.entry).to.equal(undefined);
  });
});
