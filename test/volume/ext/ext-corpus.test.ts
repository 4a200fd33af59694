/** Volumes that others made: clean ones as debugfs sees them, damaged ones with a clear answer. */
import { expect } from "chai";
import { execFileSync } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { isReelError } from "../../../src/errors.ts";
import type { BlockDevice } from "../../../src/device/block-device.ts";
import { openFileDevice } from "../../../src/device/file-device.ts";
import { openVolume } from "../../../src/volume/formats.ts";
import type { NodeId, NodeKind, NodeStat, Volume } from "../../../src/volume/volume.ts";
import { corpusFiles, hasCorpus, NO_CORPUS, withCorpusFile } from "../../support/corpus.ts";
import { nodesOf, withExtVolume } from "../../support/ext-compare.ts";
import {
  countBlocks,
  debugfs,
  hasExtTools,
  hasTool,
  NO_EXT_TOOLS,
} from "../../support/ext-tools.ts";
import { skipUnless } from "../../support/skip.ts";
import { withTempFolder } from "../../support/temp.ts";
import { readContents } from "../../support/volume-suite.ts";

const EXT_FILES = corpusFiles().filter(({ what }) => /\bext bs=/.test(what));
const UNPACKERS: Readonly<Record<string, string>> = { ".bz2": "bzip2", ".zst": "zstd" };
/** e2fsck does not mind these, and we do: what it calls clean has damage that it only reports. */
const DAMAGED_ALL_THE_SAME =
  /f_bad_gdt_csum|f_extent_too_deep|j_|f_jnl_|f_ea_inode_no_feature|f_first_meta_bg_too_big/;
const FILES_COMPARED_MAX = 500;
const CONTENTS_COMPARED_MAX_BYTES = 4 * 1024 * 1024;

/** A volume of the corpus as a file, unpacked whatever packed it. */
async function withImage(path: string, use: (image: string) => Promise<void>): Promise<void> {
  await withCorpusFile(path, async (file) => {
    const tool = UNPACKERS[/\.\w+$/.exec(path)?.[0] ?? ""];
    if (tool === undefined) return use(file);
    const image = `${file}.img`;
    const output = openSync(image, "w");
    try {
      execFileSync(tool, ["-dc", file], { stdio: ["ignore", output, "inherit"] });
    } finally {
      closeSync(output);
    }
    return use(image);
  });
}

describe("ext volumes that others made", function () {
  this.timeout(60_000);
  before(function () {
    skipUnless(this, hasCorpus(), NO_CORPUS);
    skipUnless(this, hasExtTools(), NO_EXT_TOOLS);
    skipUnless(this, Object.values(UNPACKERS).every(hasTool), "bzip2 and zstd are not installed");
  });

  for (const { path, oracle } of EXT_FILES) {
    const isClean = oracle.endsWith("rc=0") && !DAMAGED_ALL_THE_SAME.test(path);
    it(`${path}: ${isClean ? "all as debugfs has it" : "a clear answer"}`, async () => {
      await withImage(path, isClean ? compareWithDebugfs : expectAnswer);
    });
  }
});

async function compareWithDebugfs(image: string): Promise<void> {
  await withExtVolume(image, async (volume, device) => {
    const nodes = await nodesOf(volume);
    const { clustersUsed, problems } = await volume.survey();
    const { blocks, free } = countBlocks(image);
    const { blockSizeBytes, clusterSizeBytes } = volume.info;
    expect((clustersUsed * clusterSizeBytes) / blockSizeBytes).to.equal(blocks - free);
    expect(problems).to.deep.equal([]);
    const sample = [...nodes].filter((_, index) => nodes.size < 200 || index % 50 === 0);
    const said = debugfs(image, ...sample.map(([, { id }]) => `stat <${id}>`)).split(/^debugfs: /m);
    for (const [index, [path, stat]] of sample.entries()) {
      expectSameStat(path, stat, said[index + 1] ?? "");
    }
    await compareContents(image, nodes, volume, device);
  });
}

