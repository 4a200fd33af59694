import { expect } from "chai";
import { mkdir, utimes, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { spawnSync } from "node:child_process";
import { openFileDevice } from "../../../src/device/file-device.ts";
import { openVolume } from "../../../src/volume/formats.ts";
import {
  extractWithMtools,
  fsck,
  hasFatTools,
  NO_FAT_TOOLS,
  runTool,
} from "../../support/fat-tools.ts";
import { pattern } from "../../support/fat-sample.ts";
import { skipUnless } from "../../support/skip.ts";
import { withTempFolder } from "../../support/temp.ts";
import { readTree } from "../../support/volume-suite.ts";

const PARTCLONE = "/usr/sbin/partclone.fat32";
const MEBIBYTE = 1024 * 1024;

interface RealVolume {
  readonly kind: string;
  readonly sizeMebibytes: number;
  readonly mkfs: readonly string[];
}

const REAL_VOLUMES = {
  "a floppy": { kind: "fat12", sizeMebibytes: 1, mkfs: ["-F", "12", "-n", "FLOPPY"] },
  "a FAT16 volume": { kind: "fat16", sizeMebibytes: 40, mkfs: ["-F", "16", "-n", "SIXTEEN"] },
  "a FAT32 volume": { kind: "fat32", sizeMebibytes: 64, mkfs: ["-F", "32", "-s", "1"] },
  "a FAT32 volume of 2048-byte sectors": {
    kind: "fat32",
    sizeMebibytes: 200,
    mkfs: ["-F", "32", "-S", "2048", "-s", "1", "-f", "1", "-R", "64"],
  },
  "an Atari volume": { kind: "fat12", sizeMebibytes: 2, mkfs: ["-A", "-F", "12"] },
} as const satisfies Record<string, RealVolume>;

/** Files as people have them, made on the host. */
async function makeFiles(folder: string): Promise<string> {
  const source = join(folder, "source");
  const deep = join(source, "Documents", "Über uns", "x".repeat(100));
  await mkdir(deep, { recursive: true });
  await mkdir(join(source, "EMPTY"));
  const files: [string, number][] = [
    [join(source, "README.TXT"), 11],
    [join(source, "lower.txt"), 4096],
    [join(source, "Mixed Case.Long Extension"), 513],
    [join(source, "nothing"), 0],
    [join(source, "日本語 🎞 ñandú.bin"), 30_000],
    [join(deep, "y".repeat(120)), 70_001],
    ...Array.from({ length: 60 }, (_, i): [string, number] => [join(deep, `file-${i}`), i * 37]),
  ];
  for (const [path, size] of files) {
    await writeFile(path, pattern(size, size));
    await utimes(path, 1_700_000_001, 1_700_000_001);
  }
  return source;
}

async function makeVolume(folder: string, volume: RealVolume): Promise<string> {
  const image = join(folder, "volume.img");
  await writeFile(image, "");
  runTool("truncate", ["-s", `${volume.sizeMebibytes}M`, image]);
  runTool("mkfs.fat", [...volume.mkfs, image]);
  const source = await makeFiles(folder);
  runTool("sh", ["-c", 'mcopy -s -m -i "$1" "$2"/* ::', "sh", image, source]);
  // Holes in the free space, and a file that has to go around them.
  for (let i = 0; i < 60; i += 2) {
    const name = `::/Documents/Über uns/${"x".repeat(100)}/file-${i}`;
    runTool("mdel", ["-i", image, name]);
  }
  const large = join(folder, "fragmented.bin");
  await writeFile(large, pattern(200_000, 7));
  runTool("mcopy", ["-i", image, large, "::"]);
  runTool("mattrib", ["+r", "+h", "-i", image, "::README.TXT"]);
  return image;
}

describe("FAT volumes made by mkfs.fat and filled by mtools", function () {
  this.timeout(30_000);
  before(function () {
    skipUnless(this, hasFatTools(), NO_FAT_TOOLS);
  });

  for (const [name, real] of Object.entries(REAL_VOLUMES)) {
    it(`${name} has the names and bytes that mcopy extracts and the clusters that fsck counts`, async () => {
      await withTempFolder(async (folder) => {
        const image = await makeVolume(folder, real);
        const expected = await extractWithMtools(image, folder);
        await using device = await openFileDevice(image);
        const volume = await openVolume(device);
        expect(volume.info.kind).to.equal(real.kind);
        const found = await readTree(volume, device);
        expect([...found.keys()].sort()).to.deep.equal([...expected.keys()].sort());
        expect(found.size).to.be.above(40);
        for (const [path, contents] of expected) expect(found.get(path)).to.deep.equal(contents);
        const survey = await volume.survey();
        const checked = fsck(image);
        expect(checked?.clustersUsed).to.equal(survey.clustersUsed);
        expect(survey.problems).to.deep.equal([]);
        expect(survey.files + survey.directories).to.equal(expected.size);
      });
    });
  }

  it("shows the time and attributes that were written", async () => {
    await withTempFolder(async (folder) => {
      const image = await makeVolume(folder, REAL_VOLUMES["a floppy"]);
      await using device = await openFileDevice(image);
      const volume = await openVolume(device, {
        timeZoneMinutes: -new Date(1_700_000_001_000).getTimezoneOffset(),
      });
      const entries = await volume.readDirectory(volume.rootId);
      const readme = entries.find((entry) => entry.name === "README.TXT");
      expect(readme?.stat.modifiedMs).to.equal(1_700_000_000_000);
      expect(readme?.stat).to.include({ readOnly: true, attributes: 0x23, sizeBytes: 11 });
    });
  });

  it("uses the blocks that partclone copies", async function () {
    skipUnless(this, existsSync(PARTCLONE), "partclone is not installed");
    await withTempFolder(async (folder) => {
      const image = await makeVolume(folder, REAL_VOLUMES["a FAT32 volume"]);
      const clone = join(folder, "clone.img");
      const args = ["-c", "-s", image, "-o", clone, "-F", "-L", join(folder, "log")];
      const { stderr, stdout } = spawnSync(PARTCLONE, args, { encoding: "utf8" });
      const match = /Space in use: +.* = (\d+) Blocks/.exec(stderr + stdout);
      expect(match, stderr).to.not.equal(null);
      await using device = await openFileDevice(image);
      const { used } = await (await openVolume(device)).survey();
      expect(used.total).to.equal(Number(match?.[1]));
    });
  });

  it("finds what a truncated image still has", async () => {
    await withTempFolder(async (folder) => {
      const image = await makeVolume(folder, REAL_VOLUMES["a FAT16 volume"]);
      runTool("truncate", ["-s", String(MEBIBYTE / 2), image]);
      await using device = await openFileDevice(image);
      const volume = await openVolume(device);
      const found = await volume.readDirectory(volume.rootId);
      expect(found.map(({ name }) => name)).to.include("README.TXT");
      expect((await volume.survey()).problems.length).to.be.above(0);
    });
  });
});
