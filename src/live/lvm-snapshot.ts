/**
 * A snapshot of a logical volume (lvcreate(8), lvs(8)). LVM has the filesystem write everything out
 * and holds writers for the moment in which the snapshot is made. Of a volume that is not thin the
 * originals of what is written afterwards go to the snapshot's own room; when that is used up, LVM
 * makes the snapshot invalid, and it must not be read any more.
 */
import { ReelError } from "../errors.ts";
import { runProgram, saidBy } from "../expose/run-program.ts";
import { type CommandLine, HeldState } from "./held-state.ts";
import { blockDeviceNumber } from "../device/stacked-devices.ts";

/** Room for originals where no size is given, of the size of the volume. */
const SNAPSHOT_SHARE = "20%ORIGIN";
/** The device is in use for a moment longer than it is open: udev looks at it, too. */
const REMOVE_TRIES = 10;

/** In lv_attr (lvs(8)): active; of the other letters, I is an invalid snapshot and X is not known. */
const STATE_AT = 4;
const ACTIVE = "a";

const FIELDS = "vg_name,lv_name,lv_path,lv_attr,lv_snapshot_invalid";

export interface LogicalVolume {
  readonly group: string;
  readonly name: string;
  /** "/dev/vg/home". */
  readonly path: string;
  /** Thin volumes share the room of their pool. */
  readonly isThin: boolean;
  /** It is there, and of a snapshot: it has not run out of room. */
  readonly isSound: boolean;
}

/** @throws ReelError "unsupported" when the source is no logical volume, or LVM cannot be asked */
export async function logicalVolumeAt(source: string): Promise<LogicalVolume> {
  const number = await blockDeviceNumber(source);
  const [major = "", minor = ""] = (number ?? "").split(":");
  const volumes =
    number === undefined
      ? []
      : await listVolumes("--select", `lv_kernel_major=${major} && lv_kernel_minor=${minor}`);
  const [volume] = volumes;
  if (volume !== undefined) return volume;
  throw new ReelError(
    "unsupported",
    `cannot make a snapshot of ${source}: it is no logical volume of LVM; use --freeze fsfreeze`,
  );
}

async function listVolumes(...which: readonly string[]): Promise<LogicalVolume[]> {
  const args = ["--reportformat", "json", "--binary", "--options", FIELDS, ...which];
  const outcome = await runProgram("lvs", args);
  if (outcome.status !== 0) {
    throw new ReelError("unsupported", `cannot ask LVM: ${saidBy("lvs", outcome)}`);
  }
  return parseVolumes(outcome.stdout);
}

interface ReportedVolume {
  readonly vg_name: string;
  readonly lv_name: string;
  readonly lv_path: string;
  readonly lv_attr: string;
  readonly lv_snapshot_invalid: string;
}

/** What lvs prints as JSON, with `FIELDS` and --binary. */
export function parseVolumes(text: string): LogicalVolume[] {
  const { report } = JSON.parse(text) as { report: { lv: ReportedVolume[] }[] };
  return report
    .flatMap(({ lv }) => lv)
    .map((each) => ({
      group: each.vg_name,
      name: each.lv_name,
      path: each.lv_path,
      isThin: each.lv_attr.startsWith("V"),
      isSound: each.lv_attr[STATE_AT] === ACTIVE && each.lv_snapshot_invalid.trim() !== "1",
    }));
}

export class LvmSnapshot {
  /** The device to read. */
  readonly path: string;
  readonly lost: AbortSignal;
  readonly #state: HeldState;
  readonly #name: string;

  private constructor(name: string, state: HeldState) {
    this.path = `/dev/${name}`;
    this.#name = name;
    this.#state = state;
    this.lost = state.lost;
  }

  /**
   * @param sizeBytes room for the originals of what is written meanwhile; not for thin volumes
   * @throws ReelError "unsupported" with what LVM says, "aborted"
   */
  static async create(
    origin: Pick<LogicalVolume, "group" | "name" | "isThin">,
    sizeBytes: number | undefined,
    signal?: AbortSignal,
  ): Promise<LvmSnapshot> {
    const { group } = origin;
    const snapshot = `reelfs-${process.pid}-${Date.now().toString(36)}`;
    const name = `${group}/${snapshot}`;
    const state = await HeldState.begin({
      doing: `keep a snapshot of ${group}/${origin.name}`,
      begin: createCommand(origin, snapshot, sizeBytes),
      end: ["lvremove", "--yes", "--force", "--quiet", name],
      endTries: REMOVE_TRIES,
      byHand: `remove the snapshot with "lvremove ${name}"`,
      signal,
    });
    return new LvmSnapshot(name, state);
  }

  /** @throws ReelError "io" when the snapshot ran out of room: what was read may be wrong */
  async check(): Promise<void> {
    const volumes = await listVolumes(this.#name);
    if (volumes[0]?.isSound === true) return;
    throw new ReelError(
      "io",
      `the snapshot ${this.#name} is invalid: more was written to the volume than it has room for; ` +
        `make the backup again with a larger --freeze-size`,
    );
  }

  /** Nobody may have it open any more. */
  async remove(): Promise<void> {
    await this.#state.end();
  }
}

function createCommand(
  { group, name, isThin }: Pick<LogicalVolume, "group" | "name" | "isThin">,
  snapshot: string,
  sizeBytes: number | undefined,
): CommandLine {
  const room =
    sizeBytes === undefined ? ["--extents", SNAPSHOT_SHARE] : ["--size", `${sizeBytes}b`];
  const ofThin = ["--setactivationskip", "n"];
  const how = isThin ? ofThin : ["--permission", "r", ...room];
  return [
    "lvcreate",
    "--yes",
    "--quiet",
    "--snapshot",
    "--name",
    snapshot,
    ...how,
    `${group}/${name}`,
  ];
}
