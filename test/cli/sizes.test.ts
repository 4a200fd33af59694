import { expect } from "chai";
import { isReelError } from "../../src/errors.ts";
import { counted, formatDuration, formatSize, parseSize } from "../../src/cli/sizes.ts";

describe("sizes", () => {
  it("reads what people write", () => {
    const cases: readonly (readonly [string, number])[] = [
      ["0", 0],
      ["4096", 4096],
      ["512B", 512],
      ["64K", 65536],
      ["64k", 65536],
      ["64KB", 65536],
      ["64KiB", 65536],
      ["64 KiB", 65536],
      ["2G", 2 ** 31],
      ["1.5T", 1.5 * 2 ** 40],
      [" 1M ", 2 ** 20],
      ["0.5K", 512],
    ];
    for (const [text, bytes] of cases) expect(parseSize(text, "--size"), text).to.equal(bytes);
  });

  it("refuses what is no size, and names the option", () => {
    for (const text of ["", "K", "-1", "1X", "1.5.2", "1e9", "0x10", "1.3B", "0.3K", "99999999P"]) {
      try {
        parseSize(text, "--cache-size");
        expect.fail(`"${text}" was taken for a size`);
      } catch (error) {
        expect(isReelError(error, "invalid"), `${text}: ${String(error)}`).to.equal(true);
        expect(String(error)).to.contain("--cache-size");
      }
    }
  });

  it("counts as people do", () => {
    expect(counted(0, "folder")).to.equal("0 folders");
    expect(counted(1, "folder")).to.equal("1 folder");
    expect(counted(1234, "folder")).to.equal("1,234 folders");
  });

  it("shows sizes in the unit a person would choose", () => {
    expect(formatSize(0)).to.equal("0 B");
    expect(formatSize(1023)).to.equal("1023 B");
    expect(formatSize(1024)).to.equal("1 KiB");
    expect(formatSize(1536)).to.equal("1.5 KiB");
    expect(formatSize(1024 ** 2 - 1)).to.equal("1 MiB");
    expect(formatSize(123.4 * 1024 ** 3)).to.equal("123 GiB");
    expect(formatSize(10 * 1024 ** 4)).to.equal("10 TiB");
  });

  it("reads back every size it shows in whole units", () => {
    for (let power = 0; power < 52; power++) {
      expect(parseSize(formatSize(2 ** power), "--size")).to.equal(2 ** power);
    }
  });

  it("shows times in at most two units", () => {
    expect(formatDuration(0.0004)).to.equal("0.4 ms");
    expect(formatDuration(0.04)).to.equal("0.04 s");
    expect(formatDuration(0.42)).to.equal("0.4 s");
    expect(formatDuration(12.3)).to.equal("12 s");
    expect(formatDuration(59.7)).to.equal("1 min");
    expect(formatDuration(200)).to.equal("3 min 20 s");
    expect(formatDuration(3900)).to.equal("1 h 5 min");
    expect(formatDuration(86400 * 2 + 3 * 3600)).to.equal("2 d 3 h");
    expect(formatDuration(Number.POSITIVE_INFINITY)).to.equal("unknown");
  });
});
