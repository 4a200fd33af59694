/** Trees of files as system calls tell them, and comparing one with another. */
import { expect } from "chai";
import type { BigIntStats } from "node:fs";
import { readMounted } from "./ext-tools.ts";
import type { MountedNode } from "./ext-tools.ts";
import type { ExpectedNode } from "./volume-suite.ts";

/** What is known of a node; what is undefined is not compared. */
export interface KnownNode {
  readonly kind: string;
  readonly contents?: Uint8Array | undefined;
  readonly linkTo?: string | undefined;
  readonly sizeBytes?: number | undefined;
  readonly modifiedMs?: number | undefined;
  readonly mode?: number | undefined;
  readonly owner?: string | undefined;
  readonly links?: number | undefined;
  /** The first of the paths that name the same node. */
  readonly sameAs?: string | undefined;
  readonly device?: number | undefined;
  readonly xattrs?: Readonly<Record<string, string>> | undefined;
}

/** By path, "/A/B.TXT"; the root is "", where it is known. */
export type KnownTree = ReadonlyMap<string, KnownNode>;

/** What is not compared: the place does not keep it. */
export type Facet = "modified" | "mode" | "owner" | "links" | "device" | "xattrs" | "directory";

/** Times on volumes are finer than what every path to them keeps. */
const TIME_TOLERANCE_MS = 1;
const OWN_XATTRS = "user.reelfs.";
const SET_ID_BITS = 0o6000;

/** All below a folder. `without` names what the volume itself has not, and a view only makes up. */
export async function readKnownTree(
  folder: string,
  without: readonly Facet[] = [],
): Promise<KnownTree> {
  const nodes = await readMounted(folder);
  const known = new Map<string, KnownNode>();
  const first = new Map<bigint, string>();
  for (const path of [...nodes.keys()].sort()) {
    const node = nodes.get(path);
    if (node === undefined) continue;
    const { ino } = node.stat;
    if (!first.has(ino)) first.set(ino, path);
    known.set(path, leaveOut(asKnown(node, first.get(ino)), without));
  }
  return known;
}

function asKnown(node: MountedNode, sameAs: string | undefined): KnownNode {
  const { kind, stat, contents, linkTo } = node;
  const isDevice = kind === "block" || kind === "character";
  return {
    kind,
    contents,
    linkTo,
    sizeBytes: kind === "file" || kind === "directory" ? Number(stat.size) : undefined,
    modifiedMs: Number(stat.mtimeNs) / 1e6,
    mode: modeOf(stat),
    owner: `${stat.uid}:${stat.gid}`,
    links: Number(stat.nlink),
    sameAs,
    device: isDevice ? Number(stat.rdev) : undefined,
    xattrs: Object.fromEntries([...node.xattrs].filter(([name]) => !name.startsWith(OWN_XATTRS))),
  };
}

const modeOf = (stat: BigIntStats): number => Number(stat.mode) & 0o7777;

export function leaveOut(node: KnownNode, facets: readonly Facet[]): KnownNode {
  const has = (facet: Facet): boolean => !facets.includes(facet);
  const isOfDirectory = node.kind === "directory" && !has("directory");
  return {
    ...node,
    modifiedMs: has("modified") ? node.modifiedMs : undefined,
    mode: has("mode") && node.kind !== "symlink" ? node.mode : undefined,
    owner: has("owner") ? node.owner : undefined,
    links: has("links") && !isOfDirectory ? node.links : undefined,
    sameAs: has("links") ? node.sameAs : undefined,
    device: has("device") ? node.device : undefined,
    xattrs: has("xattrs") ? node.xattrs : undefined,
    sizeBytes: isOfDirectory ? undefined : node.sizeBytes,
  };
}

