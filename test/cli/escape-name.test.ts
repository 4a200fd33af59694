import { expect } from "chai";
import { escapeControls, escapeJson, escapeLine, escapeName } from "../../src/cli/escape-name.ts";

describe("names on a terminal", () => {
  it("leaves ordinary names of every script alone", () => {
    for (const name of ["Ferien 2024.jpg", "Ümläut", "日本語.txt", "👩‍👩‍👧.png", "naïve – café"]) {
      expect(escapeName(name)).to.equal(name);
    }
  });

  it("shows what a terminal would obey", () => {
    expect(escapeName("\u001b[2J")).to.equal("\\x1b[2J");
    expect(escapeName("a\nb\tc")).to.equal("a\\nb\\tc");
    expect(escapeName("\u009b31m\u007f")).to.equal("\\x9b31m\\x7f");
    expect(escapeName("exe\u202egpj.txt")).to.equal("exe\\u202egpj.txt");
    expect(escapeName("half \ud83d")).to.equal("half \\ud83d");
  });

  it("never shows two names alike", () => {
    expect(escapeName("\\x1b")).not.to.equal(escapeName("\u001b"));
  });

  it("keeps the lines of a text of several lines", () => {
    expect(escapeControls("a\tb\nc\u0007")).to.equal("a\tb\nc\\x07");
  });

  it("keeps a message one line, whatever names are in it", () => {
    expect(escapeLine("cannot open a\nb: \\ \u001b")).to.equal("cannot open a\\nb: \\ \\x1b");
  });

  it("gives JSON that reads back the same", () => {
    const value = { name: "\u009b\u202e\u001b\n" };
    const json = escapeJson(JSON.stringify(value, undefined, 2));
    expect(JSON.parse(json)).to.deep.equal(value);
    expect(json).to.match(/^[\n\x20-\x7e]*$/);
  });
});
