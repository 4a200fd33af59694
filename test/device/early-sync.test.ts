import { expect } from "chai";
import { EarlySync } from "../../src/device/early-sync.ts";
import { expectReelError } from "../support/expect-error.ts";

const MUCH_BYTES = 1 << 30;

describe("storing early", () => {
  it("begins while more is written, once at a time, and ends with all that was written", async () => {
    const finish: (() => void)[] = [];
    const sync = new EarlySync(
      async () =>
        new Promise((resolve) => {
          finish.push(resolve);
        }),
      "the tape",
    );
    sync.wrote(1);
    expect(finish, "for a byte").to.have.length(0);
    sync.wrote(MUCH_BYTES);
    sync.wrote(MUCH_BYTES);
    expect(finish, "for much").to.have.length(1);
    const stored = sync.sync();
    finish[0]?.();
    await sync.settle();
    finish[1]?.();
    await stored;
    expect(finish, "with the last").to.have.length(2);
  });

  it("keeps a failure for all who ask later, since the system tells of it only once", async () => {
    let calls = 0;
    const sync = new EarlySync(async () => {
      if (++calls === 1) throw new Error("the disk is gone");
    }, "the tape");
    sync.wrote(MUCH_BYTES);
    await sync.settle();
    expect(() => {
      sync.check();
    }).to.throw("cannot make the tape durable");
    const failure = await expectReelError(sync.sync(), "io");
    expect(failure.message).to.include("the disk is gone");
  });
});
