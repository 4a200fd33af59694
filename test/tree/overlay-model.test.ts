/**
 * The overlay against a model that holds everything in memory, the plain way: the same random calls
 * to both, the same outcomes and the same bytes wanted. Some runs have a budget that runs out: then
 * a call may say "no-space", and must have changed nothing.
 */
import { expect } from "chai";
import { isReelError, ReelError } from "../../src/errors.ts";
import type { ErrorCode } from "../../src/errors.ts";
import type { NodeId, NodeKind } from "../../src/tree/file-tree.ts";
import { OverlayTree } from "../../src/tree/overlay-tree.ts";
import { VolumeTree } from "../../src/tree/volume-tree.ts";
import { literalNode } from "../support/memory-tree.ts";
import type { TreeLiteral } from "../support/memory-tree.ts";
import { MemoryVolume } from "../support/memory-volume.ts";
import { chance, randomBytes, withRandom } from "../support/random.ts";
import type { SeededRandom } from "../support/seeded-random.ts";

const upper = (name: string): string => name.toUpperCase();

const NAMES = ["a", "B", "b.txt", "ß", "ﬀ", "__proto__", "constructor", " x ", "naïve ☃", "日本語"];
const OTHER_CASE = ["A", "B.TXT", "NAÏVE ☃", "CONSTRUCTOR"];
const FILE_MAX_BYTES = 40_000;

interface ModelNode {
  kind: NodeKind;
  content: Buffer;
  /** By folded name. */
  children: Map<string, { name: string; node: ModelNode }>;
  target: string;
  mode: number | undefined;
  modifiedMs: number | undefined;
  xattrs: Map<string, string>;
  /** Handles that were retained. */
  open: number;
  names: number;
  id: NodeId;
}

function modelOf(value: TreeLiteral[string], fold: (name: string) => string): ModelNode {
  const literal = literalNode(value);
  const node = newModelNode(literal.kind);
  node.content = literal.kind === "file" ? Buffer.from(literal.content) : Buffer.alloc(0);
  for (const [name, child] of Object.entries(literal.children)) {
    node.children.set(fold(name), { name, node: modelOf(child, fold) });
  }
  return node;
}

function newModelNode(kind: ModelNode["kind"]): ModelNode {
  return {
    kind,
    content: Buffer.alloc(0),
    children: new Map(),
    target: "",
    mode: undefined,
    modifiedMs: undefined,
    xattrs: new Map(),
    open: 0,
    names: 1,
    id: -1,
  };
}

function fail(code: ErrorCode): never {
  throw new ReelError(code, `the model says ${code}`);
}

/** Random calls to an overlay and the model, and the comparison of the two. */
class Pair {
  readonly #overlay: OverlayTree;
  readonly #root: ModelNode;
  readonly #random: SeededRandom;
  readonly #fold: (name: string) => string;
  #opened: ModelNode[] = [];
  noSpace = 0;
  calls = 0;

  constructor(
    overlay: OverlayTree,
    root: ModelNode,
    random: SeededRandom,
    fold: (name: string) => string,
  ) {
    this.#overlay = overlay;
    this.#root = root;
    this.#random = random;
    this.#fold = fold;
    root.id = overlay.rootId;
  }

  /** Gives the model the ids of the tree, so that both mean the same node. */
  async adoptIds(node = this.#root): Promise<void> {
    for (const { name, node: child } of node.children.values()) {
      child.id = (await this.#overlay.lookup(node.id, name))?.stat.id ?? -1;
      if (child.kind === "directory") await this.adoptIds(child);
    }
  }

  /** Runs one call on both: the same outcome, or "no-space" and no change. */
  async #both<T>(
    call: () => Promise<T>,
    model: () => void,
    undoable = true,
  ): Promise<T | undefined> {
    this.calls++;
    let wanted: string | undefined;
    let outcome: string | undefined;
    let result: T | undefined;
    try {
      result = await call();
    } catch (error) {
      if (!isReelError(error)) throw error;
      outcome = error.code;
    }
    if (outcome === "no-space") {
      if (!undoable) throw new Error("deleting was refused for want of space");
      this.noSpace++;
      return undefined;
    }
    try {
      model();
    } catch (error) {
      if (!isReelError(error)) throw error;
      wanted = error.code;
    }
    if (outcome !== wanted) {
      throw new Error(
        `call ${this.calls}: ${String(outcome)} where the model has ${String(wanted)}`,
      );
    }
    return result;
  }

