import type { OutputStream } from "../../src/cli/progress-bar.ts";

/** A stream that remembers what was written, and says whether it is a terminal. */
export class FakeStream implements OutputStream {
  readonly isTTY: boolean;
  readonly columns: number;
  text = "";

  constructor(options: { isTTY?: boolean; columns?: number } = {}) {
    this.isTTY = options.isTTY ?? false;
    this.columns = options.columns ?? 80;
  }

  write(text: string): boolean {
    this.text += text;
    return true;
  }

  /** What a person sees on the current line of the terminal. */
  get visibleLine(): string {
    const line = this.text.slice(this.text.lastIndexOf("\n") + 1);
    return line.slice(line.lastIndexOf("\r\u001b[K") + 1).replace("\u001b[K", "");
  }
}
