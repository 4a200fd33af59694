/**
 * The tapes of one set, as far as they are known. Any of them may be the one that was opened: it
 * names all before it, and, when it is full, the next. A tape is asked for when it is first needed.
 *
 * Two tapes belong together by a joint, a UUID that stands at the end of the one and the start of the
 * next. So a tape that was written anew since is not taken for what it was.
 */
import { ReelError } from "../../errors.ts";
import { readLabel } from "../labels.ts";
import type { TapeDrive } from "../tape-drive.ts";
import { SetPart } from "./set-part.ts";
import { readSetPlace, type SetPlace } from "./set-place.ts";
import { SET_TAPES_MAX, type Continuation, type SetTapeFacts } from "./set-records.ts";

/** A tape that is needed, and what for. */
export interface TapeRequest {
  readonly set: string;
  readonly sequence: number;
  /** As it was recorded; undefined where only a tape further on is known. */
  readonly name: string;
  readonly serial: string;
  readonly joint: string | undefined;
  /** The first tape of the set, for messages. */
  readonly first: string;
  /** Objects of the set that are on it, and their bytes; undefined where nobody knows yet. */
  readonly objects: number | undefined;
  readonly bytes: number | undefined;
}

/** Where the tapes of a set come from. */
export interface TapeSource {
  /**
   * Tapes that may be the one, opened, the likeliest first. Each but the last that is taken is
   * closed again; none: it is not there.
   */
  candidates(request: TapeRequest): AsyncIterable<TapeDrive>;
  /** The nearest tape at hand behind number `sequence` of the set, when one is missing. */
  later?(set: string, sequence: number): Promise<TapeDrive | undefined>;
}

export class SetChain {
  /** UUID of the set; undefined while there is one tape alone. */
  set: string | undefined;
  readonly parts: SetPart[] = [];
  readonly #source: TapeSource | undefined;

  private constructor(source: TapeSource | undefined) {
    this.#source = source;
  }

  /** The set that the tape in `drive`, which is taken over, belongs to; `name` is for its record. */
  static async of(
    drive: TapeDrive,
    name: string,
    source: TapeSource | undefined,
  ): Promise<SetChain> {
    const chain = new SetChain(source);
    const place = await readSetPlace(drive);
    chain.set = place.begins?.set ?? place.ends?.set;
    if (place.begins === undefined) {
      const serial = (await serialOf(drive)) ?? "";
      const facts = { name, serial, firstObject: 0, firstFile: 0, startBytes: 0 };
      chain.parts.push(new SetPart(1, facts));
    } else {
      chain.#learn(place.begins);
    }
    chain.parts.at(-1)?.attach(drive, place);
    return chain;
  }

