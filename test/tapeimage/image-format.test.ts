import { expect } from "chai";
import { readFile } from "node:fs/promises";
import { MemoryDevice } from "../../src/device/memory-device.ts";
import { openSimhTape } from "../../src/tape/simh-tape.ts";
import { FRAME_BYTES } from "../../src/tapeimage/frame.ts";
import { makeTestTape } from "../support/image-fixture.ts";
import { withTempFolder } from "../support/temp.ts";

const PAGE = new URL("../../docs/formats/image.md", import.meta.url);

/** The volume of the page's worked example: eight blocks of A, B, ... H. */
function exampleVolume(): MemoryDevice {
  const bytes = new Uint8Array(8 * 512);
  for (let block = 0; block < 8; block++) bytes.fill(0x41 + block, block * 512, (block + 1) * 512);
  return new MemoryDevice(bytes);
}

async function exampleRecords(folder: string): Promise<Buffer[]> {
  const { path } = await makeTestTape(folder, exampleVolume(), {
    used: [
      [0, 2],
      [4, 3],
    ],
    control: [
      [0, 1],
      [4, 1],
    ],
    codec: "none",
    uuid: "00112233-4455-6677-8899-aabbccddeeff",
    created: "2026-01-02T03:04:05.000Z",
    finished: "2026-01-02T03:04:06.000Z",
  });
  await using drive = await openSimhTape(path, { mode: "read" });
  const records: Buffer[] = [];
  for (;;) {
    const bytes = Buffer.alloc(4096);
    const read = await drive.read(bytes);
    if (read.kind !== "record") return records;
    records.push(bytes.subarray(0, read.lengthBytes));
  }
}

function blocksOf(
  page: string,
  language: string,
): { record: number; text: string; head: string }[] {
  const fences = page.matchAll(
    new RegExp("```" + language + " (record=(\\d+)[^\\n]*)\\n([^`]*)```", "g"),
  );
  return [...fences].map(([, head, record, text]) => ({
    record: Number(record),
    text: text ?? "",
    head: head ?? "",
  }));
}

describe("the format page", () => {
  it("shows the bytes that the code writes", async () => {
    await withTempFolder(async (folder) => {
      const records = await exampleRecords(folder);
      const dumps = blocksOf(await readFile(PAGE, "utf8"), "hex");
      expect(dumps.map(({ record }) => record)).to.deep.equal([0, 1, 2, 3, 4, 5]);
      let compared = 0;
      for (const { record, text, head } of dumps) {
        const bytes = records[record] ?? Buffer.alloc(0);
        expect(head).to.include(`length=${bytes.length}`);
        for (const line of text.split("\n")) {
          const match = /^([0-9a-f]{4}): ((?:[0-9a-f]{2,4} ?)+) {2}/.exec(line);
          if (match === null) continue;
          const at = Number.parseInt(match[1] ?? "", 16);
          const shown = (match[2] ?? "").replaceAll(" ", "");
          const real = bytes.subarray(at, at + shown.length / 2).toString("hex");
          expect(real, `record ${record}, line ${match[1] ?? ""}`).to.equal(shown);
          compared += shown.length / 2;
        }
      }
      expect(compared).to.be.greaterThan(6 * FRAME_BYTES);
    });
  });

  it("shows the JSON of header and trailer", async () => {
    await withTempFolder(async (folder) => {
      const records = await exampleRecords(folder);
      for (const { record, text } of blocksOf(await readFile(PAGE, "utf8"), "json")) {
        const payload = (records[record] ?? Buffer.alloc(0)).subarray(FRAME_BYTES);
        expect(JSON.parse(payload.toString("utf8"))).to.deep.equal(JSON.parse(text));
      }
    });
  });
});
