import { expect } from "chai";
import { openFileDevice } from "../../../src/device/file-device.ts";
import type { BlockDevice } from "../../../src/device/block-device.ts";
import { isReelError } from "../../../src/errors.ts";
import { openVolume } from "../../../src/volume/formats.ts";
import type { Volume } from "../../../src/volume/volume.ts";
import { corpusFiles, hasCorpus, NO_CORPUS, withCorpusFile } from "../../support/corpus.ts";
import { extractWithMtools, fsck, hasFatTools, NO_FAT_TOOLS } from "../../support/fat-tools.ts";
import { skipUnless } from "../../support/skip.ts";
import { withTempFolder } from "../../support/temp.ts";
import { readTree } from "../../support/volume-suite.ts";

/** Everything that holds a FAT volume or a piece of one. */
const FAT_FILES = corpusFiles().filter(
  ({ path, what }) =>
    !/\.(label|mkfs|args|bad)$|LICENSE|COPYING/.test(path) &&
    (/\bFAT(12|16|32)\b/.test(what) || /_(msdos|vfat)_|\/fat\w*\.(raw|bin|img)/.test(path)),
);

/**
 * fsck.fat finds fault with these, for reasons that leave all files readable: dirty flags, labels
 * that differ, FATs that it takes for more than it can handle (four), boot code. They must be as
 * good as the clean ones.
 */
const HARMLESS = /syz_mount_image_|label-fat32_|fat32_dos_cln_shut|fat12-floppy|hello-world/;

const LABELS: Readonly<Record<string, string>> = {
  label1: "label1",
  label1_dosfslabel_NO_NAME: "",
  label1_dosfslabel_label2: "label2",
  label1_mlabel_NO_NAME: "",
  label1_xp_label2: "LABEL2",
};

async function withVolume<T>(
  path: string,
  use: (volume: Volume, device: BlockDevice) => Promise<T>,
): Promise<T> {
  const device = await openFileDevice(path);
  try {
    const volume = await openVolume(device);
    try {
      return await use(volume, device);
    } finally {
      await volume.close();
    }
  } finally {
    await device.close();
  }
}

describe("FAT volumes that others made", function () {
  this.timeout(60_000);
  before(function () {
    skipUnless(this, hasCorpus(), NO_CORPUS);
    skipUnless(this, hasFatTools(), NO_FAT_TOOLS);
  });

  for (const { path, oracle } of FAT_FILES) {
    const isClean = oracle.endsWith("rc=0") || HARMLESS.test(path);
    it(`${path}: ${isClean ? "all as mtools has it" : "a clear answer"}`, async () => {
      await withCorpusFile(path, async (image) => {
        await (isClean ? compareWithTools(image) : expectAnswer(image));
      });
    });
  }

  for (const [name, label] of Object.entries(LABELS)) {
    it(`shows the label of ${name}`, async () => {
      await withCorpusFile(
        `dosfstools+dosfstools/tests/label-fat32_mkdosfs_${name}.xxd`,
        async (image) =>
          withVolume(image, async ({ info }) => {
            expect(info.label).to.equal(label);
          }),
      );
    });
  }
});

async function compareWithTools(image: string): Promise<void> {
  await withTempFolder(async (folder) => {
    const expected = await extractWithMtools(image, folder);
    await withVolume(image, async (volume, device) => {
      const found = await readTree(volume, device);
      expect([...found.keys()].sort()).to.deep.equal([...expected.keys()].sort());
      for (const [path, contents] of expected) expect(found.get(path)).to.deep.equal(contents);
      const survey = await volume.survey();
      const checked = fsck(image);
      if (checked !== undefined) {
        expect(survey.clustersUsed).to.equal(checked.clustersUsed);
        expect(volume.info.clusterCount).to.equal(checked.clusters);
      }
      expect(survey.files + survey.directories).to.equal(expected.size);
    });
  });
}

/** Everything that can be asked of a damaged volume has an answer. */
async function expectAnswer(image: string): Promise<void> {
  try {
    await withVolume(image, async (volume) => {
      const { used, control } = await volume.survey({ includeDeleted: true });
      expect(control.subtract(used).total).to.equal(0);
      await volume.freeClusters();
      await visit(volume, volume.rootId);
    });
  } catch (error) {
    if (!isReelError(error, "unsupported")) throw error;
  }
}

async function visit(volume: Volume, id: number): Promise<void> {
  try {
    for (const { stat } of await volume.readDirectory(id)) {
      if (stat.kind === "directory") await visit(volume, stat.id);
      else await volume.layout(stat.id).catch(allowDamage);
    }
  } catch (error) {
    allowDamage(error);
  }
}

function allowDamage(error: unknown): void {
  if (!isReelError(error, "damaged")) throw error;
}
