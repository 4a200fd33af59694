/**
 * FAT time stamps: local time in two-second steps, with 10 ms steps for the creation time. Fields
 * out of range are brought to the nearest value in range, never to NaN.
 */

const EPOCH_YEAR = 1980;
const MS_PER_MINUTE = 60_000;

/**
 * Milliseconds since 1970 UTC.
 *
 * @param date bits 15-9 years since 1980, 8-5 month, 4-0 day
 * @param time bits 15-11 hours, 10-5 minutes, 4-0 seconds / 2
 * @param tenMs 0 to 199: hundredths of a second to add
 * @param timeZoneMinutes minutes east of UTC of the clock that wrote it
 */
export function fatTimeMs(
  date: number,
  time: number,
  tenMs: number,
  timeZoneMinutes: number,
): number {
  const year = EPOCH_YEAR + (date >>> 9);
  const month = clamp((date >>> 5) & 0x0f, 1, 12);
  const daysInMonth = new Date(Date.UTC(year, month, 0)).getUTCDate();
  const day = clamp(date & 0x1f, 1, daysInMonth);
  const hours = clamp(time >>> 11, 0, 23);
  const minutes = clamp((time >>> 5) & 0x3f, 0, 59);
  const seconds = clamp((time & 0x1f) * 2, 0, 58);
  const local = Date.UTC(year, month - 1, day, hours, minutes, seconds, clamp(tenMs, 0, 199) * 10);
  return local - timeZoneMinutes * MS_PER_MINUTE;
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), high);
}
