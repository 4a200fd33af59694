/** The records of a `.tap` file by their place in the file: for tests that damage one on purpose. */

export interface TapRecord {
  /** Offset in the file of the record's first data byte. */
  readonly offset: number;
  readonly length: number;
}

/** Records in order; filemarks are left out. */
export function tapRecords(tap: Buffer): TapRecord[] {
  const records: TapRecord[] = [];
  for (let at = 0; at + 4 <= tap.length;) {
    const length = tap.readUInt32LE(at);
    at += 4;
    if (length === 0) continue;
    records.push({ offset: at, length });
    at += length + (length & 1) + 4;
  }
  return records;
}
