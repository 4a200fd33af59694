import { expect } from "chai";
import { safeName, uniqueNames, upperCaseByUnit } from "../../src/volume/names.ts";

describe("names made safe for paths", () => {
  it("leaves good names alone", () => {
    for (const name of ["a", "...", " ", "A B.TXT", "🎞", "\u0001", "a\\b", "é"]) {
      expect(safeName(name)).to.equal(name);
    }
  });

  it("replaces what a path cannot hold", () => {
    expect(safeName("a/b\0c")).to.equal("a_b_c");
    expect(safeName("x\ud83cy\udf9e")).to.equal("x\ufffdy\ufffd");
    expect([safeName(""), safeName("."), safeName("..")]).to.deep.equal(["_", "_", "__"]);
  });

  it("numbers twins, the first keeping its name", () => {
    const names = ["A.TXT", "a.txt", "a (2).txt", "A.txt", ".hid", ".HID", "x", "X"];
    expect(uniqueNames(names, upperCaseByUnit)).to.deep.equal([
      "A.TXT",
      "a (3).txt",
      "a (2).txt",
      "A (4).txt",
      ".hid",
      ".HID (2)",
      "x",
      "X (2)",
    ]);
  });

  it("lets a name that stands on the volume go before one that was made", () => {
    expect(uniqueNames(["a/b", "a_b", "a\0b"], (name) => name)).to.deep.equal([
      "a_b (2)",
      "a_b",
      "a_b (3)",
    ]);
  });

  it("is quick with a directory full of the same name", () => {
    const made = uniqueNames(
      Array.from({ length: 50_000 }, () => "SAME.TXT"),
      upperCaseByUnit,
    );
    expect(new Set(made).size).to.equal(50_000);
    expect(made.at(-1)).to.equal("SAME (50000).TXT");
  });
});
