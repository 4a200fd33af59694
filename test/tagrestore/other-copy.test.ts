import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { restoreSelection } from "../../src/tagrestore/restore.ts";
import type { RestoreSummary } from "../../src/tagrestore/restore.ts";
import { selectEntries } from "../../src/tagrestore/select.ts";
import type { NodeId, Volume } from "../../src/volume/volume.ts";
import { patternBytes } from "../support/pattern.ts";
import { stubImage } from "../support/stub-image.ts";
import { withTempFolder } from "../support/temp.ts";

const CONTENTS = new Map([
  ["hit", patternBytes(5000, 1)],
  ["hit too", patternBytes(3000, 2)],
  ["whole", patternBytes(4000, 3)],
]);

/** Restores files of which the first record is damaged; `other` reads what a mirror has. */
async function restore(
  directory: string,
  other?: (name: string, offset: number, target: Uint8Array) => number | undefined,
): Promise<RestoreSummary> {
  const files = [...CONTENTS].map(([name, content]) => ({ path: `/${name}`, content }));
  const names = [...files, { path: "/also hit", linkTo: "/hit" }];
  const stub = stubImage(names, { blocksPerRecord: 14, damaged: new Set([7]) });
  const entries = await stub.volume.readDirectory(stub.volume.rootId);
  const volume: Volume = Object.create(stub.volume) as Volume;
  if (other !== undefined) {
    volume.readOtherCopy = async (id: NodeId, offset: number, target: Uint8Array) => {
      const { name = "" } = entries.find(({ stat }) => stat.id === id) ?? {};
      return Promise.resolve(other(name, offset, target));
    };
  }
  const { table } = await selectEntries(volume, {});
  return restoreSelection({ ...stub, volume }, table, directory);
}

function copyOf(name: string, offset: number, target: Uint8Array): number {
  const part = CONTENTS.get(name)?.subarray(offset, offset + target.length) ?? new Uint8Array();
  target.set(part);
  return part.length;
}

describe("restoring from a mirror", () => {
  it("takes files whose records are damaged from the other copy, with all their names", async () => {
    await withTempFolder(async (folder) => {
      const { problems, files } = await restore(folder, copyOf);
      expect(problems).to.deep.equal([]);
      expect(files).to.equal(4);
      for (const [name, content] of [...CONTENTS, ["also hit", CONTENTS.get("hit")] as const]) {
        expect(await readFile(join(folder, name)), name).to.deep.equal(Buffer.from(content ?? []));
      }
    });
  });

  it("names a file as damaged, once, that has no other copy", async () => {
    await withTempFolder(async (folder) => {
      const without = (name: string, offset: number, target: Uint8Array): number | undefined =>
        name === "hit" ? undefined : copyOf(name, offset, target);
      const { problems, files } = await restore(folder, without);
      expect(problems.map(({ path }) => path).sort()).to.deep.equal(["/also hit", "/hit"]);
      expect(problems.every(({ code }) => code === "damaged")).to.equal(true);
      expect(files).to.equal(2);
    });
    await withTempFolder(async (folder) => {
      expect((await restore(folder)).problems).to.have.length(3);
    });
  });
});
