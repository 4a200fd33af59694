/**
 * Random work on a mounted volume, each step made safe by fsync; the image is copied after some of
 * them.
 */
import { expect } from "chai";
import {
  chmodSync,
  closeSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { canMountExt, hasExtTools, readMounted } from "../../support/ext-tools.ts";
import { NO_EXT_TOOLS, NO_KERNEL } from "../../support/ext-tools.ts";
import { chance, randomBytes, withRandom } from "../../support/random.ts";
import type { SeededRandom } from "../../support/seeded-random.ts";
import { skipUnless } from "../../support/skip.ts";
import { withTempFolder } from "../../support/temp.ts";
import {
  allocate,
  commitFully,
  expectAsMounted,
  sync,
  withFastVolume,
} from "./fast-commit-tools.ts";
import type { Mounted } from "./fast-commit-tools.ts";

const MIB = 1024 * 1024;
const SNAPSHOTS = Number(process.env["REELFS_ROUNDS"] ?? 2);
const STEPS = 25;
const FILE_BYTES_MAX = 200_000;

const SHAPES: readonly (readonly string[])[] = [
  ["-b", "1024"],
  ["-b", "4096"],
  ["-b", "1024", "-O", "inline_data"],
  ["-b", "2048", "-I", "128", "-O", "^metadata_csum,^64bit"],
];

/** A person at work: knows which files and folders there are. */
class Worker {
  readonly #root: string;
  readonly #random: SeededRandom;
  readonly #files: string[] = [];
  readonly #folders: string[];
  #made = 0;

  constructor(root: string, random: SeededRandom) {
    this.#root = root;
    this.#random = random;
    this.#folders = [root];
  }

  step(): void {
    const file = this.#files.length === 0 ? this.#create() : this.#random.pick(this.#files);
    const action = this.#random.below(14);
    if (action < 3) this.#create();
    else if (action < 5) this.#write(file);
    else if (action === 5) this.#cut(file);
    else if (action === 6) this.#allocate(file);
    else if (action === 7) this.#rename(file);
    else if (action === 8) this.#link(file);
    else if (action === 9) this.#remove(file);
    else if (action === 10) this.#makeFolder();
    else if (action === 11) this.#removeFolder();
    else if (action === 12) this.#changeMode(file);
    else this.#rarely(file);
  }

  #path(): string {
    const name = "n".repeat(1 + this.#random.below(chance(this.#random, 10) ? 200 : 8));
    return join(this.#random.pick(this.#folders), `${name}${this.#made++}`);
  }

  #create(): string {
    const path = this.#path();
    closeSync(openSync(path, "w"));
    this.#files.push(path);
    this.#write(path);
    return path;
  }

  #change(path: string, use: (handle: number) => void): void {
    const handle = openSync(path, "r+");
    use(handle);
    closeSync(handle);
    sync(path);
  }

  #write(path: string): void {
    const length = this.#random.below(chance(this.#random, 30) ? 40_000 : 3000);
    const bytes = randomBytes(this.#random, length);
    const { size } = statSync(path);
    const at = chance(this.#random, 50) ? size : this.#random.below(FILE_BYTES_MAX - length);
    this.#change(path, (handle) => writeSync(handle, bytes, 0, length, at));
  }

  #cut(path: string): void {
    this.#change(path, (handle) => {
      ftruncateSync(handle, this.#random.below(FILE_BYTES_MAX));
    });
  }

  #changeMode(path: string): void {
    chmodSync(path, 0o600 + this.#random.below(0o100));
    sync(path);
  }

  #allocate(path: string): void {
    const at = String(this.#random.below(FILE_BYTES_MAX));
    const length = String(1 + this.#random.below(50_000));
    const mode = this.#random.pick([["-p"], ["-n"], []]);
    allocate(...mode, "-o", at, "-l", length, path);
    sync(path);
  }

  #rename(path: string): void {
    const target = chance(this.#random, 30) ? this.#random.pick(this.#files) : this.#path();
    if (target === path) return;
    // Two names of one file: rename does nothing.
    const isOther = !this.#files.includes(target) || statSync(target).ino !== statSync(path).ino;
    if (!isOther) return;
    renameSync(path, target);
    this.#forget(path);
    if (!this.#files.includes(target)) this.#files.push(target);
    sync(target);
  }

  #link(path: string): void {
    const target = this.#path();
    linkSync(path, target);
    this.#files.push(target);
    sync(target);
  }

  #remove(path: string): void {
    rmSync(path);
    this.#forget(path);
    sync(dirname(path));
  }

  #makeFolder(): void {
    const path = this.#path();
    mkdirSync(path);
    this.#folders.push(path);
    sync(path);
  }

  #removeFolder(): void {
    const path = this.#random.pick(this.#folders);
    const isEmpty = readdirSync(path).length === 0;
    if (path === this.#root || !isEmpty) return;
    rmdirSync(path);
    this.#folders.splice(this.#folders.indexOf(path), 1);
    sync(dirname(path));
  }

  /** What makes the next commit a full one. */
  #rarely(path: string): void {
    if (!chance(this.#random, 20)) return;
    symlinkSync(path, this.#path());
    sync(dirname(path));
  }

  #forget(path: string): void {
    this.#files.splice(this.#files.indexOf(path), 1);
  }
}

describe("Fast commits of random work", function () {
  this.timeout(300_000);
  before(function () {
    skipUnless(this, hasExtTools(), NO_EXT_TOOLS);
    skipUnless(this, canMountExt(), NO_KERNEL);
  });

  it("are replayed to what was there", async () => {
    await withRandom(async (random) => {
      const shape = random.pick(SHAPES);
      const make = [
        "-t",
        "ext4",
        "-O",
        "fast_commit",
        "-J",
        "size=4,fast_commit_size=512",
        ...shape,
      ];
      await withTempFolder(async (folder) => {
        const taken: [string, Mounted][] = [];
        await withFastVolume(
          folder,
          { sizeBytes: 20 * MIB, make },
          async (mountpoint, snapshot) => {
            const worker = new Worker(mountpoint, random);
            for (let i = 0; i < STEPS; i++) worker.step();
            for (let round = 0; round < SNAPSHOTS; round++) {
              commitFully(mountpoint);
              for (let i = 0; i < STEPS; i++) worker.step();
              taken.push([await snapshot(`${round}.img`), await readMounted(mountpoint)]);
            }
          },
        );
        for (const [image, live] of taken) {
          await expectAsMounted(image, live);
        }
        expect(taken).to.have.length(SNAPSHOTS);
      });
    });
  });
});
