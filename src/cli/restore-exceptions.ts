/** Of files that are restored: which were open for writing when they were backed up. */
import type { FileTree } from "../tree/file-tree.ts";
import type { Terminal } from "./command.ts";
import type { RestoreSubject } from "./restore-plan.ts";
import { warn } from "./restore-report.ts";
import { escapeName } from "./escape-name.ts";

/** Says it in one line, where there are any. */
export async function warnOfExceptions(
  { image, selection }: Pick<RestoreSubject, "image" | "selection">,
  tree: FileTree,
  terminal: Terminal,
): Promise<void> {
  const { paths = [], more = false } = image.state.exceptions ?? {};
  if (paths.length === 0) return;
  const { nodesAt } = await import("../tree/nodes-at.ts");
  const open = await nodesAt(paths, tree.rootId, async (parent, name) => tree.lookup(parent, name));
  const { table } = selection;
  let files = 0;
  for (let row = 0; row < table.length; row++) {
    if (table.isNeeded(row) && open.has(table.idOf(row))) files++;
  }
  if (files === 0) return;
  const were = files === 1 ? "1 file was" : `${files.toLocaleString("en")} files were`;
  warn(
    terminal,
    `${were} open for writing during the backup, and may be incomplete${more ? ", and more may be" : ""}: ` +
      `"reelfs info --exceptions ${escapeName(image.name)}" names them`,
  );
}
