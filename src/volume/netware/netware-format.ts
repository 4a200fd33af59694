/** Recognising and opening the volumes on NetWare 386 partitions. */
import type { BlockDevice } from "../../device/block-device.ts";
import { isReelError, ReelError } from "../../errors.ts";
import { CODE_PAGE_DEFAULT, codePage } from "../code-pages.ts";
import type { Volume, VolumeFormat, VolumeInfo, VolumeOptions, VolumeProblem } from "../volume.ts";
import { deviceBlocks } from "./device-blocks.ts";
import type { DeviceBlocks } from "./device-blocks.ts";
import type { Member } from "./netware-volume.ts";
import { hasHotfix, readPartition } from "./partition.ts";
import type { Partition, PartitionPlace } from "./partition.ts";
import { VOLUME_FLAG } from "./records.ts";
import type { NetwareStore, Reading } from "./store.ts";
import { readVolumeTables } from "./volume-table.ts";

/** 255 characters of a code page, three bytes of UTF-8 each at most. */
const NAME_MAX_BYTES = 765;
const TIME_ZONE_MAX_MINUTES = 24 * 60;
/** 32 segments to a volume, each mirrored eight times at most. */
const PARTITIONS_MAX = 256;

export const netwareFormat: VolumeFormat = {
  name: "netware",

  async probe(device) {
    return hasHotfix(device);
  },

  async open(device, options = {}): Promise<Volume> {
    const problems: VolumeProblem[] = [];
    const reading = readingOf(options);
    const partitions: Partition[] = [];
    for (const place of placesOf(device, options)) {
      const partition = await readPartition(device, place);
      partitions.push(partition);
      problems.push(...partition.problems);
    }
    const shapes = await readVolumeTables(device, partitions, problems);
    const members: Member[] = [];
    for (const shape of shapes) {
      members.push({ shape, ...(await openMember(device, shape, reading)) });
    }
    checkAnyOpened(device, members);
    for (const member of members) {
      if (!("error" in member)) continue;
      const where = `volume ${member.shape.parameters.name}`;
      problems.push({ where, message: member.error.message });
    }
    const segments = shapes.flatMap(({ map, mirrors }) =>
      [...map.segments, ...mirrors].map((segment) => ({ segment, blockBytes: map.blockBytes })),
    );
    const blocks = deviceBlocks(device.sizeBytes, partitions, segments);
    const info = describe(partitions, members, blocks);
    const { NetwareVolume } = await import("./netware-volume.ts");
    return new NetwareVolume({ device, deviceBlocks: blocks, partitions, members, info, problems });
  },
};

function readingOf(options: VolumeOptions): Reading {
  const timeZoneMinutes = options.timeZoneMinutes ?? 0;
  if (!(Math.abs(timeZoneMinutes) <= TIME_ZONE_MAX_MINUTES)) {
    throw new ReelError(
      "invalid",
      `cannot use ${timeZoneMinutes} minutes as a time zone: it is more than a day`,
    );
  }
  return { codePage: codePage(options.codePage ?? CODE_PAGE_DEFAULT), timeZoneMinutes };
}

/** Where each partition begins, as far as it is on the device. */
function placesOf(device: BlockDevice, { segmentBytes }: VolumeOptions): PartitionPlace[] {
  if (segmentBytes === undefined || segmentBytes.length === 0) {
    return [{ name: device.name, startBytes: 0, sizeBytes: device.sizeBytes }];
  }
  if (segmentBytes.length > PARTITIONS_MAX) {
    throw new ReelError(
      "invalid",
      `cannot join ${segmentBytes.length} partitions: ${PARTITIONS_MAX} is the most`,
    );
  }
  let startBytes = 0;
  return segmentBytes.map((bytes, index): PartitionPlace => {
    const name = `segment ${index + 1} of ${device.name}`;
    if (!Number.isSafeInteger(bytes) || bytes <= 0) {
      throw new ReelError("invalid", `cannot use ${bytes} bytes as the size of ${name}`);
    }
    const sizeBytes = Math.max(0, Math.min(bytes, device.sizeBytes - startBytes));
    const place = { name, startBytes, sizeBytes };
    startBytes += bytes;
    return place;
  });
}

async function openMember(
  device: BlockDevice,
  shape: Member["shape"],
  reading: Reading,
): Promise<{ store: NetwareStore } | { error: ReelError }> {
  try {
    const { NetwareStore } = await import("./store.ts");
    return { store: await NetwareStore.open(device, shape, reading) };
  } catch (error) {
    const isOfVolume =
      isReelError(error, "damaged") ||
      isReelError(error, "unsupported") ||
      isReelError(error, "io");
    if (!isOfVolume) throw error;
    return { error };
  }
}

function checkAnyOpened(device: BlockDevice, members: readonly Member[]): void {
  if (members.some((member) => "store" in member)) return;
  for (const member of members) if ("error" in member) throw member.error;
  throw new ReelError(
    "damaged",
    `cannot read ${device.name}: none of its NetWare volume tables lists a volume`,
  );
}

function describe(
  partitions: readonly Partition[],
  members: readonly Member[],
  blocks: DeviceBlocks,
): VolumeInfo {
  const shapes = members.map(({ shape }) => shape);
  const clusterSizeBytes = Math.min(...shapes.map(({ map }) => map.blockBytes));
  const clustersOf = ({ map }: Member["shape"]) =>
    map.blockCount * (map.blockBytes / clusterSizeBytes);
  const names = shapes.map(({ parameters }) => parameters.name);
  const stores = members.flatMap((member) => ("store" in member ? [member.store] : []));
  return {
    kind: "netware",
    label: names.join(", "),
    serial: partitions.map(({ id }) => id.toString(16).toUpperCase().padStart(8, "0")).join(", "),
    blockSizeBytes: blocks.unitBytes,
    blockCount: blocks.count,
    clusterSizeBytes,
    clusterCount: shapes.reduce((sum, shape) => sum + clustersOf(shape), 0),
    caseSensitive: false,
    nameMaxBytes: NAME_MAX_BYTES,
    notices: noticesOf(partitions, members),
    details: {
      volumes: names.join(", "),
      partitions: partitions.length,
      segments: shapes.reduce((sum, { map }) => sum + map.segments.length, 0),
      redirectedBlocks: partitions.reduce(
        (sum, { redirections }) => sum + redirections.targets.length,
        0,
      ),
      mirrored: partitions.some(isMirrored),
      suballocation: stores.some(
        ({ volumeFlags }) => (volumeFlags & VOLUME_FLAG.suballocation) !== 0,
      ),
      extendedDirectory: stores.some(({ extended }) => extended !== undefined),
    },
  };
}

function isMirrored({ mirror }: Partition): boolean {
  return mirror !== undefined && mirror.members.length > 1;
}

function noticesOf(
  partitions: readonly Partition[],
  members: readonly Member[],
): readonly string[] | undefined {
  const notices: string[] = [];
  for (const { name, mirror, tablesMissing } of partitions) {
    if (mirror?.isInSync === false) {
      notices.push(`${name} is marked as out of sync with its mirror: its contents may be old`);
    }
    if (tablesMissing > 0) {
      notices.push(
        `a redirection table of ${name} cannot be read: blocks that it redirected show old contents`,
      );
    }
  }
  for (const member of members) {
    if ("error" in member) notices.push(member.error.message);
    else if (member.store.source.fallbacks.size > 0) {
      notices.push(
        `volume ${member.shape.parameters.name} is read from its mirror where a block cannot be ` +
          `read or makes no sense: one of the members is failing`,
      );
    }
  }
  return notices.length === 0 ? undefined : notices;
}
