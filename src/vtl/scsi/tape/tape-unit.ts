/**
 * The state of a drive as SCSI sees it, over a LoaderDrive, which has the tape and its position.
 * Here is only what hosts set (block length, buffered mode, pages) and what they are told.
 */
import { isReelError, type ErrorCode, type ReelError } from "../../../errors.ts";
import { RECORD_BYTES_MAX } from "../../../tape/simh-format.ts";
import type { LoaderDrive } from "../../tape-loader.ts";
import type { CartridgeMemories, CartridgeMemory } from "../cartridge-memory.ts";
import { STANDARD } from "../common/inquiry.ts";
import { bits, build, decodeField, decodeFields, number, paddedText } from "../fields.ts";
import { DEVICE_TYPE, unitParts } from "../logical-unit.ts";
import type { Identity, LogPage, LogicalUnit } from "../logical-unit.ts";
import { ModePages } from "../mode-pages.ts";
import { CheckCondition, SENSE, invalidParameter, type Sense, type SenseCode } from "../sense.ts";
import { TAPE_ALERT, TapeAlerts, supportedFlagsPage } from "../tape-alert.ts";
import { capacityMib, noCounters, tapeLogPages, type Counters } from "./tape-counters.ts";
import { isSoftwareWriteProtected, tapeModePages } from "./tape-mode-pages.ts";

export const DRIVE_PRODUCT = "VIRTUAL TAPE";
/** Of the vendor's range: no real format is claimed. */
export const DENSITY_CODE = 0x80;
const DENSITY_DEFAULT = 0x00;
const DENSITY_NO_CHANGE = 0x7f;

export const BLOCK_DESCRIPTOR = {
  density: number(0, 1),
  blocks: number(1, 3),
  blockLength: number(5, 3),
} as const;
const BLOCK_DESCRIPTOR_BYTES = 8;

/** The header's device-specific parameter. */
const WRITE_PROTECT_BIT = 0x80;
const BUFFERED_SHIFT = 4;
const BUFFERED_MODE_MAX = 1;

/** Transfer lengths have 24 bits. */
const TRANSFER_LENGTH_MAX = 0xff_ffff;
const MIB_PER_GB = 1e9 / 2 ** 20;

const VITAL_PAGE = { capabilities: 0xb0, manufacturerSerial: 0xb1, tapeAlert: 0xb2 } as const;
const CAPABILITIES_BYTES = 2;

export interface TapeUnitOptions {
  readonly serial: string;
  readonly memories: CartridgeMemories;
  readonly luns: () => readonly number[];
}

export class TapeUnit implements LogicalUnit {
  readonly drive: LoaderDrive;
  readonly identity: Identity;
  readonly luns: () => readonly number[];
  readonly modes: ModePages;
  readonly alerts = new TapeAlerts();
  readonly logPages: readonly LogPage[];
  readonly nexuses;
  readonly reservations;
  readonly preventing;
  /** 0: records of any length; else bytes of every record that FIXED commands move. */
  blockLengthBytes = 0;
  counters: Counters = noCounters();
  readonly #memories: CartridgeMemories;
  #bufferedMode = 1;
  #loadCount: number;

  constructor(drive: LoaderDrive, options: TapeUnitOptions) {
    this.drive = drive;
    this.luns = options.luns;
    this.#memories = options.memories;
    this.#loadCount = drive.loadCount;
    ({
      nexuses: this.nexuses,
      reservations: this.reservations,
      preventing: this.preventing,
    } = unitParts());
    this.identity = {
      deviceType: DEVICE_TYPE.tape,
      product: DRIVE_PRODUCT,
      serial: options.serial,
      hasBarcodeReader: false,
      standards: [STANDARD.sam5, STANDARD.spc4, STANDARD.ssc4],
      vitalPages: new Map([
        // Neither write-once media nor anything else out of the ordinary.
        [VITAL_PAGE.capabilities, () => new Uint8Array(CAPABILITIES_BYTES)],
        [VITAL_PAGE.manufacturerSerial, () => paddedText(options.serial, options.serial.length)],
        [VITAL_PAGE.tapeAlert, supportedFlagsPage],
      ]),
    };
    this.modes = new ModePages(
      tapeModePages(() => Math.floor(capacityMib(drive).maximum / MIB_PER_GB)),
    );
    this.logPages = [...tapeLogPages(drive, () => this.counters), this.alerts.page()];
  }

  // The medium ----------------------------------------------------------------------------------

