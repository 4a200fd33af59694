/** Fields of JSON that somebody may have edited: each is checked, and named when it is wrong. */
import { ReelError } from "../errors.ts";
import { asNumber, asString, type JsonObject } from "../tapeimage/json.ts";

function wrongField(where: string, field: string, what: string): ReelError {
  return new ReelError("damaged", `${where}: field "${field}" ${what}`);
}

/** A whole number from `min` to `max`. */
export function numberField(
  object: JsonObject,
  field: string,
  where: string,
  min: number,
  max: number,
): number {
  const value = asNumber(object, field, where);
  if (value < min || value > max) {
    throw wrongField(where, field, `is ${value}; it must be from ${min} to ${max}`);
  }
  return value;
}

/** One of a few texts. */
export function choiceField<T extends string>(
  object: JsonObject,
  field: string,
  where: string,
  choices: readonly T[],
): T {
  const text = asString(object, field, where);
  const choice = choices.find((each) => each === text);
  if (choice === undefined) throw wrongField(where, field, `must be one of ${choices.join(", ")}`);
  return choice;
}

/** A text that `isRight` accepts. */
export function textField(
  object: JsonObject,
  field: string,
  where: string,
  isRight: (text: string) => boolean,
  what: string,
): string {
  const text = asString(object, field, where);
  if (!isRight(text)) throw wrongField(where, field, `is not ${what}`);
  return text;
}

/** Absent is false. */
export function flagField(object: JsonObject, field: string, where: string): boolean {
  const value = object[field];
  if (value === undefined) return false;
  if (typeof value !== "boolean") throw wrongField(where, field, "is not true or false");
  return value;
}

/** Absent or null is undefined; otherwise as `read` says. */
export function optionalField<T>(object: JsonObject, field: string, read: () => T): T | undefined {
  const value = object[field];
  return value === undefined || value === null ? undefined : read();
}
