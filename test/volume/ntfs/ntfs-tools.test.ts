import { expect } from "chai";
import { open, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openFileDevice } from "../../../src/device/file-device.ts";
import type { BlockDevice } from "../../../src/device/block-device.ts";
import { openVolume } from "../../../src/volume/formats.ts";
import type { NodeId, Volume } from "../../../src/volume/volume.ts";
import { expectReelError } from "../../support/expect-error.ts";
import { compareWithMount, extentsOf, percentInUse } from "../../support/ntfs-oracle.ts";
import { fillSample } from "../../support/ntfs-sample.ts";
import { hasNtfsTools, makeNtfsImage, NO_NTFS_TOOLS } from "../../support/ntfs-volume.ts";
import type { NtfsFiller, NtfsShape } from "../../support/ntfs-volume.ts";
import { patternBytes } from "../../support/pattern.ts";
import { skipUnless } from "../../support/skip.ts";
import { withTempFolder } from "../../support/temp.ts";
import { readContents } from "../../support/volume-suite.ts";

const MEBIBYTE = 1024 * 1024;
const REPARSE_NAME = "system.ntfs_reparse_data";

async function withImage(
  shape: NtfsShape,
  fill: (filler: NtfsFiller) => Promise<void>,
  use: (image: string, volume: Volume, device: BlockDevice) => Promise<void>,
): Promise<void> {
  await withTempFolder(async (folder) => {
    const image = join(folder, "volume.img");
    await makeNtfsImage(image, shape, fill);
    await using device = await openFileDevice(image);
    const volume = await openVolume(device);
    expect(volume.info.kind).to.equal("ntfs");
    try {
      await use(image, volume, device);
    } finally {
      await volume.close();
    }
  });
}

async function find(volume: Volume, path: string): Promise<NodeId> {
  let id = volume.rootId;
  for (const name of path.split("/").slice(1)) {
    const entries = await volume.readDirectory(id);
    const found = entries.find((entry) => entry.name === name);
    expect(found, path).to.not.equal(undefined);
    id = found?.stat.id ?? -1;
  }
  return id;
}

