/**
 * One line on a terminal that is drawn over and over: phase, bar, how much, how fast, how long yet.
 *
 * The library reports progress once a record; drawing that often would cost more than the work. So
 * an update only looks at the clock, and a line is drawn when the phase is a second old and the
 * last line a tenth of a second. The rate is a moving average over some seconds: a steady figure
 * that still follows a tape that slows down.
 */
import type { ProgressEvent } from "../progress.ts";
import { escapeControls } from "./escape-name.ts";
import { formatDuration, formatSize } from "./sizes.ts";

/** The part of a terminal stream that a progress bar needs. */
export interface OutputStream {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
}

const DELAY_MS = 1000;
const REDRAW_MS = 100;
/** Time constant of the moving average of the rate. */
const RATE_WINDOW_MS = 3000;
const BAR_WIDTH_MAX = 30;
const BAR_WIDTH_MIN = 8;
const ERASE_LINE = "\r\u001b[K";

export class ProgressBar {
  readonly #stream: OutputStream;
  readonly #now: () => number;
  #phase: string | undefined;
  #startedMs = 0;
  #drawnMs = -Infinity;
  #visible = false;
  #rateAtMs = 0;
  #rateAtDone = 0;
  #ratePerSecond = 0;

  /** `now` gives milliseconds of a clock that never goes back. */
  constructor(stream: OutputStream, now: () => number = () => performance.now()) {
    this.#stream = stream;
    this.#now = now;
  }

  update(event: ProgressEvent): void {
    const now = this.#now();
    if (event.phase !== this.#phase) this.#begin(event, now);
    if (now - this.#startedMs < DELAY_MS || now - this.#drawnMs < REDRAW_MS) return;
    this.#measure(event.done, now);
    this.#drawnMs = now;
    this.#visible = true;
    this.#stream.write(ERASE_LINE + this.#line(event));
  }

  /** Removes the line, so that other words can be written; the next update draws it again. */
  clear(): void {
    if (!this.#visible) return;
    this.#visible = false;
    this.#drawnMs = -Infinity;
    this.#stream.write(ERASE_LINE);
  }

  #begin(event: ProgressEvent, now: number): void {
    // A phase that follows a long one shows at once: the person is waiting already.
    if (!this.#visible) this.#startedMs = now;
    this.#phase = event.phase;
    this.#rateAtMs = now;
    this.#rateAtDone = event.done;
    this.#ratePerSecond = 0;
  }

  #measure(done: number, now: number): void {
    const elapsedMs = now - this.#rateAtMs;
    if (elapsedMs <= 0) return;
    const rate = ((done - this.#rateAtDone) / elapsedMs) * 1000;
    const weight = this.#ratePerSecond === 0 ? 1 : 1 - Math.exp(-elapsedMs / RATE_WINDOW_MS);
    this.#ratePerSecond += (rate - this.#ratePerSecond) * weight;
    this.#rateAtMs = now;
    this.#rateAtDone = done;
  }

  #line(event: ProgressEvent): string {
    const { done, total, unit = "bytes" } = event;
    const bytes = unit === "bytes";
    const count = (value: number): string => Math.round(value).toLocaleString("en");
    const amount = (value: number): string =>
      bytes ? formatSize(value) : `${count(value)} ${unit}`;
    const facts: string[] = [];
    if (total !== undefined && total > 0) {
      facts.push(`${Math.floor((Math.min(done, total) / total) * 100)}%`);
      facts.push(`${bytes ? formatSize(done) : count(done)} of ${amount(total)}`);
    } else {
      facts.push(amount(done));
    }
    if (this.#ratePerSecond > 0) {
      facts.push(
        bytes ? `${formatSize(this.#ratePerSecond)}/s` : `${count(this.#ratePerSecond)}/s`,
      );
      const restSeconds = ((total ?? 0) - done) / this.#ratePerSecond;
      if (restSeconds > 0) facts.push(`${formatDuration(Math.ceil(restSeconds))} left`);
    }
    return fit(
      escapeControls(event.phase),
      total === undefined || total <= 0 ? undefined : done / total,
      facts.join("  "),
      (this.#stream.columns ?? 80) - 1,
    );
  }
}

/** Phase, bar and facts in `width` columns; the bar gives way first. */
function fit(phase: string, fraction: number | undefined, facts: string, width: number): string {
  const barWidth = Math.min(BAR_WIDTH_MAX, width - phase.length - facts.length - 6);
  if (fraction === undefined || barWidth < BAR_WIDTH_MIN) {
    return `${phase}  ${facts}`.slice(0, Math.max(0, width));
  }
  const filled = Math.round(Math.max(0, Math.min(1, fraction)) * barWidth);
  return `${phase}  [${"#".repeat(filled)}${"-".repeat(barWidth - filled)}]  ${facts}`;
}
