/** What a row is made of. */
import type { Peers } from "../peers.ts";
import type { Row } from "../row.ts";
import type { Stage } from "../stage.ts";
import type { Workshop } from "../workshop.ts";

export interface Bench {
  readonly workshop: Workshop;
  readonly stage: Stage;
  readonly peers: Peers;
}

export interface RowMaker {
  readonly id: string;
  /** Prepares what the row needs. */
  readonly make: (bench: Bench) => Promise<Row>;
}
