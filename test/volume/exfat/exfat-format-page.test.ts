import { expect } from "chai";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { entryTimes, parseFileSet } from "../../../src/volume/exfat/entry-set.ts";

const PAGE = join(import.meta.dirname, "../../../docs/formats/exfat.md");

describe("the page on exFAT", () => {
  it("has an example that is read as it says", () => {
    const lines = readFileSync(PAGE, "utf8").match(/^ {4}[0-9a-f]{8} {2}.*\|$/gm) ?? [];
    const digits = lines.map((line) => line.slice(14, 62).replaceAll(" ", "")).join("");
    const entry = parseFileSet(Uint8Array.from(Buffer.from(digits, "hex")));
    if (typeof entry === "string") expect.fail(entry);
    expect(entry).to.include({
      name: "hello.txt",
      sizeBytes: 13,
      validBytes: 13,
      firstCluster: 5,
      isContiguous: true,
      attributes: 0x20,
      fault: undefined,
      remark: undefined,
    });
    expect(entryTimes(entry.primary, 60).modifiedMs).to.equal(Date.UTC(2001, 1, 3, 4, 5, 6));
  });
});
