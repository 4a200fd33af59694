/** What the SIMH people's own tool, and tapes that nobody here made, say of the same objects. */
import { expect } from "chai";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { openSimhTape } from "../../src/tape/simh-tape.ts";
import type { TapeDrive } from "../../src/tape/tape-drive.ts";
import { patternBytes } from "../support/pattern.ts";
import { skipUnless } from "../support/skip.ts";
import { makeTempFolder } from "../support/temp.ts";

const CORPUS = join(process.env["REELFS_CORPUS"] ?? "../shared/corpus", "open-simh+simh");
const HAS_MTDUMP = (process.env["PATH"] ?? "")
  .split(":")
  .some((folder) => existsSync(join(folder, "mtdump")));

interface Listed {
  readonly offsetBytes: number;
  /** Undefined for a filemark. */
  readonly lengthBytes: number | undefined;
}

async function listByMtdump(path: string): Promise<Listed[]> {
  const { stdout } = await promisify(execFile)("mtdump", [path], { maxBuffer: 2 ** 26 });
  const objects: Listed[] = [];
  for (const line of stdout.split("\n")) {
    const match = /^Obj \d+, position (\d+), (?:record \d+, length = (\d+)|end of tape file)/.exec(
      line,
    );
    if (match === null) continue;
    const lengthBytes = match[2] === undefined ? undefined : Number(match[2]);
    objects.push({ offsetBytes: Number(match[1]), lengthBytes });
  }
  return objects;
}

async function listByDrive(drive: TapeDrive, reverse: boolean): Promise<Listed[]> {
  const objects: Listed[] = [];
  const target = new Uint8Array(1 << 16);
  for (;;) {
    const read = await drive.read(target, { reverse });
    if (read.kind === "end-of-data" || read.kind === "beginning") return objects;
    const { object } = await drive.position();
    const offsetBytes = await drive.objectOffsetBytes?.(reverse ? object : object - 1);
    const lengthBytes = read.kind === "record" ? read.lengthBytes : undefined;
    objects.push({ offsetBytes: offsetBytes ?? -1, lengthBytes });
  }
}

describe("a tape that we wrote", () => {
  it("is read by mtdump as we meant it", async function () {
    skipUnless(this, HAS_MTDUMP, "mtdump, of the Debian package simh, is not installed");
    const { folder, remove } = await makeTempFolder();
    try {
      const path = join(folder, "ours.tap");
      await using drive = await openSimhTape(path, { mode: "write", create: true });
      await drive.write([patternBytes(80)]);
      await drive.writeFilemarks(1);
      for (let record = 0; record < 50; record++)
        await drive.write([patternBytes(1 + record * 37)]);
      await drive.writeFilemarks(1);
      await drive.write([patternBytes(65_535)]);
      await drive.writeFilemarks(1);
      await drive.rewind();
      const ours = await listByDrive(drive, false);
      expect(ours.length).to.equal(55);
      expect(await listByMtdump(path)).to.deep.equal(ours);
    } finally {
      await remove();
    }
  });
});

describe("tapes that SIMH's own people made", () => {
  it("have the objects that mtdump lists, read forward and backward", async function () {
    skipUnless(this, HAS_MTDUMP, "mtdump, of the Debian package simh, is not installed");
    skipUnless(this, existsSync(CORPUS), `there is no corpus at ${CORPUS}`);
    const names = (await readdir(CORPUS, { recursive: true })).filter((name) =>
      name.endsWith(".tap"),
    );
    expect(names).to.not.be.empty;
    for (const name of names) {
      const path = join(CORPUS, name);
      await using drive = await openSimhTape(path, { mode: "read", useIndex: false });
      const forward = await listByDrive(drive, false);
      expect(forward.length, name).to.be.greaterThan(2000);
      expect((await listByDrive(drive, true)).reverse(), name).to.deep.equal(forward);
      // mtdump takes the second of two filemarks in a row for the end of the tape.
      const listed = await listByMtdump(path);
      expect(forward.slice(0, listed.length), name).to.deep.equal(listed);
      expect(forward.slice(listed.length).every((each) => each.lengthBytes === undefined)).to.be
        .true;
    }
  });
});
