import { netwareFormat } from "../../../src/volume/netware/netware-format.ts";
import type { NetwareShape } from "../../support/netware-builder.ts";
import { makeNetwareSample } from "../../support/netware-sample.ts";
import { volumeSuite } from "../../support/volume-suite.ts";

const SHAPES: Readonly<Record<string, NetwareShape>> = {
  "NetWare 3.x with 4 KiB blocks": {
    blockBytes: 4096,
    segmentBlocks: [200],
    newTrustees: false,
  },
  "NetWare 4.x with 64 KiB blocks and suballocation": {
    blockBytes: 65536,
    segmentBlocks: [40],
    suballocation: true,
  },
  "NetWare 4.x with 4 KiB blocks and suballocation": {
    blockBytes: 4096,
    segmentBlocks: [200],
    suballocation: true,
  },
  "NetWare with two segments": {
    blockBytes: 8192,
    segmentBlocks: [20, 80],
    suballocation: true,
  },
  "NetWare with copies of the FAT in short stripes": {
    blockBytes: 4096,
    segmentBlocks: [700, 900],
    stripeBlocks: 1,
  },
};

for (const [name, shape] of Object.entries(SHAPES)) {
  volumeSuite(name, () => {
    const { bytes, segmentBytes, expected, structure } = makeNetwareSample(shape);
    const options = segmentBytes.length > 1 ? { segmentBytes } : {};
    return { format: netwareFormat, bytes, options, expected, structure };
  });
}
