import { openSync, writeFileSync } from "node:fs";
import { expect } from "chai";
import { fromSystem, ReelError } from "../src/errors.ts";

function thrownBy(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

describe("what the operating system reports", () => {
  it("is told in its plain words, without the call and without the path again", () => {
    const cause = thrownBy(() => openSync("/nowhere/a 'quoted' name", "r"));
    const error = fromSystem(cause, "cannot open the tape");
    expect(error.message).to.equal("cannot open the tape: no such file or directory");
    expect(error.code).to.equal("not-found");
    expect(error.cause).to.equal(cause);
  });

  it("has no path to repeat where a disk is full", () => {
    const cause = thrownBy(() => {
      writeFileSync("/dev/full", "x");
    });
    const error = fromSystem(cause, "cannot write to /dev/full");
    expect(error.message).to.equal("cannot write to /dev/full: no space left on device");
    expect(error.code).to.equal("no-space");
  });

  it("is told in words also where Node has none for it", () => {
    const message = "Unknown system error -122: Unknown system error -122, write";
    const cause = Object.assign(new Error(message), {
      errno: -122,
      code: "Unknown system error -122",
    });
    const error = fromSystem(cause, "cannot write a.tap");
    expect(error.message).to.equal("cannot write a.tap: disk quota exceeded");
    expect(error.code).to.equal("no-space");
  });

  it("keeps the words of an error that is not the system's, and a ReelError as it is", () => {
    expect(fromSystem(new Error("odd"), "cannot go").message).to.equal("cannot go: odd");
    expect(fromSystem("odd", "cannot go").message).to.equal("cannot go: odd");
    const own = new ReelError("busy", "in use");
    expect(fromSystem(own, "cannot go")).to.equal(own);
  });
});
