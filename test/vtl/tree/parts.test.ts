/** The numbers of nodes, and what is kept open. */
import { expect } from "chai";
import { ReelError } from "../../../src/errors.ts";
import { madeStat, type Branch } from "../../../src/vtl/tree/branch.ts";
import { ContentCache, type Content } from "../../../src/vtl/tree/content-cache.ts";
import { NodeTable } from "../../../src/vtl/tree/node-table.ts";
import { expectReelError } from "../../support/expect-error.ts";

function branch(isTransient: boolean): Branch {
  return {
    isTransient,
    stat: async () => madeStat("directory", 0),
    lookup: async () => undefined,
    list: async () => [],
    read: async () => 0,
  };
}

describe("numbers of nodes", () => {
  it("lead back to their branch, and are never used again", () => {
    const table = new NodeTable();
    const one = branch(false);
    const two = branch(true);
    const ids = Array.from({ length: 1000 }, (_, key) => [
      table.idOf(one, key, "file"),
      table.idOf(two, key, "directory"),
    ]).flat();
    expect(new Set(ids).size).to.equal(2000);
    expect(table.idOf(two, 999, "file")).to.equal(ids.at(-1));
    expect(table.find(ids.at(-1) ?? 0)).to.deep.equal({ branch: two, key: 999, kind: "file" });
    table.drop(two);
    expect(table.find(ids.at(-1) ?? 0)).to.equal(undefined);
    expect(ids).not.to.include(table.idOf(two, 999, "file"));
    expect(table.size).to.equal(1001);
    for (const id of [0, -1, 0.5, NaN, 2 ** 49]) expect(table.find(id)).to.equal(undefined);
  });

  it("are bounded: what was not looked at for longest is forgotten, what must stay stays", () => {
    const table = new NodeTable(1000);
    const kept = branch(false);
    const keptId = table.idOf(kept, 1, "file");
    const branches = Array.from({ length: 10 }, () => branch(true));
    const firstIds = branches.map((each) => {
      for (let key = 0; key < 99; key++) table.idOf(each, key, "file");
      return table.idOf(each, 0, "file");
    });
    expect(table.find(firstIds[0] ?? 0)).not.to.equal(undefined);
    for (let key = 100; key < 200; key++) table.idOf(kept, key, "file");
    expect(table.size).to.be.at.most(1000);
    expect(table.find(keptId)?.key).to.equal(1);
    // The first was just looked at, the second not.
    expect(table.find(firstIds[1] ?? 0)).to.equal(undefined);
    expect(table.find(firstIds[0] ?? 0)).not.to.equal(undefined);
    const [huge = kept] = branches;
    for (let key = 0; key < 5000; key++) table.idOf(huge, key, "file");
    expect(table.size).to.be.at.most(1000);
  });
});

class TestContent implements Content {
  isClosed = false;
  readonly costBytes = 100;
  async close(): Promise<void> {
    this.isClosed = true;
  }
}

class TestSource {
  readonly opened: TestContent[] = [];
  current: boolean | Promise<boolean> = true;
  failure: ReelError | undefined;
  async open(): Promise<TestContent> {
    if (this.failure !== undefined) throw this.failure;
    const content = new TestContent();
    this.opened.push(content);
    return content;
  }
  isCurrent(): boolean | Promise<boolean> {
    return this.current;
  }
}

describe("what is kept open", () => {
  it("is opened once for all who ask, and closed when others need the room", async () => {
    const cache = new ContentCache(350);
    const sources = Array.from({ length: 6 }, () => new TestSource());
    for (const source of sources) {
      await Promise.all([1, 2, 3].map(async () => cache.use(source, () => undefined)));
    }
    expect(sources.map(({ opened }) => opened.length)).to.deep.equal([1, 1, 1, 1, 1, 1]);
    expect(cache.costBytes).to.equal(300);
    const closed = sources.map(({ opened }) => opened[0]?.isClosed);
    expect(closed).to.deep.equal([true, true, true, false, false, false]);
    await cache.close();
    expect(sources.every(({ opened }) => opened.every(({ isClosed }) => isClosed))).to.equal(true);
    await expectReelError(
      cache.use(new TestSource(), () => undefined),
      "closed",
    );
  });

  it("is not closed while it is used, though it is out of date or dropped", async () => {
    const cache = new ContentCache(1);
    const source = new TestSource();
    await cache.use(source, async (old) => {
      source.current = Promise.resolve(false);
      await cache.use(source, (now) => {
        expect(now).not.to.equal(old);
      });
      source.current = true;
      cache.drop(source);
      expect(old.isClosed).to.equal(false);
    });
    expect(source.opened.map(({ isClosed }) => isClosed)).to.deep.equal([true, true]);
    await cache.close();
  });

  it("is asked again after a failure, in opening and in looking", async () => {
    const cache = new ContentCache();
    const source = new TestSource();
    source.failure = new ReelError("io", "no tape");
    await expectReelError(
      cache.use(source, () => undefined),
      "io",
    );
    source.failure = undefined;
    await cache.use(source, () => undefined);
    source.current = Promise.reject(new ReelError("io", "cannot look"));
    await cache.use(source, () => undefined);
    expect(source.opened).to.have.length(2);
    await cache.close();
  });
});
