/**
 * All paths and globs of a restore in one tree of components, so that a hundred thousand literal
 * paths cost one map look-up a name, not a hundred thousand comparisons.
 *
 * Walking the volume moves a set of tree nodes along: each name leads from the nodes of its
 * directory to the nodes it matches. `**` is a node that leads to itself by any name. A set never
 * holds a node twice, so it is bounded by the size of the tree, whatever the patterns.
 */
import { ReelError } from "../errors.ts";
import { compileComponent, hasWildcard, matchesComponent } from "./glob.ts";
import type { ComponentGlob, FoldName } from "./glob.ts";

interface PatternNode {
  /** Children by folded name. */
  readonly literals: Map<string, PatternNode>;
  readonly globs: {
    readonly text: string;
    readonly glob: ComponentGlob;
    readonly to: PatternNode;
  }[];
  /** The child for a component "**". */
  anyDepth: PatternNode | undefined;
  /** This node is a "**": every name leads back to it. */
  readonly repeats: boolean;
  /** Patterns that end here. */
  readonly ends: number[];
}

/** Where the walk stands in the patterns: what matches the directory it is in. */
export type PatternState = readonly PatternNode[];

function makeNode(repeats: boolean): PatternNode {
  return { literals: new Map(), globs: [], anyDepth: undefined, repeats, ends: [] };
}

export class PatternTree {
  readonly #root = makeNode(false);
  readonly #foldName: FoldName;
  readonly #texts: string[] = [];
  #matched = new Uint8Array(256);

  constructor(foldName: FoldName) {
    this.#foldName = foldName;
  }

  /**
   * Adds a path from the root of the volume, the leading "/" optional; `literal`: without
   * wildcards, whatever characters it has. Throws "invalid" for "" and for paths with "..".
   */
  add(text: string, literal: boolean): void {
    if (text === "") throw new ReelError("invalid", "an empty path selects nothing");
    let node = this.#root;
    for (const component of text.split("/")) {
      if (component === "" || component === ".") continue;
      if (component === "..") {
        throw new ReelError("invalid", `"${text}": paths in an image have no ".."`);
      }
      node = this.#child(node, component, literal);
    }
    const index = this.#texts.push(text) - 1;
    if (index === this.#matched.length) {
      const grown = new Uint8Array(index * 2);
      grown.set(this.#matched);
      this.#matched = grown;
    }
    node.ends.push(index);
  }

  get size(): number {
    return this.#texts.length;
  }

  /** State in the root directory, and whether a pattern selects the root itself. */
  start(): { state: PatternState; selected: boolean } {
    const state: PatternNode[] = [];
    const selected = this.#arrive(this.#root, true, state);
    return { state, selected };
  }

  /** State below the entry `name` of a directory in state `from`, and whether the entry is selected. */
  step(
    from: PatternState,
    name: string,
    isDirectory: boolean,
  ): { state: PatternState; selected: boolean } {
    const folded = this.#foldName(name);
    const state: PatternNode[] = [];
    let selected = false;
    for (const node of from) {
      if (node.repeats) selected = this.#arrive(node, isDirectory, state) || selected;
      const literal = node.literals.get(folded);
      if (literal !== undefined) selected = this.#arrive(literal, isDirectory, state) || selected;
      for (const { glob, to } of node.globs) {
        if (matchesComponent(glob, folded)) {
          selected = this.#arrive(to, isDirectory, state) || selected;
        }
      }
    }
    return { state, selected };
  }

  /** Patterns that have matched nothing so far. */
  unmatched(): string[] {
    return this.#texts.filter((_, index) => this.#matched[index] === 0);
  }

  /** Puts a node, and a "**" that may stand for nothing after it, into the state. */
  #arrive(node: PatternNode, isDirectory: boolean, state: PatternNode[]): boolean {
    if (state.includes(node)) return node.ends.length > 0;
    state.push(node);
    for (const index of node.ends) this.#matched[index] = 1;
    const selected = node.ends.length > 0;
    // "a/**" selects the directory a itself, so that an empty one comes back too; not a file a.
    if (node.anyDepth === undefined || !isDirectory) return selected;
    return this.#arrive(node.anyDepth, isDirectory, state) || selected;
  }

  #child(node: PatternNode, component: string, literal: boolean): PatternNode {
    if (!literal && component === "**") {
      if (node.repeats) return node;
      return (node.anyDepth ??= makeNode(true));
    }
    if (literal || !hasWildcard(component)) {
      const folded = this.#foldName(component);
      let child = node.literals.get(folded);
      if (child === undefined) node.literals.set(folded, (child = makeNode(false)));
      return child;
    }
    const known = node.globs.find((each) => each.text === component);
    if (known !== undefined) return known.to;
    const glob = compileComponent(component, this.#foldName);
    const to = makeNode(false);
    node.globs.push({ text: component, glob, to });
    return to;
  }
}
