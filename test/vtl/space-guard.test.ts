import { expect } from "chai";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { writeAcrossTapes } from "../../src/vtl/across-tapes.ts";
import { createVirtualLoader, openVirtualLoader } from "../../src/vtl/manage-loaders.ts";
import { judgeSpace, sampleSpace, type SpaceSample } from "../../src/vtl/space-guard.ts";
import { createVirtualTape } from "../../src/vtl/virtual-tapes.ts";
import { expectReelError } from "../support/expect-error.ts";
import { patternBytes } from "../support/pattern.ts";
import { skipUnless } from "../support/skip.ts";
import { makeTempFolder } from "../support/temp.ts";
import { drive, makeLoader, slot } from "./loader-fixture.ts";
import { endKernelMount } from "../support/end-kernel-mount.ts";

const RECORD_BYTES = 64 * 1024;

describe("room on the file system", () => {
  it("is enough, low below 6 %, and exhausted below 5 %", () => {
    const limits = { spaceWarnPercent: 6, spaceStopPercent: 5 };
    const level = (freeBytes: number, totalBytes = 1000): string =>
      judgeSpace("/x", { totalBytes, freeBytes }, limits).level;
    expect([60, 59, 50, 49, 0].map((free) => level(free))).to.deep.equal([
      "enough",
      "low",
      "low",
      "exhausted",
      "exhausted",
    ]);
    expect(level(0, 0), "a file system that tells no size").to.equal("enough");
  });

  it("that runs low warns; that runs out stops records, and lets the filemark through", async () => {
    const made = await makeLoader({ slots: 2, tapes: 1 });
    const space = { totalBytes: 1000e6, freeBytes: 100e6 };
    let samples = 0;
    const sampleSpace = async (): Promise<SpaceSample> => {
      samples += 1;
      return { ...space };
    };
    const loader = await made.open({ sampleSpace });
    try {
      await loader.move(slot(1), drive(0));
      const tape = loader.drive(0);
      const record = patternBytes(1_000_000);
      expect(await loader.warnings()).to.deep.equal([]);
      for (let count = 0; count < 20; count++) {
        expect(await tape.write([record])).to.deep.equal({ earlyWarning: false });
      }
      expect(samples, "looked at now and then, not at each record").to.be.within(2, 8);
      space.freeBytes = 59e6;
      expect(await tape.writeFilemarks(1)).to.deep.equal({ earlyWarning: true });
      expect(await tape.write([record])).to.deep.equal({ earlyWarning: true });
      expect((await tape.position()).earlyWarning).to.be.true;
      expect((await loader.warnings()).join())
        .to.include("5.9 %")
        .and.include("below 5 %");
      space.freeBytes = 40e6;
      await tape.writeFilemarks(1);
      const error = await expectReelError(tape.write([record]), "no-space");
      expect(error.message).to.include("below 5 % nothing is written");
      await tape.writeFilemarks(1);
      expect((await tape.position()).object).to.equal(24);
      await expectReelError(createVirtualTape(loader), "no-space");
      space.freeBytes = 300e6;
      expect(await tape.write([record])).to.deep.equal({ earlyWarning: false });
      space.freeBytes = 10e6;
      await loader.spaceStatus();
      await expectReelError(writeAcrossTapes(loader, 0, [record]), "no-space");
      await tape.read(new Uint8Array(0), { reverse: true });
      expect((await tape.read(new Uint8Array(0))).kind, "ended in an orderly way").to.equal(
        "filemark",
      );
    } finally {
      await loader.close();
      await made.remove();
    }
  });

  it("on a real file system that fills up: every record and filemark before is there", async function () {
    this.timeout(30_000);
    skipUnless(this, process.getuid?.() === 0, "only root can mount");
    const hasTools = spawnSync("mkfs.ext4", ["-V"]).error === undefined;
    skipUnless(
      this,
      hasTools && existsSync("/dev/loop-control"),
      "no mkfs.ext4 or no loop devices",
    );
    const { folder, remove } = await makeTempFolder();
    const disk = join(folder, "disk.img");
    const mountpoint = join(folder, "mnt");
    await mkdir(mountpoint);
    await writeFile(disk, "");
    await truncate(disk, 24 * 1024 * 1024);
    execFileSync("mkfs.ext4", ["-q", "-m", "0", disk]);
    const mounted = spawnSync("mount", ["-o", "loop", disk, mountpoint]);
    try {
      skipUnless(this, mounted.status === 0, `cannot mount: ${mounted.stderr.toString().trim()}`);
      const path = join(mountpoint, "vtl");
      const registryPath = join(folder, "loaders.json");
      await createVirtualLoader({ path, registryPath, slots: 2, tapes: 1 });
      await using loader = await openVirtualLoader(path);
      await loader.move(slot(1), drive(0));
      const tape = loader.drive(0);
      let written = 0;
      let warnedAt = -1;
      const failure = await expectReelError(
        (async () => {
          for (; ; written++) {
            const { earlyWarning } = await tape.write([patternBytes(RECORD_BYTES, written)]);
            if (earlyWarning && warnedAt < 0) warnedAt = written;
          }
        })(),
        "no-space",
      );
      expect(failure.message).to.include("below 5 % nothing is written");
      expect(warnedAt, "warned before").to.be.within(1, written - 1);
      await tape.writeFilemarks(1);
      const { freeBytes, totalBytes } = await sampleSpace(path);
      expect(freeBytes / totalBytes).to.be.within(0.03, 0.0501);
      expect((await loader.warnings()).length).to.equal(1);
      await loader.move(drive(0), slot(2));
      await loader.move(slot(2), drive(0));
      const target = new Uint8Array(RECORD_BYTES);
      for (let record = 0; record < written; record++) {
        expect((await tape.read(target)).kind).to.equal("record");
        expect(Buffer.compare(target, patternBytes(RECORD_BYTES, record))).to.equal(0);
      }
      expect((await tape.read(target)).kind).to.equal("filemark");
    } finally {
      if (mounted.status === 0) endKernelMount(mountpoint);
      await remove();
    }
  });
});
