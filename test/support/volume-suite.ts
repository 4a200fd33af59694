/**
 * What every volume format must do, whatever it reads. A format's test calls `volumeSuite` with a
 * volume made for it and what must be found on it.
 */
import { expect } from "chai";
import type { BlockDevice } from "../../src/device/block-device.ts";
import { ExtentSet } from "../../src/device/extents.ts";
import { MemoryDevice } from "../../src/device/memory-device.ts";
import { isReelError } from "../../src/errors.ts";
import type { ErrorCode } from "../../src/errors.ts";
import type {
  FileLayout,
  NodeId,
  NodeKind,
  Volume,
  VolumeFormat,
  VolumeOptions,
} from "../../src/volume/volume.ts";
import { expectReelError } from "./expect-error.ts";
import { withRandom } from "./random.ts";
import type { SeededRandom } from "./seeded-random.ts";

/** What is at a path: a file's contents, a directory, a link's target, or a node without contents. */
export type ExpectedNode =
  | Uint8Array
  | "directory"
  | { readonly linkTo: string }
  | { readonly kind: Exclude<NodeKind, "file" | "directory" | "symlink"> };

export interface VolumeCase {
  readonly format: VolumeFormat;
  /** The whole volume. The suite works on copies. */
  readonly bytes: Uint8Array;
  readonly options?: VolumeOptions;
  /** All paths ("/A/B.TXT") and what is there. */
  readonly expected: ReadonlyMap<string, ExpectedNode>;
  /** Further names of files that have several: hard links count once in a survey. */
  readonly hardLinks?: number;
  /** Byte ranges that hold structure, [start, end), for damage to be done in. */
  readonly structure: readonly (readonly [number, number])[];
}

/** Errors that damage on the device may lead to. */
const ERRORS_OF_DAMAGE: readonly ErrorCode[] = ["damaged", "unsupported"];
const MUTATED_VOLUMES = 60;
const FLIPS_MAX = 12;
/** No read may be larger than this, whatever the volume says. */
const READ_BYTES_MAX = 32 * 1024 * 1024;
const NODES_MAX = 100_000;
const SOME_BYTES = 64 * 1024;
const NOTHING = Promise.resolve(undefined);

