/**
 * The one place that makes names of any format safe for a tree of paths. Formats keep names that a
 * path cannot hold: with "/" or NUL, halves of a surrogate pair, "." and "..", nothing at all, or
 * the same name twice in one directory. The rules, which never change a name that is fine:
 *
 * - "/" and NUL become "_"; half a surrogate pair becomes U+FFFD; "" becomes "_", "." becomes "_"
 *   and ".." becomes "__".
 * - Of several entries with one name, the first in the directory keeps it and the others get
 *   " (2)", " (3)" and so on before their extension. A name that stands on the volume as it is
 *   goes before one that was made by these rules.
 */

/** In Unicode mode a surrogate matches only when it has no partner. */
const UNSAFE = /[/\0\p{Surrogate}]/u;

/** Turns what an entry is called on the volume into a name that a path can hold. */
export function safeName(name: string): string {
  const cleaned = UNSAFE.test(name)
    ? name.replace(/[/\0]/g, "_").replace(/\p{Surrogate}/gu, "\ufffd")
    : name;
  if (cleaned === "") return "_";
  if (cleaned === "." || cleaned === "..") return "_".repeat(cleaned.length);
  return cleaned;
}

/**
 * Safe, unique names for the entries of one directory, in its order. `fold` gives the form in
 * which two names are the same. The result depends on the names and their order alone.
 */
export function uniqueNames(names: readonly string[], fold: (name: string) => string): string[] {
  const safe = names.map(safeName);
  const folded = safe.map(fold);
  const taken = new Set(folded);
  if (taken.size === safe.length) return safe;
  const owner = ownersOf(names, safe, folded);
  const nextNumber = new Map<string, number>();
  return safe.map((name, index) => {
    const key = folded[index] ?? "";
    if (owner.get(key) === index) return name;
    for (let number = nextNumber.get(key) ?? 2; ; number++) {
      const candidate = withNumber(name, number);
      const candidateKey = fold(candidate);
      if (taken.has(candidateKey)) continue;
      taken.add(candidateKey);
      nextNumber.set(key, number + 1);
      return candidate;
    }
  });
}

/** Which entry keeps each name: the first that needed no change, else the first. */
function ownersOf(
  names: readonly string[],
  safe: readonly string[],
  folded: readonly string[],
): Map<string, number> {
  const owner = new Map<string, number>();
  folded.forEach((key, index) => {
    const current = owner.get(key);
    const isGenuine = names[index] === safe[index];
    if (current === undefined || (isGenuine && names[current] !== safe[current])) {
      owner.set(key, index);
    }
  });
  return owner;
}

function withNumber(name: string, number: number): string {
  const dot = name.lastIndexOf(".");
  if (dot <= 0) return `${name} (${number})`;
  return `${name.slice(0, dot)} (${number})${name.slice(dot)}`;
}

/**
 * Upper case one UTF-16 unit at a time, as FAT, exFAT and NTFS fold names: a character whose upper
 * case is longer (ß) or would become an ASCII letter (ı, ſ) stays as it is.
 */
export function upperCaseByUnit(name: string): string {
  const upper = name.toUpperCase();
  if (isAscii(name)) return upper;
  let folded = "";
  for (let i = 0; i < name.length; i++) {
    const unit = name.charAt(i);
    const up = unit.toUpperCase();
    const isKept = up.length !== 1 || (unit > "\x7f" && up <= "\x7f");
    folded += isKept ? unit : up;
  }
  return folded;
}

function isAscii(name: string): boolean {
  for (let i = 0; i < name.length; i++) {
    if (name.charCodeAt(i) > 0x7f) return false;
  }
  return true;
}
