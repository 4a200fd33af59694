import { expect } from "chai";
import { FoundOnce } from "../../src/device/found-once.ts";
import { ReelError } from "../../src/errors.ts";
import { expectReelError } from "../support/expect-error.ts";

describe("what is found out once", () => {
  it("is not looked for before somebody asks, and then once for all who ask", async () => {
    let asked = 0;
    const answer = new FoundOnce(async () => ++asked);
    expect(asked).to.equal(0);
    expect(await Promise.all([answer.get(), answer.get()])).to.deep.equal([1, 1]);
    expect(await answer.get()).to.equal(1);
  });

  it("is looked for again after it could not be found out", async () => {
    let asked = 0;
    const answer = new FoundOnce(async () => {
      asked += 1;
      if (asked === 1) throw new ReelError("io", "the disk does not answer");
      return asked;
    });
    const together = await Promise.allSettled([answer.get(), answer.get()]);
    expect(together.map(({ status }) => status)).to.deep.equal(["rejected", "rejected"]);
    expect(await answer.get()).to.equal(2);
  });

  it("fails with what looking for it failed with", async () => {
    const answer = new FoundOnce<number>(async () => {
      throw new ReelError("damaged", "the bitmap is cut short");
    });
    const error = await expectReelError(answer.get(), "damaged");
    expect(error.message).to.equal("the bitmap is cut short");
  });
});
