/** The mode pages of a changer (SMC-3, 7.3): where its elements are and what can go where. */
import type { LoaderGeometry } from "../../tape-loader.ts";
import { bits, flag, number } from "../fields.ts";
import {
  controlPage,
  informationalExceptionsPage,
  modePage,
  type ModePage,
} from "../mode-pages.ts";
import { ARM_ADDRESS, elementRange } from "./element-map.ts";

function elementAddressPage(geometry: () => LoaderGeometry): ModePage {
  return modePage({
    name: "Element Address Assignment",
    code: 0x1d,
    sizeBytes: 20,
    fields: {
      firstArm: number(2, 2),
      arms: number(4, 2),
      firstStorage: number(6, 2),
      storage: number(8, 2),
      firstImportExport: number(10, 2),
      importExport: number(12, 2),
      firstDrive: number(14, 2),
      drives: number(16, 2),
    },
    defaults: { firstArm: ARM_ADDRESS, arms: 1 },
    live: () => {
      const now = geometry();
      const storage = elementRange(now, "storage");
      const importExport = elementRange(now, "import-export");
      const drives = elementRange(now, "drive");
      return {
        firstStorage: storage.first,
        storage: storage.count,
        firstImportExport: importExport.first,
        importExport: importExport.count,
        firstDrive: drives.first,
        drives: drives.count,
      };
    },
  });
}

/** One arm that turns no tapes over. */
function transportGeometryPage(): ModePage {
  return modePage({
    name: "Transport Geometry Parameters",
    code: 0x1e,
    sizeBytes: 4,
    fields: { rotates: flag(2, 0), member: number(3, 1) },
  });
}

/** Bits 3–0 of each byte: to a drive, to import/export, to storage, to the arm. */
const ANYWHERE_BUT_THE_ARM = 0b1110;

function capabilitiesPage(): ModePage {
  return modePage({
    name: "Device Capabilities",
    code: 0x1f,
    sizeBytes: 20,
    fields: {
      stores: bits(2, 3, 0),
      moveFromArm: bits(4, 3, 0),
      moveFromStorage: bits(5, 3, 0),
      moveFromImportExport: bits(6, 3, 0),
      moveFromDrive: bits(7, 3, 0),
      exchangeWithArm: bits(12, 3, 0),
      exchangeWithStorage: bits(13, 3, 0),
      exchangeWithImportExport: bits(14, 3, 0),
      exchangeWithDrive: bits(15, 3, 0),
    },
    defaults: {
      stores: ANYWHERE_BUT_THE_ARM,
      moveFromStorage: ANYWHERE_BUT_THE_ARM,
      moveFromImportExport: ANYWHERE_BUT_THE_ARM,
      moveFromDrive: ANYWHERE_BUT_THE_ARM,
      exchangeWithStorage: ANYWHERE_BUT_THE_ARM,
      exchangeWithImportExport: ANYWHERE_BUT_THE_ARM,
      exchangeWithDrive: ANYWHERE_BUT_THE_ARM,
    },
  });
}

export function changerModePages(geometry: () => LoaderGeometry): ModePage[] {
  return [
    controlPage(),
    informationalExceptionsPage(),
    elementAddressPage(geometry),
    transportGeometryPage(),
    capabilitiesPage(),
  ];
}
