import { expect } from "chai";
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { truncate } from "node:fs/promises";
import { join } from "node:path";
import type { BlockDevice } from "../../../src/device/block-device.ts";
import { openFileDevice } from "../../../src/device/file-device.ts";
import { isReelError } from "../../../src/errors.ts";
import { openVolume } from "../../../src/volume/formats.ts";
import type { Volume, VolumeSurvey } from "../../../src/volume/volume.ts";
import { corpusFiles, hasCorpus, NO_CORPUS, withCorpusFile } from "../../support/corpus.ts";
import { dumpExfat, fsckExfat, hasExfatTools, NO_EXFAT_TOOLS } from "../../support/exfat-tools.ts";
import { skipUnless } from "../../support/skip.ts";
import { withTempFolder } from "../../support/temp.ts";

const QEMU_IMG = "/usr/bin/qemu-img";

interface Seen {
  readonly volume: Volume;
  readonly survey: VolumeSurvey;
  /** "/path", with " !" and the message where it cannot be read. */
  readonly paths: readonly string[];
}

/** fsck.exfat finds fault with none of these. */
const CLEAN = ["test.exfat", "exfat_encrypted.raw.gz", "exfat_orphan.raw.gz", "unused-dentries"];
const EXFAT_FILES = corpusFiles().filter(({ what }) => what.includes(" exFAT sectors="));

/** What is wrong with each of the damaged ones, and must be said with its position. */
const DAMAGE: Readonly<Record<string, readonly RegExp[]>> = {
  bad_bitmap_size: [/allocation bitmap: it has 142 bytes, 158 are needed/],
  bad_dentries: [
    /fe_csum\/file_02_bad: its entry set has checksum 0xefef, .*entry at byte 2117728/,
    /fe_count: entry set at byte 2121824 left out: it has 3 of 17 entries/,
    /se_type: entry set at byte 2125920 left out: its second entry is no stream extension/,
    /random_de: entry at byte 2162688 has unknown type 0x8d/,
  ],
  bad_root: [
    /1 cluster is marked free, but not: the first is cluster 5/,
    /temp0: .*checksum 0xdede/,
  ],
  bs_bad_csum: [/boot region: its checksum is 0xcdcdcdcd at byte 5640.*backup in sector 12/],
  de_bad_csum: [/l0_dir_00: its entry set has checksum 0xcdcd.* \(entry at byte 2109728\)/],
  duplicate_clu: [/dir_02\/bad_child_02: its cluster chain runs into cluster 19/],
  file_invalid_clus: [
    /file_invalid_clus: its cluster chain runs into cluster 12, which is marked free/,
  ],
  win_exfat_7: [/boot region: its checksum is 0x80cdcbe0 at byte 5632/],
  exfat_br: [/says that it has 66060288 bytes, .* has 12288/],
};

describe("exFAT volumes that others made", function () {
  this.timeout(60_000);
  before(function () {
    skipUnless(this, hasCorpus(), NO_CORPUS);
    skipUnless(this, hasExfatTools(), NO_EXFAT_TOOLS);
  });

  for (const { path } of EXFAT_FILES) {
    if (path.endsWith(".vhdx.gz")) continue;
    const name = CLEAN.find((each) => path.includes(each));
    if (name !== undefined) {
      it(`${path}: counted as exfatprogs count it, all of it readable`, async () => {
        await withExfat(path, async (image) => {
          await withSeen(image, (seen) => {
            compareWithTools(image, seen);
          });
        });
      });
      continue;
    }
    it(`${path}: an answer that says what is wrong and where`, async () => {
      await withExfat(path, async (image) => {
        await withSeen(image, ({ survey }) => {
          const all = survey.problems.map(({ where, message }) => `${where}: ${message}`);
          const wanted = Object.entries(DAMAGE).find(([each]) => path.includes(each))?.[1] ?? [];
          for (const message of wanted) expect(all.join("\n")).to.match(message);
        });
      });
    });
  }

  it("reads the names that a path cannot hold", async () => {
    await withExfat(
      "exfatprogs+exfatprogs/tests/rename_dot_entry/exfat.img.tar.xz",
      async (image) => {
        await withSeen(image, ({ paths }) => {
          expect(paths).to.include("/_").and.include("/__");
        });
      },
    );
  });

  it("reads a volume of 136 GB from a virtual disk", async function () {
    const name = "exFAT.vhdx.gz";
    const path = EXFAT_FILES.find((each) => each.path.endsWith(name))?.path;
    skipUnless(this, path !== undefined, `the corpus has no ${name}`);
    skipUnless(this, existsSync(QEMU_IMG), "qemu-img is not installed");
    await withCorpusFile(path ?? "", async (disk) => {
      await withTempFolder(async (folder) => {
        const image = join(folder, "volume.img");
        // The partition begins at 129 MiB, and all that is in use lies in its first 300 MiB.
        const range = ["bs=1M", "skip=129", "count=429", `if=${disk}`, `of=${image}`];
        execFileSync(QEMU_IMG, ["dd", "-f", "vhdx", "-O", "raw", ...range], { stdio: "pipe" });
        await truncate(image, 136_229_945_344);
        await withSeen(image, (seen) => {
          compareWithTools(image, seen);
          expect(seen.survey.files).to.equal(1406);
          expect(seen.volume.info.label).to.equal("Some ExFAT");
        });
      });
    });
  });
});

function compareWithTools(image: string, { volume, survey, paths }: Seen): void {
  const check = fsckExfat(image);
  const dump = dumpExfat(image);
  expect(survey.files).to.equal(check.files);
  expect(survey.directories).to.equal(check.directories - 1);
  expect(volume.info.clusterCount).to.equal(dump.clusters);
  expect(volume.info.clusterSizeBytes).to.equal(dump.clusterBytes);
  if (!Number.isNaN(dump.freeClusters)) {
    expect(survey.clustersUsed).to.equal(dump.clusters - dump.freeClusters);
  }
  expect(paths.length).to.equal(survey.files + survey.directories);
  expect(paths.filter((path) => path.includes(" !"))).to.deep.equal([]);
}

/** Unpacks a volume, out of an archive where it is in one. */
async function withExfat(path: string, use: (image: string) => Promise<void>): Promise<void> {
  await withCorpusFile(path, async (unpacked) => {
    if (!path.endsWith(".tar.xz")) {
      await use(unpacked);
      return;
    }
    await withTempFolder(async (folder) => {
      execFileSync("tar", ["xf", unpacked, "-C", folder], { stdio: "pipe" });
      await use(join(folder, "exfat.img"));
    });
  });
}

async function withSeen(image: string, use: (seen: Seen) => void): Promise<void> {
  await using device: BlockDevice = await openFileDevice(image);
  const volume = await openVolume(device);
  expect(volume.info.kind).to.equal("exfat");
  const survey = await volume.survey();
  expect(survey.control.subtract(survey.used).total).to.equal(0);
  await volume.freeClusters();
  const paths: string[] = [];
  await visit(volume, volume.rootId, "", paths);
  use({ volume, survey, paths });
  await volume.close();
}

async function visit(volume: Volume, id: number, path: string, paths: string[]): Promise<void> {
  try {
    for (const { name, stat } of await volume.readDirectory(id)) {
      const below = `${path}/${name}`;
      paths.push(below);
      if (stat.kind === "directory") await visit(volume, stat.id, below, paths);
      else await volume.layout(stat.id);
    }
  } catch (error) {
    if (!isReelError(error, "damaged")) throw error;
    paths.push(`${path} ! ${error.message}`);
  }
}