export function volumeSuite(name: string, make: () => VolumeCase | Promise<VolumeCase>): void {
  describe(`${name} as a volume`, () => {
    let made: VolumeCase;
    let device: BlockDevice;
    let volume: Volume;

    beforeEach(async () => {
      made = await make();
      device = new MemoryDevice(made.bytes.slice(), { name: "volume.img" });
      volume = await made.format.open(device, made.options);
    });
    afterEach(async () => {
      await volume.close();
      await device.close();
    });

    it("is recognised by its own format", async () => {
      expect(await made.format.probe(device)).to.be.true;
    });

    it("has every file and directory, with its contents", async () => {
      const found = await readTree(volume, device);
      expect([...found.keys()].sort()).to.deep.equal([...made.expected.keys()].sort());
      for (const [path, contents] of made.expected) {
        const actual = found.get(path);
        if (contents instanceof Uint8Array && actual instanceof Uint8Array) {
          expect(Buffer.compare(actual, contents), `contents of ${path}`).to.equal(0);
        } else {
          expect(actual, path).to.deep.equal(contents);
        }
      }
    });

    it("gives the same stat for a node as its directory does", async () => {
      for (const { name: entryName, stat } of await volume.readDirectory(volume.rootId)) {
        expect(await volume.stat(stat.id), entryName).to.deep.equal(stat);
      }
      expect((await volume.stat(volume.rootId)).kind).to.equal("directory");
    });

    it("counts what it surveys", async () => {
      const survey = await volume.survey();
      const kinds = [...made.expected.values()];
      expect(survey.problems).to.deep.equal([]);
      expect(survey.directories).to.equal(kinds.filter((kind) => kind === "directory").length);
      const names = kinds.filter((kind) => kind !== "directory").length;
      expect(survey.files).to.equal(names - (made.hardLinks ?? 0));
      expect(await volume.freeClusters()).to.equal(volume.info.clusterCount - survey.clustersUsed);
    });

    it("uses every block that it must read and every block of every file", async () => {
      const { used, control } = await volume.survey();
      expect(control.subtract(used).total, "control blocks that are not in use").to.equal(0);
      expect(used.end).to.be.at.most(volume.info.blockCount);
      for await (const node of walk(volume)) {
        if (node.kind !== "file") continue;
        const layout = await volume.layout(node.id);
        const blocks = blocksOf(layout, volume.info.blockSizeBytes);
        expect(blocks.subtract(used).total, `blocks of ${node.path} not in use`).to.equal(0);
      }
    });

    it("can be walked with its control blocks alone", async () => {
      const { control } = await volume.survey();
      const { blockSizeBytes } = volume.info;
      const blank = new Uint8Array(made.bytes.length).fill(0xa5);
      for (const [start, count] of control) {
        const from = start * blockSizeBytes;
        blank.set(made.bytes.subarray(from, from + count * blockSizeBytes), from);
      }
      const again = await made.format.open(new MemoryDevice(blank), made.options);
      const paths: string[] = [];
      for await (const node of walk(again)) {
        paths.push(node.path);
        if (node.kind === "file") await again.layout(node.id);
        if (node.kind === "symlink") await again.readLink?.(node.id);
        await again.xattrs?.(node.id);
      }
      expect(paths.sort()).to.deep.equal([...made.expected.keys()].sort());
    });

    it("lays files out in order and inside the device", async () => {
      for await (const node of walk(volume)) {
        if (node.kind === "file") checkLayout(await volume.layout(node.id), device.sizeBytes);
      }
    });

    it("refuses what makes no sense, by name", async () => {
      await expectReelError(volume.layout(volume.rootId), "is-a-directory");
      for (const id of [7, -1, Number.NaN, 2 ** 49]) {
        await expectReelError(volume.stat(id), "not-found");
      }
      for await (const node of walk(volume)) {
        if (node.kind === "file")
          await expectReelError(volume.readDirectory(node.id), "not-a-directory");
      }
    });

    it("does nothing after it was closed, and leaves the device open", async () => {
      await volume.close();
      await volume.close();
      await expectReelError(volume.stat(volume.rootId), "closed");
      await expectReelError(volume.readDirectory(volume.rootId), "closed");
      await expectReelError(volume.layout(volume.rootId), "closed");
      await expectReelError(volume.survey(), "closed");
      await device.read(0, new Uint8Array(1));
    });

    it("stops a survey when it is told to", async () => {
      await expectReelError(volume.survey({ signal: AbortSignal.abort() }), "aborted");
    });

    it("passes on what the device reports", async () => {
      const broken = new MemoryDevice(made.bytes.slice());
      const opened = await made.format.open(broken, made.options);
      await broken.close();
      await expectReelError(opened.survey(), "closed");
    });

    it("survives damage to its structure", async function () {
      this.timeout(20_000);
      await withRandom(async (random) => {
        for (let round = 0; round < MUTATED_VOLUMES; round++) {
          await exerciseDamaged(made, mutate(made, random), `round ${round}`);
        }
      });
    });

    it("survives being cut short", async function () {
      this.timeout(20_000);
      await withRandom(async (random) => {
        for (let round = 0; round < MUTATED_VOLUMES / 3; round++) {
          const length = random.below(random.below(made.bytes.length) + 1);
          await exerciseDamaged(made, made.bytes.slice(0, length), `round ${round}`);
        }
      });
    });
  });
}

interface WalkedNode {
  readonly path: string;
  readonly id: NodeId;
  readonly kind: NodeKind;
}

/** Every node below the root. A directory inside itself is a failure, not a hang. */
async function* walk(
  volume: Volume,
  id: NodeId = volume.rootId,
  path = "",
  above: readonly NodeId[] = [],
): AsyncGenerator<WalkedNode> {
  if (above.includes(id)) expect.fail(`${path} is inside itself`);
  for (const { name, stat } of await volume.readDirectory(id)) {
    const below = `${path}/${name}`;
    yield { path: below, id: stat.id, kind: stat.kind };
    if (stat.kind === "directory") yield* walk(volume, stat.id, below, [...above, id]);
  }
}

/** All of a volume's tree with contents. */
export async function readTree(
  volume: Volume,
  device: BlockDevice,
): Promise<Map<string, ExpectedNode>> {
  const found = new Map<string, ExpectedNode>();
  for await (const { path, id, kind } of walk(volume)) {
    expect(found.has(path), `two entries called ${path}`).to.be.false;
    found.set(path, await readNode(volume, device, { id, kind }));
  }
  return found;
}

async function readNode(
  volume: Volume,
  device: BlockDevice,
  { id, kind }: Pick<WalkedNode, "id" | "kind">,
): Promise<ExpectedNode> {
  if (kind === "directory") return kind;
  if (kind === "file") return readContents(volume, device, id);
  return kind === "symlink" ? { linkTo: (await volume.readLink?.(id)) ?? "" } : { kind };
}

/** Contents of a file by its layout. */
export async function readContents(
  volume: Volume,
  device: BlockDevice,
  id: NodeId,
): Promise<Uint8Array> {
  const layout = await volume.layout(id);
  const contents = new Uint8Array(layout.sizeBytes);
  if (!layout.direct) {
    await volume.read?.(id, 0, contents);
    return contents;
  }
  for (let i = 0; i < layout.length; i++) {
    const start = layout.fileOffsets[i] ?? 0;
    const target = contents.subarray(start, start + (layout.lengths[i] ?? 0));
    await device.read(layout.deviceOffsets[i] ?? 0, target);
  }
  return contents;
}

