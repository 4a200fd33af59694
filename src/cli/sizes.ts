/** Sizes and times as people write and read them. Units are binary: 1K is 1024 bytes. */
import { ReelError } from "../errors.ts";

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] as const;
const SIZE = /^(\d+(?:\.\d+)?)\s*(?:([KMGTP])(?:i?B)?|B)?$/i;

/**
 * Bytes of a size such as `4096`, `64K`, `64KiB`, `2G` or `1.5T`; letters in either case.
 * `what` names the option in the message. Throws "invalid" for anything else, and for a size that
 * is not a whole number of bytes below 2^53.
 */
export function parseSize(text: string, what: string): number {
  const match = SIZE.exec(text.trim());
  if (match === null) {
    throw new ReelError(
      "invalid",
      `${what}: "${text}" is not a size; write bytes or a number with K, M, G or T, as in 64K or 1.5G`,
    );
  }
  const power = match[2] === undefined ? 0 : " KMGTP".indexOf(match[2].toUpperCase());
  const bytes = Number(match[1]) * 1024 ** power;
  if (!Number.isSafeInteger(bytes)) {
    throw new ReelError("invalid", `${what}: ${text} is not a whole number of bytes below 8 PiB`);
  }
  return bytes;
}

/** `1 file`, `3,000 files`. */
export function counted(count: number, noun: string): string {
  return `${withCommas(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** A whole number as people read it, `3,000`. The first toLocaleString of a process takes 25 ms. */
export function withCommas(count: number): string {
  return String(count).replace(/\B(?=(?:\d{3})+$)/g, ",");
}

/** A size in the largest unit that leaves at least one: `512 B`, `1.5 KiB`, `24 GiB`. */
export function formatSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  // 1023.95 KiB would be shown as "1024 KiB": the next unit takes over where rounding does.
  while (unit < UNITS.length - 1 && Math.abs(value) >= (unit === 0 ? 1024 : 1023.95)) {
    value /= 1024;
    unit++;
  }
  const digits = unit === 0 || Math.abs(value) >= 99.95 ? 0 : 1;
  return `${value.toFixed(digits).replace(/\.0$/, "")} ${UNITS[unit] ?? "B"}`;
}

/** A time in at most two units: `0.4 s`, `12 s`, `3 min 20 s`, `1 h 5 min`, `2 d 3 h`. */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "unknown";
  if (seconds < 0.0095) return `${(seconds * 1000).toFixed(1)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(seconds < 0.095 ? 2 : 1).replace(/\.0$/, "")} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return twoUnits(whole, 60, "min", "s");
  const minutes = Math.round(seconds / 60);
  if (minutes < 1440) return twoUnits(minutes, 60, "h", "min");
  return twoUnits(Math.round(seconds / 3600), 24, "d", "h");
}

function twoUnits(value: number, per: number, large: string, small: string): string {
  const rest = value % per;
  const whole = `${Math.floor(value / per)} ${large}`;
  return rest === 0 ? whole : `${whole} ${rest} ${small}`;
}

/** A time to the minute, in the local zone: `2025-03-09 14:05`. */
export function formatDate(ms: number): string {
  const date = new Date(ms);
  const two = (value: number): string => String(value).padStart(2, "0");
  return (
    `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ` +
    `${two(date.getHours())}:${two(date.getMinutes())}`
  );
}
