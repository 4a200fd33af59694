import { expect } from "chai";
import { readFile } from "node:fs/promises";
import { isReelError } from "../../src/errors.ts";
import { decodeSetRecord, encodeSetRecord } from "../../src/tape/set/set-records.ts";
import type { Continuation, TapeEnd } from "../../src/tape/set/set-records.ts";
import { expectReelError } from "../support/expect-error.ts";
import { withRandom } from "../support/random.ts";

const SET = "5f0c6d1e-8a4b-4c92-9d37-1b2e3f405162";
const JOINT = "c2a7e9d4-3b15-4f68-8e01-a4d5b6c7f809";

/** The end that docs/formats/tape-set.md dumps. */
const END: TapeEnd = {
  ...{ kind: "ends", set: SET, sequence: 1, object: 5, file: 2 },
  next: { name: "/tapes/b.tap", serial: "REEL02", joint: JOINT },
};

const CONTINUATION: Continuation = {
  ...{ kind: "continues", set: SET, sequence: 2, created: "2026-11-21T12:00:00.000Z" },
  tapes: [
    { name: "/tapes/a.tap", serial: "REELFS", firstObject: 0, firstFile: 0, startBytes: 0 },
    { name: "/tapes/b.tap", serial: "REEL02", joint: JOINT, firstObject: 5, firstFile: 2 },
  ],
};

describe("the records of a set of tapes", () => {
  it("are read as they were written", () => {
    for (const record of [END, CONTINUATION]) {
      const read = decodeSetRecord(encodeSetRecord(record), "the record");
      expect(JSON.parse(JSON.stringify(read))).to.deep.equal(record);
    }
  });

  it("are as the format page shows them", async () => {
    const page = await readFile(new URL("../../docs/formats/tape-set.md", import.meta.url), "utf8");
    const dump = [...page.matchAll(/^ {4}[0-9a-f]{8}: ([0-9a-f ]{39}) {2}/gm)];
    const hex = dump.map(([, row = ""]) => row.replaceAll(" ", "")).join("");
    expect(hex.length).to.be.greaterThan(64);
    expect(encodeSetRecord(END).toString("hex").startsWith(hex)).to.equal(true);
  });

  it("are refused when they are of a later version", async () => {
    const later = encodeSetRecord({ ...END, version: 2 } as TapeEnd);
    await expectReelError((async () => decodeSetRecord(later, "the record"))(), "unsupported");
  });

  it("are damaged, and nothing worse, whatever has become of them", async () => {
    await withRandom((random) => {
      const whole = encodeSetRecord(CONTINUATION);
      for (let tries = 0; tries < 2000; tries++) {
        const bytes = Buffer.from(whole);
        for (let hits = 0; hits <= random.below(3); hits++) {
          bytes[random.below(bytes.length)] = random.below(256);
        }
        const cut = random.below(4) === 0 ? bytes.subarray(0, random.below(bytes.length)) : bytes;
        try {
          const read = decodeSetRecord(cut, "the record");
          expect(JSON.parse(JSON.stringify(read))).to.deep.equal(CONTINUATION);
        } catch (error) {
          if (!isReelError(error, "damaged")) throw error;
        }
      }
    });
  });

  it("are damaged when they make no sense, though their checksum is right", async () => {
    const [first, second] = CONTINUATION.tapes;
    if (first === undefined || second === undefined) throw new Error("no tapes");
    const wrong: readonly unknown[] = [
      { ...CONTINUATION, sequence: 1 },
      { ...CONTINUATION, tapes: [second, first] },
      { ...CONTINUATION, tapes: "none" },
      { ...CONTINUATION, tapes: [first, null] },
      { ...CONTINUATION, set: 7 },
      { ...CONTINUATION, tapes: [first, { ...second, firstObject: 1.5 }] },
      { ...END, object: -1 },
      { ...END, next: undefined },
      { ...END, sequence: 1e9 },
    ];
    for (const each of wrong) {
      const bytes = encodeSetRecord(each as TapeEnd);
      await expectReelError((async () => decodeSetRecord(bytes, "the record"))(), "damaged");
    }
  });
});
