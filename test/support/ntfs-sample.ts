/** A small volume with something of everything that ntfs-3g can write. */
import { appendFile, open, unlink, utimes } from "node:fs/promises";
import { ntfsFormat } from "../../src/volume/ntfs/ntfs-format.ts";
import { MemoryDevice } from "../../src/device/memory-device.ts";
import { makeNtfsVolume } from "./ntfs-volume.ts";
import type { NtfsFiller, NtfsShape } from "./ntfs-volume.ts";
import { patternBytes } from "./pattern.ts";
import type { VolumeCase } from "./volume-suite.ts";

/** Clusters above this size are not compressed. */
const COMPRESSED_CLUSTER_MAX = 4096;

export async function fillSample(filler: NtfsFiller, clusterBytes: number): Promise<void> {
  await filler.file("/empty", new Uint8Array(0));
  await filler.file("/resident.txt", patternBytes(300, 1));
  await filler.file("/Documents/Über uns/日本語 🎞 ñandú.bin", patternBytes(40_000, 2));
  await filler.file("/Documents/case", patternBytes(10, 3));
  await filler.file("/Documents/CASE", patternBytes(11, 4));
  await filler.file("/clusters", patternBytes(Math.min(3 * clusterBytes, 400_000), 5));
  await filler.file("/links/one", patternBytes(5000, 6));
  for (let i = 0; i < 8; i++) {
    await filler.link(`/links/${"another name for it ".repeat(5)}${i}`, "/links/one");
  }
  await filler.symlink("/links/relative", "../resident.txt");
  await filler.symlink("/links/far", `/${"x/".repeat(400)}end`);
  await filler.special("/links/fifo", "fifo");
  await filler.special("/links/disk", "block");
  await filler.special("/links/terminal", "character");
  await filler.xattr("/resident.txt", "user.Zone.Identifier", Buffer.from("[ZoneTransfer]\r\n"));
  await filler.xattr("/resident.txt", "user.long", patternBytes(9000, 7));
  await filler.xattr("/Documents", "user.folder", Buffer.from("x"));
  await utimes(filler.at("/resident.txt"), 1_234_567_890.5, 1_700_000_000.25);
  await fillSparse(filler);
  await fillFragmented(filler);
  if (clusterBytes <= COMPRESSED_CLUSTER_MAX) await fillCompressed(filler);
}

async function fillSparse(filler: NtfsFiller): Promise<void> {
  const contents = new Uint8Array(400_000);
  contents.set(patternBytes(1000, 8), 0);
  contents.set(patternBytes(1000, 9), 300_000);
  await filler.file("/sparse", contents.subarray(0, 0));
  const handle = await open(filler.at("/sparse"), "r+");
  try {
    await handle.write(contents, 0, 1000, 0);
    await handle.write(contents, 300_000, 1000, 300_000);
    await handle.truncate(contents.length);
  } finally {
    await handle.close();
  }
  filler.expected.set("/sparse", contents);
}

/** Two files that grow in turns, and a directory with gaps. */
async function fillFragmented(filler: NtfsFiller): Promise<void> {
  const parts = 12;
  const piece = 5000;
  for (const name of ["/grown 1", "/grown 2"]) await filler.file(name, new Uint8Array(0));
  for (let i = 0; i < parts; i++) {
    for (const name of ["/grown 1", "/grown 2"]) {
      await appendFile(
        filler.at(name),
        patternBytes(parts * piece, 11).subarray(i * piece, (i + 1) * piece),
      );
    }
  }
  for (const name of ["/grown 1", "/grown 2"]) {
    filler.expected.set(name, patternBytes(parts * piece, 11));
  }
  for (let i = 0; i < 40; i++) await filler.file(`/many/file number ${i}`, patternBytes(i, i));
  for (let i = 0; i < 40; i += 2) {
    await unlink(filler.at(`/many/file number ${i}`));
    filler.expected.delete(`/many/file number ${i}`);
  }
}

async function fillCompressed(filler: NtfsFiller): Promise<void> {
  await filler.compressedDirectory("/packed");
  const text = Buffer.from(Array.from({ length: 3000 }, (_, i) => `line ${i * i}\n`).join(""));
  await filler.file("/packed/text", text);
  await filler.file("/packed/zeros", new Uint8Array(200_000));
  await filler.file("/packed/noise", patternBytes(80_000, 10));
  await filler.file("/packed/both", Buffer.concat([text, patternBytes(70_000, 12), text]));
}

/** The sample as a case for the suite; what is structure is taken from the survey. */
export async function makeNtfsSample(shape: NtfsShape): Promise<VolumeCase> {
  const { bytes, filler } = await makeNtfsVolume(shape, async (to) =>
    fillSample(to, shape.clusterBytes),
  );
  const volume = await ntfsFormat.open(new MemoryDevice(bytes));
  const { control } = await volume.survey();
  const { blockSizeBytes } = volume.info;
  const structure = [...control].map(([start, count]): [number, number] => [
    start * blockSizeBytes,
    (start + count) * blockSizeBytes,
  ]);
  const { expected, hardLinks } = filler;
  return { format: ntfsFormat, bytes, expected, hardLinks, structure };
}