  /** The part that `object` is on, or would be written on. */
  partAt(object: number): SetPart {
    let [low, high] = [0, this.parts.length - 1];
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((this.parts[middle]?.firstObject ?? Infinity) <= object) low = middle;
      else high = middle - 1;
    }
    return this.#part(low);
  }

  /** The part that the object before `object` is on. */
  partBefore(object: number): SetPart {
    return this.partAt(object - 1);
  }

  get last(): SetPart {
    return this.#part(this.parts.length - 1);
  }

  /** Has the tape brought, unless it is there. False: nobody has it. */
  async open(part: SetPart): Promise<boolean> {
    if (part.drive !== undefined) return true;
    if (part.isMissing || this.set === undefined) return false;
    const found = await this.#bring(part);
    if (found === undefined) part.isMissing = true;
    else part.attach(found.drive, found.place);
    return found !== undefined;
  }

  /** The next tape, which may be missing; undefined after the last. */
  async after(part: SetPart): Promise<SetPart | undefined> {
    const known = this.parts[part.sequence];
    if (known !== undefined || part.sequence >= SET_TAPES_MAX) return known;
    if (!(await this.open(part)) || part.ends === undefined) return undefined;
    const { next, object, file } = part.ends;
    const startBytes = await part.offsetBytes(object);
    const facts = { ...next, firstObject: object, firstFile: file, startBytes };
    const following = new SetPart(part.sequence + 1, facts);
    const found = await this.#bring(following);
    if (found?.place.isBlank === true) {
      // The change of tapes was cut short: nothing has been written to the next one.
      await found.drive.close();
      part.ends = undefined;
      return undefined;
    }
    this.parts.push(following);
    part.end = { object, file };
    if (found !== undefined) following.attach(found.drive, found.place);
    else await this.#missing(following);
    return following;
  }

  /** What is written on a part is the end of the set. */
  async cutAfter(part: SetPart): Promise<void> {
    part.end = undefined;
    part.ends = undefined;
    for (const dropped of this.parts.splice(part.sequence)) await dropped.release();
  }

  /** Bytes of the set before `object`; of a tape that was not brought yet, an estimate. */
  async offsetBytes(object: number): Promise<number | undefined> {
    const part = this.partAt(object);
    if (part.drive !== undefined) return part.offsetBytes(object);
    const { startBytes } = part.facts;
    const endBytes = this.parts[part.sequence]?.facts.startBytes;
    if (startBytes === undefined || endBytes === undefined || part.end === undefined) {
      return startBytes;
    }
    const share = (object - part.firstObject) / (part.end.object - part.firstObject);
    return startBytes + Math.round(share * (endBytes - startBytes));
  }

  /** One sentence for each tape that was looked for in vain. */
  notices(): string[] {
    return this.parts.flatMap((part) => (part.isMissing ? [part.missing().message] : []));
  }

  #part(index: number): SetPart {
    const part = this.parts[index];
    if (part === undefined) throw new ReelError("internal", `a set has no tape ${index + 1}`);
    return part;
  }

  /** A tape that is missing may be followed by one that is there, and tells where they begin. */
  async #missing(part: SetPart): Promise<void> {
    part.isMissing = true;
    const drive = await this.#source?.later?.(this.set ?? "", part.sequence);
    if (drive === undefined) return;
    const place = await readSetPlace(drive);
    const { begins } = place;
    const isOurs =
      begins?.set === this.set &&
      begins?.tapes[part.sequence - 1]?.joint === part.facts.joint &&
      begins !== undefined;
    if (!isOurs) {
      await drive.close();
      return;
    }
    this.#learn(begins);
    this.last.attach(drive, place);
  }

  /** Enters the tapes that a continuation names, as far as they are not known. */
  #learn({ tapes }: Continuation): void {
    for (const [index, facts] of tapes.entries()) {
      this.parts[index] ??= new SetPart(index + 1, facts);
      const next = tapes[index + 1];
      if (next !== undefined) {
        this.#part(index).end = { object: next.firstObject, file: next.firstFile };
      }
    }
  }

  async #bring(part: SetPart): Promise<{ drive: TapeDrive; place: SetPlace } | undefined> {
    if (this.#source === undefined || this.set === undefined) return undefined;
    for await (const drive of this.#source.candidates(this.#request(part))) {
      const place = await readSetPlace(drive);
      const isNext = this.parts[part.sequence - 1] === undefined;
      if (this.#isPart(part, place) || (isNext && place.isBlank)) return { drive, place };
      await drive.close();
    }
    return undefined;
  }

  #request(part: SetPart): TapeRequest {
    const { name, serial, joint, startBytes } = part.facts;
    const endBytes = this.parts[part.sequence]?.facts.startBytes;
    const isKnown = startBytes !== undefined && endBytes !== undefined;
    return {
      ...{ set: this.set ?? "", sequence: part.sequence, name, serial, joint },
      first: this.#part(0).facts.name,
      objects: part.end === undefined ? undefined : part.end.object - part.firstObject,
      bytes: isKnown ? endBytes - startBytes : undefined,
    };
  }

  #isPart({ sequence, facts }: SetPart, { begins, ends }: SetPlace): boolean {
    const next = this.parts[sequence];
    if (ends !== undefined) {
      if (ends.set !== this.set) return false;
      if (next !== undefined && ends.next.joint !== next.facts.joint) return false;
    }
    if (sequence === 1) return begins === undefined;
    if (begins?.set !== this.set || begins?.sequence !== sequence) return false;
    return isSameTape(begins.tapes.at(-1), facts);
  }
}

function isSameTape(one: SetTapeFacts | undefined, other: SetTapeFacts): boolean {
  return one?.joint === other.joint && one?.firstObject === other.firstObject;
}

async function serialOf(drive: TapeDrive): Promise<string | undefined> {
  try {
    return (await readLabel(drive))?.serial;
  } catch (error) {
    if (error instanceof ReelError && (error.code === "damaged" || error.code === "io")) {
      return undefined;
    }
    throw error;
  }
}