  /** A tape that was put in since the last command is news for every host. */
  async notice(): Promise<void> {
    if (this.drive.loadCount === this.#loadCount) return;
    this.mediumChanged();
  }

  /** @param except the nexus that asked for it, and knows. */
  mediumChanged(except?: string): void {
    this.#loadCount = this.drive.loadCount;
    this.counters.loads += 1;
    this.alerts.clear();
    this.nexuses.raise(SENSE.mediumMayHaveChanged, except);
  }

  checkReady(): void {
    if (this.drive.ready) return;
    throw new CheckCondition(
      this.drive.medium() === undefined ? SENSE.mediumAbsent : SENSE.notLoaded,
    );
  }

  /** @throws CheckCondition for a tape, a file or a mode that forbids writing. */
  checkWritable(): void {
    if (this.isWriteProtected()) {
      this.alerts.raise(TAPE_ALERT.writeProtect);
      throw new CheckCondition(SENSE.writeProtected);
    }
    if (isSoftwareWriteProtected(this.modes))
      throw new CheckCondition(SENSE.softwareWriteProtected);
  }

  isWriteProtected(): boolean {
    const medium = this.drive.medium();
    if (medium === undefined) return false;
    return medium.writeProtected || (this.drive.ready && !this.drive.capabilities.writable);
  }

  get recordBytesMax(): number {
    const max = this.drive.ready ? this.drive.capabilities.recordBytesMax : RECORD_BYTES_MAX;
    return Math.min(max, TRANSFER_LENGTH_MAX);
  }

  /** The chip of the cartridge inside. @throws CheckCondition where there is none. */
  cartridgeMemory(): CartridgeMemory {
    const medium = this.drive.medium();
    if (medium === undefined) throw new CheckCondition(SENSE.mediumAbsent);
    const memory = this.#memories(medium.barcode);
    return {
      get: async (id) => memory.get(id).catch(failAs(SENSE.memoryReadError)),
      write: async (changes) => memory.write(changes).catch(failAs(SENSE.memoryWriteError)),
    };
  }

  preventionChanged(): void {
    this.drive.preventRemoval = this.preventing.size > 0;
  }

  // Mode parameters -----------------------------------------------------------------------------

  deviceSpecificParameter(): number {
    const isProtected = this.isWriteProtected() || isSoftwareWriteProtected(this.modes);
    return (isProtected ? WRITE_PROTECT_BIT : 0) | (this.#bufferedMode << BUFFERED_SHIFT);
  }

  selectDeviceSpecific(value: number, at: number): boolean {
    const bufferedMode = bits(at, 6, BUFFERED_SHIFT);
    const speed = bits(at, 3, 0);
    const byte = Uint8Array.of(value);
    const mode = decodeField({ ...bufferedMode, at: 0 }, byte);
    if (mode > BUFFERED_MODE_MAX) throw invalidParameter(bufferedMode);
    if (decodeField({ ...speed, at: 0 }, byte) !== 0) throw invalidParameter(speed);
    const changed = mode !== this.#bufferedMode;
    this.#bufferedMode = mode;
    return changed;
  }

  blockDescriptor(): Uint8Array {
    return build(BLOCK_DESCRIPTOR, BLOCK_DESCRIPTOR_BYTES, {
      density: DENSITY_CODE,
      blockLength: this.blockLengthBytes,
    });
  }

  selectBlockDescriptor(bytes: Uint8Array, base: number): () => boolean {
    const { density, blockLength } = decodeFields(BLOCK_DESCRIPTOR, bytes);
    if (![DENSITY_CODE, DENSITY_DEFAULT, DENSITY_NO_CHANGE].includes(density)) {
      throw invalidParameter(BLOCK_DESCRIPTOR.density, base);
    }
    if (blockLength > this.recordBytesMax) {
      throw invalidParameter(BLOCK_DESCRIPTOR.blockLength, base);
    }
    return () => {
      const changed = blockLength !== this.blockLengthBytes;
      this.blockLengthBytes = blockLength;
      return changed;
    };
  }

  // Counters, errors, reset ---------------------------------------------------------------------

  resetCounters(): void {
    this.counters = noCounters();
  }

  senseOf(error: ReelError): Sense {
    return { code: SENSE_OF[error.code] ?? SENSE.internalFailure };
  }

  reset(): void {
    this.blockLengthBytes = 0;
    this.#bufferedMode = 1;
    this.#loadCount = this.drive.loadCount;
    this.resetCounters();
    this.alerts.clear();
  }
}

/** For the cartridge's memory: what is wrong with its file, not with the tape. */
function failAs(code: SenseCode): (error: unknown) => never {
  return (error) => {
    if (isReelError(error, "damaged") || isReelError(error, "io")) throw new CheckCondition(code);
    throw error;
  };
}

/** For errors of the drive where no command says better. */
const SENSE_OF: Readonly<Partial<Record<ErrorCode, SenseCode>>> = {
  "no-medium": SENSE.mediumAbsent,
  "read-only": SENSE.writeProtected,
  "no-permission": SENSE.writeProtected,
  "no-space": SENSE.diskNearlyFull,
  "end-of-medium": SENSE.volumeOverflow,
  "out-of-range": SENSE.endOfData,
  damaged: SENSE.positioningError,
  busy: SENSE.busy,
  closed: SENSE.operatorNeeded,
  aborted: SENSE.aborted,
  timeout: SENSE.aborted,
  invalid: SENSE.invalidField,
  unsupported: SENSE.invalidField,
};
