/** Columns of text for a terminal. Cells are shown as they are: escape names before. */

export interface Column {
  readonly title?: string;
  /** Numbers stand on the right. */
  readonly right?: boolean;
}

/**
 * Lines of a table, as wide as its widest cells; without titles where no column has one.
 */
export function tableLines(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
): string[] {
  const titled = columns.some((column) => column.title !== undefined);
  const titles = columns.map((column) => column.title ?? "");
  const all = titled ? [titles, ...rows] : rows;
  const widths = columns.map((_, index) =>
    all.reduce((widest, row) => Math.max(widest, displayWidth(row[index] ?? "")), 0),
  );
  return all.map((row) =>
    columns
      .map((column, index) => pad(row[index] ?? "", widths[index] ?? 0, column.right === true))
      .join("  ")
      .trimEnd(),
  );
}

function pad(text: string, width: number, right: boolean): string {
  const room = " ".repeat(Math.max(0, width - displayWidth(text)));
  return right ? room + text : text + room;
}

const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u;
const NO_WIDTH = /\p{Mn}|\p{Me}|\u200b|\u200d|\ufe0f/u;

/** Columns that a terminal gives a text: East Asian characters take two, combining ones none. */
function displayWidth(text: string): number {
  let width = 0;
  for (const character of text) {
    if (character < "\u0300") width++;
    else if (WIDE.test(character)) width += 2;
    else if (!NO_WIDTH.test(character)) width++;
  }
  return width;
}
