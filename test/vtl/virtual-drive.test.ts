import { expect } from "chai";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { tapeAt, withTape } from "../../src/vtl/slot-map.ts";
import { expectReelError } from "../support/expect-error.ts";
import { patternBytes } from "../support/pattern.ts";
import { tapeDriveSuite } from "../support/tape-drive-suite.ts";
import { drive, makeLoader, placesOf, slot, type LoaderInFolder } from "./loader-fixture.ts";

tapeDriveSuite("a drive of a virtual loader", async () => {
  const made = await makeLoader({ slots: 2, tapes: 1 });
  {
    await using loader = await made.open();
    await loader.move(slot(1), drive(0));
  }
  return {
    open: async (mode, limits) => {
      const loader = await made.open();
      await loader.folder.change("test", async ({ config, map, saveMap, saveConfig }) => {
        const element = tapeAt(map, drive(0));
        if (element === undefined) return;
        const capacityBytes = limits?.capacityBytes;
        const writeProtected = mode === "read";
        await saveMap(withTape(map, element, { ...element.tape, capacityBytes, writeProtected }));
        const earlyWarningBytes = limits?.earlyWarningBytes;
        const policies = { ...config.policies, earlyWarningBytes };
        await saveConfig({ ...config, policies });
      });
      return loader.drive(0);
    },
    remove: async () => made.remove(),
  };
});

describe("drives of a virtual loader", () => {
  let made: LoaderInFolder;

  beforeEach(async () => {
    made = await makeLoader({ slots: 4, drives: 2, tapes: 2 });
  });

  afterEach(async () => made.remove());

  it("keep a tape's position between two commands, until it is unloaded or the machine restarts", async () => {
    const command = async (body: (object: number) => Promise<number>): Promise<void> => {
      await using loader = await made.open({ keepPositions: true });
      const { object } = await loader.drive(0).position();
      await loader.drive(0).locate(await body(object));
    };
    {
      await using loader = await made.open({ keepPositions: true });
      await loader.move(slot(1), drive(0));
      for (let record = 0; record < 9; record++) {
        await loader.drive(0).write([patternBytes(50, record)]);
      }
      await loader.drive(0).setBlockBytes(512);
    }
    const expectAt = async (expected: number, next = expected): Promise<void> =>
      command(async (object) => {
        expect(object).to.equal(expected);
        return next;
      });
    await expectAt(9, 4);
    await expectAt(4, 7);
    const note = join(made.path, "drives", "0.json");
    const text = await readFile(note, "utf8");
    await writeFile(note, text.replace(/"boot":"[^"]*"/, '"boot":"another start"'));
    await expectAt(0, 5);
    {
      await using loader = await made.open({ keepPositions: true });
      expect(await loader.drive(0).blockBytes()).to.equal(512);
      await loader.drive(0).unload();
      await loader.drive(0).load();
    }
    await expectAt(0, 6);
    {
      await using loader = await made.open({ keepPositions: true });
      await loader.move(drive(0), slot(1));
      await loader.move(slot(1), drive(0));
    }
    await expectAt(0, 3);
    // A program that keeps no positions takes the drive over: at the beginning, for all after it.
    {
      await using loader = await made.open();
      expect((await loader.drive(0).position()).object).to.equal(0);
    }
    await expectAt(0);
    await writeFile(note, "nonsense");
    await expectAt(0);
  });

  it("are one process's at a time, and the others are told whose", async function () {
    this.timeout(20_000);
    {
      await using loader = await made.open();
      await loader.move(slot(1), drive(0));
    }
    const script = new URL("drive-process.ts", import.meta.url).pathname;
    const child = spawn(process.execPath, ["--import", "tsx", script, made.path], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const exited = once(child, "exit");
    try {
      await once(child.stdout, "data");
      await using loader = await made.open();
      for (const call of [
        () => loader.drive(0).position(),
        () => loader.move(drive(0), slot(1)),
        () => loader.exchange(slot(2), drive(0), slot(1)),
        () => loader.drive(0).unload(),
      ]) {
        const error = await expectReelError(call(), "busy");
        expect(error.message)
          .to.include(`process ${child.pid ?? 0}`)
          .and.include("drive 0");
      }
      await loader.move(slot(2), drive(1));
      expect(await placesOf(loader)).to.deep.equal(["REEL0001 drive:0", "REEL0002 drive:1"]);
      child.kill("SIGKILL");
      await exited;
      // Its lock is stale now.
      expect(await loader.drive(0).position()).to.include({ object: 0 });
      expect(await loader.drive(0).read(new Uint8Array(10))).to.include({ lengthBytes: 10 });
      await loader.move(drive(0), slot(1));
    } finally {
      child.kill("SIGKILL");
    }
  });

  it("let go of the drive when they are told to", async () => {
    await using one = await made.open();
    await using other = await made.open();
    await one.move(slot(1), drive(0));
    await one.drive(0).write([patternBytes(10)]);
    await expectReelError(other.move(drive(0), slot(1)), "busy");
    await one.drive(0).release();
    await other.move(drive(0), slot(3));
    await expectReelError(one.drive(0).position(), "no-medium");
    expect(one.drive(0).medium()).to.equal(undefined);
    expect((await one.element(slot(3))).tape?.barcode).to.equal("REEL0001");
  });

  it("a loader that another process is changing is waited for; a dead one's lock is no matter", async () => {
    const dead = { pid: 2 ** 22 + 5, started: "1", host: hostname(), since: "long ago" };
    await writeFile(join(made.path, "loader.lock"), JSON.stringify(dead));
    await writeFile(join(made.path, "slotmap.json.new"), "half written");
    const loaders = await Promise.all(Array.from({ length: 6 }, async () => made.open()));
    const moves = loaders.flatMap((loader) => [
      loader.move(slot(1), slot(3)),
      loader.move(slot(3), slot(1)),
    ]);
    await Promise.allSettled(moves);
    for (const loader of loaders) {
      expect((await placesOf(loader)).map((each) => each.split(" ")[0]).sort()).to.deep.equal([
        "REEL0001",
        "REEL0002",
      ]);
      await loader.close();
    }
  });
});
