/**
 * Names come from volumes that anybody may have written: a name with an escape sequence in it must
 * not reach the terminal as one.
 */

/**
 * Controls (C0, DEL, C1), halves of surrogate pairs, line and paragraph separators, and what turns
 * the direction of text. Other invisible characters stay: many an emoji is joined by one.
 */
const UNSAFE = /[\p{Cc}\p{Cs}\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;

/** A name as a listing shows it: one line, nothing that a terminal obeys, `\` doubled. */
export function escapeName(name: string): string {
  return name.replaceAll("\\", "\\\\").replace(UNSAFE, escapeOne);
}

/** Text of several lines made safe for a terminal: as escapeName, but newlines and tabs stay. */
export function escapeControls(text: string): string {
  return text.replace(UNSAFE, (found) =>
    found === "\n" || found === "\t" ? found : escapeOne(found),
  );
}

/**
 * A message of one line made safe for a terminal: as escapeControls, but it stays one line, whatever
 * names are in it, so that no name looks like a message.
 */
export function escapeLine(text: string): string {
  return text.replace(UNSAFE, escapeOne);
}

function escapeOne(found: string): string {
  const code = found.charCodeAt(0);
  if (found === "\n") return "\\n";
  if (found === "\t") return "\\t";
  return code < 0x100
    ? `\\x${code.toString(16).padStart(2, "0")}`
    : `\\u${code.toString(16).padStart(4, "0")}`;
}

/** JSON for a terminal: characters that a terminal might obey as \u escapes, which JSON reads back. */
export function escapeJson(json: string): string {
  return json.replace(UNSAFE, (found) =>
    found === "\n" ? found : `\\u${found.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
