/** The images that one image stands on, for `reelfs info --chain`. */
import type { TapeImage } from "../tapeimage/tape-image.ts";
import { escapeName } from "./escape-name.ts";
import { shortDate } from "./info/facts.ts";
import { formatSize } from "./sizes.ts";
import { tableLines } from "./table.ts";

export interface ChainMember {
  readonly uuid: string;
  readonly created: string;
  readonly tape: string;
  readonly number: number;
  /** Bytes of the volume that lie in it. */
  readonly bytes: number;
  /** Why it cannot be had. */
  readonly problem?: string | undefined;
}

/** Itself first, then those it points into, the newest first. */
export async function chainOf(image: TapeImage): Promise<readonly ChainMember[]> {
  const { header, map } = image;
  const bytes = new Float64Array(header.chain.length);
  for (let index = 0; index < map.length; index++) {
    const entry = map.entryAt(index);
    bytes[entry.image] = (bytes[entry.image] ?? 0) + entry.count * map.blockSizeBytes;
  }
  const missing = await image.missingAncestors();
  const { uuid, created } = header;
  const own = { uuid, created, tape: image.tapePath, number: image.number, bytes: bytes[0] ?? 0 };
  const ancestors = (header.ancestors ?? []).map((facts, index): ChainMember => ({
    uuid: facts.uuid,
    created: facts.created,
    tape: facts.tape,
    number: facts.number,
    bytes: bytes[index + 1] ?? 0,
    problem: missing.get(index + 1)?.message,
  }));
  return [own, ...ancestors];
}

export function chainTable(chain: readonly ChainMember[]): string {
  const columns = [
    { title: "created" },
    { title: "image" },
    { title: "in it", right: true },
    { title: "state" },
  ];
  const rows = chain.map(({ created, tape, number, bytes, problem }) => [
    shortDate(created),
    escapeName(`${tape}#${number}`),
    formatSize(bytes),
    problem === undefined ? "there" : "missing",
  ]);
  return tableLines(columns, rows).join("\n");
}
