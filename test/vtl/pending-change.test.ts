import { expect } from "chai";
import { link, mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { exportVirtualTape, importVirtualTapes } from "../../src/vtl/import-export.ts";
import { skipUnless } from "../support/skip.ts";
import { makeLoader, placesOf, type LoaderInFolder } from "./loader-fixture.ts";

/** What was written down, which files there were when the process died, and what must be after. */
interface Case {
  readonly what: string;
  readonly operation: "create" | "delete" | "import" | "export";
  /** The tape in question is named X; its file in the loader, and the one outside. */
  readonly inside?: string;
  readonly outside?: string;
  readonly takeAway?: boolean;
  /** Inside and outside are two names of one file. */
  readonly linked?: boolean;
  readonly isThere: boolean;
  readonly insideAfter?: string;
  readonly outsideAfter?: string;
}

const CASES: readonly Case[] = [
  { what: "before the tape was made", operation: "create", isThere: false },
  { what: "after the tape was made", operation: "create", inside: "", isThere: false },
  { what: "before the tape was deleted", operation: "delete", inside: "data", isThere: false },
  { what: "after the tape was deleted", operation: "delete", isThere: false },
  {
    what: "before the tape arrived",
    operation: "import",
    outside: "data",
    takeAway: true,
    isThere: false,
    outsideAfter: "data",
  },
  {
    what: "after the tape arrived",
    operation: "import",
    outside: "data",
    linked: true,
    takeAway: true,
    isThere: true,
    insideAfter: "data",
  },
  {
    what: "with a file elsewhere that is another one",
    operation: "import",
    outside: "mine",
    inside: "data",
    takeAway: true,
    isThere: true,
    insideAfter: "data",
    outsideAfter: "mine",
  },
  {
    what: "after a copy arrived",
    operation: "import",
    outside: "data",
    inside: "data",
    isThere: true,
    insideAfter: "data",
    outsideAfter: "data",
  },
  {
    what: "before the tape had left",
    operation: "export",
    inside: "data",
    isThere: true,
    insideAfter: "data",
  },
  {
    what: "when the tape was in both places",
    operation: "export",
    inside: "data",
    outside: "data",
    isThere: false,
    outsideAfter: "data",
  },
  {
    what: "after the tape had left",
    operation: "export",
    outside: "data",
    isThere: false,
    outsideAfter: "data",
  },
];

describe("a change of tapes that was cut short", () => {
  let made: LoaderInFolder;

  beforeEach(async () => {
    made = await makeLoader({ slots: 3, tapes: 1 });
  });

  afterEach(async () => made.remove());

  const textOf = async (path: string): Promise<string | undefined> =>
    readFile(path, "utf8").catch(() => undefined);

  for (const each of CASES) {
    it(`${each.operation}: ${each.what}`, async () => {
      const path = join(made.folder, "X.tap");
      const inside = join(made.path, "tapes", "X.tap");
      const element = { kind: "storage", number: 2, barcode: "X" };
      const tape = { element, path, takeAway: each.takeAway };
      const file = join(made.path, "slotmap.json");
      const map = JSON.parse(await readFile(file, "utf8")) as object;
      const pending = { operation: each.operation, tapes: [tape] };
      await writeFile(file, JSON.stringify({ ...map, pending }));
      if (each.inside !== undefined) await writeFile(inside, each.inside);
      if (each.outside !== undefined) await writeFile(path, each.outside);
      if (each.linked === true) await link(path, inside);
      await using loader = await made.open();
      expect(await placesOf(loader)).to.deep.equal(
        each.isThere ? ["REEL0001 storage:1", "X storage:2"] : ["REEL0001 storage:1"],
      );
      expect(await textOf(inside)).to.equal(each.insideAfter);
      expect(await textOf(path)).to.equal(each.outsideAfter);
      expect(await readFile(file, "utf8")).to.not.include("pending");
    });
  }

  it("tapes go to another file system and come back", async function () {
    const shared = await mkdtemp("/dev/shm/reelfs-test-").catch(() => undefined);
    skipUnless(this, shared !== undefined, "there is no /dev/shm");
    if (shared === undefined) return;
    try {
      const isOther = (await stat(shared)).dev !== (await stat(made.folder)).dev;
      skipUnless(this, isOther, "/dev/shm is on the same file system");
      await using loader = await made.open();
      await writeFile(join(made.path, "tapes", "REEL0001.tap"), "some bytes");
      const path = join(shared, "REEL0001.tap");
      await exportVirtualTape(loader, "REEL0001", path);
      expect(await textOf(path)).to.equal("some bytes");
      expect(await readdir(join(made.path, "tapes"))).to.deep.equal([]);
      await importVirtualTapes(loader, [path]);
      expect(await readdir(shared)).to.deep.equal([]);
      expect(await placesOf(loader)).to.deep.equal(["REEL0001 storage:1"]);
      expect(await textOf(join(made.path, "tapes", "REEL0001.tap"))).to.equal("some bytes");
    } finally {
      await rm(shared, { recursive: true });
    }
  });
});
