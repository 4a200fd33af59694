/**
 * Whatever a volume, a tape or a folder calls itself: no command writes what a terminal obeys, and
 * no name looks like a line of its own.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdir, mkdtemp, open, readdir, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { COMMANDS } from "../../src/cli/commands/index.ts";
import { run } from "../../src/cli/program.ts";
import { openSimhTape } from "../../src/tape/simh-tape.ts";
import { skipUnless } from "../support/skip.ts";
import { FakeStream } from "./fake-stream.ts";
import { REMOVAL } from "../support/temp.ts";

/** Sets the title of a window, clears the screen, and begins a line that was never said. */
const EVIL = "\u001b]0;x\u0007\r\u009b2J\u202e\nFAKE all is well";
const LABEL = "\u001b[2J\nFAKE x";

/** What a terminal obeys, but for the newline and tab that listings are made of. */
const OBEYED = /(?![\n\t])[\p{Cc}\u200e\u200f\u2028-\u202e\u2066-\u2069]/u;

describe("names made to deceive", function () {
  this.timeout(120_000);
  let folder = "";
  let tape = "";
  let image = "";
  let said = "";

  const reelfs = async (
    args: readonly string[],
    expected: readonly number[] = [0],
  ): Promise<void> => {
    const [stdout, stderr] = [new FakeStream({ isTTY: true }), new FakeStream({ isTTY: false })];
    const around = { stdout, stderr, signal: new AbortController().signal };
    const status = await run(args, around, COMMANDS);
    const shown = args.map((each) => JSON.stringify(each)).join(" ");
    expect(status, `${shown}: ${stderr.text}`).to.be.oneOf(expected);
    for (const text of [stdout.text, stderr.text]) {
      expect(OBEYED.exec(text), `${shown}: ${JSON.stringify(text)}`).to.equal(null);
      expect(
        text.split("\n").find((line) => line.startsWith("FAKE")),
        shown,
      ).to.equal(undefined);
    }
    said += stdout.text + stderr.text;
  };

  before(async function () {
    skipUnless(
      this,
      spawnSync("mke2fs", ["-V"]).status === 0,
      "mke2fs (e2fsprogs) is not installed",
    );
    folder = await mkdtemp(join(tmpdir(), `reelfs-${EVIL}`.replaceAll("/", "")));
    const files = join(folder, "files");
    await mkdir(join(files, EVIL, EVIL), { recursive: true });
    await writeFile(join(files, EVIL, EVIL, EVIL), "x".repeat(100_000));
    await writeFile(join(files, `${EVIL}2`), "y".repeat(5000));
    await symlink(EVIL, join(files, `${EVIL}3`));
    image = join(folder, `${EVIL}.img`);
    execFileSync("mke2fs", ["-q", "-t", "ext4", "-L", LABEL, "-d", files, image, "8M"]);
    tape = join(folder, `${EVIL}.tap`);
  });

  after(async () => {
    if (folder !== "") await rm(folder, REMOVAL);
  });

  it("are shown escaped by backup and by all that looks into an image", async () => {
    await reelfs(["backup", image, tape]);
    await reelfs(["backup", "--parent", "auto", image, tape]);
    await reelfs(["info", tape]);
    await reelfs(["info", `${tape}#1`]);
    await reelfs(["info", `${tape}#1`, "--json"]);
    await reelfs(["ls", tape]);
    await reelfs(["ls", "-lR", tape]);
    await reelfs(["ls", "-lR", tape, "--json"]);
    await reelfs(["ls", tape, `/${EVIL}/no such`], [1]);
    await reelfs(["verify", tape]);
    await reelfs(["diff", `${tape}#1`, `${tape}#2`]);
    await reelfs(["consolidate", tape, join(folder, `${EVIL}full.tap`)]);
    expect(said).to.contain("\\x1b]0;x\\x07").and.contain("\\u202e\\nFAKE all is well");
  });

  it("are shown escaped by restore, and in what it could not do", async () => {
    const out = join(folder, `out${EVIL}`);
    await reelfs(["restore", tape, "--to", out, "--plan"]);
    await reelfs(["restore", tape, "--to", out]);
    await reelfs(["restore", tape, "--to", out], [0, 1]);
    await rm(join(out, EVIL), { recursive: true });
    await symlink(folder, join(out, EVIL));
    await reelfs(["restore", tape, "--to", out, "--overwrite"], [1]);
    await reelfs(["restore", tape, "--to", out, `/${EVIL}/nothing`], [1]);
    await reelfs(["restore-image", tape, join(folder, `${EVIL}new.img`)]);
    await reelfs(["restore-image", tape, image], [1]);
    await reelfs(["restore-image", tape, join(folder, EVIL, "no", "folder")], [1]);
  });

  it("are shown escaped in what is said of damage, and of what is not there", async () => {
    const cut = join(folder, `${EVIL}cut.tap`);
    await reelfs(["backup", image, cut]);
    const file = await open(cut, "r+");
    const { size } = await file.stat();
    await file.write(Buffer.alloc(64, 0xa5), 0, 64, size - 20_000);
    await file.close();
    await reelfs(["verify", cut], [0, 1, 3]);
    await truncate(cut, size - 4000);
    await reelfs(["verify", cut], [0, 1, 3]);
    await reelfs(["info", cut], [0, 1, 3]);
    await reelfs(["tape", "check", cut], [0, 1, 3]);
    await reelfs(["info", join(folder, EVIL)], [1]);
    await reelfs([EVIL], [2]);
    await reelfs(["ls", `--${EVIL}`], [2]);
    await reelfs(["backup", "--level", EVIL, image, tape], [2]);
    await reelfs(["mount", tape, join(folder, EVIL, "nowhere")], [1]);
    await reelfs(["umount", join(folder, EVIL)], [1]);
    await reelfs(["tags", join(folder, EVIL)], [1]);
    await reelfs(["tag", join(folder, EVIL)], [1]);
    await reelfs(["mounts"]);
  });

  it("are shown escaped by what looks at any tape", async () => {
    const foreign = join(folder, `${EVIL}foreign.tap`);
    {
      await using drive = await openSimhTape(foreign, { mode: "write", create: true });
      await drive.write([Buffer.from(`VOL1\u001b[2J\u0007${" ".repeat(69)}4`, "latin1")]);
      await drive.write([Buffer.from(`HDR1\u001b[2J\nFAKE${" ".repeat(66)}`, "latin1")]);
      await drive.writeFilemarks(1);
      const files = join(folder, "files");
      const tar = execFileSync("tar", ["-c", "-b", "20", "-C", files, ...(await readdir(files))]);
      for (let at = 0; at < tar.length; at += 10_240) {
        await drive.write([tar.subarray(at, at + 10_240)]);
      }
      await drive.writeFilemarks(2);
    }
    for (const verb of ["ls", "dump", "check"]) await reelfs(["tape", verb, foreign], [0, 3]);
    await reelfs(["tape", "dump", foreign, "--json"]);
    // Bytes as they are: for a pipe or a file.
    await reelfs(["tape", "cat", foreign], [1, 2]);
    await reelfs(["info", foreign], [1]);
    await reelfs(["ls", foreign], [1]);
    await reelfs(["tape", "convert", foreign, join(folder, `${EVIL}.aws`)]);
  });
});
