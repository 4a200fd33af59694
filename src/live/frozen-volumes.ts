/**
 * Freezing what is mounted (fsfreeze(8), FIFREEZE): the filesystem writes everything out and holds
 * every writer until it is thawed. So a process must not write to a volume that it has frozen, nor
 * wait for one that does.
 */
import { stat } from "node:fs/promises";
import { deviceNumber } from "../device/block-device-size.ts";
import { closeAll, ReelError } from "../errors.ts";
import type { SourceRange } from "../tapeimage/exceptions.ts";
import { isWithinRange } from "./exception-watch.ts";
import { HeldState } from "./held-state.ts";
import { type MountedVolume, volumeUnder } from "./mounted-volumes.ts";

export interface FreezeOptions {
  /** What is written to meanwhile: the tape, the temporary folder, the output. */
  readonly writesTo: readonly string[];
  readonly signal?: AbortSignal | undefined;
}

interface Frozen {
  readonly volume: MountedVolume;
  readonly state: HeldState;
}

export class FrozenVolumes {
  /** Fires when one of them has been thawed by the death of its keeper. */
  readonly lost: AbortSignal;
  readonly #frozen: readonly Frozen[];

  private constructor(frozen: readonly Frozen[]) {
    this.#frozen = frozen;
    this.lost = AbortSignal.any(frozen.map(({ state }) => state.lost));
  }

  /**
   * Freezes all of them, or none.
   *
   * @throws ReelError "invalid" for a volume that must not be frozen, "no-permission" unless root,
   *   "unsupported" where the filesystem cannot be frozen, "aborted"
   */
  static async freeze(
    volumes: readonly MountedVolume[],
    options: FreezeOptions,
  ): Promise<FrozenVolumes> {
    for (const volume of volumes) await refuseToFreeze(volume, options);
    const frozen: Frozen[] = [];
    try {
      for (const volume of volumes) {
        frozen.push({ volume, state: await freezeOne(volume, options) });
      }
    } catch (error) {
      await closeAll(...frozen.map(({ state }) => ({ close: async () => state.end() })));
      throw error;
    }
    return new FrozenVolumes(frozen);
  }

  /**
   * Thaws those that begin in that part of the source. Later calls have the outcome of the first.
   *
   * @throws ReelError "io" when it cannot be done, or somebody else did it before
   */
  async thaw(range?: SourceRange): Promise<void> {
    const chosen = this.#frozen.filter(({ volume }) => isWithinRange(volume.offsetBytes, range));
    await closeAll(...chosen.map(({ state }) => ({ close: async () => state.end() })));
  }
}

async function freezeOne(
  { mountpoint }: MountedVolume,
  { signal }: FreezeOptions,
): Promise<HeldState> {
  return HeldState.begin({
    doing: `freeze ${mountpoint}`,
    begin: ["fsfreeze", "--freeze", mountpoint],
    end: ["fsfreeze", "--unfreeze", mountpoint],
    byHand:
      "if it was thawed before its time, the image may be of several moments; if it is frozen " +
      `still, thaw it with "fsfreeze --unfreeze ${mountpoint}"`,
    signal,
  });
}

async function refuseToFreeze(volume: MountedVolume, { writesTo }: FreezeOptions): Promise<void> {
  const { mountpoint, device } = volume;
  const doing = `cannot freeze ${mountpoint}`;
  if (process.getuid?.() !== 0) {
    throw new ReelError("no-permission", `${doing}: only root can freeze; try again with sudo`);
  }
  if (mountpoint === "/") {
    throw new ReelError("invalid", `${doing}: the system would stand still; use --freeze lvm`);
  }
  for (const path of writesTo) {
    if ((await volumeUnder(path, [volume])) === undefined) continue;
    throw new ReelError(
      "invalid",
      `${doing}: ${path} lies on it, and the backup would wait for its own writes; ` +
        `put the tape and temporary files (TMPDIR) elsewhere, or use --freeze lvm`,
    );
  }
  const found = await stat(mountpoint, { bigint: true }).catch(() => undefined);
  const isHidden = found === undefined || deviceNumber(found.dev) !== device;
  if (isHidden && !device.startsWith("0:")) {
    throw new ReelError("unsupported", `${doing}: something else is mounted over it`);
  }
}
