import { expect } from "chai";
import { openFileDevice } from "../../../src/device/file-device.ts";
import { ntfsFormat } from "../../../src/volume/ntfs/ntfs-format.ts";
import { corpusFiles, hasCorpus, NO_CORPUS, withCorpusFile } from "../../support/corpus.ts";
import { expectReelError } from "../../support/expect-error.ts";
import { compareWithMount } from "../../support/ntfs-oracle.ts";
import { hasNtfsTools, NO_NTFS_TOOLS } from "../../support/ntfs-volume.ts";
import { skipUnless } from "../../support/skip.ts";

const NTFS_FILES = corpusFiles().filter(({ what }) => /\bNTFS v/.test(what));

describe("NTFS volumes that others made", function () {
  this.timeout(60_000);
  before(function () {
    skipUnless(this, hasCorpus(), NO_CORPUS);
    skipUnless(this, hasNtfsTools(), NO_NTFS_TOOLS);
  });

  for (const { path, what, oracle } of NTFS_FILES) {
    if (!oracle.endsWith("rc=0")) {
      it(`${path}: says that the MFT is not there`, async () => {
        await withCorpusFile(path, async (image) => {
          await using device = await openFileDevice(image);
          const error = await expectReelError(ntfsFormat.open(device), "damaged");
          expect(error.message).to.include("MFT record 0 (byte ").and.include("beyond the end");
        });
      });
      continue;
    }
    it(`${path}: all as ntfs-3g has it`, async () => {
      await withCorpusFile(path, async (image) => {
        await using device = await openFileDevice(image);
        const volume = await ntfsFormat.open(device);
        // ntfs-3g does not know the links and attributes that Linux' own driver writes.
        const isKernels = path.includes("_ntfs3_");
        const options = { ignoreLinks: isKernels, ignoreXattrs: isKernels };
        const counted = await compareWithMount(image, volume, device, options);
        const survey = await volume.survey();
        expect(survey).to.include(counted);
        expect(survey.problems).to.deep.equal([]);
        const free = Number(/ free=(\d+)/.exec(what)?.[1]);
        expect(await volume.freeClusters()).to.equal(free);
        expect(survey.clustersUsed).to.equal(volume.info.clusterCount - free);
      });
    });
  }

  it("show links and attributes as Linux' own driver wrote them", async function () {
    const path = NTFS_FILES.find((file) => file.path.includes("_ntfs3_3."))?.path;
    skipUnless(this, path !== undefined, NO_CORPUS);
    await withCorpusFile(path ?? "", async (image) => {
      await using device = await openFileDevice(image);
      const volume = await ntfsFormat.open(device);
      const root = await volume.readDirectory(volume.rootId);
      const file = root.find(({ name }) => name === "file1");
      expect(file?.stat).to.include({ mode: 0o755, uid: 0, gid: 0 });
      const xattrs = [...((await volume.xattrs?.(file?.stat.id ?? 0)) ?? [])];
      expect(
        xattrs.map(([name, value]) => `${name}=${Buffer.from(value).toString()}`),
      ).to.deep.equal(["user.xattr1=xattr1", "user.xattr2=xattr2"]);
      const folder = root.find(({ name }) => name === "file0")?.stat.id ?? 0;
      const link = (await volume.readDirectory(folder)).find(({ name }) => name === "file1");
      expect(await volume.readLink?.(link?.stat.id ?? 0)).to.match(
        /^\/tmp\/syz-imagegen\d+\/file0\/file0$/,
      );
    });
  });
});
