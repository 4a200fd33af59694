/**
 * What is held open to show tapes: drives, indexes of archives, images with their caches. Each is
 * opened when it is first needed, kept as long as the budget allows, the least recently used closed
 * first, and opened again when it is needed again. What is in use is never closed: one that is out of
 * date, or must make room, is closed when its last user has left.
 *
 * Ids of nodes do not depend on it: a file may be open while what shows it was closed in between.
 */
import { ReelError, fromSystem } from "../../errors.ts";

export interface Content {
  /** Memory it takes, as it is now; an estimate. */
  readonly costBytes: number;
  close(): Promise<void>;
}

export interface ContentSource<C extends Content> {
  open(): Promise<C>;
  /** Does it still show what is there? It may bring itself up to date. Called before every use. */
  isCurrent(content: C): boolean | Promise<boolean>;
}

interface Kept {
  readonly content: Content;
  users: number;
  /** Closed as soon as nobody uses it. */
  isRetired: boolean;
}

export const CONTENT_BUDGET_BYTES_DEFAULT = 256 * 1024 * 1024;
/** Each has a file open. */
const CONTENTS_MAX = 128;
/** Kept whatever they take, so that a walk over one tape does not open it again and again. */
const CONTENTS_MIN = 3;

export class ContentCache {
  readonly #budgetBytes: number;
  /** Least recently used first. */
  readonly #kept = new Map<object, Kept>();
  /** One look at a source at a time, so that it is opened once. */
  readonly #looks = new Map<object, Promise<unknown>>();
  readonly #closing = new Set<Promise<void>>();
  /** The first time that closing failed. */
  #failure: Error | undefined;
  #isClosed = false;

  constructor(budgetBytes = CONTENT_BUDGET_BYTES_DEFAULT) {
    this.#budgetBytes = budgetBytes;
  }

  /** What is open now. */
  get count(): number {
    return this.#kept.size;
  }

  get costBytes(): number {
    let sum = 0;
    for (const { content } of this.#kept.values()) sum += content.costBytes;
    return sum;
  }

  /** Runs `body` with the content, opened where it is not, and as it is now. */
  async use<C extends Content, T>(
    source: ContentSource<C>,
    body: (content: C) => T | Promise<T>,
  ): Promise<T> {
    const kept = await this.#take(source);
    try {
      return await body(kept.content as C);
    } finally {
      kept.users--;
      if (kept.isRetired) this.#closeUnused(kept);
      this.#evict();
    }
  }

  /** Closes it as soon as nobody uses it. */
  drop(source: object): void {
    const kept = this.#kept.get(source);
    if (kept === undefined) return;
    this.#kept.delete(source);
    kept.isRetired = true;
    this.#closeUnused(kept);
  }

  /** Closes everything. The caller sees to it that nothing is in use. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const source of [...this.#kept.keys()]) this.drop(source);
    await Promise.all(this.#closing);
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #take<C extends Content>(source: ContentSource<C>): Promise<Kept> {
    const before = this.#looks.get(source);
    const kept = before === undefined ? this.#kept.get(source) : undefined;
    const isCurrent = kept === undefined ? undefined : this.#isCurrent(source, kept);
    if (kept !== undefined && isCurrent === true) {
      // Most looks end here: nothing has changed, and nothing has to be waited for.
      return this.#uses(source, kept);
    }
    const look = (before ?? Promise.resolve()).then(async () => this.#look(source, isCurrent));
    const settled = look.catch(() => undefined);
    this.#looks.set(source, settled);
    try {
      return await look;
    } finally {
      if (this.#looks.get(source) === settled) this.#looks.delete(source);
    }
  }

  /** One more user of what is kept, which was used last now. */
  #uses(source: object, kept: Kept): Kept {
    kept.users++;
    this.#kept.delete(source);
    this.#kept.set(source, kept);
    return kept;
  }

  /** `answer`: what the source has said already. */
  async #look<C extends Content>(
    source: ContentSource<C>,
    answer: boolean | Promise<boolean> | undefined,
  ): Promise<Kept> {
    if (this.#isClosed) throw new ReelError("closed", "the tree of the loader is closed");
    const kept = this.#kept.get(source);
    if (kept !== undefined) {
      // Before anything is awaited, so that it is not closed meanwhile.
      this.#uses(source, kept);
      const isCurrent = await (answer ?? this.#isCurrent(source, kept));
      if (isCurrent && !kept.isRetired) return kept;
      kept.users--;
      if (kept.isRetired) this.#closeUnused(kept);
      else this.drop(source);
    }
    const opened: Kept = { content: await source.open(), users: 1, isRetired: false };
    this.#kept.set(source, opened);
    return opened;
  }

  /** What cannot be looked at is opened anew, which says why. */
  #isCurrent<C extends Content>(source: ContentSource<C>, kept: Kept): boolean | Promise<boolean> {
    try {
      const isCurrent = source.isCurrent(kept.content as C);
      return isCurrent instanceof Promise ? isCurrent.catch(() => false) : isCurrent;
    } catch {
      return false;
    }
  }

  #evict(): void {
    let costBytes = this.costBytes;
    for (const [source, { content, users }] of this.#kept) {
      const isTooMuch = costBytes > this.#budgetBytes && this.count > CONTENTS_MIN;
      if (!isTooMuch && this.count <= CONTENTS_MAX) return;
      if (users > 0) continue;
      costBytes -= content.costBytes;
      this.drop(source);
    }
  }

  #closeUnused(kept: Kept): void {
    if (kept.users > 0) return;
    const closing = kept.content
      .close()
      .catch((error: unknown) => {
        this.#failure ??= fromSystem(error, "cannot close what showed a tape");
      })
      .finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }
}
