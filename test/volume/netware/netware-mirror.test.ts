/** Contents of files on a mirrored volume of which one member, or parts of both, cannot be read. */
import { expect } from "chai";
import { MemoryDevice } from "../../../src/device/memory-device.ts";
import type { ErrorCode } from "../../../src/errors.ts";
import { VolumeTree } from "../../../src/tree/volume-tree.ts";
import { netwareFormat } from "../../../src/volume/netware/netware-format.ts";
import { expectReelError } from "../../support/expect-error.ts";
import { FaultyDevice } from "../../support/faulty-device.ts";
import { NetwareBuilder, partitionId, ROOT } from "../../support/netware-builder.ts";
import { patternBytes } from "../../support/pattern.ts";

const BLOCK = 4096;
const SIZE = 7 * BLOCK + 1234;
const CONTENTS = patternBytes(SIZE, 1);

interface Mirrored {
  readonly tree: VolumeTree;
  readonly device: FaultyDevice;
  readonly id: number;
  /** Where the file's block `index` lies on the first and on the second member. */
  blockOn(member: 1 | 2, index: number): number;
}

/** Two members end to end, with a file on them whose last part shares a block with others. */
async function openMirrored(isOutOfSync = false): Promise<Mirrored> {
  const builder = new NetwareBuilder({
    blockBytes: BLOCK,
    segmentBlocks: [200],
    suballocation: true,
  });
  builder.addFile(ROOT, "OTHER", patternBytes(700, 2));
  builder.addFile(ROOT, "FILE", CONTENTS);
  builder.mirror = { members: [partitionId(0), 99] };
  const first = builder.build().bytes.slice();
  builder.mirror = { members: [partitionId(0), 99], isOutOfSync };
  const second = builder.build().bytes;
  const bytes = new Uint8Array(Buffer.concat([first, second]));
  const device = new FaultyDevice(new MemoryDevice(bytes));
  const segmentBytes = [first.length, second.length];
  const volume = await netwareFormat.open(device, { segmentBytes });
  const entries = await volume.readDirectory(volume.rootId);
  const id = entries.find(({ name }) => name === "FILE")?.stat.id ?? -1;
  const layout = await volume.layout(id);
  const offsetOf = (index: number): number => {
    const at = index * BLOCK;
    const run = layout.fileOffsets.findLastIndex((offset) => offset <= at);
    return (layout.deviceOffsets[run] ?? 0) + at - (layout.fileOffsets[run] ?? 0);
  };
  return {
    ...{ tree: new VolumeTree(volume, device), device, id },
    blockOn: (member, index) => offsetOf(index) + (member - 1) * first.length,
  };
}

async function contentsOf({ tree, id }: Mirrored, offsetBytes = 0): Promise<Buffer> {
  const target = Buffer.alloc(SIZE + 100 - offsetBytes, 0xee);
  const count = await tree.read(id, offsetBytes, target);
  return target.subarray(0, count);
}

describe("files on a mirrored NetWare volume", () => {
  for (const code of ["io", "damaged"] satisfies ErrorCode[]) {
    it(`are read from the other member where the first answers "${code}"`, async () => {
      for (const index of [0, 3, 7]) {
        const mirrored = await openMirrored();
        mirrored.device.failReads(mirrored.blockOn(1, index) + 100, 1, code);
        expect((await contentsOf(mirrored)).equals(CONTENTS), `block ${index}`).to.equal(true);
        const part = await contentsOf(mirrored, 1000);
        expect(part.equals(CONTENTS.subarray(1000)), `block ${index}`).to.equal(true);
      }
    });
  }

  it("are whole while each block can be read on one of the members", async () => {
    const mirrored = await openMirrored();
    for (const index of [0, 2, 4, 6]) {
      mirrored.device.failReads(mirrored.blockOn(1, index), BLOCK);
      mirrored.device.failReads(mirrored.blockOn(2, index + 1), 512);
    }
    expect((await contentsOf(mirrored)).equals(CONTENTS)).to.equal(true);
  });

  it("say what is wrong where both members fail, and can be read elsewhere", async () => {
    const mirrored = await openMirrored();
    for (const member of [1, 2] as const) {
      mirrored.device.failReads(mirrored.blockOn(member, 3), BLOCK);
    }
    await expectReelError(contentsOf(mirrored), "io");
    const after = await contentsOf(mirrored, 4 * BLOCK);
    expect(after.equals(CONTENTS.subarray(4 * BLOCK))).to.equal(true);
  });

  it("are not read from a member that is out of sync: it may hold what was before", async () => {
    const mirrored = await openMirrored(true);
    mirrored.device.failReads(mirrored.blockOn(1, 3), BLOCK);
    await expectReelError(contentsOf(mirrored), "io");
  });

  it("cost no second read while nothing fails", async () => {
    const mirrored = await openMirrored();
    mirrored.device.failReads(mirrored.blockOn(2, 0), SIZE);
    expect((await contentsOf(mirrored)).equals(CONTENTS)).to.equal(true);
  });
});
