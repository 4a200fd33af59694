/** Holds what the reader finds on a volume to what the kernel shows of it. */
import { expect } from "chai";
import type { BlockDevice } from "../../src/device/block-device.ts";
import { openFileDevice } from "../../src/device/file-device.ts";
import { extFormat } from "../../src/volume/ext/ext-format.ts";
import type { NodeId, NodeStat, Volume } from "../../src/volume/volume.ts";
import { allocatedBytesOf, readMounted, withKernelMount } from "./ext-tools.ts";
import type { MountedNode } from "./ext-tools.ts";
import { readContents } from "./volume-suite.ts";

export async function withExtVolume<T>(
  image: string,
  use: (volume: Volume, device: BlockDevice) => Promise<T>,
): Promise<T> {
  await using device = await openFileDevice(image);
  const volume = await extFormat.open(device);
  try {
    return await use(volume, device);
  } finally {
    await volume.close();
  }
}

/** All nodes by path, the root as "". */
export async function nodesOf(volume: Volume): Promise<Map<string, NodeStat>> {
  const nodes = new Map([["", await volume.stat(volume.rootId)]]);
  const visit = async (id: NodeId, path: string): Promise<void> => {
    for (const { name, stat } of await volume.readDirectory(id)) {
      nodes.set(`${path}/${name}`, stat);
      if (stat.kind === "directory") await visit(stat.id, `${path}/${name}`);
    }
  };
  await visit(volume.rootId, "");
  return nodes;
}

/** Names, stats, contents, targets and attributes. Returns how many nodes were compared. */
export async function expectAsMounted(image: string): Promise<number> {
  return withKernelMount(image, async (mountpoint) => {
    const mounted = await readMounted(mountpoint);
    return withExtVolume(image, async (volume, device) => {
      const nodes = await nodesOf(volume);
      expect([...nodes.keys()].sort()).to.deep.equal([...mounted.keys()].sort());
      for (const [path, stat] of nodes) {
        const expected = mounted.get(path);
        if (expected === undefined) continue;
        expectSameStat(path, stat, expected);
        await expectSameContents(path, stat, expected, volume, device);
      }
      return nodes.size;
    });
  });
}

function expectSameStat(path: string, stat: NodeStat, { kind, stat: expected }: MountedNode): void {
  const isDevice = kind === "block" || kind === "character";
  expect(
    {
      kind: stat.kind,
      id: stat.id,
      mode: stat.mode,
      uid: stat.uid,
      gid: stat.gid,
      links: stat.linkCount,
      size: stat.sizeBytes,
      allocated: stat.allocatedBytes,
      device: stat.deviceNumber,
    },
    path,
  ).to.deep.equal({
    kind,
    id: Number(expected.ino),
    mode: Number(expected.mode) & 0o7777,
    uid: Number(expected.uid),
    gid: Number(expected.gid),
    links: Number(expected.nlink),
    size: Number(expected.size),
    allocated: allocatedBytesOf(expected),
    device: isDevice ? Number(expected.rdev) : undefined,
  });
  for (const [ours, theirs] of [
    [stat.modifiedMs, expected.mtimeNs],
    [stat.accessedMs, expected.atimeNs],
    [stat.changedMs, expected.ctimeNs],
  ] as const) {
    // To the microsecond: milliseconds in a double hold no more.
    expect(Math.abs(ours - Number(theirs) / 1e6), `times of ${path}`).to.be.below(0.002);
  }
}

async function expectSameContents(
  path: string,
  { id, kind }: NodeStat,
  expected: MountedNode,
  volume: Volume,
  device: BlockDevice,
): Promise<void> {
  if (kind === "file") {
    const contents = await readContents(volume, device, id);
    const isSame = Buffer.compare(contents, expected.contents ?? new Uint8Array(0)) === 0;
    expect(isSame, `contents of ${path}`).to.equal(true);
  }
  if (kind === "symlink") expect(await volume.readLink?.(id), path).to.equal(expected.linkTo);
  const xattrs = (await volume.xattrs?.(id)) ?? new Map<string, Uint8Array>();
  const inHex = [...xattrs].map(([name, value]) => [name, Buffer.from(value).toString("hex")]);
  expect(Object.fromEntries(inHex), `attributes of ${path}`).to.deep.equal(
    Object.fromEntries(expected.xattrs),
  );
}
