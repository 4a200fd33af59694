/**
 * Writes to a volume and never stops: a number, one greater each time, in the same place of one file
 * after another. So at any moment the files hold one number, or those before a certain file one more.
 *
 *     node --import tsx steady-writer.ts FOLDER
 */
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";

export const WRITER_FILES = 8;
/** Long enough that the numbers of a file are not in one block. */
const NUMBERS = 4096;

export function writerFile(index: number): string {
  return `counter-${index}`;
}

/** Forever. `round` is told after each number. */
export async function writeSteadily(
  folder: string,
  round: (number: number) => void,
): Promise<void> {
  const files = Array.from({ length: WRITER_FILES }, (_, index) =>
    openSync(join(folder, writerFile(index)), "w+"),
  );
  const bytes = new Uint32Array(NUMBERS);
  for (let number = 1; !isStopped; number++) {
    bytes.fill(number);
    for (const file of files) writeSync(file, bytes, 0, bytes.byteLength, 0);
    round(number);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  files.forEach(closeSync);
}

let isStopped = false;

if (process.argv[1] === import.meta.filename) {
  process.on("SIGTERM", () => {
    isStopped = true;
  });
  await writeSteadily(process.argv[2] ?? "", (number) => process.send?.(number));
  process.disconnect();
}
