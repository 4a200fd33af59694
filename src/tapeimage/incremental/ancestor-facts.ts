/** What the header of an incremental image says of those it needs, and of where they were. */
import { asNumber, asString, type JsonObject } from "../json.ts";

/** Images of one chain. */
export const CHAIN_MAX = 1000;

export interface AncestorFacts {
  readonly uuid: string;
  readonly created: string;
  /** The tape as it was named when it was last seen: a path, or LOADER:BARCODE. */
  readonly tape: string;
  readonly number: number;
  /** Object number on the tape of its record 0. */
  readonly firstObject: number;
  /** Its records, trailer included. */
  readonly records: number;
  /** Record that holds its packed block 0. */
  readonly firstPacked: number;
}

/** @throws ReelError "damaged" for what makes no sense. */
export function decodeAncestor(json: JsonObject, where: string): AncestorFacts {
  return {
    uuid: asString(json, "uuid", where),
    created: asString(json, "created", where),
    tape: asString(json, "tape", where),
    number: asNumber(json, "number", where),
    firstObject: asNumber(json, "firstObject", where),
    records: asNumber(json, "records", where),
    firstPacked: asNumber(json, "firstPacked", where),
  };
}