/** Every file's bytes, against what debugfs extracts. */
async function compareContents(
  image: string,
  nodes: ReadonlyMap<string, NodeStat>,
  volume: Volume,
  device: BlockDevice,
): Promise<void> {
  await withTempFolder(async (folder) => {
    debugfs(image, `rdump / ${folder}`);
    let compared = 0;
    for (const [path, { id, kind, sizeBytes }] of nodes) {
      const isCompared = kind === "file" && sizeBytes <= CONTENTS_COMPARED_MAX_BYTES;
      if (!isCompared || (await isEncrypted(volume, id))) continue;
      if (compared++ > FILES_COMPARED_MAX) return;
      const ours = await readContents(volume, device, id);
      // debugfs writes all the room that an inode has for inline data, beyond the end of the file.
      const theirs = (await readFile(folder + path)).subarray(0, sizeBytes);
      expect(Buffer.compare(ours, theirs), `contents of ${path}`).to.equal(0);
    }
  });
}

/** Fields of debugfs' `stat` that every version prints in the same way. */
function expectSameStat(path: string, stat: NodeStat, said: string): void {
  const field = (pattern: RegExp) => pattern.exec(said)?.[1];
  const kinds: Partial<Record<NodeKind, string>> = {
    file: "regular",
    character: "character special",
    block: "block special",
    fifo: "FIFO",
  };
  const kind = kinds[stat.kind] ?? stat.kind;
  expect(field(/Type: (.*?) +Mode:/), `type of ${path}`).to.equal(kind);
  expect(Number.parseInt(field(/Mode: +(\d+)/) ?? "", 8), `mode of ${path}`).to.equal(stat.mode);
  expect(Number(field(/User: +(\d+)/)), `owner of ${path}`).to.equal(stat.uid);
  expect(Number(field(/Links: +(\d+)/)), `links of ${path}`).to.equal(stat.linkCount);
  if (stat.kind === "file") expect(Number(field(/Size: +(\d+)/)), path).to.equal(stat.sizeBytes);
  const seconds = Number.parseInt(field(/mtime: 0x([0-9a-f]+)/) ?? "", 16) | 0;
  expect(Math.floor(stat.modifiedMs / 1000) | 0, `mtime of ${path}`).to.equal(seconds);
}

async function isEncrypted(volume: Volume, id: NodeId): Promise<boolean> {
  try {
    await volume.layout(id);
    return false;
  } catch (error) {
    if (isReelError(error, "unsupported")) return true;
    throw error;
  }
}

/** Everything that can be asked of a damaged volume has an answer that says where. */
async function expectAnswer(image: string): Promise<void> {
  await using device = await openFileDevice(image);
  try {
    const volume = await openVolume(device);
    const { used, control, problems } = await volume.survey();
    expect(control.subtract(used).total).to.equal(0);
    for (const { where, message } of problems)
      expect(where !== "" && message !== "").to.equal(true);
    await volume.freeClusters();
    await visit(volume, volume.rootId);
    await volume.close();
  } catch (error) {
    allowDamage(error);
  }
}

async function visit(volume: Volume, id: NodeId): Promise<void> {
  try {
    for (const { stat } of await volume.readDirectory(id)) {
      await volume.xattrs?.(stat.id).catch(allowDamage);
      if (stat.kind === "directory") await visit(volume, stat.id);
      if (stat.kind === "file") await volume.layout(stat.id).catch(allowDamage);
      if (stat.kind === "symlink") await volume.readLink?.(stat.id).catch(allowDamage);
    }
  } catch (error) {
    allowDamage(error);
  }
}

function allowDamage(error: unknown): void {
  if (!isReelError(error, "damaged") && !isReelError(error, "unsupported")) throw error;
  // Where it is: an inode, a block, a byte.
  expect(error.message).to.match(/inode|block|byte|superblock|journal|holds/);
}
