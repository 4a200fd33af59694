/** Problems up to a limit, and how many there were besides. */
import type { VolumeProblem } from "./volume.ts";

const PROBLEMS_MAX = 1000;

export class ProblemList {
  readonly #list: VolumeProblem[];
  #more = 0;

  constructor(problems: readonly VolumeProblem[]) {
    this.#list = [...problems];
  }

  add(where: string, message: string): void {
    if (this.#list.length < PROBLEMS_MAX) this.#list.push({ where, message });
    else this.#more++;
  }

  finish(): readonly VolumeProblem[] {
    if (this.#more === 0) return this.#list;
    return [...this.#list, { where: "volume", message: `${this.#more} more problems` }];
  }
}
