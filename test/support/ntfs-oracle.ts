/** What ntfs-3g and the ntfsprogs say of a volume, and comparing with it. */
import { expect } from "chai";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { lstat, readdir, readFile, readlink } from "node:fs/promises";
import type { Stats } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import type { BlockDevice } from "../../src/device/block-device.ts";
import type { NodeId, NodeKind, NodeStat, Volume } from "../../src/volume/volume.ts";
import { withNtfsMount } from "./ntfs-volume.ts";
import { readContents } from "./volume-suite.ts";

const run = promisify(execFile);
/** Half the steps of a double at today's times, and some. */
const TIME_TOLERANCE_MS = 0.002;
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;

export interface OracleOptions {
  /** Symbolic links whose targets ntfs-3g does not know, or gives by mount point. */
  readonly ignoreLinks?: boolean;
  /** Attributes that Linux' own driver keeps where ntfs-3g does not look. */
  readonly ignoreXattrs?: boolean;
  /** ntfs-3g counts names that only DOS uses. */
  readonly ignoreLinkCounts?: boolean;
}

/** Names, kinds, sizes, times, links, extended attributes and every byte, as ntfs-3g shows them. */
export async function compareWithMount(
  image: string,
  volume: Volume,
  device: BlockDevice,
  options: OracleOptions = {},
): Promise<{ files: number; directories: number }> {
  return withNtfsMount(image, "ro,streams_interface=xattr", async (mount) => {
    const xattrs = await mountXattrs(mount);
    const comparison = new Comparison(volume, device, mount, xattrs, options);
    await comparison.directory(volume.rootId, "");
    return { files: comparison.files.size, directories: comparison.directories };
  });
}

class Comparison {
  readonly #volume: Volume;
  readonly #device: BlockDevice;
  readonly #mount: string;
  readonly #xattrs: ReadonlyMap<string, readonly string[]>;
  readonly #options: OracleOptions;
  readonly files = new Set<NodeId>();
  directories = 0;

  constructor(
    volume: Volume,
    device: BlockDevice,
    mount: string,
    xattrs: ReadonlyMap<string, readonly string[]>,
    options: OracleOptions,
  ) {
    this.#volume = volume;
    this.#device = device;
    this.#mount = mount;
    this.#xattrs = xattrs;
    this.#options = options;
  }

