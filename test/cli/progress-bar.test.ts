import { expect } from "chai";
import { ProgressBar } from "../../src/cli/progress-bar.ts";
import { FakeStream } from "./fake-stream.ts";

const MiB = 1024 ** 2;

describe("progress bar", () => {
  function fixture(columns = 100): {
    stream: FakeStream;
    bar: ProgressBar;
    at: (ms: number) => void;
  } {
    const clock = { ms: 0 };
    const stream = new FakeStream({ isTTY: true, columns });
    const bar = new ProgressBar(stream, () => clock.ms);
    return { stream, bar, at: (ms) => (clock.ms = ms) };
  }

  it("says nothing of what is over within a second", () => {
    const { stream, bar, at } = fixture();
    for (let ms = 0; ms < 1000; ms += 10) {
      at(ms);
      bar.update({ phase: "writing image", done: ms, total: 1000 });
    }
    bar.clear();
    expect(stream.text).to.equal("");
  });

  it("shows phase, share, amount, rate and time left after a second", () => {
    const { stream, bar, at } = fixture();
    bar.update({ phase: "writing image", done: 0, total: 400 * MiB });
    at(1000);
    bar.update({ phase: "writing image", done: 100 * MiB, total: 400 * MiB });
    expect(stream.visibleLine).to.equal(
      "writing image  [########----------------------]  25%  100 MiB of 400 MiB  100 MiB/s  3 s left",
    );
  });

  it("draws at most ten times a second", () => {
    const { stream, bar, at } = fixture();
    for (let ms = 0; ms < 2000; ms++) {
      at(ms);
      bar.update({ phase: "verifying", done: ms, total: 2000 });
    }
    expect(stream.text.split("\r").length - 1).to.equal(10);
  });

  it("follows the rate when it changes", () => {
    const { stream, bar, at } = fixture();
    let done = 0;
    for (let second = 0; second <= 20; second++) {
      at(second * 1000);
      bar.update({ phase: "reading", done, total: 1000 * MiB });
      done += (second < 10 ? 40 : 10) * MiB;
    }
    const rate = Number(/([\d.]+) MiB\/s/.exec(stream.visibleLine)?.[1]);
    expect(rate).to.be.within(10, 13);
  });

  it("counts files where there are no bytes to count, and needs no total", () => {
    const { stream, bar, at } = fixture();
    bar.update({ phase: "looking", done: 0, unit: "files" });
    at(2000);
    bar.update({ phase: "looking", done: 5000, unit: "files" });
    expect(stream.visibleLine).to.equal("looking  5,000 files  2,500/s");
  });

  it("keeps to one line on a narrow terminal", () => {
    const { stream, bar, at } = fixture(30);
    bar.update({ phase: "writing image", done: 0, total: 400 * MiB });
    at(1000);
    bar.update({ phase: "writing image", done: 100 * MiB, total: 400 * MiB });
    expect(stream.visibleLine.length).to.be.within(20, 29);
  });

  it("leaves an empty line behind", () => {
    const { stream, bar, at } = fixture();
    bar.update({ phase: "x", done: 0, total: 10 });
    at(1000);
    bar.update({ phase: "x", done: 5, total: 10 });
    bar.clear();
    expect(stream.visibleLine).to.equal("");
    expect(stream.text).not.to.contain("\n");
  });

  it("never shows more than all of it, nor a negative time left", () => {
    const { stream, bar, at } = fixture();
    bar.update({ phase: "x", done: 0, total: 10 });
    at(1000);
    bar.update({ phase: "x", done: 20, total: 10 });
    expect(stream.visibleLine).to.contain("100%").and.not.to.contain("left");
  });
});
