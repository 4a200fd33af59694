import { randomBytes } from "node:crypto";
import { chmod, link, mkdir, open, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { ExtentSet } from "../../../src/device/extents.ts";
import { openFileDevice } from "../../../src/device/file-device.ts";
import { backupDisk } from "../../../src/tapeimage/backup-disk.ts";
import { backupVolume } from "../../../src/tapeimage/backup.ts";
import { openTapeImage } from "../../../src/tapeimage/open-image.ts";
import { restoreImage } from "../../../src/tapeimage/restore-image.ts";
import { findContents } from "../../../src/volume/unknown/find-contents.ts";
import { unknownFormat } from "../../../src/volume/unknown/unknown-format.ts";
import type { SurveyOptions, VolumeSurvey } from "../../../src/volume/volume.ts";
import { requireFilesystem, requireLoop } from "../../expose/kernel-volume.ts";
import { hasTool, isMounted, runTool, shell } from "../../support/mountpoint.ts";
import { skipUnless } from "../../support/skip.ts";
import { makeTempFolder } from "../../support/temp.ts";

const BLOCK_BYTES = 4096;
const MIB = 1024 * 1024;

interface Kind {
  readonly name: "xfs" | "btrfs";
  readonly title: string;
  readonly sizeMiB: number;
  readonly mkfs: readonly string[];
  /** Ends with status 0 for a volume without a flaw. */
  readonly check: readonly string[];
  readonly tool: string;
}

const XFS = {
  name: "xfs",
  sizeMiB: 304,
  mkfs: ["mkfs.xfs", "-q", "-f"],
  check: ["xfs_repair", "-n"],
  tool: "xfs_db",
} as const;
const BTRFS = {
  name: "btrfs",
  sizeMiB: 240,
  mkfs: ["mkfs.btrfs", "-q", "-f"],
  check: ["btrfs", "check"],
  tool: "btrfs",
} as const;

const KINDS: readonly Kind[] = [
  { ...XFS, title: "XFS" },
  {
    ...XFS,
    title: "XFS with small blocks and reverse mappings",
    mkfs: [...XFS.mkfs, "-b", "size=1024", "-d", "agcount=4", "-m", "rmapbt=1,reflink=1"],
  },
  {
    ...XFS,
    title: "XFS with large directory blocks and two groups",
    mkfs: [...XFS.mkfs, "-n", "size=16384", "-d", "agcount=2", "-i", "size=1024"],
  },
  { ...BTRFS, title: "Btrfs" },
  {
    ...BTRFS,
    title: "Btrfs, everything twice, in small nodes",
    mkfs: [...BTRFS.mkfs, "-n", "4096", "-d", "dup", "-m", "dup", "--csum", "xxhash"],
  },
  {
    ...BTRFS,
    title: "Btrfs of mixed chunks",
    mkfs: [...BTRFS.mkfs, "--mixed", "-n", "4096"],
  },
];

/** What is left out of a volume, and why not more is. */
async function surveyOf(path: string, options: SurveyOptions = {}): Promise<VolumeSurvey> {
  await using device = await openFileDevice(path);
  const volume = await unknownFormat.open(device);
  return await volume.survey({ systemPath: path, ...options });
}

async function contentsOf(path: string): Promise<ExtentSet> {
  await using device = await openFileDevice(path);
  const endBytes = device.sizeBytes;
  return await findContents(device, { blockSizeBytes: BLOCK_BYTES, endBytes });
}

/** Everything that is not zeros is kept, and a notice says why. */
async function expectAllKept(path: string, why: RegExp, all?: ExtentSet): Promise<void> {
  const { used, notices = [] } = await surveyOf(path);
  expect(notices.join()).to.match(/blocks that are free are kept, too/);
  expect(notices.join()).to.match(why);
  expect([...used]).to.deep.equal([...(all ?? (await contentsOf(path)))]);
}

/** The blocks of 4096 bytes that partclone counts as used, as far as any byte of them goes. */
async function usedForPartclone(name: string, path: string): Promise<ExtentSet> {
  const map = `${path}.map`;
  const args = ["-D", "-q", "-s", path, "-O", map, "-L", "/dev/null"];
  const ran = await runTool(`partclone.${name}`, args);
  expect(ran.status, ran.stderr).to.equal(0);
  const runs: [number, number][] = [];
  for (const line of (await readFile(map, "utf8")).split("\n")) {
    const [start = "", size = "", status] = line.split(/\s+/);
    if (status !== "+") continue;
    const first = Math.floor(Number(start) / BLOCK_BYTES);
    runs.push([first, Math.ceil((Number(start) + Number(size)) / BLOCK_BYTES) - first]);
  }
  return ExtentSet.from(runs);
}

describe("free space of volumes that only other tools read", function () {
  this.timeout(120_000);
  let folder = "";
  let mountpoint = "";
  let remove = async (): Promise<void> => undefined;

  before(async function () {
    requireLoop(this);
    ({ folder, remove } = await makeTempFolder());
    mountpoint = join(folder, "mnt");
    await mkdir(mountpoint);
  });

  afterEach(async () => {
    if (mountpoint !== "" && (await isMounted(mountpoint))) await runTool("umount", [mountpoint]);
  });

  after(async () => remove());

  async function requireKind(context: Mocha.Context, { name, tool }: Kind): Promise<void> {
    await requireFilesystem(context, name);
    skipUnless(context, hasTool(tool), `${tool} is missing`);
  }

  /** A disk with a volume as its one partition, at 1 MiB. */
  async function makeDisk(volume: string, { sizeMiB }: Kind): Promise<string> {
    const disk = join(folder, "disk.img");
    await writeFile(disk, "");
    await truncate(disk, (sizeMiB + 2) * MIB);
    const sectors = (sizeMiB * MIB) / 512;
    await shell(
      `printf 'label: gpt\\nstart=2048,size=${sectors}\\n' | sfdisk -q --no-tell-kernel "${disk}"`,
      "/",
    );
    await shell(`dd if="${volume}" of="${disk}" bs=1M seek=1 conv=notrunc,sparse status=none`, "/");
    return disk;
  }

  /** A volume with files, and with the remains of others between them. */
  async function makeVolume(file: string, { sizeMiB, mkfs }: Kind): Promise<string> {
    const path = join(folder, file);
    await writeFile(path, "");
    await truncate(path, sizeMiB * MIB);
    const [command = "", ...args] = mkfs;
    const made = await runTool(command, [...args, path]);
    expect(made.status, made.stderr).to.equal(0);
    await shell(`mount -o loop "${path}" "$M"; mkdir "$M/d"`, mountpoint);
    for (let i = 0; i < 40; i++) {
      await writeFile(join(mountpoint, `file ${i}`), randomBytes(400_000));
      await writeFile(join(mountpoint, "d", `small ${i}`), randomBytes(i * 100));
    }
    const remove = 'rm "$M"/file\\ ?[13579] "$M"/d/small\\ 2*';
    await shell(`sync -f "$M"; ${remove}; sync -f "$M"; umount "$M"`, mountpoint);
    return path;
  }

  /** Names, modes and contents of everything, in one line each. */
  async function listing(path: string): Promise<string> {
    const list =
      'cd "$M"; find . -printf "%y %m %n %s %T@ %p\\n" | sort; find . -type f | sort | xargs -d "\\n" sha256sum';
    return shell(`mount -o loop,ro "${path}" "$M"; (${list}); umount "$M"`, mountpoint);
  }

  for (const kind of KINDS) {
    it(`is left out of ${kind.title}, which comes back sound`, async function () {
      await requireKind(this, kind);
      const path = await makeVolume("volume.img", kind);
      const { used, notices = [] } = await surveyOf(path);
      expect(notices.join()).to.match(new RegExp(`are free, as ${kind.tool} knows, are left out`));
      const all = await contentsOf(path);
      expect(used.subtract(all).total).to.equal(0);
      // The remains of fifteen files are nowhere.
      expect(all.total - used.total).to.be.above((14 * 390_000) / BLOCK_BYTES);

      const tapePath = join(folder, "volume.tap");
      const result = await backupVolume({ sourcePath: path, tapePath, overwriteTape: true });
      expect(result.notices.join()).to.match(/are left out/);
      expect(result.rawBytes).to.be.below((used.total + 64) * BLOCK_BYTES);
      const restored = join(folder, "restored.img");
      await writeFile(restored, "");
      await truncate(restored, kind.sizeMiB * MIB);
      await using image = await openTapeImage(tapePath);
      await restoreImage(image, restored);
      const checked = await runTool(kind.check[0] ?? "", [...kind.check.slice(1), restored]);
      expect(checked.status, checked.stderr + checked.stdout).to.equal(0);
      expect(await listing(restored)).to.equal(await listing(path));
      if (kind.name !== "btrfs") return;
      // Reads all copies of everything, and compares them with their checksums.
      const scrub = 'mount -o loop "$0" "$M"; btrfs scrub start -B -r "$M"; umount "$M"';
      const scrubbed = await shell(scrub.replace("$0", restored), mountpoint);
      expect(scrubbed).to.match(/no errors found/);
    });
  }

  // Of Btrfs, partclone 0.3 does not count the second copies of data.
  for (const kind of [KINDS[0], KINDS[1]] as Kind[]) {
    it(`is nothing that partclone calls used: ${kind.title}`, async function () {
      await requireKind(this, kind);
      const partclone = `partclone.${kind.name}`;
      skipUnless(this, hasTool(partclone), `${partclone} is missing: install partclone`);
      const path = await makeVolume("volume.img", kind);
      const { used } = await surveyOf(path);
      const lost = (await contentsOf(path)).subtract(used);
      expect(lost.total).to.be.above(0);
      const theirs = await usedForPartclone(kind.name, path);
      expect([...lost.intersect(theirs)]).to.deep.equal([]);
    });
  }

  for (const kind of [KINDS[0], KINDS[3]] as Kind[]) {
    it(`is kept of ${kind.title} that is in use, or was not cleanly unmounted`, async function () {
      await requireKind(this, kind);
      const path = await makeVolume("volume.img", kind);
      const copy = join(folder, "copy.img");
      await shell(`mount -o loop "${path}" "$M"; echo new > "$M/new"; sync "$M/new"`, mountpoint);
      await shell(`cp --sparse=always "${path}" "${copy}"`, mountpoint);
      await expectAllKept(path, /is mounted for writing/);
      await shell('umount "$M"', mountpoint);
      await expectAllKept(copy, /not cleanly unmounted/);
      expect((await surveyOf(path)).notices?.join()).to.match(/are left out/);
    });

    it(`is kept of ${kind.title} that is mounted under another name of its file`, async function () {
      await requireKind(this, kind);
      const path = await makeVolume("volume.img", kind);
      const other = join(folder, "other name.img");
      const within = join(folder, "bind");
      await rm(other, { force: true });
      await link(path, other);
      await mkdir(within, { recursive: true });
      await shell(`mount -o loop "${path}" "$M"; echo new > "$M/new"`, mountpoint);
      await shell(`mount --bind "${folder}" "${within}"`, "/");
      try {
        await expectAllKept(other, /\/dev\/loop\d+ is mounted for writing/);
        await expectAllKept(join(within, "volume.img"), /\/dev\/loop\d+ is mounted for writing/);
        const bystander = await makeVolume("bystander.img", kind);
        await rm(path);
        await expectAllKept(other, /its file is not to be seen from here/);
        expect((await surveyOf(bystander)).notices?.join()).to.match(/are left out/);
      } finally {
        await shell(`umount "${within}"`, "/");
      }
      await shell('umount "$M"', mountpoint);
      expect((await surveyOf(other)).notices?.join()).to.match(/are left out/);
    });

    it(`is kept of ${kind.title} that is mounted through a loop device on a loop device`, async function () {
      await requireKind(this, kind);
      const path = await makeVolume("volume.img", kind);
      const below = (await shell(`losetup -f --show "${path}"`, "/")).trim();
      const beside = (await shell(`losetup -f --show "${path}"`, "/")).trim();
      const above = (await shell(`losetup -f --show ${below}`, "/")).trim();
      try {
        await shell(`mount ${above} "$M"; echo new > "$M/new"`, mountpoint);
        for (const each of [path, below, beside]) {
          await expectAllKept(each, new RegExp(`${above} is mounted for writing`));
        }
      } finally {
        await shell(`umount "$M"; losetup -d ${above} ${below} ${beside}`, mountpoint);
      }
    });

    it(`is left out of ${kind.title} that is mounted for reading`, async function () {
      await requireKind(this, kind);
      const path = await makeVolume("volume.img", kind);
      await shell(`mount -o loop,ro "${path}" "$M"`, mountpoint);
      expect((await surveyOf(path)).notices?.join()).to.match(/are left out/);
      const source = (await shell('findmnt -no SOURCE "$M"', mountpoint)).trim();
      expect((await surveyOf(source)).notices?.join()).to.match(/are left out/);
    });

    it(`is kept of ${kind.title} where deleted files are wanted, or the system does not have the volume`, async function () {
      await requireKind(this, kind);
      const path = await makeVolume("volume.img", kind);
      const all = [...(await contentsOf(path))];
      const withDeleted = await surveyOf(path, { includeDeleted: true });
      expect(withDeleted.notices).to.deep.equal([]);
      expect([...withDeleted.used]).to.deep.equal(all);
      const elsewhere = await surveyOf(path, { systemPath: undefined });
      expect(elsewhere.notices?.join()).to.match(/only be asked about a whole file/);
      expect([...elsewhere.used]).to.deep.equal(all);
    });

    it(`is kept of ${kind.title} when the tool does not tell all, complains, fails or is not there`, async function () {
      await requireKind(this, kind);
      const path = await makeVolume("volume.img", kind);
      const real = (await shell(`command -v ${kind.tool}`, mountpoint)).trim();
      const all = await contentsOf(path);
      const bin = join(folder, "bin");
      await mkdir(bin, { recursive: true });
      const pathBefore = process.env["PATH"];
      process.env["PATH"] = `${bin}:${pathBefore ?? ""}`;
      const line = kind.tool === "btrfs" ? "EXTENT_ITEM [0-9]" : " [0-9][0-9]+$";
      try {
        for (const [script, why] of [
          [
            `"${real}" "$@" | awk '/${line}/ && !n++ {next} {print}'`,
            /superblock counts|header counts/,
          ],
          [`"${real}" "$@" | awk '{print} /${line}/ && !n++ {print}'`, /out of order/],
          [`"${real}" "$@"; echo "odd block" >&2`, /complains: odd block/],
          [`"${real}" "$@"; exit 3`, /failed with status 3/],
          [`"${real}" "$@" | head -n 20`, /not to be relied on/],
          ["head -c 3000000 /dev/urandom", /not to be relied on/],
          ["true", /not to be relied on/],
        ] as const) {
          await writeFile(join(bin, kind.tool), `#!/bin/sh\n${script}\n`);
          await chmod(join(bin, kind.tool), 0o755);
          await expectAllKept(path, why, all);
        }
        // xfs_db is in a folder where tools are always looked for.
        if (kind.tool !== "btrfs") return;
        process.env["PATH"] = join(bin, "empty");
        await expectAllKept(path, /is it installed/, all);
      } finally {
        process.env["PATH"] = pathBefore;
        await rm(bin, { recursive: true });
      }
    });
  }

  it("is kept when the volume is damaged", async function () {
    for (const [kind, at, why] of [
      // Magic numbers of the header and of the tree of free blocks of the second group.
      [XFS, 76 * MIB + 512, /header of allocation group 1|complains/],
      [XFS, 76 * MIB + BLOCK_BYTES, /xfs_db/],
      [BTRFS, 64 * MIB + 0x40, /superblock at offset 67108864 is not there/],
      [BTRFS, 64 * 1024 + 0x200, /does not match its checksum/],
    ] as const) {
      await requireKind(this, { ...kind, title: "" });
      const path = await makeVolume("volume.img", { ...kind, title: "" });
      const file = await open(path, "r+");
      await file.write(randomBytes(8), 0, 8, at);
      await file.close();
      await expectAllKept(path, why);
    }
  });

  it("is kept of Btrfs on several devices", async function () {
    const kind = { ...BTRFS, title: "" };
    await requireKind(this, kind);
    const path = join(folder, "first.img");
    const second = join(folder, "second.img");
    for (const each of [path, second]) {
      await writeFile(each, "");
      await truncate(each, 128 * MIB);
    }
    const made = await runTool("mkfs.btrfs", ["-q", "-f", "-d", "raid0", path, second]);
    expect(made.status, made.stderr).to.equal(0);
    await expectAllKept(path, /lies on several devices/);
  });

  it("is kept behind a volume that is smaller than its device", async function () {
    const kind = { ...XFS, title: "" };
    await requireKind(this, kind);
    const path = await makeVolume("volume.img", kind);
    const file = await open(path, "r+");
    await file.write(randomBytes(8 * BLOCK_BYTES), 0, 8 * BLOCK_BYTES, kind.sizeMiB * MIB);
    await file.close();
    const { used, notices = [] } = await surveyOf(path);
    expect(notices.join()).to.match(/are left out/);
    expect(used.end).to.equal((kind.sizeMiB * MIB) / BLOCK_BYTES + 8);
    expect(used.countAt(used.length - 1)).to.be.at.least(8);
  });

  it("is left out of a partition that the system knows", async function () {
    const kind = { ...XFS, title: "" };
    await requireKind(this, kind);
    skipUnless(this, hasTool("sfdisk") && hasTool("partx"), "sfdisk is missing: install fdisk");
    const volume = await makeVolume("volume.img", kind);
    const disk = await makeDisk(volume, kind);
    const loop = (await shell(`losetup -f --show "${disk}"`, "/")).trim();
    try {
      await runTool("partx", ["-a", loop]);
      const tapePath = join(folder, "disk.tap");
      const { partitions } = await backupDisk({ sourcePath: loop, tapePath });
      expect(partitions[0]?.result.notices.join()).to.match(/as xfs_db knows, are left out/);
    } finally {
      await shell(`partx -d ${loop}; losetup -d ${loop}`, "/");
    }
  });

  for (const kind of [
    { ...XFS, title: "XFS" },
    { ...BTRFS, title: "Btrfs" },
  ]) {
    it(`is left out of ${kind.title} in a partition of a disk that is a file`, async function () {
      await requireKind(this, kind);
      skipUnless(this, hasTool("sfdisk"), "sfdisk is missing: install fdisk");
      const volume = await makeVolume("volume.img", kind);
      const disk = await makeDisk(volume, kind);
      const tapePath = join(folder, `disk-file-${kind.name}.tap`);
      const { partitions } = await backupDisk({ sourcePath: disk, tapePath });
      expect(partitions[0]?.result.notices.join()).to.match(/knows, are left out/);
      const offsets = { systemPath: disk, systemOffsetBytes: MIB };
      await using device = await openFileDevice(volume);
      const inDisk = await (await unknownFormat.open(device)).survey(offsets);
      const alone = await surveyOf(volume);
      expect([...inDisk.used]).to.deep.equal([...alone.used]);
      expect((await shell("losetup --list --noheadings", "/")).includes(disk)).to.equal(false);
      const restored = join(folder, `restored-partition-${kind.name}.img`);
      await using image = await openTapeImage(`${tapePath}#2`);
      await restoreImage(image, restored);
      const [command = "", ...args] = kind.check;
      const checked = await runTool(command, [...args, restored]);
      expect(checked.status, checked.stdout + checked.stderr).to.equal(0);
    });
  }

  it("is kept of a partition in a file from which somebody else mounted it for writing", async function () {
    const kind = { ...XFS, title: "" };
    await requireKind(this, kind);
    skipUnless(this, hasTool("sfdisk"), "sfdisk is missing: install fdisk");
    const volume = await makeVolume("volume.img", kind);
    const disk = await makeDisk(volume, kind);
    await shell(`mount -o loop,offset=${MIB} "${disk}" "$M"`, mountpoint);
    const tapePath = join(folder, "disk-mounted.tap");
    const { partitions } = await backupDisk({ sourcePath: disk, tapePath });
    expect(partitions[0]?.result.notices.join()).to.match(/is mounted for writing/);
  });

  it("is kept where the file does not have all of the partition", async function () {
    const kind = { ...XFS, title: "" };
    await requireKind(this, kind);
    const path = await makeVolume("volume.img", kind);
    const { used, notices } = await surveyOf(path, { systemOffsetBytes: MIB });
    expect(notices?.join()).to.match(/are kept, too, .* bytes, and not /);
    expect([...used]).to.deep.equal([...(await contentsOf(path))]);
    expect((await shell("losetup --list --noheadings", "/")).includes(path)).to.equal(false);
  });
});
