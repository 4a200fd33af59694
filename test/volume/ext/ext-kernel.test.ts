/** Volumes that the kernel wrote, read here and by the kernel again: everything must be the same. */
import { expect } from "chai";
import { execFileSync } from "node:child_process";
import { copyFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { expectAsMounted, nodesOf, withExtVolume } from "../../support/ext-compare.ts";
import {
  canMountExt,
  countBlocks,
  hasExtTools,
  hasTool,
  makeExtImage,
  mappedBlocks,
  NO_EXT_TOOLS,
  NO_KERNEL,
  runTool,
} from "../../support/ext-tools.ts";
import { skipUnless } from "../../support/skip.ts";
import { withTempFolder } from "../../support/temp.ts";
import { endKernelMount } from "../../support/end-kernel-mount.ts";

const MIB = 1024 * 1024;

/** Some of everything that a shell can make; $BIG is the size of the largest attribute. */
const FILL = `
set -e
mkdir -p folder/deep many
echo hello > folder/hello.txt
ln folder/hello.txt folder/again.txt
ln -s folder/hello.txt short-link
ln -s "$(printf 'x%.0s' $(seq 200))" long-link
mkfifo pipe
mknod old-device b 8 17
mknod new-device c 511 1048575
for i in $(seq 700); do echo $i > many/a-file-with-a-rather-long-name-$i; done
for i in $(seq 1 3 700); do rm many/a-file-with-a-rather-long-name-$i; done
head -c 700000 /dev/urandom > large
cp large other; rm other
dd if=/dev/urandom of=sparse bs=1k count=3 seek=9000 2>/dev/null
for i in $(seq 0 40 2000); do dd if=/dev/urandom of=holes bs=4k count=1 seek=$i conv=notrunc 2>/dev/null; done
truncate -s 123456789 holes
fallocate -l 100000 unwritten 2>/dev/null || truncate -s 100000 unwritten
printf tiny > tiny
head -c 130 /dev/urandom > small
touch -d '2000-01-02 03:04:05.123456789Z' tiny
touch -d "$LATE" small
touch -h -d '1999-12-31 23:59:59Z' short-link
chown 123456:70000 tiny; chmod 6751 tiny; chmod 1777 folder
setfattr -n user.comment -v "a comment" folder/hello.txt
setfattr -n trusted.thing -v "$(head -c $BIG /dev/zero | tr '\\0' v)" large
for i in 1 2 3 4 5; do setfattr -n user.number$i -v "value $i" small; done
setfacl -m u:1234:rw,g:99:r folder/hello.txt
setfacl -m d:u:55:rwx folder
`;

const SHAPES: readonly (readonly [string, readonly string[]])[] = [
  ["ext2 in blocks of 1 KiB", ["-t", "ext2", "-b", "1024"]],
  ["ext3 with inodes of 128 bytes", ["-t", "ext3", "-I", "128"]],
  ["ext4 as mke2fs makes it", ["-t", "ext4"]],
  [
    "ext4 with inline data and attributes in inodes",
    ["-t", "ext4", "-I", "512", "-O", "inline_data,ea_inode"],
  ],
  ["ext4 with bigalloc", ["-t", "ext4", "-O", "bigalloc", "-C", "16384"]],
  [
    "ext4 in small groups with meta_bg",
    [
      "-t",
      "ext4",
      "-b",
      "1024",
      "-g",
      "1024",
      "-O",
      "meta_bg,^resize_inode,uninit_bg,^metadata_csum",
    ],
  ],
];

/** Makes a volume, fills it while it is mounted, and hands over an image of it. */
async function withFilled(
  options: readonly string[],
  use: (image: string, folder: string) => Promise<void>,
  how: { readonly mount?: string; readonly isDirty?: boolean } = {},
): Promise<void> {
  await withTempFolder(async (folder) => {
    const image = join(folder, "volume.img");
    const mountpoint = join(folder, "mounted");
    const isNarrow = options.includes("128") || options.includes("ext2");
    await makeExtImage(image, 24 * MIB, options);
    await mkdir(mountpoint);
    runTool("mount", "-o", `loop,nodiscard${how.mount ?? ""}`, image, mountpoint);
    const copy = join(folder, "dirty.img");
    try {
      const hasLargeValues = options.some((each) => each.includes("ea_inode"));
      execFileSync("bash", ["-c", FILL], {
        cwd: mountpoint,
        env: {
          ...process.env,
          BIG: hasLargeValues ? "9000" : "700",
          LATE: isNarrow ? "2030-01-01Z" : "2345-06-07 08:09:10.987654321Z",
        },
        stdio: ["ignore", "ignore", "pipe"],
      });
      if (how.isDirty === true) {
        runTool("sync", "-f", mountpoint);
        await copyFile(image, copy);
      }
    } finally {
      endKernelMount(mountpoint);
    }
    await use(how.isDirty === true ? copy : image, folder);
  });
}

describe("ext volumes that the kernel wrote", function () {
  this.timeout(120_000);
  before(function () {
    skipUnless(this, hasExtTools(), NO_EXT_TOOLS);
    skipUnless(this, canMountExt() && hasTool("setfacl"), NO_KERNEL);
  });

  for (const [name, options] of SHAPES) {
    it(`${name}: all as the kernel shows it, used blocks as dumpe2fs counts, extents as debugfs has them`, async () => {
      await withFilled(options, async (image) => {
        expect(await expectAsMounted(image)).to.be.above(480);
        await expectCounts(image);
        await expectExtents(image);
      });
    });
  }

  for (const [name, options, mount] of [
    ["ext3", ["-t", "ext3"], ""],
    ["ext4", ["-t", "ext4"], ""],
    ["ext4 with all data in the journal", ["-t", "ext4", "-J", "size=8"], ",data=journal"],
  ] as const) {
    it(`${name}, copied while it was mounted: all as after a mount`, async () => {
      await withFilled(
        options,
        async (image) => {
          await withExtVolume(image, async ({ info }) => {
            expect(info.notices?.join()).to.match(/journal was replayed in memory/);
          });
          expect(await expectAsMounted(image)).to.be.above(480);
          await withExtVolume(image, async (volume) => {
            const { problems, used, control } = await volume.survey();
            expect(problems).to.deep.equal([]);
            expect(control.subtract(used).total).to.equal(0);
          });
        },
        { mount, isDirty: true },
      );
    });
  }
});

async function expectCounts(image: string): Promise<void> {
  const { blocks, free } = countBlocks(image);
  await withExtVolume(image, async (volume) => {
    const survey = await volume.survey();
    expect(survey.problems).to.deep.equal([]);
    const blocksOfCluster = volume.info.clusterSizeBytes / volume.info.blockSizeBytes;
    expect(survey.clustersUsed * blocksOfCluster).to.equal(blocks - free);
    expect((await volume.freeClusters()) * blocksOfCluster).to.equal(free);
  });
}

async function expectExtents(image: string): Promise<void> {
  await withExtVolume(image, async (volume) => {
    const { blockSizeBytes } = volume.info;
    const nodes = await nodesOf(volume);
    for (const name of ["/large", "/sparse", "/holes", "/unwritten", "/folder/hello.txt"]) {
      const id = nodes.get(name)?.id ?? 0;
      const layout = await volume.layout(id);
      const isInline = (layout.deviceOffsets[0] ?? 0) % blockSizeBytes !== 0;
      if (isInline) continue;
      const found: string[] = [];
      for (let i = 0; i < layout.length; i++) {
        const logical = (layout.fileOffsets[i] ?? 0) / blockSizeBytes;
        const physical = (layout.deviceOffsets[i] ?? 0) / blockSizeBytes;
        const count = Math.ceil((layout.lengths[i] ?? 0) / blockSizeBytes);
        for (let block = 0; block < count; block++)
          found.push(`${logical + block}:${physical + block}`);
      }
      const expected = mappedBlocks(image, id).flatMap(([logical, physical, count]) =>
        Array.from({ length: count }, (_, block) => `${logical + block}:${physical + block}`),
      );
      expect(found, name).to.deep.equal(expected);
    }
  });
}