  #directories(node = this.#root, found: ModelNode[] = []): ModelNode[] {
    found.push(node);
    for (const { node: child } of node.children.values()) {
      if (child.kind === "directory") this.#directories(child, found);
    }
    return found;
  }

  #anyNode(): ModelNode {
    const directory = this.#random.pick(this.#directories());
    const children = [...directory.children.values()];
    if (this.#opened.length > 0 && chance(this.#random, 20)) return this.#random.pick(this.#opened);
    return children.length === 0 ? directory : this.#random.pick(children).node;
  }

  #anyFile(): ModelNode {
    for (let tries = 0; tries < 6; tries++) {
      const node = this.#anyNode();
      if (node.kind === "file") return node;
    }
    return this.#anyNode();
  }

  #name(directory: ModelNode): string {
    const there = [...directory.children.values()];
    if (there.length > 0 && chance(this.#random, 60)) {
      const { name } = this.#random.pick(there);
      return chance(this.#random, 30) ? this.#fold(name) : name;
    }
    return this.#random.pick(chance(this.#random, 30) ? OTHER_CASE : NAMES);
  }

  async step(): Promise<void> {
    const steps: readonly [weight: number, run: () => Promise<void>][] = [
      [22, async () => this.#write()],
      [8, async () => this.#truncate()],
      [12, async () => this.#create()],
      [12, async () => this.#remove()],
      [12, async () => this.#rename()],
      [15, async () => this.#read()],
      [6, async () => this.#setAttributes()],
      [6, async () => this.#xattr()],
      [3, async () => this.#open()],
      [4, async () => this.#release()],
    ];
    let at = this.#random.below(100);
    for (const [weight, run] of steps) {
      at -= weight;
      if (at < 0) return run();
    }
  }

  async #write(): Promise<void> {
    const file = this.#anyFile();
    const blocks = chance(this.#random, 50);
    const offset = blocks
      ? this.#random.below(9) * 4096
      : this.#random.below(FILE_MAX_BYTES - 9000);
    const length = blocks ? this.#random.below(3) * 4096 : this.#random.below(9000);
    const bytes = randomBytes(this.#random, length);
    await this.#both(
      async () => this.#overlay.write(file.id, offset, bytes),
      () => {
        if (file.kind !== "file") fail(file.kind === "directory" ? "is-a-directory" : "invalid");
        if (length === 0) return;
        const content = Buffer.alloc(Math.max(file.content.length, offset + length));
        content.set(file.content);
        content.set(bytes, offset);
        file.content = content;
        file.modifiedMs = undefined;
      },
    );
  }

  async #truncate(): Promise<void> {
    const file = this.#anyFile();
    const sizeBytes = chance(this.#random, 30)
      ? this.#random.below(10) * 4096
      : this.#random.below(FILE_MAX_BYTES);
    await this.#both(
      async () => this.#overlay.setAttributes(file.id, { sizeBytes }),
      () => {
        if (file.kind !== "file") fail(file.kind === "directory" ? "is-a-directory" : "invalid");
        const content = Buffer.alloc(sizeBytes);
        content.set(file.content.subarray(0, sizeBytes));
        file.content = content;
        file.modifiedMs = undefined;
      },
    );
  }

  async #create(): Promise<void> {
    const parent = this.#random.pick(this.#directories());
    const name = this.#name(parent);
    const kind = this.#random.pick(["file", "file", "directory", "symlink"] as const);
    const node = newModelNode(kind);
    node.mode = kind === "symlink" ? 0o777 : this.#random.below(0o7777);
    node.target = kind === "symlink" ? `to ${name}` : "";
    const attributes = { mode: node.mode };
    const entry = await this.#both(
      async () => {
        if (kind === "file") return this.#overlay.createFile(parent.id, name, attributes);
        if (kind === "directory") return this.#overlay.createDirectory(parent.id, name, attributes);
        return this.#overlay.createSymlink(parent.id, name, node.target, {});
      },
      () => {
        if (parent.children.has(this.#fold(name))) fail("exists");
        parent.children.set(this.#fold(name), { name, node });
      },
    );
    if (entry !== undefined) node.id = entry.stat.id;
  }

  async #remove(): Promise<void> {
    const parent = this.#random.pick(this.#directories());
    const name = this.#name(parent);
    const asDirectory = chance(this.#random, 40);
    await this.#both(
      async () =>
        asDirectory
          ? this.#overlay.removeDirectory(parent.id, name)
          : this.#overlay.unlink(parent.id, name),
      () => {
        const found = parent.children.get(this.#fold(name));
        if (found === undefined) fail("not-found");
        const isDirectory = found.node.kind === "directory";
        if (asDirectory && !isDirectory) fail("not-a-directory");
        if (!asDirectory && isDirectory) fail("is-a-directory");
        if (found.node.children.size > 0) fail("not-empty");
        parent.children.delete(this.#fold(name));
        found.node.names--;
      },
      false,
    );
  }

  async #rename(): Promise<void> {
    const directories = this.#directories();
    const parent = this.#random.pick(directories);
    const newParent = chance(this.#random, 50) ? parent : this.#random.pick(directories);
    const name = this.#name(parent);
    const newName = this.#name(newParent);
    await this.#both(
      async () => this.#overlay.rename(parent.id, name, newParent.id, newName),
      () => {
        const source = parent.children.get(this.#fold(name));
        if (source === undefined) fail("not-found");
        const target = newParent.children.get(this.#fold(newName));
        const isDirectory = source.node.kind === "directory";
        if (isDirectory && this.#directories(source.node).includes(newParent)) fail("invalid");
        if (target !== undefined && target.node !== source.node) {
          const targetIsDirectory = target.node.kind === "directory";
          if (isDirectory && !targetIsDirectory) fail("not-a-directory");
          if (!isDirectory && targetIsDirectory) fail("is-a-directory");
          if (target.node.children.size > 0) fail("not-empty");
          target.node.names--;
        }
        parent.children.delete(this.#fold(name));
        newParent.children.set(this.#fold(newName), { name: newName, node: source.node });
      },
    );
  }

  async #read(): Promise<void> {
    const node = this.#anyFile();
    if (node.kind !== "file") return;
    const offset = this.#random.below(node.content.length + 100);
    const target = Buffer.alloc(this.#random.below(12_000), 0xa5);
    const count = await this.#overlay.read(node.id, offset, target);
    const expected = node.content.subarray(offset, offset + target.length);
    if (count !== expected.length || !target.subarray(0, count).equals(expected)) {
      throw new Error(`call ${this.calls}: wrong bytes at ${offset} of node ${node.id}`);
    }
  }

  async #setAttributes(): Promise<void> {
    const node = this.#anyNode();
    const mode = this.#random.below(0o7777);
    const modifiedMs = this.#random.below(1e9);
    await this.#both(
      async () => this.#overlay.setAttributes(node.id, { mode, modifiedMs }),
      () => {
        node.mode = mode;
        node.modifiedMs = modifiedMs;
      },
    );
  }

  async #xattr(): Promise<void> {
    const node = this.#anyNode();
    const name = this.#random.pick(["user.a", "user.b"]);
    if (chance(this.#random, 30)) {
      await this.#both(
        async () => this.#overlay.removeXattr(node.id, name),
        () => {
          if (!node.xattrs.delete(name)) fail("no-attribute");
        },
      );
      return;
    }
    const mode = this.#random.pick(["create", "replace", "any"] as const);
    const value = "v".repeat(this.#random.below(300));
    await this.#both(
      async () => this.#overlay.setXattr(node.id, name, Buffer.from(value), mode),
      () => {
        if (mode === "create" && node.xattrs.has(name)) fail("exists");
        if (mode === "replace" && !node.xattrs.has(name)) fail("no-attribute");
        node.xattrs.set(name, value);
      },
    );
  }

  async #open(): Promise<void> {
    const node = this.#anyFile();
    this.#overlay.retain(node.id);
    node.open++;
    this.#opened.push(node);
  }

  async #release(): Promise<void> {
    const [node] = this.#opened.splice(this.#random.below(this.#opened.length), 1);
    if (node === undefined) return;
    this.#overlay.release(node.id);
    node.open--;
    if (node.open > 0 || node.names > 0) return;
    const { id } = node;
    const gone = await this.#overlay.stat(id).then(
      () => false,
      (error: unknown) => isReelError(error, "not-found"),
    );
    if (!gone) throw new Error(`node ${id} outlived its last name and its last user`);
  }

  /** Everything that can be seen in both trees is the same. */
  async compare(node = this.#root, path = ""): Promise<void> {
    await this.#compareNode(node, path);
    if (node.kind !== "directory") return;
    const entries = await this.#overlay.readDirectory(node.id);
    const wanted = [...node.children.values()];
    expect(entries.map((entry) => entry.name)).to.have.members(wanted.map(({ name }) => name));
    for (const { name, node: child } of wanted) {
      const inOtherCase = await this.#overlay.lookup(node.id, this.#fold(name));
      expect(inOtherCase?.name, path).to.equal(name);
      expect(inOtherCase?.stat.id, `${path}/${name}`).to.equal(child.id);
      await this.compare(child, `${path}/${name}`);
    }
  }

  async compareOpened(): Promise<void> {
    for (const node of this.#opened) await this.#compareNode(node, "opened");
  }

  /** Closes what is open and deletes all that was made or changed; what is left is the overhead. */
  async clear(): Promise<void> {
    for (const node of this.#opened) this.#overlay.release(node.id);
    this.#opened = [];
    await this.#clearDirectory(this.#root);
  }

  async #clearDirectory(directory: ModelNode): Promise<void> {
    for (const { name, node } of directory.children.values()) {
      if (node.kind === "directory") await this.#clearDirectory(node);
      if (node.kind === "directory") await this.#overlay.removeDirectory(directory.id, name);
      else await this.#overlay.unlink(directory.id, name);
    }
  }

  async #compareNode(node: ModelNode, path: string): Promise<void> {
    const stat = await this.#overlay.stat(node.id);
    expect(stat.kind, path).to.equal(node.kind);
    expect(stat.mode, path).to.equal(node.mode);
    // Directories change with what is in them.
    if (node.modifiedMs !== undefined && node.kind !== "directory") {
      expect(stat.modifiedMs, path).to.equal(node.modifiedMs);
    }
    if (node.kind === "symlink") {
      expect(await this.#overlay.readLink(node.id)).to.equal(node.target);
    }
    if (node.kind === "file") {
      expect(stat.sizeBytes, path).to.equal(node.content.length);
      const content = Buffer.alloc(node.content.length + 10, 0xa5);
      expect(await this.#overlay.read(node.id, 0, content)).to.equal(node.content.length);
      const same = content.subarray(0, node.content.length).equals(node.content);
      expect(same, `contents of ${path}`).to.be.true;
    }
    const xattrs = (await this.#overlay.listXattrs(node.id)).filter(
      (name) => !name.startsWith("user.reelfs."),
    );
    expect(xattrs, path).to.have.members([...node.xattrs.keys()]);
    for (const [name, value] of node.xattrs) {
      const found = await this.#overlay.getXattr(node.id, name);
      expect(Buffer.from(found ?? []).toString(), path).to.equal(value);
    }
  }
}

function randomLiteral(random: SeededRandom, depth: number): TreeLiteral {
  const literal: [string, TreeLiteral[string]][] = [];
  const folded = new Set<string>();
  for (let i = random.below(7); i >= 0; i--) {
    const name = random.pick(NAMES);
    if (folded.has(upper(name))) continue;
    folded.add(upper(name));
    if (depth > 0 && chance(random, 40)) literal.push([name, randomLiteral(random, depth - 1)]);
    else literal.push([name, Buffer.from(randomBytes(random, random.below(20_000)))]);
  }
  // Not an object literal: "__proto__" is a name like any other.
  return Object.fromEntries(literal);
}

async function run(
  random: SeededRandom,
  options: { calls: number; budgetBytes: number; fold: (name: string) => string },
): Promise<Pair> {
  const literal = randomLiteral(random, 3);
  const volume = new MemoryVolume(literal, { foldName: options.fold });
  const before = await volumeBytes(volume);
  let clock = 1;
  const overlay = await OverlayTree.open(new VolumeTree(volume, volume.device), {
    budgetBytes: options.budgetBytes,
    foldName: options.fold,
    nowMs: () => clock++,
  });
  try {
    const pair = new Pair(overlay, modelOf(literal, options.fold), random, options.fold);
    await pair.adoptIds();
    for (let i = 0; i < options.calls; i++) {
      await pair.step();
      if (i % 500 === 499) {
        await pair.compare();
        await pair.compareOpened();
      }
    }
    await pair.compare();
    await pair.compareOpened();
    await pair.clear();
    expect(await overlay.readDirectory(overlay.rootId)).to.deep.equal([]);
    const { blocksUsed } = overlay.statistics();
    expect(blocksUsed, "blocks of files that are gone").to.equal(0);
    expect((await volumeBytes(volume)).equals(before), "the base was written").to.be.true;
    return pair;
  } finally {
    await overlay.close();
  }
}

async function volumeBytes(volume: MemoryVolume): Promise<Buffer> {
  const bytes = Buffer.alloc(volume.device.sizeBytes);
  await volume.device.read(0, bytes);
  return bytes;
}

describe("OverlayTree against a model", function () {
  this.timeout(30_000);
  const ROOMY = 64 * 1024 * 1024;

  it("does what the model does, where case is folded", async () => {
    await withRandom(async (random) => {
      const pair = await run(random, { calls: 7000, budgetBytes: ROOMY, fold: upper });
      expect(pair.noSpace).to.equal(0);
    });
  });

  it("does what the model does, where case matters", async () => {
    await withRandom(async (random) => {
      await run(random, { calls: 5000, budgetBytes: ROOMY, fold: (name) => name });
    });
  });

  it("changes nothing when the budget is used up, and goes on when there is room", async () => {
    await withRandom(async (random) => {
      let refused = 0;
      for (let i = 0; i < 8; i++) {
        const budgetBytes = 100_000 + random.below(200_000);
        refused += (await run(random, { calls: 1000, budgetBytes, fold: upper })).noSpace;
      }
      expect(refused).to.be.greaterThan(0);
    });
  });
});
