/** A volume with everything that people and systems put on exFAT, in any shape. */
import { ExfatBuilder } from "./exfat-builder.ts";
import type { ExfatShape } from "./exfat-builder.ts";
import { patternBytes } from "./pattern.ts";
import type { ExpectedNode } from "./volume-suite.ts";

export interface ExfatSample {
  readonly builder: ExfatBuilder;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly expected: ReadonlyMap<string, ExpectedNode>;
  readonly structure: readonly (readonly [number, number])[];
  /** Clusters of the fragmented files, in order. */
  readonly chains: ReadonlyMap<string, readonly number[]>;
}

const SMALL_FILES = 40;

export function exfatSample(shape: ExfatShape): ExfatSample {
  const builder = new ExfatBuilder(shape);
  const { root, clusterBytes } = builder;
  const expected = new Map<string, ExpectedNode>();
  const chains = new Map<string, readonly number[]>();
  const add: ExfatBuilder["addFile"] = (folder, name, contents, options) => {
    const path = folder === root ? `/${name}` : `/Fragments/${name}`;
    const shown = contents.slice();
    shown.fill(0, options?.validBytes ?? shown.length);
    expected.set(path, shown);
    const clusters = builder.addFile(folder, name, contents, options);
    if (options?.clusters !== undefined) chains.set(path, clusters);
    return clusters;
  };
  add(root, "hello.txt", Buffer.from("Hello, exFAT!"));
  add(root, "empty", new Uint8Array(0));
  add(root, "contiguous.bin", patternBytes(clusterBytes * 3 + 7, 1));
  add(root, "reserved.log", patternBytes(clusterBytes * 2 + 99, 2), { validBytes: 700 });
  add(root, "never written.bin", patternBytes(clusterBytes + 1, 3), { validBytes: 0 });
  add(root, "x".repeat(251) + ".dat", patternBytes(100, 4));
  add(root, "日本語 🎞 ñandú ß ı.bin", patternBytes(1234, 5));

  const room = builder.allocate(11);
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0, i = 0, j = 0, k = 0] = room;
  const fragments = builder.addFolder(root, "Fragments", { clusters: [h, b, j] });
  expected.set("/Fragments", "directory");
  add(fragments, "backwards.bin", patternBytes(clusterBytes * 4 - 1, 6), {
    clusters: [g, e, c, a],
  });
  add(root, "two pieces.bin", patternBytes(clusterBytes * 3, 7), {
    clusters: [d, i, k],
    validBytes: clusterBytes + 5,
  });
  add(root, "chained.bin", patternBytes(clusterBytes, 8), { clusters: [f] });
  for (let n = 0; n < SMALL_FILES; n++) {
    add(fragments, `picture number ${n} of a long journey.jpg`, patternBytes(n % 7, n));
  }
  builder.addFolder(root, "Nothing in it");
  expected.set("/Nothing in it", "directory");
  const bytes = builder.build();
  const heap = (clusters: readonly number[]) =>
    clusters.map((cluster): [number, number] => [
      builder.clusterOffset(cluster),
      builder.clusterOffset(cluster) + clusterBytes,
    ]);
  const structure: [number, number][] = [
    [0, 24 * builder.sectorBytes],
    [builder.fatOffset(shape.activeFat ?? 0), builder.fatOffset(shape.activeFat ?? 0) + 800],
    ...heap(builder.bitmapClusters),
    ...heap(root.clusters),
    ...heap(fragments.clusters),
  ];
  return { builder, bytes, expected, structure, chains };
}
