/** From paths to the nodes they name. */
import { isReelError } from "../errors.ts";
import type { NodeId, VolumeEntry } from "../volume/volume.ts";

type Lookup = (parent: NodeId, name: string) => Promise<Pick<VolumeEntry, "stat"> | undefined>;

/** The nodes at those paths ("/a/b"). One that is not there, or cannot be read, is left out. */
export async function nodesAt(
  paths: readonly string[],
  rootId: NodeId,
  lookup: Lookup,
): Promise<ReadonlySet<NodeId>> {
  const known = new Map<string, NodeId | undefined>();
  const nodes = new Set<NodeId>();
  for (const path of paths) {
    let at: NodeId | undefined = rootId;
    for (const name of path.split("/").slice(1)) {
      const key = `${at}/${name}`;
      if (!known.has(key)) known.set(key, await idOf(lookup, at, name));
      at = known.get(key);
      if (at === undefined) break;
    }
    if (at !== undefined) nodes.add(at);
  }
  return nodes;
}

async function idOf(lookup: Lookup, parent: NodeId, name: string): Promise<NodeId | undefined> {
  try {
    return (await lookup(parent, name))?.stat.id;
  } catch (error) {
    if (isReelError(error)) return undefined;
    throw error;
  }
}
