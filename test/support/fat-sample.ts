/** A small, sound FAT volume with some of everything, in whatever shape. */
import { FatBuilder } from "./fat-builder.ts";
import type { FatShape } from "./fat-builder.ts";

export interface FatSample {
  readonly builder: FatBuilder;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly expected: ReadonlyMap<string, Uint8Array | "directory">;
  /** Where its structure lies, [start, end) in bytes. */
  readonly structure: readonly (readonly [number, number])[];
}

/** Bytes that differ from file to file and from place to place. */
export function pattern(length: number, salt: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 31 + (index >> 8) * 7 + salt) & 0xff);
}

export function makeFatSample(shape: FatShape): FatSample {
  const builder = new FatBuilder(shape);
  const { root, clusterBytes } = builder;
  const expected = new Map<string, Uint8Array | "directory">();
  const add = (path: string, contents: Uint8Array | "directory") => expected.set(path, contents);

  const hello = pattern(13, 1);
  builder.addFile(root, "HELLO.TXT", hello);
  add("/HELLO.TXT", hello);
  builder.addFile(root, "EMPTY", new Uint8Array(0));
  add("/EMPTY", new Uint8Array(0));

  const folder = builder.addFolder(root, "PHOTOS~1", { long: "Photos of 2024", length: 2 });
  add("/Photos of 2024", "directory");
  const large = pattern(clusterBytes * 3 + 5, 2);
  builder.addFile(folder, "IMG_00~1.JPG", large, { long: "img_0001 – Großvater 🎞.jpeg" });
  add("/Photos of 2024/img_0001 – Großvater 🎞.jpeg", large);
  for (let i = 0; i < 12; i++) {
    const contents = pattern(20 + i, i);
    builder.addFile(folder, `SMALL${i}.BIN`, contents, { ntCase: 0x18 });
    add(`/Photos of 2024/small${i}.bin`, contents);
  }
  const deep = builder.addFolder(folder, "DEEP");
  add("/Photos of 2024/DEEP", "directory");

  // Two files in turns: neither lies in one piece, and one runs backwards.
  const [a = 0, b = 0, c = 0, d = 0, e = 0] = builder.allocate(5);
  const forwards = pattern(clusterBytes * 2, 3);
  builder.addFile(deep, "FORWARD", forwards, { clusters: [a, c] });
  add("/Photos of 2024/DEEP/FORWARD", forwards);
  const backwards = pattern(clusterBytes * 3 - 1, 4);
  builder.addFile(deep, "BACKWARD", backwards, { clusters: [e, d, b] });
  add("/Photos of 2024/DEEP/BACKWARD", backwards);
  builder.addFile(root, "GONE.TXT", pattern(clusterBytes + 1, 5), { deleted: true });

  const structure: [number, number][] = [
    [0, 96],
    [builder.shape.reservedSectors * builder.shape.bytesPerSector, 0],
  ];
  const fatStart = builder.shape.reservedSectors * builder.shape.bytesPerSector;
  structure[1] = [fatStart, fatStart + 64];
  for (const each of [root, folder, deep]) {
    const start =
      each.clusters[0] === undefined
        ? builder.dataSector * builder.shape.bytesPerSector - builder.shape.rootEntries * 32
        : builder.clusterOffset(each.clusters[0]);
    structure.push([start, start + 512]);
  }
  return { builder, bytes: builder.build(), expected, structure };
}
