/** `reelfs restore --plan`: what a restore would take, and nothing restored. */
import type { OrderStatistics } from "../tagrestore/plan-statistics.ts";
import type { Selection } from "../tagrestore/select.ts";
import type { StagedImage } from "../tagrestore/staged-image.ts";
import type { Volume } from "../volume/volume.ts";
import type { Terminal } from "./command.ts";
import { escapeName } from "./escape-name.ts";
import { count, type Outcome, tellProblems } from "./restore-report.ts";
import { counted, formatDuration, formatSize } from "./sizes.ts";
import { tableLines } from "./table.ts";

/** What is to be restored from. */
export interface RestoreSubject {
  readonly image: StagedImage;
  readonly volume: Volume;
  readonly selection: Selection;
}

/** Shows what restoring `subject` from a tape in `drive` would take. */
export async function showPlan(
  subject: RestoreSubject,
  drive: string,
  terminal: Terminal,
): Promise<Outcome> {
  const { tapeModel } = await import("../tape/time-model.ts");
  const { planSelection } = await import("../tagrestore/restore.ts");
  const { locateRecords, planStatistics, tapeReads } =
    await import("../tagrestore/plan-statistics.ts");
  const { image, volume, selection } = subject;
  const model = tapeModel(drive);
  const { signal } = terminal;
  const { plan, problems } = await planSelection(volume, image, selection.table, { signal });
  const offsets = await locateRecords(plan, image, { signal });
  const { tapeOrder, fileOrder } = planStatistics(plan, offsets, model);
  const reads = plan.images.flatMap((each) => {
    const { firstRecords, counts } = tapeReads(each, offsets, model.readThroughGapBytes);
    return Array.from(firstRecords, (firstRecord, i) => ({ firstRecord, records: counts[i] ?? 0 }));
  });
  const { files, directories } = selection;
  const all = [...selection.problems, ...problems];
  const facts = {
    image: image.name,
    drive: model.name,
    files,
    directories,
    bytes: plan.bytes,
    temporaryBytes: plan.waitingBytesMax,
    tapeOrder,
    fileOrder,
    reads,
    problems: all,
  };
  const row = (name: string, value: (order: OrderStatistics) => string): string[] => [
    name,
    value(tapeOrder),
    value(fileOrder),
  ];
  const lines = tableLines(
    [
      { title: "" },
      { title: "in tape order", right: true },
      { title: "file by file", right: true },
    ],
    [
      row("records", (order) => count(order.records)),
      row("read through", (order) => count(order.recordsReadThrough)),
      row("passes", (order) => count(order.passes)),
      row("locates", (order) => count(order.locates)),
      row("distance", (order) => formatSize(order.distanceBytes)),
      row(`time on ${model.name}`, (order) => formatDuration(order.seconds)),
    ],
  );
  const head = `${escapeName(image.name)}: ${counted(files, "file")}, ${formatSize(plan.bytes)} to read`;
  if (plan.waitingBytesMax > 0) {
    lines.push(`temporary space for compressed files: ${formatSize(plan.waitingBytesMax)}`);
  }
  terminal.print([head, ...lines].join("\n"));
  return { facts, status: tellProblems(all, terminal) };
}
