import { expect } from "chai";
import { readFile, readdir, symlink, utimes, writeFile } from "node:fs/promises";
import { hostname, uptime } from "node:os";
import { join } from "node:path";
import { openSimhTape } from "../../src/tape/simh-tape.ts";
import { expectReelError } from "../support/expect-error.ts";
import { patternBytes } from "../support/pattern.ts";
import { makeTempFolder } from "../support/temp.ts";
import { runWriter } from "./run-writer.ts";

describe("one writer per tape", () => {
  let folder: string;
  let remove: () => Promise<void>;
  let path: string;

  beforeEach(async () => {
    ({ folder, remove } = await makeTempFolder());
    path = join(folder, "test.tap");
  });

  afterEach(async () => remove());

  it("a second writer is told who has it; readers are let in", async () => {
    await using first = await openSimhTape(path, { mode: "write", create: true });
    await symlink(path, join(folder, "same.tap"));
    for (const name of ["test.tap", "same.tap"]) {
      const error = await expectReelError(
        openSimhTape(join(folder, name), { mode: "write" }),
        "busy",
      );
      expect(error.message).to.include(`process ${process.pid} on`).and.include("test.tap.lock");
    }
    await using reader = await openSimhTape(path, { mode: "read" });
    expect((await reader.read(new Uint8Array(1))).kind).to.equal("end-of-data");
    await first.close();
    expect((await readdir(folder)).sort()).to.deep.equal(["same.tap", "test.tap"]);
    await using next = await openSimhTape(path, { mode: "write" });
    await next.write([patternBytes(1)]);
  });

  it("only one of many at once gets it", async () => {
    await writeFile(path, "");
    // A lock of a process that is gone: all of them want to take it over.
    const dead = { pid: 2 ** 22 + 5, started: "1", host: hostname(), since: "long ago" };
    await writeFile(`${path}.lock`, JSON.stringify(dead));
    const tries = await Promise.allSettled(
      Array.from({ length: 12 }, () => openSimhTape(path, { mode: "write" })),
    );
    const won = tries.filter((each) => each.status === "fulfilled");
    expect(won.length).to.equal(1);
    await won[0]?.value.close();
    expect(await readdir(folder)).to.deep.equal(["test.tap"]);
  });

  it("a number that another process has now is no owner", async () => {
    await writeFile(path, "");
    const old = { pid: process.pid, started: "1", host: hostname(), since: "before the reboot" };
    await writeFile(`${path}.lock`, JSON.stringify(old));
    await using drive = await openSimhTape(path, { mode: "write" });
    expect(await readFile(`${path}.lock`, "utf8")).to.not.include("before the reboot");
    await drive.write([patternBytes(1)]);
  });

  it("a lock that nobody can judge is left alone", async () => {
    await writeFile(path, "");
    const elsewhere = { pid: 1, started: "1", host: "another.example", since: "today" };
    for (const text of [JSON.stringify(elsewhere), "", "{}", '{"pid": -4}', "null"]) {
      await writeFile(`${path}.lock`, text);
      await expectReelError(openSimhTape(path, { mode: "write" }), "busy");
      expect(await readFile(`${path}.lock`, "utf8")).to.equal(text);
    }
  });

  it("a lock without text is a power cut's when it is older than the machine's start", async () => {
    await writeFile(path, "");
    for (const text of ["", "\0".repeat(100), '{"pid": 12']) {
      await writeFile(`${path}.lock`, text);
      await expectReelError(openSimhTape(path, { mode: "write" }), "busy");
      const beforeStartSeconds = Date.now() / 1000 - uptime() - 5;
      await utimes(`${path}.lock`, beforeStartSeconds, beforeStartSeconds);
      await using drive = await openSimhTape(path, { mode: "write" });
      expect((await drive.position()).object).to.equal(0);
    }
    expect(await readdir(folder)).to.deep.equal(["test.tap"]);
  });

  it("a writer that was killed loses nothing that was acknowledged, and its lock", async function () {
    this.timeout(30_000);
    for (const stopAt of [1, 12]) {
      let seen = 0;
      const { lines } = await runWriter(path, {
        recordsPerFile: 3,
        killAt: () => ++seen > stopAt,
      });
      expect(await readdir(folder)).to.include("test.tap.lock");
      const acknowledged = Number(
        lines.findLast((line) => line.startsWith("durable"))?.split(" ")[1],
      );
      expect(acknowledged).to.be.greaterThan(0);
      await using drive = await openSimhTape(path, { mode: "write" });
      const target = new Uint8Array(10_000);
      for (let record = 0; record < acknowledged; record++) {
        expect(await drive.read(target), `record ${record}`).to.include({ lengthBytes: 10_000 });
        expect(Buffer.compare(target, patternBytes(10_000, record))).to.equal(0);
        if (record % 3 === 2) expect((await drive.read(target)).kind).to.equal("filemark");
      }
      // Whatever was under way when the end came does not stand in the way of going on.
      const { object } = await drive.spaceToEndOfData();
      await drive.write([patternBytes(7, 1)]);
      await drive.locate(object);
      expect(await drive.read(target)).to.include({ lengthBytes: 7 });
      await drive.rewind();
      await drive.writeFilemarks(1);
    }
  });
});
