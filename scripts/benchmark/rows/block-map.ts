/** The block map in memory, with as many extents as a badly fragmented volume of many terabytes has. */
import type { Row } from "../row.ts";
import { atMost } from "../targets.ts";
import { formatBytes, formatSeconds } from "../text.ts";
import type { Bench, RowMaker } from "./bench.ts";

const EXTENTS = 5_000_000;
const LOOKUP_MAX_SECONDS = 1e-6;
const EXTENT_MAX_BYTES = 24;

export const blockMapRows: readonly RowMaker[] = [
  { id: "map-lookup", make: lookupRow },
  { id: "map-memory", make: memoryRow },
];

interface MapFigures {
  readonly lookupSeconds: number;
  readonly bytesPerExtent: number;
}

async function figures({ workshop, stage }: Bench): Promise<MapFigures> {
  const program = "benchmark/programs/block-map.ts";
  const said = await workshop.script(program, String(EXTENTS), String(stage.options.seed));
  return JSON.parse(said) as MapFigures;
}

async function lookupRow(bench: Bench): Promise<Row> {
  return {
    id: "map-lookup",
    what: `find a block among ${EXTENTS.toLocaleString("en")} extents`,
    unit: "seconds",
    contenders: [
      { name: "reelfs, block map", run: async () => (await figures(bench)).lookupSeconds },
    ],
    targets: [atMost(LOOKUP_MAX_SECONDS, formatSeconds(LOOKUP_MAX_SECONDS), formatSeconds)],
  };
}

async function memoryRow(bench: Bench): Promise<Row> {
  return {
    id: "map-memory",
    what: `memory of an extent, of ${EXTENTS.toLocaleString("en")}`,
    unit: "bytes",
    contenders: [
      { name: "reelfs, block map", run: async () => (await figures(bench)).bytesPerExtent },
    ],
    targets: [atMost(EXTENT_MAX_BYTES, formatBytes(EXTENT_MAX_BYTES), formatBytes)],
  };
}
