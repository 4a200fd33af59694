import { expect } from "chai";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { openSimhTape } from "../../src/tape/simh-tape.ts";
import { CountingDrive } from "../../src/tape/counting-drive.ts";
import type { TapeRecord } from "../../src/tape/tape-drive.ts";
import { writeRecords } from "../../src/tape/write-records.ts";
import { expectReelError } from "../support/expect-error.ts";
import { patternBytes } from "../support/pattern.ts";
import { skipUnless } from "../support/skip.ts";
import { withTempFolder } from "../support/temp.ts";

const RECORD_BYTES = 10_001;
/** With its two words and the pad byte. */
const ON_TAPE_BYTES = RECORD_BYTES + 1 + 8;

function recordsFrom(salt: number, count: number): TapeRecord[] {
  return Array.from({ length: count }, (_, at) => [patternBytes(RECORD_BYTES, salt + at)]);
}

describe("records that are written to a .tap file together", () => {
  it("are a megabyte or so in one call, and counted one by one", async () => {
    await withTempFolder(async (folder) => {
      const drive = new CountingDrive(
        await openSimhTape(join(folder, "t.tap"), { mode: "write", create: true }),
      );
      const { written, earlyWarning } = await drive.writeRecords(recordsFrom(0, 150));
      expect({ written, earlyWarning }).to.deep.equal({
        written: Math.ceil((1024 * 1024) / ON_TAPE_BYTES),
        earlyWarning: false,
      });
      expect(await drive.writeRecords(recordsFrom(written, 3))).to.include({ written: 3 });
      expect(drive.statistics()).to.include({
        recordsWritten: written + 3,
        bytesWritten: (written + 3) * RECORD_BYTES,
      });
      await drive.close();
    });
  });

  it("are on the disk as whole records when it is full in the middle of them, and can be gone on with", async function () {
    skipUnless(this, process.getuid?.() === 0, "only root can mount a small disk");
    await withTempFolder(async (folder) => {
      const disk = join(folder, "small");
      await mkdir(disk);
      const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=256k", "none", disk]);
      skipUnless(this, mounted.status === 0, "no small disk can be mounted here");
      try {
        const path = join(disk, "t.tap");
        await using drive = await openSimhTape(path, {
          mode: "write",
          create: true,
          useIndex: false,
        });
        const records = recordsFrom(0, 40);
        const { written } = await writeRecords(drive, records);
        expect(written, "what fits into 256 KiB").to.be.within(20, 26);
        expect((await stat(path)).size).to.equal(written * ON_TAPE_BYTES);
        expect((await drive.position()).object).to.equal(written);
        await expectReelError(writeRecords(drive, records.slice(written)), "no-space");
        expect((await stat(path)).size).to.equal(written * ON_TAPE_BYTES);
        execFileSync("mount", ["-o", "remount,size=1m", disk]);
        expect(await writeRecords(drive, records.slice(written))).to.include({
          written: 40 - written,
        });
        await drive.writeFilemarks(1);
        await drive.rewind();
        const target = new Uint8Array(RECORD_BYTES);
        for (let salt = 0; salt < 40; salt++) {
          expect(await drive.read(target)).to.include({ lengthBytes: RECORD_BYTES });
          expect(Buffer.compare(target, patternBytes(RECORD_BYTES, salt))).to.equal(0);
        }
        expect((await drive.read(target)).kind).to.equal("filemark");
      } finally {
        execFileSync("umount", [disk]);
      }
    });
  });
});
