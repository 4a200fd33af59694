/** A folder with some of everything, and small ext volumes of it in many shapes. */
import { link, mkdir, open, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { MemoryDevice } from "../../src/device/memory-device.ts";
import { extFormat } from "../../src/volume/ext/ext-format.ts";
import { makeExtImage, runTool } from "./ext-tools.ts";
import { pattern } from "./fat-sample.ts";
import { withTempFolder } from "./temp.ts";
import type { ExpectedNode, VolumeCase } from "./volume-suite.ts";

const LONG_NAME = `${"long".repeat(63)}.bi`;
const SHORT_TARGET = "folder/hello.txt";
const LONG_TARGET = `/${"somewhere/".repeat(10)}else`;
const HOLE_BYTES = 90_000;
const SMALL_FILES = 40;

/** Fills a folder; returns what a volume made of it must hold. */
export async function makeSampleFolder(folder: string): Promise<Map<string, ExpectedNode>> {
  const expected = new Map<string, ExpectedNode>([["/lost+found", "directory"]]);
  const add = async (path: string, contents: Uint8Array) => {
    await writeFile(folder + path, contents);
    expected.set(path, contents);
  };
  const addFolder = async (path: string) => {
    await mkdir(folder + path);
    expected.set(path, "directory");
  };
  await addFolder("/folder");
  await add("/folder/hello.txt", pattern(13, 1));
  await add("/empty", new Uint8Array(0));
  await add("/large.bin", pattern(61_234, 2));
  await add("/Grüße 世界 🎞.txt", pattern(100, 3));
  await add(`/folder/${LONG_NAME}`, pattern(2048, 4));
  await addFolder("/folder/deep");
  await addFolder("/folder/deep/deeper");
  for (let i = 0; i < SMALL_FILES; i++) await add(`/folder/deep/small-${i}`, pattern(i * 5, i));
  await link(`${folder}/folder/hello.txt`, `${folder}/same.txt`);
  expected.set("/same.txt", pattern(13, 1));
  for (const [name, target] of [
    ["/short-link", SHORT_TARGET],
    ["/long-link", LONG_TARGET],
  ] as const) {
    await symlink(target, folder + name);
    expected.set(name, { linkTo: target });
  }
  runTool("mkfifo", `${folder}/pipe`);
  expected.set("/pipe", { kind: "fifo" });
  const sparse = await open(`${folder}/sparse`, "w");
  await sparse.write(pattern(5, 5), 0, 5, HOLE_BYTES);
  await sparse.close();
  const contents = new Uint8Array(HOLE_BYTES + 5);
  contents.set(pattern(5, 5), HOLE_BYTES);
  expected.set("/sparse", contents);
  return expected;
}

/** The sample as a volume for the suite; made once, as mke2fs takes its time. */
export function extCase(sizeBytes: number, options: readonly string[]): () => Promise<VolumeCase> {
  let made: Promise<VolumeCase> | undefined;
  return async () => (made ??= makeCase(sizeBytes, options));
}

async function makeCase(sizeBytes: number, options: readonly string[]): Promise<VolumeCase> {
  const { bytes, expected } = await makeSampleVolume(sizeBytes, options);
  const volume = await extFormat.open(new MemoryDevice(bytes));
  const { control } = await volume.survey();
  const structure: [number, number][] = [];
  const { blockSizeBytes } = volume.info;
  for (const [start, count] of control) {
    structure.push([start * blockSizeBytes, (start + count) * blockSizeBytes]);
  }
  return { format: extFormat, bytes, expected, hardLinks: 1, structure };
}

export async function makeSampleVolume(
  sizeBytes: number,
  options: readonly string[],
): Promise<{ bytes: Uint8Array; expected: Map<string, ExpectedNode> }> {
  return withTempFolder(async (folder) => {
    const source = join(folder, "source");
    await mkdir(source);
    const expected = await makeSampleFolder(source);
    const image = join(folder, "volume.img");
    await makeExtImage(image, sizeBytes, options, source);
    // A copy: a Buffer would hand out views of itself where a slice is asked for.
    return { bytes: new Uint8Array(await readFile(image)), expected };
  });
}
