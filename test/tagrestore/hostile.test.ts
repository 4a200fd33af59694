/** Volumes that were made to do harm to whoever restores from them. */
import {
  lstat,
  mkdir,
  readFile,
  readdir,
  stat,
  symlink,
  truncate,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";

import { expect } from "chai";

import { restoreSelection } from "../../src/tagrestore/restore.ts";
import type { RestoreOptions, RestoreSummary } from "../../src/tagrestore/restore.ts";
import { selectEntries } from "../../src/tagrestore/select.ts";
import type { FileLayout, NodeId, VolumeEntry } from "../../src/volume/volume.ts";
import { patternBytes } from "../support/pattern.ts";
import { skipUnless } from "../support/skip.ts";
import { stubImage } from "../support/stub-image.ts";
import type { StubFile, StubImage, StubOptions } from "../support/stub-image.ts";
import { withTempFolder } from "../support/temp.ts";

async function restore(
  stub: StubImage,
  directory: string,
  options: RestoreOptions = {},
): Promise<RestoreSummary> {
  const { table, problems } = await selectEntries(stub.volume, {});
  const summary = await restoreSelection(stub, table, directory, options);
  return { ...summary, problems: [...problems, ...summary.problems] };
}

/** A volume whose directories say what `change` makes of each of their entries. */
function lyingImage(
  files: readonly StubFile[],
  change: (entry: VolumeEntry) => VolumeEntry,
  options: StubOptions = {},
): StubImage {
  const stub = stubImage(files, options);
  const { volume } = stub;
  const readDirectory = volume.readDirectory.bind(volume);
  volume.readDirectory = async (id: NodeId) => (await readDirectory(id)).map(change);
  return stub;
}

const rename =
  (names: Readonly<Record<string, string>>) =>
  (entry: VolumeEntry): VolumeEntry => ({ ...entry, name: names[entry.name] ?? entry.name });

describe("restoring from a volume made to do harm", () => {
  it("makes nothing of names that are paths, and restores the rest", async () => {
    const names = {
      slash: "../../outside",
      absolute: "/outside",
      up: "..",
      here: ".",
      empty: "",
      nul: "a\0b",
    };
    const files = Object.keys(names).flatMap((name) => [
      { path: `/${name}`, content: patternBytes(10) },
      { path: `/d/${name}/file`, content: patternBytes(20) },
    ]);
    await withTempFolder(async (folder) => {
      const out = join(folder, "a", "b");
      const stub = lyingImage(
        [...files, { path: "/good", content: patternBytes(5) }],
        rename(names),
      );
      const summary = await restore(stub, out);
      expect(summary.files).to.equal(1);
      expect(summary.problems).to.have.length(2 * Object.keys(names).length);
      for (const { code } of summary.problems) expect(code).to.equal("damaged");
      expect((await readdir(out)).sort()).to.deep.equal(["d", "good"]);
      expect(await readdir(join(out, "d"))).to.deep.equal([]);
      expect(await readdir(folder)).to.deep.equal(["a"]);
      expect(await readdir(join(folder, "a"))).to.deep.equal(["b"]);
    });
  });

  it("follows no link of the volume that has the name of one of its directories", async () => {
    await withTempFolder(async (folder) => {
      const elsewhere = join(folder, "elsewhere");
      const out = join(folder, "out");
      await mkdir(elsewhere);
      const files: readonly StubFile[] = [
        { path: "/a link", kind: "symlink", target: elsewhere },
        { path: "/real/evil", content: patternBytes(10) },
        { path: "/z link", kind: "symlink", target: elsewhere },
      ];
      const names = { "a link": "x", real: "x", "z link": "x" };
      for (const overwrite of [false, true, true]) {
        await restore(lyingImage(files, rename(names)), out, { overwrite });
        expect(await readdir(elsewhere), "nothing comes out of the folder").to.deep.equal([]);
        expect((await lstat(join(out, "x"))).isDirectory()).to.be.true;
      }
      expect(await readdir(join(out, "x"))).to.deep.equal(["evil"]);
    });
  });

  it("keeps what is to be private so until it is finished", async () => {
    await withTempFolder(async (folder) => {
      const seen: number[] = [];
      const files: readonly StubFile[] = [
        { path: "/home", kind: "directory", mode: 0o711 },
        { path: "/home/secret", kind: "directory", mode: 0o700 },
        { path: "/home/secret/letter", content: patternBytes(5000), mode: 0o644 },
        { path: "/home/letter", content: patternBytes(5000), mode: 0o644 },
      ];
      const stub = stubImage(files, {
        blocksPerRecord: 1,
        beforeRecord: async () => {
          for (const each of await readdir(folder)) {
            seen.push((await stat(join(folder, each))).mode & 0o077);
          }
          seen.push((await stat(join(folder, "home", "secret"))).mode & 0o077);
        },
      });
      await restore(stub, folder);
      expect(seen).to.have.length.greaterThan(9);
      expect(new Set(seen)).to.deep.equal(new Set([0]));
      expect((await stat(join(folder, "home"))).mode & 0o777).to.equal(0o711);
      expect((await stat(join(folder, "home", "secret"))).mode & 0o777).to.equal(0o700);
    });
  });

  it("takes no staging folder, nor a file in it, for its own that somebody put there", async () => {
    await withTempFolder(async (folder) => {
      const precious = join(folder, "precious");
      const out = join(folder, "out");
      await writeFile(precious, "precious");
      const stub = stubImage([{ path: "/f", content: patternBytes(5000) }]);
      // A first restore says what the folder is called.
      let staging = "";
      const watched = stubImage([{ path: "/f", content: patternBytes(5000) }], {
        beforeRecord: async () => {
          staging = (await readdir(out)).find((name) => name.startsWith(".reelfs")) ?? staging;
        },
      });
      await restore(watched, out, { overwrite: true });
      expect(staging).not.to.equal("");
      await mkdir(join(out, staging));
      for (const name of ["journal", "0", "1", "2"]) {
        await symlink(precious, join(out, staging, name));
      }
      const error: unknown = await restore(stub, out, { resume: true }).catch((e: unknown) => e);
      expect(error).to.be.instanceOf(Error);
      expect(await readFile(precious, "utf8")).to.equal("precious");
    });
  });

  it("restores a file of absurd size as a hole, or says at once that it does not fit", async () => {
    await withTempFolder(async (folder) => {
      const sizes = [2 ** 40, 2 ** 53 - 1];
      const files = sizes.map((_, index) => ({ path: `/${index}`, content: new Uint8Array(0) }));
      const absurd = new Map<NodeId, number>();
      const stub = lyingImage(files, (entry) => {
        const sizeBytes = sizes[Number(entry.name)] ?? 0;
        absurd.set(entry.stat.id, sizeBytes);
        return { ...entry, stat: { ...entry.stat, sizeBytes } };
      });
      const nothing = new Float64Array(0);
      stub.volume.layout = async (id): Promise<FileLayout> =>
        Promise.resolve({
          sizeBytes: absurd.get(id) ?? 0,
          length: 0,
          fileOffsets: nothing,
          deviceOffsets: nothing,
          lengths: nothing,
          direct: true,
        });
      const summary = await restore(stub, folder);
      expect(summary.files + summary.problems.length).to.equal(sizes.length);
      for (const { code, message } of summary.problems) {
        expect(code).to.be.oneOf(["no-space", "invalid", "io"]);
        expect(message).to.match(/file too large|invalid/i);
      }
      const made = (await readdir(folder)).filter((name) => !name.startsWith("."));
      expect(made).to.have.length(summary.files);
      for (const name of made) {
        const { size, blocks } = await stat(join(folder, name));
        expect(size).to.equal(sizes[Number(name)]);
        expect(blocks * 512).to.be.lessThan(1 << 20);
      }
    });
  });

  it("does not decode what is too large for the target", async function () {
    await withTempFolder(async (folder) => {
      const sizeBytes = 2 ** 53 - 1;
      await writeFile(join(folder, "probe"), "");
      const refuses = await truncate(join(folder, "probe"), sizeBytes).then(
        () => false,
        () => true,
      );
      skipUnless(this, refuses, "the file system of the temporary folder takes files of 8 PiB");
      const stub = lyingImage([{ path: "/0", content: new Uint8Array(0) }], (entry) => ({
        ...entry,
        stat: { ...entry.stat, sizeBytes },
      }));
      const nothing = new Float64Array(0);
      const runs = { length: 0, fileOffsets: nothing, deviceOffsets: nothing, lengths: nothing };
      stub.volume.layout = async (): Promise<FileLayout> =>
        Promise.resolve({ sizeBytes, ...runs, direct: false });
      stub.volume.read = async () => Promise.reject(new Error("was decoded"));
      const { problems } = await restore(stub, folder);
      expect(problems.map(({ message }) => message).join()).to.match(/file too large|invalid/i);
    });
  });
});
