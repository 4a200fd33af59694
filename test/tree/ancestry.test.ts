import { expect } from "chai";
import { Ancestry } from "../../src/tree/ancestry.ts";

/** 1 is the root; 2 and 5 are in it; 3 in 2; 4 in 3. */
const CHILDREN = new Map([
  [1, [2, 5]],
  [2, [3]],
  [3, [4]],
]);

describe("ancestry", () => {
  let asked: number;
  const subdirectories = async (id: number): Promise<number[]> => {
    asked++;
    return CHILDREN.get(id) ?? [];
  };
  const noteAll = (ancestry: Ancestry): Ancestry => {
    for (const [parent, children] of CHILDREN) {
      for (const child of children) ancestry.note(child, parent);
    }
    return ancestry;
  };
  beforeEach(() => {
    asked = 0;
  });

  const check = async (ancestry: Ancestry): Promise<void> => {
    for (const [id, ancestor, within] of [
      [4, 2, true],
      [2, 2, true],
      [4, 5, false],
      [5, 2, false],
      [2, 4, false],
      [4, 1, true],
      [1, 2, false],
    ] as const) {
      const answer = await ancestry.isWithin(id, ancestor, subdirectories);
      expect(answer, `${id} in ${ancestor}`).to.equal(within);
    }
  };

  it("climbs by the parents it noted, without asking for directories", async () => {
    await check(noteAll(new Ancestry(1)));
    expect(asked).to.equal(0);
  });

  it("comes to the same answer when it has forgotten parents", async () => {
    await check(noteAll(new Ancestry(1, 2)));
    await check(new Ancestry(1));
    expect(asked).to.be.greaterThan(0);
  });

  it("follows a directory that moved", async () => {
    const ancestry = noteAll(new Ancestry(1));
    ancestry.note(3, 5);
    expect(await ancestry.isWithin(4, 5, subdirectories)).to.be.true;
    expect(await ancestry.isWithin(4, 2, subdirectories)).to.be.false;
  });

  it("ends even if parents were noted in a loop", async () => {
    const ancestry = new Ancestry(1);
    ancestry.note(2, 3);
    ancestry.note(3, 2);
    expect(await ancestry.isWithin(2, 5, subdirectories)).to.be.false;
  });
});
