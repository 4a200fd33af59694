/** What the tracker answers to backups, also to those that make no sense. */
import { expect } from "chai";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ReelError } from "../../src/errors.ts";
import type { ControlConnection } from "../../src/fuse/control.ts";
import { type BegunBackup, RUNS_MAX, trackControl } from "../../src/track/track-control.ts";
import { TrackTree, VOLUME_FILE } from "../../src/track/track-tree.ts";
import { Tracker } from "../../src/track/tracker.ts";
import { expectReelError } from "../support/expect-error.ts";
import { contentOf, idOf } from "../support/memory-tree.ts";
import { withTempFolder } from "../support/temp.ts";

const UUID = "01234567-89ab-4cde-8f01-23456789abcd";
const SIZE = 16 * 4096;

/** A connection that the test ends. */
class TestConnection implements ControlConnection {
  readonly #callbacks: (() => void)[] = [];

  onClose(callback: () => void): void {
    this.#callbacks.push(callback);
  }

  end(): void {
    for (const callback of this.#callbacks) callback();
  }
}

interface Opened {
  readonly tree: TrackTree;
  readonly tracker: Tracker;
  readonly ask: (connection: TestConnection, request: object) => Promise<unknown>;
}

async function withTracker(body: (opened: Opened) => Promise<void>): Promise<void> {
  await withTempFolder(async (folder) => {
    const runtime = process.env["XDG_RUNTIME_DIR"];
    process.env["XDG_RUNTIME_DIR"] = folder;
    try {
      const source = join(folder, "source.img");
      await writeFile(source, Buffer.alloc(SIZE, 5));
      const tracker = await Tracker.open(source);
      const tree = new TrackTree(tracker);
      const control = trackControl(tree, tracker.device, {
        sourcePath: source,
        begins: "track-begin",
      });
      const ask = async (connection: TestConnection, request: object): Promise<unknown> =>
        control.perform(new Map(Object.entries(request)), connection);
      await body({ tree, tracker, ask });
      await tree.close();
    } finally {
      if (runtime === undefined) delete process.env["XDG_RUNTIME_DIR"];
      else process.env["XDG_RUNTIME_DIR"] = runtime;
    }
  });
}

describe("a tracker and its backups", () => {
  it("is not busy after a backup for which what writes could not be let go on", async () => {
    await withTracker(async ({ tree, tracker }) => {
      let isStuck = true;
      const control = trackControl(tree, tracker.device, {
        sourcePath: "/mnt/server",
        begins: "commit-begin",
        quiet: async (begin) => {
          await begin();
          if (isStuck) throw new ReelError("io", "cannot let /mnt/server go on");
          return ["it was synced"];
        },
      });
      const request = new Map(Object.entries({ op: "commit-begin", freeze: "copy" }));
      const begin = async (): Promise<unknown> => control.perform(request, new TestConnection());
      await expectReelError(begin(), "io");
      isStuck = false;
      expect(await begin()).to.deep.include({ notices: ["it was synced"] });
    });
  });

  it("shows each backup a file of its own, which refuses to be written", async () => {
    await withTracker(async ({ tree, tracker, ask }) => {
      const connection = new TestConnection();
      const begun = (await ask(connection, { op: "track-begin", freeze: "copy" })) as BegunBackup;
      expect(begun).to.include({ file: "snapshot-1.img", image: null, sizeBytes: SIZE });
      await tree.writable.write(await idOf(tree, VOLUME_FILE), 0, Buffer.from("new"));
      expect((await contentOf(tree, begun.file)).equals(Buffer.alloc(SIZE, 5))).to.equal(true);
      const names = (await tree.readDirectory(tree.rootId)).map(({ name }) => name);
      expect(names).to.deep.equal([VOLUME_FILE, begun.file]);
      const id = await idOf(tree, begun.file);
      await expectReelError(tree.writable.write(id, 0, Buffer.from("x")), "read-only");
      await expectReelError(tree.writable.setAttributes(id, { mode: 0 }), "read-only");
      await ask(connection, { op: "track-done", image: UUID });
      connection.end();
      expect(await tree.lookup(tree.rootId, begun.file)).to.equal(undefined);
      await expectReelError(tree.read(id, 0, new Uint8Array(1)), "not-found");
      expect(tracker.device.dirt.image).to.equal(UUID);
      expect(tracker.device.dirt.bitmap.count).to.equal(1);
      const next = (await ask(new TestConnection(), { op: "track-begin" })) as BegunBackup;
      expect(next).to.deep.include({ file: "snapshot-2.img", image: UUID, dirty: [0, 1] });
    });
  });

  it("forgets nothing when a connection ends before its backup is done", async () => {
    await withTracker(async ({ tree, tracker, ask }) => {
      const first = new TestConnection();
      await ask(first, { op: "track-begin" });
      await ask(first, { op: "track-done", image: UUID });
      first.end();
      const id = await idOf(tree, VOLUME_FILE);
      await tree.writable.write(id, 3 * 4096, Buffer.from("x"));
      const second = new TestConnection();
      await ask(second, { op: "track-begin" });
      const waiting = tree.writable.write(id, 5 * 4096, Buffer.from("x"));
      second.end();
      await waiting;
      expect([...tracker.device.dirt.bitmap.extents()]).to.deep.equal([
        [3, 1],
        [5, 1],
      ]);
      await expectReelError(ask(second, { op: "track-done", image: UUID }), "closed");
    });
  });

  it("refuses requests that make no sense", async () => {
    await withTracker(async ({ ask }) => {
      const connection = new TestConnection();
      expect(await ask(connection, { op: "tags" })).to.equal(undefined);
      for (const request of [
        { op: "track-plan", data: [], control: [] },
        { op: "track-passed", section: "data", block: 1 },
        { op: "track-done", image: UUID },
        { op: "track-begin", cacheBytes: -1 },
      ]) {
        await expectReelError(ask(connection, request), "invalid");
      }
      await ask(connection, { op: "track-begin" });
      for (const request of [
        { op: "track-begin" },
        { op: "track-plan", data: [1], control: [] },
        { op: "track-plan", data: [1, "2"], control: [] },
        { op: "track-plan", data: new Array(2 * RUNS_MAX + 2).fill(1), control: [] },
        { op: "track-passed", section: "map", block: 1 },
        { op: "track-passed", section: "data", block: -1 },
        { op: "track-done", image: "x" },
      ]) {
        await expectReelError(ask(connection, request), "invalid");
      }
      await expectReelError(ask(new TestConnection(), { op: "track-begin" }), "busy");
      connection.end();
    });
  });
});
