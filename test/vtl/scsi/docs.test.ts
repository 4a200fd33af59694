/** The page says what the code does: no code, no command, no sense in one and not in the other. */
import { expect } from "chai";
import { readFile } from "node:fs/promises";
import { changerCommands } from "../../../src/vtl/scsi/changer/changer-commands.ts";
import { SENSE } from "../../../src/vtl/scsi/sense.ts";
import { tapeCommands } from "../../../src/vtl/scsi/tape/tape-commands.ts";

const two = (value: number): string => value.toString(16).padStart(2, "0").toUpperCase();

async function section(from: string, to: string): Promise<string[]> {
  const page = await readFile(new URL("../../../docs/scsi.md", import.meta.url), "utf8");
  const lines = page.split("\n");
  const rows = lines.slice(lines.indexOf(from), lines.indexOf(to));
  expect(rows.length, `${from} … ${to}`).to.be.above(3);
  return rows
    .filter((line) => /^\| [0-9A-F]{2}/.test(line))
    .map((line) => line.split("|")[1] ?? "");
}

describe("docs/scsi.md", () => {
  it("lists the sense data that there are", async () => {
    const listed = (await section("## Sense, and when", "## Choices")).flatMap((cell) => {
      const [first = "", ...others] = cell.trim().split(", ");
      return [first, ...others.map((ascq) => `${first.slice(0, 6)}${ascq}`)];
    });
    const known = Object.values(SENSE).map(({ key, asc, ascq }) =>
      [key, asc, ascq].map(two).join("/"),
    );
    // "No sense" alone is no event; "00/00/00" is there as ILI.
    expect(listed).to.have.members([...new Set(known)]);
  });

  it("lists the commands that there are", async () => {
    const common = await section("## Commands of both", "## Commands of a drive");
    const drive = await section("## Commands of a drive", "## Commands of a changer");
    const changer = await section("## Commands of a changer", "## Sense, and when");
    // "A3/0C" is operation code A3 with a service action.
    const codes = (cells: string[]): string[] =>
      cells.flatMap((cell) => cell.replace(/\/.*/, "").match(/[0-9A-F]{2}/g) ?? []);
    const table = (commands: readonly { opcode: number }[]): string[] => [
      ...new Set(commands.map(({ opcode }) => two(opcode))),
    ];
    expect(codes([...common, ...drive])).to.have.members(table(tapeCommands));
    expect(codes([...common, ...changer])).to.have.members(table(changerCommands));
  });
});
