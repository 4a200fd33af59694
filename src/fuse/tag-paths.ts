/** Tagging by paths as a user gives them: each belongs to some mount, or to none. */
import { ReelError } from "../errors.ts";
import { changeTags } from "./control.ts";
import { isWithin, placeOf } from "./mountinfo.ts";
import { findMountOf } from "./registry.ts";

export interface TagFailure {
  readonly path: string;
  readonly message: string;
}

/** Sets or removes tags of files and folders in ReelFS mounts; what fails is told, the rest done. */
export async function tagPaths(
  op: "tag" | "untag",
  paths: readonly string[],
): Promise<{ done: number; failed: TagFailure[] }> {
  const failed: TagFailure[] = [];
  const byMount = new Map<string, { path: string; inside: string }[]>();
  for (const path of paths) {
    try {
      const { mountpoint, inside } = await locate(path);
      const some = byMount.get(mountpoint) ?? [];
      if (some.length === 0) byMount.set(mountpoint, some);
      some.push({ path, inside });
    } catch (error) {
      failed.push({ path, message: error instanceof Error ? error.message : String(error) });
    }
  }
  let done = 0;
  for (const [mountpoint, some] of byMount) {
    const outcome = await changeTags(
      mountpoint,
      op,
      some.map(({ inside }) => inside),
    );
    done += outcome.done;
    const given = new Map(some.map(({ path, inside }) => [inside, path]));
    for (const { path, message } of outcome.failed) {
      failed.push({ path: given.get(path) ?? path, message });
    }
  }
  return { done, failed };
}

async function locate(path: string): Promise<{ mountpoint: string; inside: string }> {
  const place = await placeOf(path);
  const mount = await findMountOf(place);
  if (mount === undefined || !isWithin(place, mount.mountpoint)) {
    throw new ReelError("invalid", `${path} is not inside a ReelFS mount; see reelfs mounts`);
  }
  const inside = place.slice(mount.mountpoint.length);
  return { mountpoint: mount.mountpoint, inside: inside === "" ? "/" : inside };
}
