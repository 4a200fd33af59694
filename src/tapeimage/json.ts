/** JSON that came from a tape: every field is checked before it is believed. */
import { ReelError } from "../errors.ts";

export type JsonObject = Readonly<Record<string, unknown>>;

export function parseJson(bytes: Uint8Array, where: string): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new ReelError("damaged", `${where}: its text is not JSON`, { cause: error });
  }
}

export function asObject(value: unknown, where: string): JsonObject {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ReelError("damaged", `${where}: not a JSON object`);
  }
  return value as JsonObject;
}

/** A whole number from 0 to 2^53. */
export function asNumber(object: JsonObject, field: string, where: string): number {
  const value = object[field];
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
    throw new ReelError("damaged", `${where}: field "${field}" is not a whole number`);
  }
  return value;
}

export function asString(object: JsonObject, field: string, where: string): string {
  const value = object[field];
  if (typeof value !== "string") {
    throw new ReelError("damaged", `${where}: field "${field}" is not a text`);
  }
  return value;
}

export function asArray(object: JsonObject, field: string, where: string): readonly unknown[] {
  const value = object[field];
  if (!Array.isArray(value)) {
    throw new ReelError("damaged", `${where}: field "${field}" is not a list`);
  }
  return value;
}
