/** Tagging, killed on the way; and what any step does about its mount. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { isMounted } from "../../test/support/mountpoint.ts";
import { must, type Step } from "./kind.ts";
import type { Prepared } from "./operations.ts";
import { ancestorsOf, type Sample } from "./samples.ts";
import { newFolder } from "./small-disk.ts";

const MOUNTABLE = ["FAT32", "ext4", "NTFS", "set of tapes", "tapes of ext4"];

interface Place {
  readonly sample: Sample;
  readonly spec: string;
  readonly mountpoint: string;
  readonly cleanUp: () => Promise<void>;
}

async function placeFor(step: Step): Promise<Place> {
  const sample = await step.samples.get(step.random.pick(MOUNTABLE));
  const mountpoint = await newFolder(step.folder, "mnt");
  return {
    sample,
    mountpoint,
    spec: join(sample.folder, sample.images.at(-1)?.spec ?? ""),
    cleanUp: async () => clearAway(step, mountpoint),
  };
}

/** Nothing stays mounted behind a step, whatever became of it. */
export async function clearAway({ workshop }: Step, mountpoint: string): Promise<void> {
  if (!(await isMounted(mountpoint))) return;
  await workshop.here("umount", "--lazy", mountpoint);
  if (await isMounted(mountpoint)) await workshop.tool(["umount", "-l", mountpoint]);
}

/** All files of the sample's last image, through the mount. */
async function checkMounted({ sample, mountpoint }: Place): Promise<void> {
  for (const [path, wanted] of sample.images.at(-1)?.files ?? []) {
    const found = await readFile(join(mountpoint, path));
    must(found.equals(wanted), `${path} in the mount is not as it was`);
  }
}

/** Nothing of mounts that have ended stays in the runtime folder. */
export async function expectNoRecords({ workshop }: Step): Promise<void> {
  await workshop.here("mounts");
  const folder = join(workshop.env["XDG_RUNTIME_DIR"] ?? "", "reelfs");
  const left = (await readdir(folder).catch((): string[] => [])).filter(
    (name) => !name.endsWith(".log") && !name.includes(".log."),
  );
  must(left.length === 0, `left of mounts that have ended: ${left.join()}`);
}

export async function tagOperation(step: Step): Promise<Prepared> {
  const { workshop, random } = step;
  const place = await placeFor(step);
  const mounted = await workshop.apart([
    "mount",
    place.spec,
    place.mountpoint,
    ...ancestorsOf(place.sample),
  ]);
  must(mounted.status === 0, `it cannot be mounted: ${mounted.stderr}`);
  const paths = [...(place.sample.images.at(-1)?.files.keys() ?? [])];
  const chosen = Array.from({ length: 3 }, () => join(place.mountpoint, random.pick(paths)));
  return {
    args: ["tag", ...chosen],
    reads: [],
    cleanUp: place.cleanUp,
    after: async (ran) => {
      const listed = await workshop.here("tags", "--json", place.mountpoint);
      must(listed.status === 0, `tags cannot be listed: ${listed.stderr}`);
      const { tags } = JSON.parse(listed.stdout) as { tags: readonly { path: string }[] };
      for (const path of ran.status === 0 ? chosen : []) {
        const there = tags.some(
          (tag) => join(place.mountpoint, tag.path) === path || tag.path === path,
        );
        must(there, `tag ended with 0, and ${path} is not tagged: ${listed.stdout}`);
      }
      const again = await workshop.here("tag", ...chosen);
      must(again.status === 0, `tag, given again, fails: ${again.stderr}`);
      await checkMounted(place);
    },
  };
}
