/**
 * Both copies of the FAT. The first is used; where it is damaged, or a chain in it makes no sense,
 * another member of a mirror and then the second copy is asked. They are not even looked at before:
 * reading a backup, they are on tape.
 */
import { ExtentSet } from "../../device/extents.ts";
import { FoundOnce } from "../../device/found-once.ts";
import { ReelError } from "../../errors.ts";
import type { VolumeProblem } from "../volume.ts";
import { followChain } from "./chain.ts";
import type { BlockClaims, Chain, ChainOptions } from "./chain.ts";
import { FatCopy } from "./fat-copy.ts";
import { isFaultOfCopy } from "./fields.ts";
import { noteFallback } from "./block-source.ts";
import type { BlockSource } from "./block-source.ts";

export interface ChainFound extends Chain {
  /** What is wrong with the same chain in the first copy, where the second was used. */
  readonly firstFault?: string | undefined;
}

export class Fat {
  readonly first: FatCopy;
  /** Met while opening. */
  readonly problems: readonly VolumeProblem[];
  readonly #source: BlockSource;
  readonly #second = new FoundOnce(async () => this.#openSecond());
  readonly #mirrored = new FoundOnce(async () => this.#openMirrored());

  private constructor(source: BlockSource, first: FatCopy, problems: readonly VolumeProblem[]) {
    this.#source = source;
    this.first = first;
    this.problems = problems;
  }

  /** Throws "damaged" when neither copy can be followed, and what the device throws. */
  static async open(source: BlockSource): Promise<Fat> {
    const { firstFat, secondFat } = source.parameters;
    const first = await FatCopy.open(source, 1, firstFat);
    if (first.fault === undefined) return new Fat(source, first, []);
    for (const member of source.others) {
      const mirrored = await FatCopy.open(member, 1, firstFat);
      if (mirrored.fault !== undefined) continue;
      noteFallback(source, firstFat, `FAT 1 begins here, and ${first.fault}`);
      return new Fat(source, mirrored, []);
    }
    const second = await FatCopy.open(source, 2, secondFat);
    if (second.fault !== undefined && Math.max(first.entryCount, second.entryCount) === 0) {
      throw new ReelError(
        "damaged",
        `cannot read ${source.name}: its first FAT is damaged: ${first.fault}; ` +
          `so is the second: ${second.fault}`,
      );
    }
    const problems = [{ where: "FAT 1", message: first.fault }];
    if (second.fault !== undefined) problems.push({ where: "FAT 2", message: second.fault });
    // The one that knows more blocks comes first.
    const isFirstBetter = second.fault !== undefined && first.entryCount >= second.entryCount;
    return new Fat(source, isFirstBetter ? first : second, problems);
  }

  /** The other copy; undefined when it cannot be followed at all. Throws what the device throws. */
  async second(): Promise<FatCopy | undefined> {
    return this.#second.get();
  }

  /**
   * Follows a chain in the first copy, in the second when that does not work. A fault is in the
   * result. Throws what the device throws, save for faults of a copy.
   */
  async chain(first: number, options: ChainOptions): Promise<ChainFound> {
    const found = await this.#chainIn(this.first, first, options);
    if (found.fault === undefined || found.isTaken) return found;
    const claims = options.claims === undefined ? undefined : withoutOwn(options.claims, found);
    for (const mirrored of await this.#mirrored.get()) {
      const again = await this.#chainIn(mirrored, first, { ...options, claims });
      if (again.fault !== undefined) continue;
      noteFallback(this.#source, first, `its chain makes no sense: ${found.fault}`);
      return again;
    }
    const second = await this.second();
    if (second === undefined) return found;
    const again = await this.#chainIn(second, first, { ...options, claims });
    if (again.fault !== undefined) return again.isTaken ? again : found;
    return { ...again, firstFault: found.fault };
  }

  /** The same copy on other members of a mirror. */
  async #openMirrored(): Promise<readonly FatCopy[]> {
    const { others, parameters } = this.#source;
    const { copyNumber } = this.first;
    const start = copyNumber === 1 ? parameters.firstFat : parameters.secondFat;
    return Promise.all(others.map(async (member) => FatCopy.open(member, copyNumber, start)));
  }

  async #chainIn(copy: FatCopy, first: number, options: ChainOptions): Promise<Chain> {
    try {
      return await followChain(copy, first, options);
    } catch (error) {
      if (!isFaultOfCopy(error)) throw error;
      return { ...NO_CHAIN, fault: error.message };
    }
  }

  async #openSecond(): Promise<FatCopy | undefined> {
    const { firstFat, secondFat } = this.#source.parameters;
    const isFirst = this.first.copyNumber === 1;
    const start = isFirst ? secondFat : firstFat;
    if (firstFat === secondFat) return undefined;
    const other = await FatCopy.open(this.#source, isFirst ? 2 : 1, start);
    return other.entryCount === 0 ? undefined : other;
  }
}

const NO_CHAIN: Chain = {
  fileBlocks: new Uint32Array(0),
  blocks: new Uint32Array(0),
  counts: new Uint32Array(0),
  blockCount: 0,
  endBlock: 0,
  tail: undefined,
  fault: undefined,
  isTaken: false,
};

/** Claims in which those of a first attempt at the same chain do not stand in the way. */
function withoutOwn(claims: BlockClaims, { blocks, counts }: Chain): BlockClaims {
  const runs = Array.from(blocks, (block, i): [number, number] => [block, counts[i] ?? 0]);
  const own = ExtentSet.from(runs);
  return {
    has: (block) => claims.has(block) && !own.has(block),
    set: (block) => {
      claims.set(block);
    },
  };
}
