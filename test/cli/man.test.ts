import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { expect } from "chai";
import { COMMANDS } from "../../src/cli/commands/index.ts";
import { manPages } from "../../src/cli/man.ts";
import { run } from "../../src/cli/program.ts";
import { skipUnless } from "../support/skip.ts";
import { FakeStream } from "./fake-stream.ts";

const FOLDER = new URL("../../docs/man/", import.meta.url);

/** A page without roff's escapes and macros, white space as single spaces. */
function plain(roff: string): string {
  return roff
    .replace(/^\.\S+ ?/gm, "")
    .replace(/\\f[BIR]/g, "")
    .replace(/\\\[u([0-9A-F]+)\]/g, (_, code: string) => String.fromCodePoint(parseInt(code, 16)))
    .replace(/\\\(aq/g, "'")
    .replace(/\\\(ga/g, "`")
    .replace(/\\\(ti/g, "~")
    .replace(/\\\(ha/g, "^")
    .replaceAll("\\-", "-")
    .replaceAll("\\&", "")
    .replaceAll("\\e", "\\")
    .replace(/\s+/g, " ");
}

async function helpOf(name: string): Promise<string> {
  const stdout = new FakeStream({ columns: 80 });
  const around = { stdout, stderr: new FakeStream(), signal: new AbortController().signal };
  expect(await run([name, "--help"], around, COMMANDS)).to.equal(0);
  return stdout.text;
}

/** Items of a help section as "term description", white space as single spaces. */
function itemsOf(help: string, title: string): string[] {
  const section = new RegExp(`^${title}:\n((?:  .*\n)+)`, "m").exec(help)?.[1] ?? "";
  const items: string[] = [];
  for (const line of section.split("\n").filter((each) => each !== "")) {
    if (/^ {2}\S/.test(line)) items.push(line.trim());
    else items.push(`${items.pop() ?? ""} ${line.trim()}`);
  }
  return items.map((item) => item.replace(/\s+/g, " "));
}

describe("man pages", () => {
  it("are in docs/man as the commands are now (if not: npm run man)", () => {
    const pages = manPages(COMMANDS);
    const stored = readdirSync(FOLDER).filter((name) => name.endsWith(".1"));
    expect(stored.sort()).to.deep.equal([...pages.keys()].sort());
    for (const [name, text] of pages) {
      expect(readFileSync(new URL(name, FOLDER), "utf8"), name).to.equal(text);
    }
  });

  for (const { name } of COMMANDS) {
    it(`tell the same as reelfs ${name} --help`, async () => {
      const page = plain(readFileSync(new URL(`reelfs-${name}.1`, FOLDER), "utf8"));
      const help = await helpOf(name);
      const items = ["Arguments", "Options", "Examples"].flatMap((title) => itemsOf(help, title));
      expect(items).to.have.length.greaterThan(3);
      for (const item of items) expect(page).to.contain(item);
      const [usage, ...paragraphs] =
        help.split(/\n(?:Arguments|Options):\n/)[0]?.split("\n\n") ?? [];
      expect(page).to.contain((usage ?? "").replace("Usage: ", "").trim());
      for (const text of paragraphs) expect(page).to.contain(text.replace(/\s+/g, " ").trim());
    });
  }

  it("have nothing that groff or mandoc would complain about", function () {
    const groff = spawnSync("groff", ["--version"]).status === 0;
    skipUnless(this, groff, "groff is not installed");
    for (const [name, input] of manPages(COMMANDS)) {
      const result = spawnSync("groff", ["-man", "-Tutf8", "-ww", "-z"], { input });
      expect(result.stderr.toString(), name).to.equal("");
    }
  });
});
