/**
 * A loader as one SCSI target, which is how real libraries appear and what hosts expect to find:
 *
 *     LUN 0         the changer (it answers REPORT LUNS, which hosts ask of LUN 0)
 *     LUN 1, 2, …   drive 0, 1, …
 *
 * A transport (iSCSI, or the command line) sits on top of this and nothing else. It gives every
 * nexus a name, calls `nexusLost` when one ends, and `reset` for a logical unit or target reset.
 */
import { STATUS, type ScsiAnswer, type ScsiDevice } from "./answer.ts";
import { temporaryCartridgeMemories, type CartridgeMemories } from "./cartridge-memory.ts";
import { ChangerUnit } from "./changer/changer-unit.ts";
import { changerCommands } from "./changer/changer-commands.ts";
import { dataUpTo } from "./command.ts";
import { lunList } from "./common/basic.ts";
import { absentUnitData } from "./common/inquiry.ts";
import { DeviceServer } from "./device-server.ts";
import { decodeField, number, type Field } from "./fields.ts";
import { SENSE, encodeSense } from "./sense.ts";
import { TapeUnit } from "./tape/tape-unit.ts";
import { tapeCommands } from "./tape/tape-commands.ts";
import type { TapeLoader } from "../tape-loader.ts";

export const CHANGER_LUN = 0;
const FIRST_DRIVE_LUN = 1;
/** What flat space addressing can say. */
const LUNS_MAX = 0x4000;

export interface ScsiTargetOptions {
  /** Where hosts' attributes are kept; without it, as long as the program runs. */
  readonly memories?: CartridgeMemories;
}

/** The LUN of a drive. */
export function lunOfDrive(drive: number): number {
  return FIRST_DRIVE_LUN + drive;
}

export class ScsiTarget {
  readonly #loader: TapeLoader;
  readonly #memories: CartridgeMemories;
  readonly #changer: DeviceServer<ChangerUnit>;
  /** Made when first asked for. */
  readonly #drives = new Map<number, DeviceServer<TapeUnit>>();

  constructor(loader: TapeLoader, options: ScsiTargetOptions = {}) {
    this.#loader = loader;
    this.#memories = options.memories ?? temporaryCartridgeMemories();
    const unit = new ChangerUnit(loader, {
      luns: () => this.luns,
      driveIdentity: (drive) => this.#drive(drive).unit.identity,
    });
    this.#changer = new DeviceServer(`changer of ${loader.name}`, unit, changerCommands);
    // Now, so that a tape that is put in later is seen to have been put in.
    for (let drive = 0; drive < loader.geometry.drives; drive++) this.#drive(drive);
  }

  get luns(): readonly number[] {
    return Array.from({ length: this.#lunCount }, (_, lun) => lun);
  }

  /** Undefined where this target has no device. */
  device(lun: number): ScsiDevice | undefined {
    return this.#server(lun);
  }

  /** Carries out one command; never rejects. See ScsiDevice. */
  async execute(
    lun: number,
    cdb: Uint8Array,
    dataOut: Uint8Array,
    nexus: string,
  ): Promise<ScsiAnswer> {
    const server = this.#server(lun);
    return server === undefined ? this.#absent(cdb) : server.execute(cdb, dataOut, nexus);
  }

  async nexusLost(nexus: string): Promise<void> {
    await Promise.all(this.#servers().map(async (server) => server.nexusLost(nexus)));
  }

  /** Resets one logical unit, or all. */
  async reset(lun?: number): Promise<void> {
    const servers = lun === undefined ? this.#servers() : [this.#server(lun)];
    await Promise.all(servers.map(async (server) => server?.reset()));
  }

  get #lunCount(): number {
    return Math.min(FIRST_DRIVE_LUN + this.#loader.geometry.drives, LUNS_MAX);
  }

  #servers(): (DeviceServer<ChangerUnit> | DeviceServer<TapeUnit>)[] {
    return [this.#changer, ...this.#drives.values()];
  }

  #server(lun: number): DeviceServer<ChangerUnit> | DeviceServer<TapeUnit> | undefined {
    if (lun === CHANGER_LUN) return this.#changer;
    const drive = lun - FIRST_DRIVE_LUN;
    const exists = Number.isSafeInteger(lun) && drive >= 0 && lun < this.#lunCount;
    return exists ? this.#drive(drive) : undefined;
  }

  #drive(drive: number): DeviceServer<TapeUnit> {
    const known = this.#drives.get(drive);
    if (known !== undefined) return known;
    const unit = new TapeUnit(this.#loader.drive(drive), {
      serial: driveSerial(this.#loader.serial, drive),
      memories: this.#memories,
      luns: () => this.luns,
    });
    const server = new DeviceServer(`drive ${drive} of ${this.#loader.name}`, unit, tapeCommands);
    this.#drives.set(drive, server);
    return server;
  }

  /** At a LUN with nothing behind it (SPC-4, 6.6 and 5.11). */
  #absent(cdb: Uint8Array): ScsiAnswer {
    const sense = encodeSense({ code: SENSE.noSuchUnit });
    const good = (allocation: Field, data: Uint8Array): ScsiAnswer => {
      const { dataIn = NO_DATA } = dataUpTo(decodeField(allocation, cdb), data);
      return { status: STATUS.good, dataIn };
    };
    if (cdb[0] === OPCODE.inquiry) return good(INQUIRY_ALLOCATION, absentUnitData());
    if (cdb[0] === OPCODE.reportLuns) return good(REPORT_LUNS_ALLOCATION, lunList(this.luns));
    if (cdb[0] === OPCODE.requestSense) return good(REQUEST_SENSE_ALLOCATION, sense);
    return { status: STATUS.checkCondition, sense, dataIn: NO_DATA };
  }
}

const NO_DATA = new Uint8Array(0);
/** Of all LUNs alike, whether something is there or not. */
const OPCODE = { requestSense: 0x03, inquiry: 0x12, reportLuns: 0xa0 } as const;
const INQUIRY_ALLOCATION = number(3, 2);
const REPORT_LUNS_ALLOCATION = number(6, 4);
const REQUEST_SENSE_ALLOCATION = number(4, 1);

/** The loader's serial number and the drive's number: different for every drive, always. */
function driveSerial(loaderSerial: string, drive: number): string {
  return `${loaderSerial}D${String(drive).padStart(3, "0")}`;
}
