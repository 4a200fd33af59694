import { expect } from "chai";

import { compileComponent, matchesComponent } from "../../src/tagrestore/glob.ts";
import { withRandom } from "../support/random.ts";

const exact = (name: string): string => name;
const upper = (name: string): string => name.toUpperCase();

function matches(pattern: string, name: string, fold = exact): boolean {
  return matchesComponent(compileComponent(pattern, fold), fold(name));
}

/** What the pattern language means, said by recursion: right, and slow. */
function means(pattern: string, name: string): boolean {
  if (pattern === "") return name === "";
  if (pattern.startsWith("*")) {
    return means(pattern.slice(1), name) || (name !== "" && means(pattern, name.slice(1)));
  }
  if (name === "") return false;
  const found = /^\[(!?)(.)-(.)\]/.exec(pattern);
  if (found !== null) {
    const [all, not, from = "", to = ""] = found;
    const inside = from <= name.charAt(0) && name.charAt(0) <= to;
    return inside !== (not === "!") && means(pattern.slice(all.length), name.slice(1));
  }
  if (!pattern.startsWith("?") && !pattern.startsWith(name.charAt(0))) return false;
  return means(pattern.slice(1), name.slice(1));
}

describe("matching a name", () => {
  const cases: readonly (readonly [pattern: string, name: string, expected: boolean])[] = [
    ["*", "", true],
    ["*", ".hidden", true],
    ["*.jpg", "a.jpg", true],
    ["*.jpg", "a.jpeg", false],
    ["a*b*c", "aXbYbZc", true],
    ["a*b*c", "aXbYbZ", false],
    ["?", "x", true],
    ["?", "", false],
    ["??", "\u{1f4fc}x", true],
    ["*?", "\u{1f4fc}", true],
    ["[abc]x", "bx", true],
    ["[abc]x", "dx", false],
    ["[!abc]x", "dx", true],
    ["[^abc]x", "ax", false],
    ["[]]", "]", true],
    ["[!]]", "]", false],
    ["[a-]", "-", true],
    ["[z-a]", "m", false],
    ["[\\]x]", "]", true],
    ["[", "[", true],
    ["a[b", "a[b", true],
    ["a[!", "a[!", true],
    ["\\*", "*", true],
    ["\\*", "x", false],
    ["\\", "\\", true],
    ["photo[1].jpg", "photo1.jpg", true],
    // The name itself is also a way to name a file.
    ["photo[1].jpg", "photo[1].jpg", true],
  ];
  for (const [pattern, name, expected] of cases) {
    it(`${pattern} ${expected ? "takes" : "leaves"} ${JSON.stringify(name)}`, () => {
      expect(matches(pattern, name)).to.equal(expected);
    });
  }

  it("folds case as the volume does, classes too", () => {
    expect(matches("*.Jpg", "PHOTO.jPG", upper)).to.be.true;
    expect(matches("[a-c]*", "Beach", upper)).to.be.true;
    expect(matches("[A-C]*", "beach", upper)).to.be.true;
    expect(matches("[!a-c]*", "Beach", upper)).to.be.false;
    expect(matches("[a-c]*", "Beach")).to.be.false;
  });

  it("keeps a character that the fold would swallow", () => {
    const trimming = (name: string): string => name.replace(/\.+$/, "");
    expect(matches("a.b*", "a.bc", trimming)).to.be.true;
  });

  it("takes no longer for patterns made to take long", () => {
    const name = "a".repeat(4000);
    expect(matches("*a".repeat(500) + "b", name)).to.be.false;
    expect(matches("*".repeat(4000) + "b", name)).to.be.false;
    expect(matches("*[a-z]?".repeat(300) + "*b", name)).to.be.false;
    expect(matches("*?".repeat(2000), name)).to.be.true;
  });

  it("agrees with the definition on random patterns and names", async () => {
    await withRandom((random) => {
      const tokens = ["a", "b", "*", "?", "[a-b]", "[!b-c]", "c"];
      for (let round = 0; round < 5000; round++) {
        const pattern = Array.from({ length: random.below(8) }, () => random.pick(tokens)).join("");
        const name = Array.from({ length: random.below(8) }, () => random.pick(["a", "b", "c"]));
        const text = name.join("");
        expect(matches(pattern, text), `${pattern} on ${text}`).to.equal(means(pattern, text));
      }
    });
  });
});
