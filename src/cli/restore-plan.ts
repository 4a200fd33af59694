/** `reelfs restore --plan`: what a restore would take, and nothing restored. */
import type { OrderChoice } from "../tagrestore/choose-order.ts";
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
  /** The notices that the person has read. */
  readonly told: readonly string[];
}

/** Shows what restoring `subject` from a tape in `drive` would take. */
export async function showPlan(
  subject: RestoreSubject,
  drive: string,
  terminal: Terminal,
): Promise<Outcome> {
  const { tapeModel } = await import("../tape/time-model.ts");
  const { planSelection } = await import("../tagrestore/restore.ts");
  const { locateRecords, planStatistics } = await import("../tagrestore/plan-statistics.ts");
  const { chooseOrder } = await import("../tagrestore/choose-order.ts");
  const { stretchesIn } = await import("../tagrestore/read-order.ts");
  const { waitingBytesMax } = await import("../tagrestore/waiting-bytes.ts");
  const { image, volume, selection } = subject;
  const model = tapeModel(drive);
  const { signal } = terminal;
  const { plan, problems } = await planSelection(volume, image, selection.table, { signal });
  const offsets = await locateRecords(plan, image, { signal });
  const choice = await chooseOrder(plan, offsets, model, { signal });
  const { fileOrder } = planStatistics(plan, offsets, model);
  const reads = Array.from(stretchesIn(plan, choice.taken), ({ firstRecord, endRecord }) => {
    return { firstRecord, records: endRecord - firstRecord };
  });
  const temporaryBytes = waitingBytesMax(plan, choice.taken);
  const { files, directories } = selection;
  const all = [...selection.problems, ...problems];
  const facts = {
    image: image.name,
    drive: model.name,
    files,
    directories,
    bytes: plan.bytes,
    temporaryBytes,
    tapeOrder: choice.singlePass,
    shortestOrder: choice.shortestLocates,
    fileOrder,
    order: choice.isSinglePass ? "tape" : "shortest",
    reads,
    problems: all,
  };
  const head = `${escapeName(image.name)}: ${counted(files, "file")}, ${formatSize(plan.bytes)} to read`;
  const lines = orderLines(choice, fileOrder, model.name);
  if (temporaryBytes > 0) {
    lines.push(`temporary space for compressed files: ${formatSize(temporaryBytes)}`);
  }
  terminal.print([head, ...lines].join("\n"));
  return { facts, status: tellProblems(all, subject.told, terminal) };
}

function orderLines(
  { singlePass, shortestLocates, isSinglePass }: OrderChoice,
  fileOrder: OrderStatistics,
  drive: string,
): string[] {
  const orders: readonly (readonly [string, OrderStatistics | undefined])[] = [
    ["in tape order", singlePass],
    ["shortest way", shortestLocates],
    ["file by file", fileOrder],
  ];
  const shown = orders.flatMap(([title, order]) => (order === undefined ? [] : [{ title, order }]));
  const row = (name: string, value: (order: OrderStatistics) => string): string[] => [
    name,
    ...shown.map(({ order }) => value(order)),
  ];
  const lines = tableLines(
    [{ title: "" }, ...shown.map(({ title }) => ({ title, right: true }))],
    [
      row("records", (order) => count(order.records)),
      row("read through", (order) => count(order.recordsReadThrough)),
      row("passes", (order) => count(order.passes)),
      row("locates", (order) => count(order.locates)),
      row("distance", (order) => formatSize(order.distanceBytes)),
      row(`time on ${drive}`, (order) => formatDuration(order.seconds)),
    ],
  );
  if (shortestLocates === undefined) return lines;
  return [...lines, `taken: ${isSinglePass ? "tape order, in one pass" : "the shortest way"}`];
}
