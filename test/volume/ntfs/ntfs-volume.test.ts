import { makeNtfsSample } from "../../support/ntfs-sample.ts";
import { hasNtfsTools, NO_NTFS_TOOLS } from "../../support/ntfs-volume.ts";
import type { NtfsShape } from "../../support/ntfs-volume.ts";
import { skipUnless } from "../../support/skip.ts";
import { volumeSuite } from "../../support/volume-suite.ts";
import type { VolumeCase } from "../../support/volume-suite.ts";

const MEBIBYTE = 1024 * 1024;

const SHAPES: Readonly<Record<string, NtfsShape>> = {
  "NTFS with clusters of 512 bytes": { sizeBytes: 3 * MEBIBYTE, clusterBytes: 512 },
  "NTFS with clusters of 4 KiB": { sizeBytes: 5 * MEBIBYTE, clusterBytes: 4096 },
  "NTFS with clusters of 64 KiB": { sizeBytes: 8 * MEBIBYTE, clusterBytes: 65536 },
  "NTFS with file records of 4 KiB": {
    sizeBytes: 5 * MEBIBYTE,
    clusterBytes: 4096,
    sectorBytes: 4096,
  },
};

for (const [name, shape] of Object.entries(SHAPES)) {
  describe(name, function () {
    this.timeout(60_000);
    let made: Promise<VolumeCase> | undefined;

    before(function () {
      skipUnless(this, hasNtfsTools(), NO_NTFS_TOOLS);
    });

    volumeSuite(name, async () => (made ??= makeNtfsSample(shape)));
  });
}