function checkLayout(layout: FileLayout, deviceBytes: number): void {
  let end = 0;
  for (let i = 0; i < layout.length; i++) {
    const start = layout.fileOffsets[i] ?? -1;
    const length = layout.lengths[i] ?? 0;
    const deviceOffset = layout.deviceOffsets[i] ?? -1;
    if (layout.direct) expect(start).to.be.at.least(end);
    expect(length).to.be.above(0);
    expect(deviceOffset).to.be.at.least(0);
    expect(deviceOffset + length).to.be.at.most(deviceBytes);
    end = start + length;
  }
  if (layout.direct) expect(end).to.be.at.most(layout.sizeBytes);
}

function blocksOf(layout: FileLayout, blockSizeBytes: number): ExtentSet {
  const runs: [number, number][] = [];
  for (let i = 0; i < layout.length; i++) {
    const from = layout.deviceOffsets[i] ?? 0;
    const first = Math.floor(from / blockSizeBytes);
    const end = Math.ceil((from + (layout.lengths[i] ?? 0)) / blockSizeBytes);
    runs.push([first, end - first]);
  }
  return ExtentSet.from(runs);
}

function mutate(made: VolumeCase, random: SeededRandom): Uint8Array<ArrayBuffer> {
  const bytes = made.bytes.slice();
  const flips = 1 + random.below(FLIPS_MAX);
  for (let i = 0; i < flips; i++) {
    const [start, end] = made.structure[random.below(made.structure.length)] ?? [0, bytes.length];
    const at = start + random.below(end - start);
    // Zeros, ones and numbers of other places do more harm than noise.
    const values = [0, 0xff, bytes[at + 32] ?? 0, random.below(256)];
    bytes[at] = values[random.below(values.length)] ?? 0;
  }
  return bytes;
}

/** Does everything that can be done with a volume that may be damaged in any way. */
export async function exerciseDamaged(
  made: VolumeCase,
  bytes: Uint8Array<ArrayBuffer>,
  what: string,
): Promise<void> {
  const device = new BoundedDevice(bytes);
  try {
    await made.format.probe(device);
    const volume = await made.format.open(device, made.options);
    const { used, control } = await volume.survey({ includeDeleted: true });
    expect(control.subtract(used).total).to.equal(0);
    expect(used.end * volume.info.blockSizeBytes).to.be.at.most(bytes.length);
    await volume.freeClusters();
    await exerciseTree(volume, volume.rootId, [], bytes.length);
  } catch (error) {
    if (isReelError(error) && ERRORS_OF_DAMAGE.includes(error.code)) return;
    throw new Error(`with ${what}: ${String(error)}`, { cause: error });
  }
}

async function exerciseTree(
  volume: Volume,
  id: NodeId,
  above: readonly NodeId[],
  deviceBytes: number,
): Promise<number> {
  expect(above.includes(id), "a directory inside itself").to.be.false;
  let nodes = 1;
  const entries = await tolerate(volume.readDirectory(id));
  for (const { name, stat } of entries ?? []) {
    expect(name)
      .to.match(/^[^/\0]+$/)
      .and.not.match(/^\.\.?$/);
    expect([stat.modifiedMs, stat.accessedMs, stat.createdMs ?? 0]).to.satisfy((times: number[]) =>
      times.every(Number.isFinite),
    );
    if (stat.kind === "directory") {
      nodes += await exerciseTree(volume, stat.id, [...above, id], deviceBytes);
    } else {
      const layout = stat.kind === "file" ? await tolerate(volume.layout(stat.id)) : undefined;
      if (layout !== undefined) checkLayout(layout, deviceBytes);
      if (layout?.direct === false) await readSome(volume, stat.id, layout.sizeBytes);
      if (stat.kind === "symlink") await tolerate(volume.readLink?.(stat.id) ?? NOTHING);
      await tolerate(volume.xattrs?.(stat.id) ?? NOTHING);
      nodes++;
    }
    expect(nodes).to.be.below(NODES_MAX);
  }
  return nodes;
}

/** The start and the end of a file that may claim any size. */
async function readSome(volume: Volume, id: NodeId, sizeBytes: number): Promise<void> {
  for (const at of [0, Math.max(0, sizeBytes - SOME_BYTES)]) {
    await tolerate(volume.read?.(id, at, new Uint8Array(SOME_BYTES)) ?? NOTHING);
  }
}

/** The result, or undefined where the object is damaged. */
async function tolerate<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (isReelError(error) && ERRORS_OF_DAMAGE.includes(error.code)) return undefined;
    throw error;
  }
}

class BoundedDevice extends MemoryDevice {
  override async read(offsetBytes: number, target: Uint8Array): Promise<void> {
    if (target.length > READ_BYTES_MAX) expect.fail(`a read of ${target.length} bytes`);
    return super.read(offsetBytes, target);
  }
}
