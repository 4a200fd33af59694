/** Figures as people read them: three digits, in the unit that suits. */
import { formatSize } from "../../src/cli/sizes.ts";
import type { Unit } from "./row.ts";

const TIME_UNITS = [
  { name: "s", seconds: 1 },
  { name: "ms", seconds: 1e-3 },
  { name: "µs", seconds: 1e-6 },
  { name: "ns", seconds: 1e-9 },
] as const;

/** "1,234", "123", "12.3", "1.23". */
export function threeDigits(value: number): string {
  if (!Number.isFinite(value)) return "?";
  const size = Math.abs(value);
  if (size >= 99.95) return Math.round(value).toLocaleString("en");
  return value.toFixed(size >= 9.995 ? 1 : 2);
}

/** "12.3 s", "850 ms", "0.35 µs" is "350 ns". */
export function formatSeconds(seconds: number): string {
  const size = Math.abs(seconds);
  const unit = TIME_UNITS.find((each) => size >= each.seconds * 0.9995) ?? TIME_UNITS[3];
  if (size === 0) return "0 s";
  return `${threeDigits(seconds / unit.seconds)} ${unit.name}`;
}

/** "24.0 B" for small sizes, of which a fraction matters; "150 MiB" for others. */
export function formatBytes(bytes: number): string {
  return Math.abs(bytes) < 1024 ? `${threeDigits(bytes)} B` : formatSize(bytes);
}

export function formatValue(value: number, unit: Unit): string {
  return unit === "seconds" ? formatSeconds(value) : formatBytes(value);
}
