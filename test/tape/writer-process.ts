/**
 * A process that writes a tape, for tests that stop it from outside. It appends records of 10,000
 * bytes (their pattern is that of their number) until something fails, with a filemark after every
 * so many (0: none), and says so when a filemark was acknowledged.
 */
import { isReelError } from "../../src/errors.ts";
import { openSimhTape } from "../../src/tape/simh-tape.ts";
import { patternBytes } from "../support/pattern.ts";

const RECORD_BYTES = 10_000;

async function main(path: string, recordsPerFile: number): Promise<void> {
  const drive = await openSimhTape(path, { mode: "write", create: true });
  process.stdout.write("opened\n");
  try {
    for (let record = 0; ; record++) {
      await drive.write([patternBytes(RECORD_BYTES, record)]);
      if (recordsPerFile > 0 && record % recordsPerFile === recordsPerFile - 1) {
        await drive.writeFilemarks(1);
        process.stdout.write(`durable ${record + 1}\n`);
      }
    }
  } catch (error) {
    const { object } = await drive.position();
    const code = isReelError(error) ? error.code : "unknown";
    process.stdout.write(`failed ${code} at object ${object}: ${String(error)}\n`);
  }
  await drive.close();
}

await main(process.argv[2] ?? "", Number(process.argv[3]));
