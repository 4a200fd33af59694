/**
 * One component of a pattern against one name: `*` any characters, `?` one character, `[a-z]`,
 * `[!a-z]` one of a class, `\` takes the next character as it is. Hidden names are names like any
 * other. Characters are Unicode code points.
 *
 * Matching remembers only the last `*`: when the rest does not fit, that star takes one character
 * more. Earlier stars never need to move, because what stands between two stars fits best as early
 * as it can. So the work is at most name length x pattern length, whatever the pattern.
 */

/** Folds case as the volume does; the identity where case matters. */
export type FoldName = (name: string) => string;

/** Longest pattern component; longer ones match no name of any volume. */
const COMPONENT_CHARS_MAX = 4096;

const TOKEN = { star: -1, any: -2, firstClass: -3 } as const;

interface CharacterClass {
  readonly negated: boolean;
  /** Pairs of code points, both inclusive. */
  readonly ranges: readonly number[];
}

export interface ComponentGlob {
  readonly tokens: Int32Array;
  readonly classes: readonly CharacterClass[];
  /** True when the volume has names fold case; classes are then tried in either case. */
  readonly foldsCase: boolean;
  /** The pattern itself, folded: a name that is spelled just so matches too ("photo[1].jpg"). */
  readonly literal: string;
}

/** Does a pattern component have a wildcard in it? */
export function hasWildcard(component: string): boolean {
  return /[*?[\\]/.test(component);
}

/** Takes one pattern component (no "/") apart. */
export function compileComponent(component: string, foldName: FoldName): ComponentGlob {
  const characters = Array.from(component.slice(0, COMPONENT_CHARS_MAX));
  const tokens: number[] = [];
  const classes: CharacterClass[] = [];
  const pushLiteral = (character: string): void => {
    // A fold that removes the character (a trailing dot of FAT) is no fold of the character.
    const folded = foldName(character);
    for (const each of folded === "" ? character : folded) tokens.push(each.codePointAt(0) ?? 0);
  };
  for (let at = 0; at < characters.length; at++) {
    const character = characters[at] ?? "";
    if (character === "*") {
      if (tokens.at(-1) !== TOKEN.star) tokens.push(TOKEN.star);
    } else if (character === "?") {
      tokens.push(TOKEN.any);
    } else if (character === "\\" && at + 1 < characters.length) {
      at++;
      pushLiteral(characters[at] ?? "");
    } else if (character === "[") {
      const parsed = parseClass(characters, at);
      if (parsed === undefined) {
        pushLiteral(character);
      } else {
        tokens.push(TOKEN.firstClass - classes.length);
        classes.push(parsed.found);
        at = parsed.last;
      }
    } else {
      pushLiteral(character);
    }
  }
  return {
    tokens: Int32Array.from(tokens),
    classes,
    foldsCase: foldName("a") === foldName("A"),
    literal: foldName(component),
  };
}

/** Reads "[...]" from `open` on; undefined when it never closes (the bracket is then a bracket). */
function parseClass(
  characters: readonly string[],
  open: number,
): { found: CharacterClass; last: number } | undefined {
  let at = open + 1;
  const negated = characters[at] === "!" || characters[at] === "^";
  if (negated) at++;
  const first = at;
  const ranges: number[] = [];
  for (; at < characters.length; at++) {
    if (characters[at] === "]" && at > first) return { found: { negated, ranges }, last: at };
    if (characters[at] === "\\" && at + 1 < characters.length) at++;
    const from = characters[at]?.codePointAt(0) ?? 0;
    const end = characters[at + 2];
    if (characters[at + 1] === "-" && end !== undefined && end !== "]") {
      ranges.push(from, end.codePointAt(0) ?? 0);
      at += 2;
    } else {
      ranges.push(from, from);
    }
  }
  return undefined;
}

/** Does a name, already folded, match? */
export function matchesComponent(glob: ComponentGlob, foldedName: string): boolean {
  if (foldedName === glob.literal) return true;
  const { tokens } = glob;
  let token = 0;
  let at = 0;
  let starToken = -1;
  let starAt = 0;
  while (at < foldedName.length) {
    const code = foldedName.codePointAt(at) ?? 0;
    const wanted = tokens[token];
    if (wanted === TOKEN.star) {
      starToken = token++;
      starAt = at;
    } else if (wanted !== undefined && matchesToken(glob, wanted, code)) {
      token++;
      at += code > 0xffff ? 2 : 1;
    } else if (starToken >= 0) {
      token = starToken + 1;
      starAt += (foldedName.codePointAt(starAt) ?? 0) > 0xffff ? 2 : 1;
      at = starAt;
    } else {
      return false;
    }
  }
  while (tokens[token] === TOKEN.star) token++;
  return token === tokens.length;
}

function matchesToken(glob: ComponentGlob, token: number, code: number): boolean {
  if (token >= 0) return token === code;
  if (token === TOKEN.any) return true;
  const found = glob.classes[TOKEN.firstClass - token];
  if (found === undefined) return false;
  return inClass(found, code, glob.foldsCase) !== found.negated;
}

function inClass(found: CharacterClass, code: number, foldsCase: boolean): boolean {
  if (inRanges(found.ranges, code)) return true;
  if (!foldsCase) return false;
  const character = String.fromCodePoint(code);
  return (
    inRanges(found.ranges, character.toLowerCase().codePointAt(0) ?? 0) ||
    inRanges(found.ranges, character.toUpperCase().codePointAt(0) ?? 0)
  );
}

function inRanges(ranges: readonly number[], code: number): boolean {
  for (let i = 0; i + 1 < ranges.length; i += 2) {
    if ((ranges[i] ?? 0) <= code && code <= (ranges[i + 1] ?? -1)) return true;
  }
  return false;
}
