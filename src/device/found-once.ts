/**
 * What is found out when it is first asked for, and then known. Several that ask while it is being
 * found out wait for the same answer; where that fails, the next that asks tries again.
 */
export class FoundOnce<T> {
  readonly #find: () => Promise<T>;
  #found: Promise<T> | undefined;

  constructor(find: () => Promise<T>) {
    this.#find = find;
  }

  /** Throws what finding it out throws. */
  async get(): Promise<T> {
    const found = (this.#found ??= this.#find());
    try {
      return await found;
    } catch (error) {
      if (this.#found === found) this.#found = undefined;
      throw error;
    }
  }
}
