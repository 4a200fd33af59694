/**
 * Names in directories that are marked as case-insensitive (casefold), in the form in which two of
 * them are the same: Unicode's full case folding, decomposed (NFD), without what is ignorable.
 *
 * JavaScript has no case folding. Letter by letter, lower case of upper case of lower case is the
 * same but for the dotless i, which is upper-cased to an I that it is no other case of. (Of a whole
 * word it would not be: the last sigma of a word has a lower case of its own.) The kernel goes by
 * Unicode 12.1; letters that got another case since are the same here, and are not there.
 */
const IGNORABLE = /\p{Default_Ignorable_Code_Point}/gu;
const DOTLESS_I = "ı";
const ASCII = /^[\0-\x7f]*$/;

export function foldCase(name: string): string {
  if (ASCII.test(name)) return name.toLowerCase();
  let folded = "";
  for (const letter of name.normalize("NFD").replace(IGNORABLE, "")) {
    folded += letter === DOTLESS_I ? letter : foldLetter(letter);
  }
  return folded.normalize("NFD");
}

function foldLetter(letter: string): string {
  let folded = "";
  for (const each of letter.toLowerCase().toUpperCase()) folded += each.toLowerCase();
  return folded;
}
