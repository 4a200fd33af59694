/** Every kind of label record of ANSI X3.27 and IBM standard labels, as a listing shows it. */
import {
  decodeFileLabel,
  decodeVolumeLabel,
  labelText,
  type FileLabel,
  type LabelEncoding,
  type VolumeLabel,
} from "./labels.ts";

/** The second label of a file: how its data lies in records and blocks. */
export interface FormatLabel {
  /** F fixed, D or V variable, S spanned, U undefined; what the label says. */
  readonly recordFormat: string;
  readonly blockBytes: number | undefined;
  readonly recordBytes: number | undefined;
}

export interface LabelRecord {
  /** "VOL1", "HDR2", "EOF1", "UHL3" … */
  readonly id: string;
  /** All 80 characters, trailing blanks dropped. */
  readonly text: string;
  readonly encoding: LabelEncoding;
  readonly volume?: VolumeLabel | undefined;
  readonly file?: FileLabel | undefined;
  readonly format?: FormatLabel | undefined;
}

const LABEL_KINDS = ["VOL", "HDR", "EOF", "EOV", "UVL", "UHL", "UTL"];
const LABEL_IDS = LABEL_KINDS.flatMap((kind) =>
  Array.from({ length: 9 }, (_, number) => `${kind}${number + 1}`),
);
const FORMAT_IDS = ["HDR2", "EOF2", "EOV2"];
/** Characters from 0: format, block length, record length. */
const FORMAT = { recordFormat: 4, blockBytes: [5, 10], recordBytes: [10, 15] } as const;
/** A longer record that begins like a label is data. */
const LABEL_RECORD_BYTES_MAX = 80;

/** Decodes a label record; undefined for any other. `lengthBytes` is the record's true length. */
export function decodeLabelRecord(
  record: Uint8Array,
  lengthBytes = record.length,
): LabelRecord | undefined {
  if (lengthBytes > LABEL_RECORD_BYTES_MAX) return undefined;
  const label = labelText(record, LABEL_IDS);
  if (label === undefined) return undefined;
  const id = label.text.slice(0, 4);
  return {
    id,
    text: label.text.trimEnd(),
    encoding: label.encoding,
    volume: decodeVolumeLabel(record),
    file: decodeFileLabel(record),
    format: FORMAT_IDS.includes(id) ? decodeFormat(label.text) : undefined,
  };
}

function decodeFormat(text: string): FormatLabel {
  const number = ([from, to]: readonly [number, number]): number | undefined => {
    const digits = text.slice(from, to);
    return /^\d+$/.test(digits) ? Number(digits) : undefined;
  };
  return {
    recordFormat: text.charAt(FORMAT.recordFormat).trim(),
    blockBytes: number(FORMAT.blockBytes),
    recordBytes: number(FORMAT.recordBytes),
  };
}
