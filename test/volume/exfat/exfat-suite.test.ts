import { expect } from "chai";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { MemoryDevice } from "../../../src/device/memory-device.ts";
import { exfatFormat } from "../../../src/volume/exfat/exfat-format.ts";
import { exfatSample } from "../../support/exfat-sample.ts";
import type { ExfatShape } from "../../support/exfat-builder.ts";
import { dumpExfat, fsckExfat, hasExfatTools, NO_EXFAT_TOOLS } from "../../support/exfat-tools.ts";
import { skipUnless } from "../../support/skip.ts";
import { withTempFolder } from "../../support/temp.ts";
import { volumeSuite } from "../../support/volume-suite.ts";

const SHAPES: Readonly<Record<string, ExfatShape>> = {
  "exFAT with 512-byte clusters": { clusters: 700, label: "SMALL" },
  "exFAT with 4096-byte sectors": {
    sectorShift: 12,
    sectorsPerClusterShift: 1,
    clusters: 150,
    guid: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
  },
  "exFAT with 1024-byte sectors and an odd number of clusters": {
    sectorShift: 10,
    clusters: 333,
    percentInUse: 40,
  },
  "TexFAT, its second FAT in use": { clusters: 700, fatCount: 2, activeFat: 1 },
};

for (const [name, shape] of Object.entries(SHAPES)) {
  volumeSuite(name, () => ({ ...exfatSample(shape), format: exfatFormat }));
}

describe("the volumes that the exFAT tests make", () => {
  for (const [name, shape] of Object.entries(SHAPES)) {
    it(`${name}: sound for fsck.exfat, counted as dump.exfat counts, sound again from its used blocks`, async function () {
      this.timeout(20_000);
      skipUnless(this, hasExfatTools(), NO_EXFAT_TOOLS);
      skipUnless(this, shape.fatCount !== 2, "exfatprogs do not read TexFAT");
      await withTempFolder(async (folder) => {
        const sample = exfatSample(shape);
        const image = join(folder, "volume.img");
        await writeFile(image, sample.bytes);
        const check = fsckExfat(image);
        expect(check.isClean, check.output).to.be.true;
        const volume = await exfatFormat.open(new MemoryDevice(sample.bytes));
        const survey = await volume.survey();
        expect(check.files).to.equal(survey.files);
        expect(check.directories).to.equal(survey.directories + 1);
        const dump = dumpExfat(image);
        expect(dump.clusters).to.equal(volume.info.clusterCount);
        expect(dump.clusters - dump.freeClusters).to.equal(survey.clustersUsed);
        expect(dump.label).to.equal(volume.info.label);
        expect(dump.clusterBytes).to.equal(volume.info.clusterSizeBytes);
        const restored = new Uint8Array(sample.bytes.length);
        for (const [start, count] of survey.used) {
          const from = start * volume.info.blockSizeBytes;
          const end = from + count * volume.info.blockSizeBytes;
          restored.set(sample.bytes.subarray(from, end), from);
        }
        await writeFile(image, restored);
        expect(fsckExfat(image).isClean, "restored from the blocks in use").to.be.true;
      });
    });
  }
});