/** A builder's list of what it put on a volume. */
export function knownFrom(
  expected: ReadonlyMap<string, ExpectedNode>,
  facts: Partial<KnownNode> = {},
): KnownTree {
  const known = new Map<string, KnownNode>();
  for (const [path, node] of expected) {
    if (node === "directory") known.set(path, { kind: "directory", ...facts });
    else if (node instanceof Uint8Array) {
      const sizeBytes = node.length;
      known.set(path, { kind: "file", contents: node, sizeBytes, ...facts });
    } else if ("linkTo" in node) {
      known.set(path, { kind: "symlink", linkTo: node.linkTo, ...facts });
    } else known.set(path, { kind: node.kind, ...facts });
  }
  return known;
}

/** What an ordinary user can set of it on files of his own: devices stay in the tree. */
export function settableByAnybody(tree: KnownTree): KnownTree {
  const isOpen = (name: string): boolean => !/^(trusted|security)\./.test(name);
  return new Map(
    [...tree].map(([path, node]): [string, KnownNode] => {
      const { mode, xattrs } = node;
      const open = Object.entries(xattrs ?? {}).filter(([name]) => isOpen(name));
      return [
        path,
        {
          ...leaveOut(node, ["owner"]),
          mode: mode === undefined ? undefined : mode & ~SET_ID_BITS,
          xattrs: xattrs === undefined ? undefined : Object.fromEntries(open),
        },
      ];
    }),
  );
}

/** The nodes at, below and above paths, without the root. */
export function partOf(tree: KnownTree, paths: readonly string[]): KnownTree {
  const isIn = (path: string): boolean =>
    paths.some((top) => path === top || path.startsWith(`${top}/`));
  const isAbove = (path: string): boolean =>
    path !== "" && paths.some((top) => top.startsWith(`${path}/`));
  return new Map([...tree].filter(([path]) => isIn(path) || isAbove(path)));
}

interface Comparing {
  readonly without?: readonly Facet[];
  /** Nodes of these kinds may be missing. */
  readonly kindsNot?: readonly string[];
}

/** Names, and what `expected` knows of each, the root too: as a volume is mounted. */
export function expectVolume(actual: KnownTree, expected: KnownTree): void {
  expectTree(actual, expected);
  const [root, known] = [actual.get(""), expected.get("")];
  if (root !== undefined && known !== undefined) expectNode("the root", root, known);
}

/** Names, and what `expected` knows of each, below a root that is somebody else's. */
export function expectTree(
  actual: KnownTree,
  expected: KnownTree,
  { without = [], kindsNot = [] }: Comparing = {},
): void {
  const wanted = [...expected].filter(
    ([path, { kind }]) => path !== "" && !kindsNot.includes(kind),
  );
  expect(pathsIn(actual), "names").to.deep.equal(wanted.map(([path]) => path).sort());
  for (const [path, node] of wanted) {
    const found = actual.get(path);
    if (found !== undefined) expectNode(path, found, leaveOut(node, without));
  }
}

const pathsIn = (tree: KnownTree): string[] =>
  [...tree.keys()].filter((path) => path !== "").sort();

function expectNode(path: string, actual: KnownNode, expected: KnownNode): void {
  const { contents, modifiedMs, ...plain } = expected;
  const found: Record<string, unknown> = {};
  const wanted: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(plain)) {
    if (value === undefined) continue;
    wanted[name] = value;
    found[name] = actual[name as keyof KnownNode];
  }
  expect(found, path).to.deep.equal(wanted);
  if (modifiedMs !== undefined) {
    expect(actual.modifiedMs, `time of ${path}`).to.be.closeTo(modifiedMs, TIME_TOLERANCE_MS);
  }
  if (contents === undefined) return;
  const isSame = Buffer.compare(actual.contents ?? new Uint8Array(0), contents) === 0;
  expect(isSame, `contents of ${path} differ`).to.equal(true);
}

/** Every path of `ls -R --json`. */
export function expectListing(listed: readonly { path: string }[], expected: KnownTree): void {
  expect(listed.map(({ path }) => path).sort()).to.deep.equal(pathsIn(expected));
}
