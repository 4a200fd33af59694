import { stat } from "node:fs/promises";
import { join } from "node:path";

import { expect } from "chai";

import { ReelError } from "../../src/errors.ts";
import { planSelection, restoreSelection } from "../../src/tagrestore/restore.ts";
import type { RestoreOptions, RestoreSummary } from "../../src/tagrestore/restore.ts";
import { singlePass } from "../../src/tagrestore/read-order.ts";
import { selectEntries } from "../../src/tagrestore/select.ts";
import { StagedImage } from "../../src/tagrestore/staged-image.ts";
import { waitingBytesMax } from "../../src/tagrestore/waiting-bytes.ts";
import { expectReelError } from "../support/expect-error.ts";
import { patternBytes } from "../support/pattern.ts";
import { withRandom } from "../support/random.ts";
import { stubImage } from "../support/stub-image.ts";
import type { StubFile, StubImage } from "../support/stub-image.ts";
import { withTempFolder } from "../support/temp.ts";
import { contentsOf } from "./restored.ts";

/** Restores everything as `reelfs restore` does: the volume reads through the staged image. */
async function restore(
  stub: StubImage,
  directory: string,
  options: RestoreOptions = {},
): Promise<RestoreSummary> {
  const staging = new StagedImage(stub.image);
  const volume = stub.openVolume(staging);
  const { table } = await selectEntries(volume, {});
  return restoreSelection({ image: staging, volume, staging }, table, directory, options);
}

const FILES: readonly StubFile[] = [
  { path: "/small", content: patternBytes(700, 1), encoded: true },
  { path: "/tiny", content: patternBytes(200, 2), resident: true },
  { path: "/empty", content: new Uint8Array(0), encoded: true },
  { path: "/large", content: patternBytes(90_000, 3), encoded: true, fragmentBlocks: 5 },
  { path: "/fine", content: patternBytes(30_000, 4), encoded: true, fragmentBlocks: 1 },
  { path: "/shared", content: patternBytes(30_000, 4), encoded: true, sharesBlocksOf: "/fine" },
  { path: "/plain", content: patternBytes(40_000, 5), fragmentBlocks: 2 },
];

async function expectRestored(directory: string, files = FILES): Promise<void> {
  for (const { path, content } of files) {
    const found = await contentsOf(join(directory, path));
    expect(found.equals(content ?? new Uint8Array(0)), `${path} differs`).to.be.true;
  }
}

