/** Records that unpack to more than they say: no tape makes a reader use more memory than a record. */
import { crc32c } from "@node-rs/crc32";
import { expect } from "chai";
import zstd from "zstd-napi/binding.js";
import {
  CODEC_ID,
  FRAME_BYTES,
  RECORD_KIND,
  sealFrame,
  writeFrame,
} from "../../src/tapeimage/frame.ts";
import { decodeRecord } from "../../src/tapeimage/record-codec.ts";
import { expectReelError } from "../support/expect-error.ts";

const RECORD_BYTES = 65_536;
const IDENTITY = {
  uuid: Buffer.alloc(16, 7),
  blockSizeBytes: 512,
  recordSizeBytes: RECORD_BYTES,
  sizeBytes: 1 << 20,
};

/** A sealed record that says it holds `rawLength` bytes, packed from `content`. */
function record(rawLength: number, content: Buffer): Buffer {
  const packed = Buffer.alloc(content.length + 1024);
  const length = new zstd.CCtx().compress2(packed, content);
  const frame = Buffer.alloc(FRAME_BYTES);
  writeFrame(frame, IDENTITY, {
    kind: RECORD_KIND.data,
    record: 0,
    firstItem: 0,
    rawLength,
    runs: [],
  });
  const stored = packed.subarray(0, length);
  const storedCrc = crc32c(stored);
  sealFrame(frame, frame.length, {
    ...{ codec: CODEC_ID.zstd, storedLength: length, storedCrc, rawCrc: 0 },
  });
  return Buffer.concat([frame, stored]);
}

describe("a record made to burst", () => {
  const decode = async (bytes: Buffer): Promise<unknown> =>
    Promise.resolve().then(() =>
      decodeRecord(bytes, undefined, Buffer.alloc(RECORD_BYTES), "record 0"),
    );

  it("is damaged, and nothing beyond its own length is unpacked", async () => {
    const bomb = Buffer.alloc(64 << 20);
    for (const rawLength of [1, 512, RECORD_BYTES]) {
      const bytes = record(rawLength, bomb);
      expect(bytes.length).to.be.lessThan(RECORD_BYTES);
      const error = await expectReelError(decode(bytes), "damaged");
      expect(error.message).to.contain("record 0: it does not decompress");
    }
  });

  it("is damaged where it says that it is longer than a record", async () => {
    for (const rawLength of [RECORD_BYTES + 512, 0x7fff_fe00]) {
      await expectReelError(decode(record(rawLength, Buffer.alloc(512))), "damaged");
    }
  });
});
