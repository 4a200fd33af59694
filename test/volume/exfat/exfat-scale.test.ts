import { expect } from "chai";
import { open, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { BlockDevice } from "../../../src/device/block-device.ts";
import { CheckedDevice } from "../../../src/device/checked-device.ts";
import { ExtentSet } from "../../../src/device/extents.ts";
import { openFileDevice } from "../../../src/device/file-device.ts";
import { exfatFormat } from "../../../src/volume/exfat/exfat-format.ts";
import { CoarseRuns } from "../../../src/volume/exfat/runs.ts";
import { ClusterSet } from "../../../src/volume/exfat/cluster-set.ts";
import { ExfatBuilder, sealBoot } from "../../support/exfat-builder.ts";
import { dumpExfat, hasExfatTools, NO_EXFAT_TOOLS, runTool } from "../../support/exfat-tools.ts";
import { chance, withRandom } from "../../support/random.ts";
import { skipUnless } from "../../support/skip.ts";
import { withTempFolder } from "../../support/temp.ts";

const VOLUME_BYTES = 2_200_000_000_000;
const CLUSTERS_CLAIMED = 0xfffffff5;
const MEBIBYTE = 1024 * 1024;

/** Counts what is read. */
class MeteredDevice extends CheckedDevice {
  readBytes = 0;
  reads = 0;
  readonly #base: BlockDevice;

  constructor(base: BlockDevice) {
    super(base);
    this.#base = base;
  }

  protected override async readRange(offsetBytes: number, target: Uint8Array): Promise<void> {
    this.readBytes += target.length;
    this.reads++;
    return this.#base.read(offsetBytes, target);
  }

  protected override async release(): Promise<void> {
    return this.#base.close();
  }
}

describe("an exFAT volume of 2.2 TB", function () {
  this.timeout(30_000);

  for (const cluster of ["128K", "32M"]) {
    it(`with clusters of ${cluster}, almost empty, is surveyed by reading little more than its bitmap`, async function () {
      skipUnless(this, hasExfatTools(), NO_EXFAT_TOOLS);
      await withTempFolder(async (folder) => {
        const image = join(folder, "volume.img");
        await writeFile(image, "");
        await truncate(image, VOLUME_BYTES);
        runTool("mkfs.exfat", ["-L", "ARCHIVE", "-c", cluster, image]);
        await using device = new MeteredDevice(await openFileDevice(image));
        const volume = await exfatFormat.open(device);
        expect(volume.info.label).to.equal("ARCHIVE");
        expect(device.readBytes).to.be.below(MEBIBYTE);
        const survey = await volume.survey();
        const dump = dumpExfat(image);
        expect(survey.problems).to.deep.equal([]);
        expect(survey.clustersUsed).to.equal(dump.clusters - dump.freeClusters);
        const bitmapBytes = dump.clusters / 8;
        expect(device.readBytes).to.be.below(2 * bitmapBytes + 2 * MEBIBYTE);
        expect(device.reads).to.be.below(40 + bitmapBytes / (256 * 1024));
        expect(await volume.freeClusters()).to.equal(dump.freeClusters);
      });
    });
  }
});

describe("an exFAT volume that claims more than there is", () => {
  it("is surveyed at once: four billion clusters, in a file that claims them all", async () => {
    const made = new ExfatBuilder({ clusters: 600 });
    made.addFile(made.root, "all", new Uint8Array(1), {
      beforeChecksum: (set) => {
        set.writeBigUInt64LE(BigInt(CLUSTERS_CLAIMED) * 512n, 32 + 24);
        set.writeUInt32LE(2, 32 + 20);
      },
    });
    const bytes = made.build();
    const boot = bytes.slice(0, 12 * 512);
    const view = new DataView(boot.buffer);
    const fatSectors = Math.ceil(((CLUSTERS_CLAIMED + 2) * 4) / 512);
    view.setBigUint64(72, BigInt(24 + fatSectors + CLUSTERS_CLAIMED), true);
    view.setUint32(84, fatSectors, true);
    view.setUint32(88, 24 + fatSectors, true);
    view.setUint32(92, CLUSTERS_CLAIMED, true);
    sealBoot(boot, 512);
    const heap = bytes.subarray(made.heapSector * 512);
    await withTempFolder(async (folder) => {
      const image = join(folder, "volume.img");
      const file = await open(image, "w");
      await file.write(boot, 0, boot.length, 0);
      await file.write(bytes, made.fatOffset(), made.fatSectors * 512, made.fatOffset());
      await file.write(heap, 0, heap.length, (24 + fatSectors) * 512);
      await file.close();
      await using device = new MeteredDevice(await openFileDevice(image));
      const volume = await exfatFormat.open(device);
      const { files, used, problems } = await volume.survey();
      expect(files).to.equal(1);
      expect(used.end).to.be.at.most(Math.ceil(device.sizeBytes / volume.info.blockSizeBytes));
      expect(problems.map(({ where }) => where))
        .to.include("/all")
        .and.include("boot region");
      expect(device.readBytes).to.be.below(MEBIBYTE);
    });
  });
});

describe("runs in bounded memory", () => {
  it("close the smallest gaps first and lose nothing", async () => {
    await withRandom((random) => {
      const coarse = new CoarseRuns(64);
      const exact: [number, number][] = [];
      let at = 0;
      for (let i = 0; i < 1000; i++) {
        at += 1 + random.below(chance(random, 10) ? 1000 : 4);
        const count = 1 + random.below(5);
        coarse.add(at, at + count);
        exact.push([at, count]);
        at += count;
      }
      const found = coarse.finish();
      expect(found.length).to.be.at.most(64);
      expect(ExtentSet.from(exact).subtract(found).total).to.equal(0);
    });
  });

  it("are exact while there are few", () => {
    const coarse = new CoarseRuns(64);
    for (let i = 0; i < 64; i++) coarse.add(i * 2, i * 2 + 1);
    expect(coarse.finish().length).to.equal(64);
  });

  it("of clusters are added up to the first that is there, as a plain set would", async () => {
    await withRandom((random) => {
      const clusters = new ClusterSet();
      const plain = new Set<number>();
      for (let i = 0; i < 60; i++) {
        const start = 2 + random.below(2_000_000);
        const count = 1 + random.below(chance(random, 20) ? 1_500_000 : 40);
        let free = 0;
        while (free < count && !plain.has(start + free)) plain.add(start + free++);
        expect(clusters.addRun(start, count)).to.equal(free);
      }
      for (let i = 0; i < 5000; i++) {
        const cluster = 2 + random.below(3_000_000);
        expect(clusters.has(cluster)).to.equal(plain.has(cluster));
      }
    });
  });
});
