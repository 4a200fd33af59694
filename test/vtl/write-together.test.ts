import { expect } from "chai";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { writeRecords } from "../../src/tape/write-records.ts";
import type { SpaceSample } from "../../src/vtl/space-guard.ts";
import { expectReelError } from "../support/expect-error.ts";
import { patternBytes } from "../support/pattern.ts";
import { drive, makeLoader, slot } from "./loader-fixture.ts";

describe("a loader on a file system that runs out of room", () => {
  it("warns of and stops records that are written together where it does so one by one", async () => {
    const record = patternBytes(100_000);
    const fillUp = async (together: number): Promise<{ warnedAt: number; stoppedAt: number }> => {
      const made = await makeLoader({ slots: 2, tapes: 1 });
      const path = join(made.path, "tapes", "REEL0001.tap");
      const sampleSpace = async (): Promise<SpaceSample> => ({
        totalBytes: 1000e6,
        freeBytes: 70e6 - (await stat(path)).size,
      });
      const loader = await made.open({ sampleSpace });
      try {
        await loader.move(slot(1), drive(0));
        let [warnedAt, stoppedAt] = [-1, 0];
        const records = Array.from({ length: together }, () => [record]);
        const writeOn = async (): Promise<void> => {
          for (;;) {
            const { written, earlyWarning } = await writeRecords(loader.drive(0), records);
            stoppedAt += written;
            if (earlyWarning && warnedAt < 0) warnedAt = stoppedAt;
          }
        };
        await expectReelError(writeOn(), "no-space");
        return { warnedAt, stoppedAt };
      } finally {
        await loader.close();
        await made.remove();
      }
    };
    const single = await fillUp(1);
    expect(single.warnedAt).to.be.within(100, 120);
    expect(await fillUp(17)).to.deep.equal(single);
  });
});
