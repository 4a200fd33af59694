import { expect } from "chai";
import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { flushFilesystem, type Flushed } from "../../src/tagrestore/flush.ts";
import { withTempFolder } from "../support/temp.ts";

/** What is made of a sync(1) that does this. */
async function flushedBy(script: string | undefined): Promise<Flushed> {
  return withTempFolder(async (folder) => {
    const path = process.env["PATH"];
    if (script !== undefined) {
      await writeFile(join(folder, "sync"), `#!/bin/sh\n${script}\n`);
      await chmod(join(folder, "sync"), 0o755);
    }
    process.env["PATH"] = folder;
    try {
      return await flushFilesystem("/somewhere");
    } finally {
      process.env["PATH"] = path;
    }
  });
}

describe("bringing what was restored to stable storage", () => {
  it("is confirmed by the system", async () => {
    expect(await flushedBy("exit 0")).to.deep.equal({ isConfirmed: true });
  });

  it("fails when the system says why, which it says only once", async () => {
    const script = `echo "sync: error syncing '/somewhere': Input/output error" >&2; exit 1`;
    const expected = { isConfirmed: false, failure: "input/output error" };
    expect(await flushedBy(script)).to.deep.equal(expected);
  });

  it("stays unknown where nobody can be asked", async () => {
    const unknown = { isConfirmed: false };
    expect(await flushedBy(undefined)).to.deep.equal(unknown);
    const script = `echo "sync: invalid option -- 'f'" >&2; exit 1`;
    expect(await flushedBy(script)).to.deep.equal(unknown);
  });
});
