import { mkdir, open, readFile, readdir, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { expect } from "chai";

import { restoreCommand } from "../../src/cli/commands/restore.ts";
import { run } from "../../src/cli/program.ts";
import { planSelection } from "../../src/tagrestore/restore.ts";
import { selectEntries } from "../../src/tagrestore/select.ts";
import { backupVolume } from "../../src/tapeimage/backup.ts";
import { openTapeImage } from "../../src/tapeimage/open-image.ts";
import { openImageTree } from "../../src/tree/image-tree.ts";
import { FakeStream } from "../cli/fake-stream.ts";
import { hasFatTools, NO_FAT_TOOLS, runTool } from "../support/fat-tools.ts";
import { patternBytes } from "../support/pattern.ts";
import { skipUnless } from "../support/skip.ts";
import { makeTempFolder, withTempFolder } from "../support/temp.ts";

interface Outcome {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

async function reelfs(...args: string[]): Promise<Outcome> {
  const [stdout, stderr] = [new FakeStream(), new FakeStream()];
  const { signal } = new AbortController();
  const status = await run(["restore", ...args], { stdout, stderr, signal }, [restoreCommand]);
  return { status, out: stdout.text, err: stderr.text };
}

const FILES: Readonly<Record<string, Uint8Array>> = {
  "DCIM/IMG_0001.JPG": patternBytes(700_000, 1),
  "DCIM/IMG_0002.JPG": patternBytes(3000, 2),
  "DCIM/holiday at sea/Ärger & Übermut.jpg": patternBytes(123_456, 3),
  "empty.txt": new Uint8Array(0),
  "README.TXT": patternBytes(40, 4),
  ...Object.fromEntries(
    Array.from({ length: 60 }, (_, i) => [`notes/note ${i}.txt`, patternBytes(50 * i, 10 + i)]),
  ),
};
const WRITTEN = new Date("2019-05-06T07:08:10Z");

describe("reelfs restore, from a FAT volume that mkfs.fat and mtools made", function () {
  this.timeout(30_000);
  let folder = "";
  let tape = "";
  let remove = async (): Promise<void> => undefined;

  before(async function () {
    skipUnless(this, hasFatTools(), NO_FAT_TOOLS);
    ({ folder, remove } = await makeTempFolder());
    const source = join(folder, "source");
    for (const [name, content] of Object.entries(FILES)) {
      const full = join(source, name);
      await mkdir(join(full, ".."), { recursive: true });
      await writeFile(full, content);
      await utimes(full, WRITTEN, WRITTEN);
    }
    const volume = join(folder, "volume.img");
    runTool("mkfs.fat", ["-C", "-F", "16", "-s", "4", volume, "20480"]);
    const names = (await readdir(source)).map((name) => join(source, name));
    runTool("mcopy", ["-s", "-m", "-i", volume, ...names, "::"]);
    tape = join(folder, "photos.tap");
    await backupVolume({ sourcePath: volume, tapePath: tape, recordSizeBytes: 64 * 1024 });
  });

  after(async () => remove());

  async function expectFiles(directory: string, names = Object.keys(FILES)): Promise<void> {
    for (const name of names) {
      const full = join(directory, name);
      const bytes = await readFile(full);
      expect(bytes.equals(FILES[name] ?? new Uint8Array(0)), `${name} differs`).to.be.true;
    }
    const found = await readdir(directory, { recursive: true, withFileTypes: true });
    const files = found.filter((entry) => entry.isFile());
    expect(files.map((entry) => join(entry.parentPath, entry.name))).to.have.members(
      names.map((name) => join(directory, name)),
    );
  }

  it("brings everything back, with its times", async () => {
    await withTempFolder(async (out) => {
      const { status, err, out: words } = await reelfs(tape, "--to", out);
      expect(err).to.equal("");
      expect(status).to.equal(0);
      expect(words).to.match(/^65 files, .* from \d+ records, restored to .*\n$/);
      await expectFiles(out);
      // mcopy writes the local time of the machine, which the tests run in UTC.
      const { mtimeMs } = await stat(join(out, "README.TXT"));
      const offsetMs = WRITTEN.getTimezoneOffset() * 60_000;
      expect(mtimeMs).to.equal(WRITTEN.getTime() - offsetMs);
    });
  });

  it("takes globs in either case, and lists of paths", async () => {
    await withTempFolder(async (out) => {
      const { status } = await reelfs(tape, "--to", out, "/dcim/**/*.jpg");
      expect(status).to.equal(0);
      await expectFiles(
        out,
        Object.keys(FILES).filter((name) => name.startsWith("DCIM")),
      );
    });
    for (const [end, option] of [
      ["\n", undefined],
      ["\r\n", undefined],
      ["\0", "-0"],
    ] as const) {
      await withTempFolder(async (out) => {
        const list = join(folder, "list");
        await writeFile(list, ["notes/note 7.txt", "/README.TXT", ""].join(end));
        const extra = option === undefined ? [] : [option];
        const { status, err } = await reelfs(tape, "--to", out, "--files-from", list, ...extra);
        expect(status, err).to.equal(0);
        await expectFiles(out, ["notes/note 7.txt", "README.TXT"]);
      });
    }
  });

  it("names what matches nothing, and restores nothing then", async () => {
    await withTempFolder(async (parent) => {
      const out = join(parent, "out");
      const { status, err } = await reelfs(tape, "--to", out, "/README.TXT", "/nosuch", "*.xyz");
      expect(status).to.equal(1);
      expect(err).to.contain('"/nosuch", "*.xyz"');
      expect(await readdir(parent)).to.deep.equal([]);
    });
  });

  it("says which options make no sense", async () => {
    for (const args of [
      [tape],
      ["--to", folder],
      ["--tagged", folder, "--to", folder, tape],
      [tape, "--to", folder, "--drive", "LTO-9"],
      [tape, "--to", folder, "--null"],
      [tape, "--plan", "--drive", "VHS"],
    ]) {
      const { status, err } = await reelfs(...args);
      expect(status, `${args.join(" ")}: ${err}`).to.equal(2);
    }
    const { status, err } = await reelfs("--tagged", join(folder, "source"), "--to", folder);
    expect(status).to.equal(1);
    expect(err).to.contain("no ReelFS mount");
  });

  it("plans without reading data", async () => {
    const image = await openTapeImage(tape);
    const opened = await openImageTree(image);
    try {
      const before = image.statistics();
      const { table } = await selectEntries(opened.volume, {});
      const { plan } = await planSelection(opened.volume, image, table);
      expect(plan.bytes).to.equal(Object.values(FILES).reduce((sum, each) => sum + each.length, 0));
      expect(image.statistics().dataRecordsRead).to.equal(0);
      expect(image.statistics().recordsRead).to.equal(before.recordsRead);
    } finally {
      await opened.close();
      await image.close();
    }
    const shown = await reelfs("--plan", "--drive", "lto-8", tape, "/DCIM", "/notes");
    expect(shown.status).to.equal(0);
    expect(shown.out)
      .to.match(/records +\d+ +\d+ +\d+\n/)
      .and.to.contain("taken: tape order, in one pass")
      .and.to.contain("time on LTO-8");
    const { out } = await reelfs("--plan", "--json", tape, "/notes");
    const facts = JSON.parse(out) as Record<string, Record<string, number>>;
    expect(facts["tapeOrder"]?.["passes"]).to.equal(1);
    expect(facts["tapeOrder"]?.["records"]).to.be.within(1, 4);
    expect(facts["shortestOrder"]?.["records"]).to.equal(facts["tapeOrder"]?.["records"]);
    const virtual = await reelfs("--plan", "--json", "--drive", "virtual", tape, "/notes");
    expect(JSON.parse(virtual.out))
      .to.include({ order: "tape" })
      .and.not.to.have.property("shortestOrder");
  });

  it("leaves existing files, names them, and replaces them when told to", async () => {
    await withTempFolder(async (out) => {
      await writeFile(join(out, "README.TXT"), "mine");
      const kept = await reelfs(tape, "--to", out, "/README.TXT");
      expect(kept.status).to.equal(0);
      expect(kept.err).to.contain("/README.TXT is there already");
      expect(await readFile(join(out, "README.TXT"), "utf8")).to.equal("mine");
      const replaced = await reelfs(tape, "--to", out, "--overwrite", "/README.TXT");
      expect(replaced.err).to.equal("");
      await expectFiles(out, ["README.TXT"]);
    });
  });

  it("names the files that a damaged record costs, restores the others, and exits with 3", async () => {
    const name = "DCIM/IMG_0001.JPG";
    const image = await openTapeImage(tape);
    const opened = await openImageTree(image);
    let offset: number;
    try {
      const { table } = await selectEntries(opened.volume, { patterns: [name] });
      const { plan } = await planSelection(opened.volume, image, table);
      const record = (plan.images[0]?.needed.firstRecords[0] ?? 0) + 3;
      offset = await image.recordOffsetBytes(record);
    } finally {
      await opened.close();
      await image.close();
    }
    const damaged = join(folder, "damaged.tap");
    await writeFile(damaged, await readFile(tape));
    const file = await open(damaged, "r+");
    await file.write(Buffer.alloc(64, 0x55), 0, 64, offset + 5000);
    await file.close();
    await withTempFolder(async (out) => {
      const { status, err } = await reelfs(damaged, "--to", out);
      expect(status, err).to.equal(3);
      expect(err).to.contain(`/${name} is not restored: `);
      await expectFiles(
        out,
        Object.keys(FILES).filter((each) => each !== name),
      );
      const again = await reelfs(damaged, "--to", out, "--json", `/${name}`);
      expect(again.status).to.equal(3);
      const facts = JSON.parse(again.out) as { problems: { path: string; code: string }[] };
      expect(facts.problems.map(({ path, code }) => [path, code])).to.deep.equal([
        [`/${name}`, "damaged"],
      ]);
    });
  });
});
