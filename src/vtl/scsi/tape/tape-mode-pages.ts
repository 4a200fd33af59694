/** The mode pages of a drive (SSC-4, 8.5; SPC-4, 7.5). */
import { bits, flag, number } from "../fields.ts";
import {
  controlPage,
  informationalExceptionsPage,
  modePage,
  type ModePage,
  type ModePages,
} from "../mode-pages.ts";

export const DEVICE_CONFIGURATION_PAGE = 0x10;

/** Kept for hosts that set it; there are no retries and no corrected errors. */
function errorRecoveryPage(): ModePage {
  return modePage({
    name: "Read-Write Error Recovery",
    code: 0x01,
    sizeBytes: 12,
    fields: {
      transferBlock: flag(2, 5),
      enableEarlyRecovery: flag(2, 3),
      postError: flag(2, 2),
      disableTransferOnError: flag(2, 1),
      disableCorrection: flag(2, 0),
      readRetries: number(3, 1),
      writeRetries: number(8, 1),
    },
    changeable: ["postError", "readRetries", "writeRetries"],
  });
}

function disconnectPage(): ModePage {
  return modePage({
    name: "Disconnect-Reconnect",
    code: 0x02,
    sizeBytes: 16,
    fields: { maximumBurst: number(10, 2) },
  });
}

/**
 * Data compression: a host may switch it on and off, as tar and Bacula do. Nothing is compressed:
 * the algorithm is 0, none.
 */
function compressionPage(): ModePage {
  return modePage({
    name: "Data Compression",
    code: 0x0f,
    sizeBytes: 16,
    fields: {
      enabled: flag(2, 7),
      capable: flag(2, 6),
      decompressionEnabled: flag(3, 7),
      reportException: bits(3, 6, 5),
      algorithm: number(4, 4),
      decompressionAlgorithm: number(8, 4),
    },
    defaults: { capable: true, decompressionEnabled: true },
    changeable: ["enabled", "decompressionEnabled"],
  });
}

const DEVICE_CONFIGURATION = {
  activeFormat: bits(2, 4, 0),
  activePartition: number(3, 1),
  blockIdentifiers: flag(8, 6),
  /** End of data is told by the format itself. */
  endOfDataDefined: bits(10, 7, 5),
  generateEndOfData: flag(10, 4),
  synchronizeAtEarlyWarning: flag(10, 3),
  softwareWriteProtect: flag(10, 2),
  compressionAlgorithm: number(14, 1),
} as const;

function deviceConfigurationPage(): ModePage {
  return modePage({
    name: "Device Configuration",
    code: DEVICE_CONFIGURATION_PAGE,
    sizeBytes: 16,
    fields: DEVICE_CONFIGURATION,
    defaults: { blockIdentifiers: true, generateEndOfData: true, synchronizeAtEarlyWarning: true },
    changeable: ["softwareWriteProtect"],
  });
}

/** Subpage 01: programmable early warning, of which there is none. */
function deviceConfigurationExtensionPage(): ModePage {
  return modePage({
    name: "Device Configuration Extension",
    code: DEVICE_CONFIGURATION_PAGE,
    subpage: 0x01,
    sizeBytes: 32,
    fields: {
      tapeAlertRespectsParameters: flag(4, 3),
      writeMode: bits(5, 7, 4),
      shortEraseMode: bits(5, 3, 0),
      earlyWarningMb: number(6, 2),
    },
    // A short erase writes an end of data where the tape stands.
    defaults: { shortEraseMode: 2 },
  });
}

const PARTITION_UNITS_GB = 9;
const PARTITION_SIZE_MAX = 0xffff;

function partitionPage(capacityGb: () => number): ModePage {
  return modePage({
    name: "Medium Partition",
    code: 0x11,
    sizeBytes: 10,
    fields: {
      additionalMax: number(2, 1),
      additional: number(3, 1),
      /** 11b: sizes are in 10 to the power of `units` bytes. */
      unit: bits(4, 4, 3),
      formatRecognition: number(5, 1),
      units: bits(6, 3, 0),
      sizeOfFirst: number(8, 2),
    },
    defaults: { unit: 3, formatRecognition: 1, units: PARTITION_UNITS_GB },
    live: () => ({ sizeOfFirst: Math.min(capacityGb(), PARTITION_SIZE_MAX) }),
  });
}

function powerConditionPage(): ModePage {
  return modePage({
    name: "Power Condition",
    code: 0x1a,
    sizeBytes: 12,
    fields: { idle: flag(3, 1), standby: flag(3, 0) },
  });
}

/** @param capacityGb of the tape that is in, 0 without. */
export function tapeModePages(capacityGb: () => number): ModePage[] {
  return [
    errorRecoveryPage(),
    disconnectPage(),
    controlPage(),
    compressionPage(),
    deviceConfigurationPage(),
    deviceConfigurationExtensionPage(),
    partitionPage(capacityGb),
    powerConditionPage(),
    informationalExceptionsPage(),
  ];
}

/** Has a host set the software write protection of page 10? */
export function isSoftwareWriteProtected(modes: ModePages): boolean {
  const page = modes.find(DEVICE_CONFIGURATION_PAGE, 0);
  if (page === undefined) return false;
  const field = DEVICE_CONFIGURATION.softwareWriteProtect;
  const byte = modes.current(page)[field.at] ?? 0;
  return (byte & (1 << field.bits[0])) !== 0;
}
