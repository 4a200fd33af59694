/**
 * The state of a changer as SCSI sees it, over a TapeLoader, which knows where every tape is. Here
 * is only what hosts are told, and what they saw last: others (commands, the tree, a person) move
 * tapes too, and hosts must hear of that.
 */
import { isReelError, type ErrorCode, type ReelError } from "../../../errors.ts";
import type { ElementStatus, TapeLoader } from "../../tape-loader.ts";
import { STANDARD } from "../common/inquiry.ts";
import { DEVICE_TYPE, unitParts } from "../logical-unit.ts";
import type { Identity, LogPage, LogicalUnit } from "../logical-unit.ts";
import { ModePages } from "../mode-pages.ts";
import { SENSE, invalidParameter, type Sense, type SenseCode } from "../sense.ts";
import { TapeAlerts } from "../tape-alert.ts";
import { changerModePages } from "./changer-mode-pages.ts";

const CHANGER_PRODUCT = "VIRTUAL LOADER";
const NO_DESCRIPTOR = new Uint8Array(0);

export interface ChangerUnitOptions {
  readonly luns: () => readonly number[];
  /** Identity of a drive, for READ ELEMENT STATUS with DVCID. */
  readonly driveIdentity: (number: number) => Identity;
}

/** Which tape is where, of the elements that count. */
interface Seen {
  readonly storage: string;
  readonly importExport: string;
}

export class ChangerUnit implements LogicalUnit {
  readonly loader: TapeLoader;
  readonly identity: Identity;
  readonly luns: () => readonly number[];
  readonly driveIdentity: (number: number) => Identity;
  readonly modes: ModePages;
  readonly alerts = new TapeAlerts();
  readonly logPages: readonly LogPage[];
  readonly nexuses;
  readonly reservations;
  readonly preventing;
  #seen: Seen | undefined;

  constructor(loader: TapeLoader, options: ChangerUnitOptions) {
    this.loader = loader;
    this.luns = options.luns;
    this.driveIdentity = options.driveIdentity;
    ({
      nexuses: this.nexuses,
      reservations: this.reservations,
      preventing: this.preventing,
    } = unitParts());
    this.identity = {
      deviceType: DEVICE_TYPE.changer,
      product: CHANGER_PRODUCT,
      serial: loader.serial,
      hasBarcodeReader: true,
      standards: [STANDARD.sam5, STANDARD.spc4, STANDARD.smc3],
      vitalPages: new Map(),
    };
    this.modes = new ModePages(changerModePages(() => loader.geometry));
    this.logPages = [this.alerts.page()];
  }

  /** Where a loader cannot say what it holds, the command that asks gets the error, not this. */
  async notice(): Promise<void> {
    const before = this.#seen;
    try {
      await this.remember();
    } catch (error) {
      if (!isReelError(error)) throw error;
    }
    const now = this.#seen;
    if (before === undefined || now === undefined) return;
    if (now.importExport !== before.importExport) this.nexuses.raise(SENSE.importExportAccessed);
    else if (now.storage !== before.storage) this.nexuses.raise(SENSE.mediumMayHaveChanged);
  }

  /** Takes things as they are for what the hosts know; after a move of their own. */
  async remember(): Promise<void> {
    const elements = await this.loader.elements();
    this.#seen = {
      storage: contentsOf(elements, "storage"),
      importExport: contentsOf(elements, "import-export"),
    };
  }

  /** A changer is ready as long as it is there. */
  checkReady(): void {
    return;
  }

  /** Nothing to lock: moves to import/export elements look at `preventing` themselves. */
  preventionChanged(): void {
    return;
  }

  deviceSpecificParameter(): number {
    return 0;
  }

  selectDeviceSpecific(value: number, at: number): boolean {
    if (value !== 0) throw invalidParameter({ at });
    return false;
  }

  blockDescriptor(): Uint8Array {
    return NO_DESCRIPTOR;
  }

  selectBlockDescriptor(_bytes: Uint8Array, base: number): () => boolean {
    throw invalidParameter({ at: base });
  }

  resetCounters(): void {
    this.alerts.clear();
  }

  senseOf(error: ReelError): Sense {
    return { code: SENSE_OF[error.code] ?? SENSE.internalFailure };
  }

  reset(): void {
    this.#seen = undefined;
    this.alerts.clear();
  }
}

function contentsOf(elements: readonly ElementStatus[], kind: ElementStatus["kind"]): string {
  return elements
    .filter((element) => element.kind === kind && element.tape !== undefined)
    .map((element) => `${element.number}:${element.tape?.barcode ?? ""}`)
    .join("\n");
}

/** For errors of the loader: what it refuses is what SMC has codes for. */
const SENSE_OF: Readonly<Partial<Record<ErrorCode, SenseCode>>> = {
  invalid: SENSE.invalidElement,
  "out-of-range": SENSE.invalidElement,
  "not-found": SENSE.sourceEmpty,
  "no-medium": SENSE.sourceEmpty,
  exists: SENSE.destinationFull,
  busy: SENSE.busy,
  "read-only": SENSE.writeProtected,
  "no-permission": SENSE.writeProtected,
  "no-space": SENSE.diskNearlyFull,
  closed: SENSE.operatorNeeded,
  aborted: SENSE.aborted,
  timeout: SENSE.aborted,
};
