import { spawnSync } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { expect } from "chai";
import { CodecPool, sharedBuffer, sharedSpan } from "../../src/tapeimage/codec-pool.ts";
import {
  CODEC_ID,
  FRAME_BYTES,
  RECORD_KIND,
  uuidBytes,
  writeFrame,
} from "../../src/tapeimage/frame.ts";
import { expectReelError } from "../support/expect-error.ts";

const RAW_BYTES = 64 * 1024;

describe("packing and unpacking records", () => {
  it("needs no thread for little, and is the same with threads", async () => {
    const pool = new CodecPool(2, 3 * RAW_BYTES);
    const work = new Work(pool);
    await work.roundTrip(0);
    expect(pool.hasThreads, "after two of three").to.equal(false);
    await work.roundTrip(1);
    await untilThreadsAreThere(pool, work);
    await work.roundTrip(2);
  });

  it("lets a process end whose threads had nothing to do", function () {
    this.timeout(60_000);
    const pool = new URL("../../src/tapeimage/codec-pool.ts", import.meta.url).href;
    const program = `const { CodecPool } = await import(${JSON.stringify(pool)}); new CodecPool(2).start();`;
    const args = ["--import", import.meta.resolve("tsx"), "--input-type=module", "-e", program];
    const { status, signal, stderr } = spawnSync(process.execPath, args, {
      timeout: 30_000,
      encoding: "utf8",
    });
    expect({ status, signal }, stderr).to.deep.equal({ status: 0, signal: null });
  });

  it("says what is wrong with a record wherever it is unpacked", async () => {
    const pool = new CodecPool(1, RAW_BYTES);
    const work = new Work(pool);
    const stored = await work.pack(7, randomBytes(RAW_BYTES));
    stored[stored.length - 1] = (stored.at(-1) ?? 0) ^ 1;
    const checkFailure = async (): Promise<void> => {
      const { message } = await expectReelError(work.unpack(7, stored), "damaged");
      expect(message).to.contain("record 7");
    };
    await checkFailure();
    await untilThreadsAreThere(pool, work);
    await checkFailure();
  });
});

/** A thread says itself when it is ready, some time after it was started by too much work. */
async function untilThreadsAreThere(pool: CodecPool, work: Work): Promise<void> {
  for (let record = 100; !pool.hasThreads; record++) {
    await work.roundTrip(record);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Packs records of one image and unpacks them again. */
class Work {
  readonly #pool: CodecPool;
  readonly #uuid = uuidBytes(randomUUID());

  constructor(pool: CodecPool) {
    this.#pool = pool;
  }

  async roundTrip(record: number): Promise<void> {
    const raw = Buffer.alloc(RAW_BYTES, `record ${record} `);
    const stored = await this.pack(record, raw);
    expect(stored.length).to.be.lessThan(RAW_BYTES / 2);
    expect((await this.unpack(record, stored)).equals(raw)).to.equal(true);
  }

  async pack(record: number, contents: Buffer): Promise<Buffer> {
    const [raw, out] = [sharedBuffer(RAW_BYTES), sharedBuffer(2 * RAW_BYTES)];
    raw.set(contents);
    const frame = sharedBuffer(FRAME_BYTES);
    const identity = {
      ...{ uuid: this.#uuid, sizeBytes: RAW_BYTES },
      ...{ blockSizeBytes: RAW_BYTES, recordSizeBytes: RAW_BYTES },
    };
    const what = { kind: RECORD_KIND.header, record, firstItem: 0, rawLength: RAW_BYTES, runs: [] };
    writeFrame(frame, identity, what);
    const [encoded] = await this.#pool.encode({
      records: [{ frame: sharedSpan(frame), raw: sharedSpan(raw), out: sharedSpan(out) }],
      ...{ codec: CODEC_ID.zstd, level: 1, chunks: [] },
      ...{ memory: sharedSpan(raw), checksums: sharedSpan(sharedBuffer(0)) },
    });
    const { codec = -1, length = 0 } = encoded ?? {};
    const payload = codec === CODEC_ID.none ? raw : out.subarray(0, length);
    return Buffer.concat([frame, payload]);
  }

  async unpack(record: number, packed: Buffer): Promise<Buffer> {
    const stored = sharedBuffer(packed.length);
    stored.set(packed);
    const target = sharedBuffer(RAW_BYTES);
    const { length } = await this.#pool.decode({
      ...{ stored: sharedSpan(stored), target: sharedSpan(target) },
      ...{ uuid: this.#uuid, record, where: `record ${record}`, wantFrame: false },
    });
    return target.subarray(0, length);
  }
}