  async directory(id: NodeId, path: string): Promise<void> {
    const entries = await this.#volume.readDirectory(id);
    const theirs = await readdir(join(this.#mount, path));
    const names = entries.map(({ name }) => name);
    expect(names.sort(), `names in ${path}/`).to.deep.equal(theirs.sort());
    for (const { name, stat } of entries) {
      const below = `${path}/${name}`;
      await this.#node(stat, below);
      if (stat.kind === "directory") {
        this.directories++;
        await this.directory(stat.id, below);
      } else {
        this.files.add(stat.id);
      }
    }
  }

  async #node(stat: NodeStat, path: string): Promise<void> {
    const host = join(this.#mount, path);
    const theirs = await lstat(host);
    expect(stat.kind, path).to.equal(kindOf(theirs));
    this.#compareTimes(stat, theirs, path);
    if (this.#options.ignoreLinkCounts !== true) {
      expect(stat.linkCount, `links of ${path}`).to.equal(theirs.nlink);
    }
    if (stat.kind === "symlink") {
      if (this.#options.ignoreLinks === true) return;
      expect(await this.#volume.readLink?.(stat.id), path).to.equal(await readlink(host));
    }
    expect(stat.sizeBytes, `size of ${path}`).to.equal(theirs.size);
    expect(Math.ceil(stat.allocatedBytes / 512), `blocks of ${path}`).to.equal(theirs.blocks);
    if (stat.kind === "block" || stat.kind === "character") {
      expect(stat.deviceNumber, `device of ${path}`).to.equal(theirs.rdev);
    }
    if (this.#options.ignoreXattrs !== true) await this.#compareXattrs(stat.id, path);
    if (stat.kind !== "file") return;
    const contents = await readContents(this.#volume, this.#device, stat.id);
    expect(Buffer.compare(contents, await readFile(host)), `contents of ${path}`).to.equal(0);
  }

  #compareTimes(stat: NodeStat, theirs: Stats, path: string): void {
    expect(stat.modifiedMs, path).to.be.closeTo(theirs.mtimeMs, TIME_TOLERANCE_MS);
    expect(stat.accessedMs, path).to.be.closeTo(theirs.atimeMs, TIME_TOLERANCE_MS);
    expect(stat.changedMs, path).to.be.closeTo(theirs.ctimeMs, TIME_TOLERANCE_MS);
  }

  async #compareXattrs(id: NodeId, path: string): Promise<void> {
    const found = [...((await this.#volume.xattrs?.(id)) ?? [])].map(
      ([name, value]) => `${name}=0x${Buffer.from(value).toString("hex")}`,
    );
    const theirs = this.#xattrs.get(path) ?? [];
    expect(found.sort(), `attributes of ${path}`).to.deep.equal([...theirs].sort());
  }
}

function kindOf(stats: Stats): NodeKind {
  if (stats.isDirectory()) return "directory";
  if (stats.isSymbolicLink()) return "symlink";
  if (stats.isFIFO()) return "fifo";
  if (stats.isSocket()) return "socket";
  if (stats.isBlockDevice()) return "block";
  return stats.isCharacterDevice() ? "character" : "file";
}

/** "user.name=0x..." lines by path. */
async function mountXattrs(mount: string): Promise<Map<string, string[]>> {
  const args = ["-R", "-P", "-h", "-d", "-e", "hex", "--absolute-names", mount];
  const { stdout } = await run("getfattr", args, { maxBuffer: OUTPUT_BYTES_MAX }).catch(
    // It fails for links whose target is missing, after listing everything else.
    (error: unknown) => ({ stdout: (error as { stdout?: string }).stdout ?? "" }),
  );
  const found = new Map<string, string[]>();
  let path = "";
  for (const line of stdout.split("\n")) {
    if (line.startsWith("# file: ")) {
      path = unescapePath(line.slice("# file: ".length)).slice(mount.length);
      found.set(path, []);
    } else if (line !== "") {
      found.get(path)?.push(line.endsWith("=") || !line.includes("=") ? emptyValue(line) : line);
    }
  }
  return found;
}

function emptyValue(line: string): string {
  return `${line.replace(/=$/, "")}=0x`;
}

/** getfattr writes what is not printable as octal numbers. */
function unescapePath(path: string): string {
  const bytes: number[] = [];
  for (let i = 0; i < path.length; i++) {
    const octal = path.charAt(i) === "\\" ? /^[0-7]{3}/.exec(path.slice(i + 1)) : null;
    if (octal === null) {
      bytes.push(...Buffer.from(path.charAt(i)));
    } else {
      bytes.push(Number.parseInt(octal[0], 8));
      i += 3;
    }
  }
  return Buffer.from(bytes).toString();
}

/** Share of the volume that ntfsresize finds in use, in percent to one place. */
export async function percentInUse(image: string): Promise<string | undefined> {
  if (!existsSync("/usr/sbin/ntfsresize")) return undefined;
  const { stdout } = await run("ntfsresize", [
    "--info",
    "--force",
    "--no-progress-bar",
    image,
  ]).catch((error: unknown) => ({ stdout: (error as { stdout?: string }).stdout ?? "" }));
  return /Space in use +: .*\(([\d.]+)%\)/.exec(stdout)?.[1];
}

/** [cluster in the file, cluster on the volume, clusters] of a file, as ntfscluster lists them. */
export async function extentsOf(image: string, path: string): Promise<number[][]> {
  const { stdout } = await run("ntfscluster", ["-F", path, image]);
  // One section for each record that describes a part of the file.
  const data = stdout.split("0x80 - non-resident").slice(1).join("");
  return [...data.matchAll(/^ +(\d+) +(-?\d+) +(\d+)$/gm)].map((match) =>
    match.slice(1).map(Number),
  );
}
