import { expect } from "chai";
import { access, readdir, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { startControl } from "../../src/fuse/control.ts";
import type { Mounted } from "../../src/fuse/mount-tree.ts";
import { mountFiles, sweepRecords, writeRecord } from "../../src/fuse/registry.ts";
import { TreeHandlers } from "../../src/fuse/tree-handlers.ts";
import { makeTempFolder } from "../support/temp.ts";
import { ScratchTree } from "./scratch-tree.ts";

const IMAGE = { spec: "/t.tap#1", uuid: "u" };

describe("the control socket and the record of a mount", () => {
  const before = process.env["XDG_RUNTIME_DIR"];
  let folder = "";
  let remove = async (): Promise<void> => undefined;

  beforeEach(async () => {
    ({ folder, remove } = await makeTempFolder());
    process.env["XDG_RUNTIME_DIR"] = folder;
  });

  afterEach(async () => {
    if (before === undefined) delete process.env["XDG_RUNTIME_DIR"];
    else process.env["XDG_RUNTIME_DIR"] = before;
    await remove();
  });

  /** A control server over a scratch tree, asked in raw lines. */
  async function withServer(
    work: (ask: (text: string) => Promise<string>) => Promise<void>,
  ): Promise<void> {
    const tree = new ScratchTree();
    tree.addFile("/a/b", "x");
    const mounted: Mounted = {
      mountpoint: join(folder, "mnt"),
      tagging: new TreeHandlers(tree),
      finished: Promise.resolve(),
      statistics: () => ({
        operations: { read: 3 },
        ...{ bytesRead: 5, bytesWritten: 0, failures: 0, openFiles: 0, cachedNames: 0, tags: 0 },
      }),
      unmount: async () => undefined,
    };
    const { mountpoint } = mounted;
    const record = await writeRecord({ mountpoint, image: IMAGE, readOnly: false });
    const server = await startControl({
      mounted,
      record,
      statistics: () => ({ image: { recordsRead: 7 } }),
    });
    try {
      await work(async (text) => {
        const socket = connect(record.socket);
        socket.on("error", () => undefined);
        let answer = "";
        socket.setEncoding("utf8").on("data", (part: string) => {
          answer += part;
          if (answer.split("\n").length > text.split("\n").length - 1) socket.end();
        });
        socket.write(text);
        // Not once(): a connection that is cut off ends with an error first.
        await new Promise((resolve) => socket.on("close", resolve));
        return answer;
      });
    } finally {
      await server.close();
    }
  }

  it("answers every line in turn", async () => {
    await withServer(async (ask) => {
      const answers = await ask(
        '{"op":"tag","paths":["/a/b","/no"]}\n{"op":"tags","from":0}\nnonsense\n{"op":"statistics"}\n',
      );
      const [tag, tags, wrong, statistics] = answers
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line) as { ok: boolean; result?: unknown; code?: string });
      expect(tag?.result).to.deep.equal({
        done: 1,
        failed: [{ path: "/no", message: "there is no /no in the mount" }],
      });
      expect(tags?.result).to.deep.equal({
        tags: [{ path: "/a/b", imagePath: "/a/b" }],
        total: 1,
      });
      expect(wrong).to.deep.include({ ok: false, code: "invalid" });
      expect(statistics?.result).to.have.nested.property("mount.bytesRead", 5);
      expect(statistics?.result).to.have.nested.property("image.recordsRead", 7);
    });
  });

  it("cuts off who sends a line without end, and serves the next", async () => {
    await withServer(async (ask) => {
      expect(await ask("x".repeat(2 << 20))).to.equal("");
      expect(await ask('{"op":"status"}\n')).to.contain(IMAGE.spec);
    });
  });

  it("leaves no socket behind", async () => {
    await withServer(async () => undefined);
    const { socket } = await mountFiles(join(folder, "mnt"));
    let left = true;
    await access(socket).catch(() => (left = false));
    expect(left).to.be.false;
  });

  it("sweeps records of daemons that are gone, and no others", async () => {
    const served = await writeRecord({ mountpoint: "/served", image: IMAGE, readOnly: true });
    const dead = await mountFiles("/dead");
    const record = { ...served, mountpoint: "/dead", processStart: "1", socket: dead.socket };
    await writeFile(dead.record, JSON.stringify(record));
    await writeFile(`${dead.record.slice(0, -5)}x.json`, "no record at all");
    await sweepRecords();
    const left = await readdir(join(folder, "reelfs"));
    const { record: kept } = await mountFiles("/served");
    expect(left.filter((name) => kept.endsWith(name))).to.have.length(1);
    expect(left.filter((name) => dead.record.endsWith(name))).to.have.length(0);
  });
});