describe("NTFS volumes made by mkntfs and filled by ntfs-3g", function () {
  this.timeout(60_000);
  before(function () {
    skipUnless(this, hasNtfsTools(), NO_NTFS_TOOLS);
  });

  const shapes: Readonly<Record<string, NtfsShape>> = {
    "clusters of 1 KiB": { sizeBytes: 6 * MEBIBYTE, clusterBytes: 1024 },
    "clusters of 2 MiB": { sizeBytes: 160 * MEBIBYTE, clusterBytes: 2 * MEBIBYTE },
    "WSL's special files": {
      sizeBytes: 6 * MEBIBYTE,
      clusterBytes: 2048,
      mountOptions: "special_files=wsl",
    },
  };
  for (const [name, shape] of Object.entries(shapes)) {
    it(`with ${name} are what ntfs-3g shows`, async () => {
      await withImage(
        shape,
        async (filler) => fillSample(filler, shape.clusterBytes),
        async (image, volume, device) => {
          const counted = await compareWithMount(image, volume, device);
          const survey = await volume.survey();
          expect(survey.problems).to.deep.equal([]);
          expect(survey).to.include(counted);
          const percent = (100 * survey.clustersUsed) / volume.info.clusterCount;
          const theirs = await percentInUse(image);
          if (theirs !== undefined) expect(percent).to.be.closeTo(Number(theirs), 0.06);
        },
      );
    });
  }

  it("list 5,000 files of one directory, and a fragmented MFT", async () => {
    const shape = { sizeBytes: 24 * MEBIBYTE, clusterBytes: 512 };
    await withImage(
      shape,
      async (filler) => {
        await filler.directory("/d");
        for (let i = 0; i < 5000; i++) {
          const contents = patternBytes(i % 7 === 0 ? 900 : 20, i);
          await writeFile(filler.at(`/d/a name of some length, number ${i}`), contents);
        }
      },
      async (image, volume, device) => {
        const counted = await compareWithMount(image, volume, device);
        expect(counted).to.deep.equal({ files: 5000, directories: 1 });
        expect(await volume.survey()).to.include({ files: 5000, clustersUsed: await used(volume) });
        expect(volume.info.details["mftRuns"]).to.be.above(1);
      },
    );
  });

  it("lay fragmented files out as ntfscluster does", async () => {
    const shape = { sizeBytes: 4 * MEBIBYTE, clusterBytes: 512 };
    await withImage(
      shape,
      async (filler) => {
        // Every other cluster is a hole: the runs need an attribute list.
        await filler.file("/scattered", new Uint8Array(0));
        const handle = await open(filler.at("/scattered"), "r+");
        try {
          for (let i = 0; i < 900; i++) await handle.write(patternBytes(512, i), 0, 512, i * 1024);
        } finally {
          await handle.close();
        }
      },
      async (image, volume) => {
        const layout = await volume.layout(await find(volume, "/scattered"));
        const theirs = await extentsOf(image, "/scattered");
        const found = Array.from(layout.lengths, (length, i) => [
          (layout.fileOffsets[i] ?? 0) / 512,
          (layout.deviceOffsets[i] ?? 0) / 512,
          Math.ceil(length / 512),
        ]);
        expect(found.length).to.be.above(400);
        expect(found).to.deep.equal(theirs.filter(([, cluster = -1]) => cluster >= 0));
      },
    );
  });

  it("show links of Windows as paths", async () => {
    const links: Readonly<Record<string, readonly [Buffer, string]>> = {
      "/a/b/drive": [symlinkData("\\??\\C:\\Users\\me", 0), "../../Users/me"],
      "/a/b/up": [symlinkData("..\\x\\y", 1), "../x/y"],
      "/a/b/rooted": [symlinkData("\\x\\y", 1), "../../x/y"],
      "/a/b/posix": [symlinkData("\\??\\\\tmp\\x", 0), "/tmp/x"],
      "/a/b/share": [symlinkData("\\??\\UNC\\server\\share\\x", 0), "//server/share/x"],
      "/a/b/wsl": [reparseData(0xa000001d, Buffer.from("\x02\0\0\0../lx")), "../lx"],
      "/top": [symlinkData("\\??\\D:\\", 0), "."],
    };
    await withImage(
      { sizeBytes: 4 * MEBIBYTE, clusterBytes: 4096 },
      async (filler) => {
        for (const [path, [data]] of Object.entries(links)) {
          await filler.file(path, new Uint8Array(0));
          await filler.xattr(path, REPARSE_NAME, data);
        }
        await filler.directory("/a/junction");
        await filler.xattr("/a/junction", REPARSE_NAME, junctionData("\\??\\C:\\Program Files\\"));
      },
      async (_image, volume) => {
        for (const [path, [, target]] of Object.entries(links)) {
          expect(await volume.readLink?.(await find(volume, path)), path).to.equal(target);
        }
        const junction = await find(volume, "/a/junction");
        expect(await volume.readLink?.(junction)).to.equal("../Program Files");
        expect(await volume.stat(junction)).to.include({ kind: "symlink", sizeBytes: 16 });
        await expectReelError(volume.readDirectory(junction), "not-a-directory");
      },
    );
  });

  it("refuse by name what only Windows can read", async () => {
    const tags = { "/dedup": 0x80000013, "/strange": 0x80004242, "/wim": 0x80000017 };
    await withImage(
      { sizeBytes: 4 * MEBIBYTE, clusterBytes: 4096 },
      async (filler) => {
        for (const [path, tag] of Object.entries(tags)) {
          await filler.file(path, patternBytes(100));
          await filler.xattr(path, REPARSE_NAME, reparseData(tag, Buffer.alloc(16)));
        }
        await filler.file("/here", patternBytes(100, 3));
        await filler.xattr("/here", REPARSE_NAME, reparseData(0x9000601a, Buffer.alloc(8)));
        await filler.file("/away", patternBytes(100, 4));
        await filler.xattr("/away", "system.ntfs_attrib_be", Buffer.from([0, 0x40, 0x10, 0x20]));
        await filler.xattr("/away", REPARSE_NAME, reparseData(0x9000601a, Buffer.alloc(8)));
      },
      async (_image, volume, device) => {
        for (const [path, word] of [
          ["/dedup", "deduplicated"],
          ["/strange", "0x80004242"],
          ["/wim", "WOF"],
        ] as const) {
          const error = await expectReelError(
            volume.layout(await find(volume, path)),
            "unsupported",
          );
          expect(error.message).to.include(word).and.include("MFT record");
        }
        const away = await expectReelError(
          volume.layout(await find(volume, "/away")),
          "unsupported",
        );
        expect(away.message).to.include("cloud");
        const here = await readContents(volume, device, await find(volume, "/here"));
        expect(Buffer.compare(here, patternBytes(100, 3))).to.equal(0);
      },
    );
  });

  it("read a file that Windows keeps compressed as a whole", async () => {
    // Chunks that would not get smaller are stored as they are.
    const contents = patternBytes(20_000, 6);
    const table = Buffer.alloc(16);
    for (let i = 0; i < 4; i++) table.writeUInt32LE((i + 1) * 4096, i * 4);
    const wof = Buffer.alloc(16);
    for (const [i, value] of [1, 2, 1, 0].entries()) wof.writeUInt32LE(value, i * 4);
    await withImage(
      { sizeBytes: 4 * MEBIBYTE, clusterBytes: 4096 },
      async (filler) => {
        await filler.file("/compact", new Uint8Array(0));
        await truncate(filler.at("/compact"), contents.length);
        const packed = Buffer.concat([table, contents]);
        await filler.xattr("/compact", "user.WofCompressedData", packed);
        await filler.xattr("/compact", REPARSE_NAME, reparseData(0x80000017, wof));
      },
      async (_image, volume, device) => {
        const id = await find(volume, "/compact");
        const layout = await volume.layout(id);
        expect(layout).to.include({ direct: false, sizeBytes: contents.length });
        expect(layout.length).to.be.above(0);
        const found = await readContents(volume, device, id);
        expect(Buffer.compare(found, contents)).to.equal(0);
        expect([...((await volume.xattrs?.(id))?.keys() ?? [])]).to.deep.equal([]);
      },
    );
  });
});

async function used(volume: Volume): Promise<number> {
  return volume.info.clusterCount - (await volume.freeClusters());
}

function reparseData(tag: number, data: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(tag, 0);
  header.writeUInt16LE(data.length, 4);
  return Buffer.concat([header, data]);
}

function symlinkData(target: string, flags: number): Buffer {
  const name = Buffer.from(target, "utf16le");
  const header = Buffer.alloc(12);
  header.writeUInt16LE(name.length, 2);
  header.writeUInt16LE(name.length, 6);
  header.writeUInt32LE(flags, 8);
  return reparseData(0xa000000c, Buffer.concat([header, name]));
}

function junctionData(target: string): Buffer {
  const name = Buffer.from(target, "utf16le");
  const header = Buffer.alloc(8);
  header.writeUInt16LE(name.length, 2);
  header.writeUInt16LE(name.length + 2, 4);
  return reparseData(0xa0000003, Buffer.concat([header, name, Buffer.alloc(4)]));
}
