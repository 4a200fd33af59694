/** What commander parsed, with types; and parsers for options of more than one command. */
import { ReelError } from "../errors.ts";
import type { OptionValues } from "./command.ts";

export function textOf(options: OptionValues, name: string): string | undefined {
  const value = options[name];
  return typeof value === "string" ? value : undefined;
}

export function numberOf(options: OptionValues, name: string): number | undefined {
  const value = options[name];
  return typeof value === "number" ? value : undefined;
}

export function flagOf(options: OptionValues, name: string): boolean {
  return options[name] === true;
}

/** Values of an option that may be given several times: see `addTo`. */
export function listOf(options: OptionValues, name: string): readonly string[] {
  const value = options[name];
  return Array.isArray(value) ? value.map(String) : [];
}

/** For commander: collects the values of an option that may be given several times. */
export function addTo(text: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), text];
}

/** The value of a required argument, which commander has made sure of. */
export function argumentAt(
  args: readonly (string | readonly string[] | undefined)[],
  index: number,
): string {
  const value = args[index];
  if (typeof value !== "string") throw new ReelError("internal", `argument ${index} is missing`);
  return value;
}

/** Whole numbers in decimal. Throws "invalid" outside [min, max]. */
export function parseWhole(text: string, what: string, min: number, max: number): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : NaN;
  if (value >= min && value <= max) return value;
  throw new ReelError(
    "invalid",
    `${what}: "${text}" is not possible; give a whole number from ${min} to ${max}`,
  );
}

const PARTITION_NUMBER_MAX = 8192;

/** Numbers of partitions, as in "1,3". Throws "invalid". */
export function parsePartitions(text: string, what: string): readonly number[] {
  return text.split(",").map((each) => parseWhole(each.trim(), what, 1, PARTITION_NUMBER_MAX));
}

const MINUTES_EAST_MAX = 14 * 60;

/** Minutes east of UTC of `UTC`, `+02:00`, `-0530` or `+9`. */
export function parseTimeZone(text: string, what: string): number {
  if (/^(utc|z)$/i.test(text)) return 0;
  const match = /^([+-])(\d{1,2}):?([0-5]\d)?$/.exec(text);
  const minutes = Number(match?.[2]) * 60 + Number(match?.[3] ?? 0);
  if (match === null || minutes > MINUTES_EAST_MAX) {
    throw new ReelError(
      "invalid",
      `${what}: "${text}" is not a time zone; give its distance from UTC, as in +02:00`,
    );
  }
  return match[1] === "-" ? -minutes : minutes;
}