describe("restoring encoded files", () => {
  it("decodes them within the one pass, wherever their pieces lie", async function () {
    this.timeout(20_000);
    await withRandom(async (random) => {
      for (let round = 0; round < 5; round++) {
        await withTempFolder(async (folder) => {
          const stub = stubImage(FILES, { random });
          const summary = await restore(stub, folder);
          await expectRestored(folder);
          expect(summary.problems).to.deep.equal([]);
          expect(stub.log).to.deep.equal([...new Set(stub.log)].sort((a, b) => a - b));
          expect(stub.log).to.have.length(summary.records);
          expect(stub.blockReads, "blocks read outside the pass").to.deep.equal([]);
        });
      }
    });
  });

  it("takes nothing from the tape for what the control blocks hold", async () => {
    await withTempFolder(async (folder) => {
      const files = FILES.filter(({ resident }) => resident === true);
      const stub = stubImage(files);
      const summary = await restore(stub, folder);
      await expectRestored(folder, files);
      expect([stub.log, stub.blockReads, summary.bytes]).to.deep.equal([[], [], 0]);
    });
  });

  it("leaves zeros out, also those between decoded data", async () => {
    const content = new Uint8Array(3 << 20);
    content.set(patternBytes(5000, 6), 0);
    content.set(patternBytes(5000, 7), 2_500_000);
    const zeros = new Uint8Array(1 << 20);
    const files: StubFile[] = [
      { path: "/sparse", content, encoded: true, holes: blocksOfZeros(content) },
      { path: "/zeros", content: zeros, encoded: true, holes: blocksOfZeros(zeros) },
    ];
    await withTempFolder(async (folder) => {
      await restore(stubImage(files), folder);
      await expectRestored(folder, files);
      expect((await stat(join(folder, "sparse"))).blocks).to.be.at.most(64);
      expect((await stat(join(folder, "zeros"))).blocks).to.equal(0);
    });
  });

  it("reads through the volume where it is not opened over the staged image", async () => {
    await withTempFolder(async (folder) => {
      const stub = stubImage(FILES);
      const { table } = await selectEntries(stub.volume, {});
      const summary = await restoreSelection(stub, table, folder);
      await expectRestored(folder);
      expect(summary.problems).to.deep.equal([]);
    });
  });

  it("loses only the files that have a piece in a damaged record", async function () {
    this.timeout(20_000);
    await withRandom(async (random) => {
      const sound = stubImage(FILES, { blocksPerRecord: 4 });
      await withTempFolder(async (folder) => restore(sound, folder));
      for (let round = 0; round < 8; round++) {
        const record = random.pick(sound.log);
        await withTempFolder(async (folder) => {
          const damaged = new Set([record]);
          const summary = await restore(stubImage(FILES, { blocksPerRecord: 4, damaged }), folder);
          const lost = summary.problems.map(({ path }) => path);
          expect(lost).not.to.deep.equal([]);
          await expectRestored(
            folder,
            FILES.filter(({ path }) => !lost.includes(path)),
          );
        });
      }
    });
  });

  it("goes on where it was interrupted", async function () {
    this.timeout(30_000);
    const whole = stubImage(FILES);
    await withTempFolder(async (folder) => restore(whole, folder));
    for (let stop = 0; stop < whole.log.length; stop += 5) {
      await withTempFolder(async (folder) => {
        const controller = new AbortController();
        const beforeRecord = (_: number, delivered: number): void => {
          if (delivered === stop) controller.abort();
        };
        const { signal } = controller;
        const stub = stubImage(FILES, { beforeRecord });
        await expectReelError(restore(stub, folder, { signal }), "aborted");
        const summary = await restore(stubImage(FILES), folder, { resume: true });
        expect(summary.files + summary.filesResumed).to.equal(FILES.length);
        await expectRestored(folder);
      });
    }
  });

  it("names a file that does not decode, and restores the others", async () => {
    await withTempFolder(async (folder) => {
      const stub = stubImage(FILES);
      const staging = new StagedImage(stub.image);
      const sound = stub.openVolume(staging);
      const { table } = await selectEntries(sound, {});
      const volume = {
        ...sound,
        read: async (id: number, offset: number, target: Uint8Array): Promise<number> => {
          const count = (await sound.read?.(id, offset, target)) ?? 0;
          if (id !== table.idOf(1)) return count;
          throw new ReelError("damaged", "compression unit 0 does not unpack");
        },
      };
      const summary = await restoreSelection({ image: staging, volume, staging }, table, folder);
      expect(summary.problems.map(({ path, code }) => [path, code])).to.deep.equal([
        ["/small", "damaged"],
      ]);
      await expectRestored(folder, FILES.slice(1));
    });
  });

  it("plans what it will read, and the room that pieces take until their file is whole", async () => {
    await withTempFolder(async (folder) => {
      const stub = stubImage(FILES);
      const { table } = await selectEntries(stub.volume, {});
      const { plan } = await planSelection(stub.volume, stub.image, table);
      const summary = await restore(stub, folder);
      expect(plan.bytes).to.equal(summary.bytes);
      expect(plan.records).to.equal(summary.records);
      // One file after another on this tape, but two share their blocks and wait together.
      expect(waitingBytesMax(plan, singlePass(plan))).to.be.within(90_000, 160_000);
    });
  });
});

function blocksOfZeros(content: Uint8Array, blockBytes = 512): number[] {
  const found: number[] = [];
  for (let at = 0; at < content.length; at += blockBytes) {
    if (content.subarray(at, at + blockBytes).every((byte) => byte === 0)) {
      found.push(at / blockBytes);
    }
  }
  return found;
}
