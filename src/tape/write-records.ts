/** Several records at once, on drives that can and on those that cannot. */
import type { RecordsWritten, TapeDrive, TapeRecord } from "./tape-drive.ts";

/** As TapeDrive.writeRecords; a drive that has none writes the first. */
export async function writeRecords(
  drive: TapeDrive,
  records: readonly TapeRecord[],
): Promise<RecordsWritten> {
  if (drive.writeRecords !== undefined) return drive.writeRecords(records);
  const { earlyWarning } = await drive.write(records[0] ?? []);
  return { written: 1, earlyWarning };
}
