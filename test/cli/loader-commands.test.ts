import { expect } from "chai";
import { spawnSync } from "node:child_process";
import { mkdir, readFile, readdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { COMMANDS } from "../../src/cli/commands/index.ts";
import { run } from "../../src/cli/program.ts";
import { patternBytes } from "../support/pattern.ts";
import { skipUnless } from "../support/skip.ts";
import { makeTempFolder } from "../support/temp.ts";
import { FakeStream } from "./fake-stream.ts";

const LONG = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";

describe("commands of loaders", () => {
  let folder: string;
  let remove: () => Promise<void>;

  beforeEach(async () => {
    ({ folder, remove } = await makeTempFolder());
    await reelfs("loader create vtl --slots 5 --drives 2 --import-export 2 --path", in_("vtl"));
  });

  afterEach(async () => remove());

  const in_ = (name: string): string => join(folder, name);

  const tryReelfs = async (
    line: string,
    ...more: readonly string[]
  ): Promise<{ status: number; out: string; err: string }> => {
    const stdout = new FakeStream();
    const stderr = new FakeStream();
    const around = { stdout, stderr, signal: new AbortController().signal };
    const words = [...line.split(" ").filter((word) => word !== ""), ...more];
    const config = words.some((word) => word.includes("--help")) ? [] : ["--config", in_("conf")];
    const status = await run([...words, ...config], around, COMMANDS);
    return { status, out: stdout.text, err: stderr.text };
  };

  const reelfs = async (line: string, ...more: readonly string[]): Promise<string> => {
    const { status, out, err } = await tryReelfs(line, ...more);
    expect(status, `${line}: ${err}`).to.equal(0);
    return out;
  };

  /** Slots: 1 000001L8, 2 (in drive 1) 000002L8, 3 LONG; element 2 (mtx: 7) MAIL. */
  const fill = async (): Promise<void> => {
    await reelfs(`tape create vtl 000001L8 000002L8 ${LONG} MAIL`);
    await reelfs("loader load vtl 2 1");
    await reelfs("loader eject vtl 4 2");
  };

  it("changer answers as mtx-changer does: an empty loader", async () => {
    expect(await reelfs("changer vtl list")).to.equal("");
    expect(await reelfs("changer vtl loaded 0 /dev/null 1")).to.equal("0\n");
    expect(await reelfs("changer vtl slots")).to.equal("7\n");
    expect(await reelfs("changer vtl listall")).to.equal(
      "D:0:E\nD:1:E\nS:1:E\nS:2:E\nS:3:E\nS:4:E\nS:5:E\nI:6:E\nI:7:E\n",
    );
  });

  it("changer answers as mtx-changer does: loaded drives, import/export, long barcodes", async () => {
    await fill();
    expect(await reelfs("changer vtl list")).to.equal(`1:000001L8\n2:000002L8\n3:${LONG}\n`);
    expect(await reelfs("changer vtl listall")).to.equal(
      [
        "D:0:E",
        "D:1:F:2:000002L8",
        "S:1:F:000001L8",
        "S:2:E",
        `S:3:F:${LONG}`,
        "S:4:E",
        "S:5:E",
        "I:6:E",
        "I:7:F:MAIL",
        "",
      ].join("\n"),
    );
    expect(await reelfs("changer vtl loaded 0 /dev/null 1")).to.equal("2\n");
    expect(await reelfs("changer vtl loaded 0 /dev/null 0")).to.equal("0\n");
    expect(await reelfs("changer vtl load 3 /dev/null 0")).to.equal("");
    expect(await reelfs("changer vtl unload 2 /dev/null 1")).to.equal("");
    expect(await reelfs("changer vtl transfer 7 4")).to.equal("");
    expect(await reelfs("changer vtl list")).to.equal(
      `1:000001L8\n2:000002L8\n3:${LONG}\n4:MAIL\n`,
    );
    for (const [wrong, status] of [
      ["load 1 /dev/null 0", 1],
      ["load 5 /dev/null 1", 1],
      ["load 8 /dev/null 1", 2],
      ["load 1 /dev/null 2", 2],
      ["unload 1 /dev/null 0", 1],
      ["transfer 1 2", 1],
      ["load", 2],
      ["shake", 2],
    ] as const) {
      const result = await tryReelfs(`changer vtl ${wrong}`);
      expect(result.status, wrong).to.equal(status);
      expect(result.out).to.equal("");
      expect(result.err).to.match(/^reelfs changer: .+\n$/);
    }
  });

  it("loader status is what mtx status prints", async () => {
    await fill();
    expect(await reelfs("loader status vtl")).to.equal(
      [
        "  Storage Changer vtl:2 Drives, 7 Slots ( 2 Import/Export )",
        "Data Transfer Element 0:Empty",
        "Data Transfer Element 1:Full (Storage Element 2 Loaded):VolumeTag = 000002L8",
        "      Storage Element 1:Full :VolumeTag=000001L8",
        "      Storage Element 2:Empty",
        `      Storage Element 3:Full :VolumeTag=${LONG}`,
        "      Storage Element 4:Empty",
        "      Storage Element 5:Empty",
        "      Storage Element 6 IMPORT/EXPORT:Empty",
        "      Storage Element 7 IMPORT/EXPORT:Full :VolumeTag=MAIL",
        "",
      ].join("\n"),
    );
    const json = JSON.parse(await reelfs("loader status vtl --json")) as {
      elements: { tape?: { barcode: string } }[];
    };
    expect(json.elements.filter(({ tape }) => tape !== undefined).length).to.equal(4);
  });

  it("mt positions a tape, and a later command goes on from there", async () => {
    await fill();
    await writeFile(in_("data"), patternBytes(250, 1));
    await writeFile(in_("more"), patternBytes(40, 2));
    await reelfs("tape write vtl:1 -b 100", in_("data"));
    await reelfs("mt vtl:1 setblk 16");
    expect(await reelfs("tape write vtl:1", in_("more"))).to.include("3 records");
    expect(await reelfs("mt vtl:1 tell")).to.equal("At block 8.\n");
    await reelfs("mt vtl:1 asf 1");
    await reelfs("mt vtl:1 fsr 1");
    expect(await reelfs("mt vtl:1 status")).to.equal(
      [
        "SCSI 2 tape drive:",
        "File number=1, block number=1, partition=0.",
        "Tape block size 16 bytes. Density code 0x0 (default).",
        "Soft error count since last status=0",
        "General status bits on (1010000):",
        " ONLINE IM_REP_EN",
        "",
      ].join("\n"),
    );
    await reelfs("mt vtl:1 bsf 1");
    expect(await reelfs("mt vtl:1 tell")).to.equal("At block 3.\n");
    await reelfs("mt vtl:1 fsf");
    await reelfs("tape cat vtl:1 --output", in_("back"));
    expect(Buffer.compare(await readFile(in_("back")), patternBytes(40, 2))).to.equal(0);
    expect(await reelfs("mt vtl:1 status")).to.include("(89010000):\n EOF EOD ONLINE IM_REP_EN");
    const tooFar = await tryReelfs("mt vtl:1 fsf 3");
    expect(tooFar.status).to.equal(1);
    expect(tooFar.err).to.include("the end of the data came after 0 of 3 filemarks");
    await reelfs("mt vtl:1 seek 2");
    await reelfs("mt vtl:1 erase");
    await reelfs("mt vtl:1 rewind");
    await reelfs("mt vtl:1 eod");
    expect(await reelfs("mt vtl:1 tell")).to.equal("At block 2.\n");
    await reelfs("mt vtl:1 weof 2");
    await reelfs("mt vtl:1 offline");
    expect(await reelfs("mt vtl:1 status")).to.include("(50000):\n DR_OPEN IM_REP_EN");
    expect((await tryReelfs("mt vtl:1 rewind")).err).to.include("load it");
    await reelfs("mt vtl:1 load");
    expect(await reelfs("mt vtl:1 status")).to.include("(41010000):\n BOT ONLINE IM_REP_EN");
    expect((await tryReelfs("mt vtl:1 jump")).status).to.equal(2);
    expect((await tryReelfs("mt vtl:0 rewind")).status).to.equal(1);
  });

  it("GNU tar comes back over as many tapes as it takes", async function () {
    skipUnless(this, spawnSync("tar", ["--version"]).status === 0, "tar is not installed");
    await reelfs("loader set vtl --capacity 40K --next-tape create --slots 20");
    await reelfs("tape create vtl");
    await reelfs("loader load vtl 1");
    const source = in_("source");
    await mkdir(source);
    for (let file = 0; file < 5; file++) {
      await writeFile(join(source, `f${file}`), patternBytes(30_000, file));
    }
    spawnSync("tar", ["-C", folder, "-cf", in_("a.tar"), "source"]);
    const json = await reelfs("tape write vtl:0 --json -b 10K", in_("a.tar"));
    const tapes = JSON.parse(json) as { barcode: string }[];
    expect(tapes.length).to.be.greaterThan(3);
    const parts: Buffer[] = [];
    for (const [index, { barcode }] of tapes.entries()) {
      await reelfs(`tape cat vtl:${barcode} --output`, in_(`part${index}`));
      parts.push(await readFile(in_(`part${index}`)));
    }
    expect(Buffer.compare(Buffer.concat(parts), await readFile(in_("a.tar")))).to.equal(0);
  });

  it("what GNU tar, cpio and dd made lies one behind the other, and they read it back", async function () {
    for (const tool of ["tar", "cpio", "dd"]) {
      skipUnless(this, spawnSync(tool, ["--version"]).status === 0, `${tool} is not installed`);
    }
    await reelfs("tape create vtl REEL01");
    await reelfs("loader load vtl 1");
    await mkdir(in_("source/deep"), { recursive: true });
    await writeFile(in_("source/deep/data"), patternBytes(200_001, 1));
    await writeFile(in_("source/empty"), "");
    await symlink("deep/data", in_("source/link"));
    const sh = (script: string): void => {
      const { status, stderr } = spawnSync("sh", ["-e", "-c", script], { cwd: folder });
      expect(status, `${script}: ${stderr.toString()}`).to.equal(0);
    };
    sh("tar -C source -b 20 -cf made.0 .");
    sh("cd source; find . | cpio -o -H newc --quiet > ../made.1");
    sh("dd if=source/deep/data of=made.2 bs=3000 status=none");
    await reelfs("tape write vtl:0 -b 10K", in_("made.0"));
    await reelfs("tape write vtl:0", in_("made.1"));
    await reelfs("tape write vtl:0 -b 3000", in_("made.2"));
    expect(await reelfs("tape ls vtl:REEL01")).to.match(/ tar .*\n.* cpio .*\n/);
    await reelfs("mt vtl rewind");
    for (const file of [0, 1, 2]) {
      await reelfs("tape cat vtl:0 --output", in_(`back.${file}`));
      sh(`cmp made.${file} back.${file}`);
    }
    sh("mkdir tar cpio; tar -C tar -xf back.0; diff -r --no-dereference source tar");
    sh("cd cpio; cpio -id --quiet < ../back.1; diff -r --no-dereference ../source .");
    sh("dd if=back.2 of=dd bs=512 status=none; cmp dd source/deep/data");
  });

  it("tapes are listed, dumped, checked and converted, in a loader or out of it", async () => {
    await fill();
    await writeFile(in_("data"), patternBytes(250, 1));
    await reelfs("tape label vtl 000001L8 --serial A1");
    await reelfs("loader load vtl 1 0");
    await reelfs("mt vtl fsf");
    await reelfs("tape write vtl -b 100", in_("data"));
    expect(await reelfs("tape ls vtl:000001l8"))
      .to.include("Volume A1")
      .and.match(/^ +1 .* 3 /m);
    expect(await reelfs("tape dump vtl:0 --count 2"))
      .to.include("VOL1")
      .and.include("filemark");
    expect(await reelfs("tape check vtl:0")).to.include("4 records, 2 filemarks");
    expect(await reelfs("mt vtl tell"), "they leave the drive where it was").to.include("6");
    await reelfs("tape convert vtl:000001L8", in_("out.aws"));
    expect(await reelfs("tape check", in_("out.aws"))).to.include("4 records, 2 filemarks");
    await reelfs("tape convert vtl:000001L8 --file 1", in_("out.bin"));
    expect(Buffer.compare(await readFile(in_("out.bin")), patternBytes(250, 1))).to.equal(0);
    expect((await tryReelfs("tape convert vtl:0", in_("out.bin"))).status).to.equal(1);
    expect((await tryReelfs("tape ls vtl:NONE")).err).to.include("no tape NONE");
    expect(await reelfs("tape import vtl --slot 5", in_("out.aws"))).to.equal("OUT: slot 5\n");
    expect(await reelfs("tape ls vtl:OUT")).to.include("Volume A1");
    await reelfs("tape export vtl OUT", in_("again.aws"));
    await reelfs("tape protect vtl 000001L8".replace("000001L8", LONG));
    expect((await tryReelfs(`tape delete vtl ${LONG}`)).err).to.include("write-protected");
    await reelfs(`tape protect vtl ${LONG} --off`);
    await reelfs(`tape erase vtl ${LONG}`);
    await reelfs(`tape delete vtl ${LONG}`);
  });

  it("loaders are listed, changed, adopted and deleted", async () => {
    await fill();
    expect(await reelfs("loader list")).to.match(/^vtl +2\/5 +1\/2 +\//m);
    expect(await reelfs("loader info vtl")).to.include("virtual");
    expect(await reelfs("loader insert vtl")).to.equal("");
    expect(await reelfs("loader unload vtl 5 1")).to.equal("");
    await reelfs("loader transfer vtl 5 4").catch(() => undefined);
    expect((await tryReelfs("loader insert vtl")).err).to.include("no import/export element");
    expect((await tryReelfs("loader set vtl --slots 1")).err).to.include("holds");
    expect((await tryReelfs("loader set vtl --next-tape maybe")).err).to.include("nextTape");
    await reelfs("loader delete vtl");
    expect(await reelfs("loader list")).to.equal("");
    await reelfs("loader adopt --name again", in_("vtl"));
    await writeFile(join(in_("vtl"), "tapes", "NEW.tap"), "");
    await reelfs("loader set again --slots 9");
    expect(await reelfs("loader inventory again")).to.include("found NEW: slot");
    await reelfs("loader delete again --purge");
    expect(await readdir(folder)).to.not.include("vtl");
    expect((await tryReelfs("loader status again")).err).to.include("no loader is called again");
  });

  it("help of a group lists its commands, and a missing or wrong one is a usage error", async () => {
    expect((await tryReelfs("loader --help")).out).to.include("inventory");
    expect((await tryReelfs("loader create --help")).out).to.include("--import-export");
    expect((await tryReelfs("loader creat x")).status).to.equal(2);
    expect((await tryReelfs("loader status")).err).to.match(/^reelfs loader status: missing/);
  });
});
