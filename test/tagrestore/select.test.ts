import { expect } from "chai";

import { ReelError } from "../../src/errors.ts";
import { selectEntries } from "../../src/tagrestore/select.ts";
import type { Selection, SelectionRequest } from "../../src/tagrestore/select.ts";
import type { Volume } from "../../src/volume/volume.ts";
import { expectReelError } from "../support/expect-error.ts";
import { stubImage } from "../support/stub-image.ts";
import type { StubFile, StubOptions } from "../support/stub-image.ts";

const TREE: readonly StubFile[] = [
  { path: "/README.TXT", content: new Uint8Array(10) },
  { path: "/DCIM/A.JPG", content: new Uint8Array(700) },
  { path: "/DCIM/B.JPG", content: new Uint8Array(100) },
  { path: "/DCIM/b.png", content: new Uint8Array(100) },
  { path: "/DCIM/deep/er/C.JPG", content: new Uint8Array(5) },
  { path: "/DCIM/odd[1].jpg", content: new Uint8Array(5) },
  { path: "/empty", kind: "directory" },
  { path: "/music/x.mp3", content: new Uint8Array(5) },
];

function volumeOf(files: readonly StubFile[] = TREE, options: StubOptions = {}): Volume {
  return stubImage(files, options).volume;
}

async function select(request: SelectionRequest, volume = volumeOf()): Promise<Selection> {
  return selectEntries(volume, request);
}

/** Paths of what would be restored, without the directories on the way. */
function chosen({ table }: Selection): string[] {
  const rows = [...table.neededRows()];
  const leaves = rows.filter(
    (row) => row !== 0 && !rows.some((other) => other !== 0 && table.parentOf(other) === row),
  );
  return leaves.map((row) => table.pathOf(row)).sort();
}

describe("selecting files", () => {
  it("takes everything when nothing is named, empty directories too", async () => {
    const selection = await select({});
    expect(chosen(selection)).to.have.members([
      ...["/DCIM/A.JPG", "/DCIM/B.JPG", "/DCIM/b.png", "/DCIM/deep/er/C.JPG", "/DCIM/odd[1].jpg"],
      ...["/README.TXT", "/empty", "/music/x.mp3"],
    ]);
    expect(selection.files).to.equal(7);
    expect(selection.bytes).to.equal(925);
  });

  const cases: readonly (readonly [patterns: string[], expected: string[]])[] = [
    [["/DCIM/A.JPG"], ["/DCIM/A.JPG"]],
    [["DCIM/A.JPG"], ["/DCIM/A.JPG"]],
    [["//DCIM/./a.jpg/"], ["/DCIM/A.JPG"]],
    [["/DCIM/*.jpg"], ["/DCIM/A.JPG", "/DCIM/B.JPG", "/DCIM/odd[1].jpg"]],
    [["/DCIM/odd[1].jpg"], ["/DCIM/odd[1].jpg"]],
    [
      ["**/*.jpg", "/music"],
      ["/DCIM/A.JPG", "/DCIM/B.JPG", "/DCIM/deep/er/C.JPG", "/DCIM/odd[1].jpg", "/music/x.mp3"],
    ],
    [["/DCIM/**/C.JPG"], ["/DCIM/deep/er/C.JPG"]],
    [["/DCIM/**/A.JPG"], ["/DCIM/A.JPG"]],
    [["/DCIM/deep/**"], ["/DCIM/deep/er/C.JPG"]],
    [["/empty/**"], ["/empty"]],
    [["/*/?.png"], ["/DCIM/b.png"]],
    [["**/**/**/er/**/**/C.JPG"], ["/DCIM/deep/er/C.JPG"]],
  ];
  for (const [patterns, expected] of cases) {
    it(`${patterns.join(" ")} takes ${expected.join(" ")}`, async () => {
      expect(chosen(await select({ patterns }))).to.deep.equal([...expected].sort());
    });
  }

  it("names every path and glob that matches nothing", async () => {
    const patterns = ["/DCIM/A.JPG", "/nosuch", "/DCIM/*.gif", "/README.TXT/**"];
    const error = await expectReelError(select({ patterns }), "not-found");
    expect(error.message).to.contain('"/nosuch", "/DCIM/*.gif", "/README.TXT/**"');
    expect(error.message).not.to.contain("A.JPG");
  });

  it("does not let one pattern hide that another within it matches", async () => {
    expect((await select({ patterns: ["/", "/DCIM/A.JPG", "**/*.mp3"] })).files).to.equal(7);
  });

  it("takes the paths of a list as they are", async () => {
    expect(chosen(await select({ paths: ["/DCIM/odd[1].jpg"] }))).to.deep.equal([
      "/DCIM/odd[1].jpg",
    ]);
    await expectReelError(select({ paths: ["/DCIM/*"] }), "not-found");
    await expectReelError(select({ paths: [], patterns: ["../x"] }), "invalid");
    await expectReelError(select({ patterns: [""] }), "invalid");
  });

  it("keeps apart names that differ in case where the volume does", async () => {
    const volume = volumeOf(
      [
        { path: "/a", content: new Uint8Array(1) },
        { path: "/A", content: new Uint8Array(1) },
      ],
      { caseSensitive: true },
    );
    expect(chosen(await select({ patterns: ["/A"] }, volume))).to.deep.equal(["/A"]);
  });

  it("reads only directories that can lead to something", async () => {
    const volume = volumeOf();
    const read: number[] = [];
    const watched: Volume = {
      ...volume,
      readDirectory: async (id) => {
        read.push(id);
        return volume.readDirectory(id);
      },
    };
    await select({ patterns: ["/music/*.mp3"] }, watched);
    expect(read).to.have.length(2);
  });

  it("goes on past a directory that is damaged, and says which", async () => {
    const failure = new ReelError("damaged", "cluster 77 is free");
    const volume = volumeOf([
      { path: "/bad", kind: "directory", failure },
      { path: "/good/x", content: new Uint8Array(1) },
    ]);
    const selection = await select({}, volume);
    expect(chosen(selection)).to.include("/good/x");
    expect(selection.problems).to.deep.equal([
      { path: "/bad", code: "damaged", message: "cluster 77 is free" },
    ]);
    const error = await expectReelError(select({ paths: ["/bad/x"] }, volume), "not-found");
    expect(error.message).to.contain("/bad could not be read: cluster 77 is free");
  });

  it("refuses names that lead out, and directories that lead back", async () => {
    const volume = volumeOf();
    const stat = await volume.stat(1);
    const hostile: Volume = {
      ...volume,
      readDirectory: async () => [
        { name: "..", stat: { ...stat, id: 2 } },
        { name: "a/b", stat: { ...stat, id: 3, kind: "file" } },
        { name: "", stat: { ...stat, id: 3, kind: "file" } },
        { name: "loop", stat },
      ],
    };
    const selection = await select({}, hostile);
    expect(selection.problems.map((each) => each.path)).to.deep.equal(["/", "/", "/", "/loop"]);
    expect(chosen(selection)).to.deep.equal(["/loop"]);
  });

  it("picks 50,000 listed paths from a volume in one walk", async function () {
    this.timeout(20_000);
    const files = Array.from({ length: 50_000 }, (_, i) => ({
      path: `/d${i % 100}/file-${i}.txt`,
      content: new Uint8Array(0),
    }));
    const paths = files.filter((_, i) => i % 2 === 0).map((file) => file.path);
    expect((await select({ paths }, volumeOf(files))).files).to.equal(25_000);
  });
});
