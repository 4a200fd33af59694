/** Field names and values in words. */
import { decodeFields, type Layout } from "./fields.ts";

/** "transferLength" as "transfer length". */
function words(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}

export function fieldsText(values: Readonly<Record<string, number>>): string {
  return Object.entries(values)
    .map(([name, value]) => `${words(name)} ${value}`)
    .join(", ");
}

export function layoutText(layout: Layout, data: Uint8Array, base = 0): string {
  return fieldsText(decodeFields(layout, data, base));
}
