/**
 * Reads at places that a list names, opening each file once, and prints the mean seconds of a
 * place. Stops early when that takes too long: the mean then is of those that were read.
 * Arguments: a folder, and a JSON file with an array of [path, offset, length].
 */
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";

const ENOUGH_MS = 3000;

const [, , root = "", list = ""] = process.argv;
const places = JSON.parse(readFileSync(list, "utf8")) as (readonly [string, number, number])[];
const target = Buffer.alloc(Math.max(...places.map(([, , length]) => length)));
const paths = places.map(([path]) => join(root, path));
const descriptors = new Map<string, number>();
const startedMs = performance.now();
let read = 0;
for (const [index, [, offset, length]] of places.entries()) {
  const path = paths[index] ?? "";
  let descriptor = descriptors.get(path);
  if (descriptor === undefined) {
    descriptor = openSync(path, "r");
    descriptors.set(path, descriptor);
  }
  if (readSync(descriptor, target, 0, length, offset) !== length) {
    throw new Error(`${path} is too short to be read at ${offset}`);
  }
  read++;
  if (performance.now() - startedMs > ENOUGH_MS) break;
}
const seconds = (performance.now() - startedMs) / 1000;
for (const descriptor of descriptors.values()) closeSync(descriptor);
process.stdout.write(`${seconds / read}\n`);
