/**
 * What every BlockDevice promises, as tests. An implementation's own test is one call of this, with
 * a function that makes a device and tells what it holds; then whatever is special about it.
 *
 *     blockDeviceSuite("MemoryDevice", async () => ({ device: new MemoryDevice(bytes), contents: bytes }));
 */
import { expect } from "chai";
import type { BlockDevice, WritableBlockDevice } from "../../src/device/block-device.ts";
import { expectReelError } from "./expect-error.ts";
import { chance, randomBytes, withRandom } from "./random.ts";

export interface SuiteSubject<Device extends BlockDevice> {
  readonly device: Device;
  /** What the device holds, all of it; the suite wants at least 4096 bytes that are not all zero. */
  readonly contents: Uint8Array;
  /** Called after the device was closed. */
  readonly cleanUp?: () => Promise<void>;
}

/** Makes one device for one test; called in `beforeEach` with mocha's context, so it may skip. */
export type SubjectMaker<Device extends BlockDevice> = (
  context: Mocha.Context,
) => Promise<SuiteSubject<Device>>;

const RANDOM_READS = 200;
const RANDOM_WRITES = 100;

export function blockDeviceSuite(name: string, make: SubjectMaker<BlockDevice>): void {
  describe(`${name} keeps the BlockDevice contract`, () => {
    const subject = useSubject(make);
    openTests(subject);
    closingTests(subject);
  });
}

/** As above, and what writing promises. `contents` is not changed by writing to the device. */
export function writableBlockDeviceSuite(
  name: string,
  make: SubjectMaker<WritableBlockDevice>,
): void {
  describe(`${name} keeps the WritableBlockDevice contract`, () => {
    const subject = useSubject(make);
    openTests(subject);
    closingTests(subject);
    writingTests(subject);
    closedWritingTests(subject);
  });
}

function useSubject<Device extends BlockDevice>(
  make: SubjectMaker<Device>,
): () => SuiteSubject<Device> {
  let subject: SuiteSubject<Device> | undefined;
  beforeEach(async function () {
    subject = undefined;
    subject = await make(this);
    expect(subject.contents.length, "contents of the subject").to.be.at.least(4096);
  });
  afterEach(async () => {
    await subject?.device.close();
    await subject?.cleanUp?.();
  });
  return () => {
    if (subject === undefined) throw new Error("no device was made");
    return subject;
  };
}

function openTests(subject: () => SuiteSubject<BlockDevice>): void {
  it("says how large it is, in what sectors, and what it is called", () => {
    const { device, contents } = subject();
    expect(device.sizeBytes).to.equal(contents.length);
    expect(device.sectorSizeBytes).to.be.at.least(512);
    expect(Math.log2(device.sectorSizeBytes) % 1).to.equal(0);
    expect(device.name).to.not.equal("");
  });

  it("reads everything at once", async () => {
    const { device, contents } = subject();
    expectSame(await readRange(device, 0, contents.length), contents, 0);
  });

  it("reads ranges that are aligned to nothing", async () => {
    const { device, contents } = subject();
    for (const [offset, length] of [
      [0, 1],
      [1, 1],
      [511, 2],
      [513, 1021],
      [contents.length - 1, 1],
      [contents.length - 700, 700],
    ] as const) {
      expectSame(await readRange(device, offset, length), contents, offset);
    }
  });

  it("writes to nothing but the target", async () => {
    const { device, contents } = subject();
    const buffer = new Uint8Array(300).fill(0xa5);
    await device.read(700, buffer.subarray(100, 200));
    expectSame(buffer.subarray(100, 200), contents, 700);
    expect(buffer.subarray(0, 100).every((byte) => byte === 0xa5)).to.be.true;
    expect(buffer.subarray(200).every((byte) => byte === 0xa5)).to.be.true;
  });

  it("reads an empty range anywhere inside, the end included", async () => {
    const { device, contents } = subject();
    for (const offset of [0, 100, contents.length]) await device.read(offset, new Uint8Array(0));
  });

  it("refuses what lies outside, and leaves the target alone", async () => {
    const { device, contents } = subject();
    const size = contents.length;
    for (const [offset, length] of [
      [size, 1],
      [size - 1, 2],
      [size + 1, 0],
      [-1, 1],
      [-1, 0],
      [0.5, 1],
      [Number.NaN, 1],
      [Number.MAX_SAFE_INTEGER, 1],
      [Number.POSITIVE_INFINITY, 1],
      [0, size + 1],
    ] as const) {
      const target = new Uint8Array(length).fill(0xa5);
      const error = await expectReelError(device.read(offset, target), "out-of-range");
      expect(error.message).to.include(device.name);
      expect(target.every((byte) => byte === 0xa5)).to.be.true;
    }
    expectSame(await readRange(device, 0, 10), contents, 0);
  });

  it("serves many reads at once, random and overlapping", async () => {
    const { device, contents } = subject();
    await withRandom(async (random) => {
      const reads = Array.from({ length: RANDOM_READS }, async () => {
        const offset = random.below(contents.length);
        const length = random.below(Math.min(contents.length - offset, 20_000) + 1);
        expectSame(await readRange(device, offset, length), contents, offset);
      });
      await Promise.all(reads);
    });
  });
}

function closingTests(subject: () => SuiteSubject<BlockDevice>): void {
  it("finishes the reads under way before it is closed, and takes no new ones", async () => {
    const { device, contents } = subject();
    let unfinished = 20;
    const reads = Array.from({ length: unfinished }, async (_, index) => {
      const bytes = await readRange(device, index, contents.length - index);
      unfinished--;
      expectSame(bytes, contents, index);
    });
    const closed = device.close();
    const late = expectReelError(device.read(0, new Uint8Array(1)), "closed");
    await closed;
    expect(unfinished, "reads under way when close() had resolved").to.equal(0);
    await late;
    await Promise.all(reads);
  });

  it("is closed once, however often that is asked", async () => {
    const { device } = subject();
    await Promise.all([device.close(), device.close()]);
    await device.close();
    await device[Symbol.asyncDispose]();
  });

  it('answers every call with "closed" when it is closed', async () => {
    const { device, contents } = subject();
    await device[Symbol.asyncDispose]();
    await expectReelError(device.read(0, new Uint8Array(1)), "closed");
    await expectReelError(device.read(0, new Uint8Array(0)), "closed");
    await expectReelError(device.read(contents.length, new Uint8Array(1)), "closed");
  });
}

function writingTests(subject: () => SuiteSubject<WritableBlockDevice>): void {
  it("reads back what was written, and the neighbours as they were", async () => {
    const { device, contents } = subject();
    const expected = contents.slice();
    for (const [offset, length] of [
      [0, 1],
      [511, 2],
      [1000, 1333],
      [contents.length - 3, 3],
    ] as const) {
      const bytes = Uint8Array.from({ length }, (_, index) => 0xc0 ^ index);
      await device.write(offset, bytes);
      expected.set(bytes, offset);
    }
    await device.flush();
    expectSame(await readRange(device, 0, contents.length), expected, 0);
  });

  it("makes a range zero, and nothing beside it", async () => {
    const { device, contents } = subject();
    await device.zero(513, 1501);
    await device.zero(0, 1);
    await device.zero(contents.length - 1, 1);
    await device.zero(100, 0);
    const expected = contents.slice();
    expected.fill(0, 513, 513 + 1501);
    expected[0] = 0;
    expected[contents.length - 1] = 0;
    expectSame(await readRange(device, 0, contents.length), expected, 0);
  });

  it("agrees with a plain array after random writes and zeros", async () => {
    const { device, contents } = subject();
    await withRandom(async (random) => {
      const expected = contents.slice();
      for (let i = 0; i < RANDOM_WRITES; i++) {
        const offset = random.below(contents.length);
        const length = random.below(Math.min(contents.length - offset, 3000) + 1);
        if (chance(random, 40)) {
          await device.zero(offset, length);
          expected.fill(0, offset, offset + length);
        } else {
          const bytes = randomBytes(random, length);
          await device.write(offset, bytes);
          expected.set(bytes, offset);
        }
      }
      expectSame(await readRange(device, 0, contents.length), expected, 0);
    });
  });

  it("refuses to write or zero outside, and changes nothing", async () => {
    const { device, contents } = subject();
    const size = contents.length;
    for (const [offset, length] of [
      [size, 1],
      [size - 1, 2],
      [-1, 2],
      [0.5, 1],
    ] as const) {
      await expectReelError(device.write(offset, new Uint8Array(length)), "out-of-range");
      await expectReelError(device.zero(offset, length), "out-of-range");
    }
    await expectReelError(device.zero(1, Number.NaN), "out-of-range");
    await expectReelError(device.zero(1, -1), "out-of-range");
    expectSame(await readRange(device, 0, size), contents, 0);
  });
}

function closedWritingTests(subject: () => SuiteSubject<WritableBlockDevice>): void {
  it("finishes the writes under way before it is closed, and takes no new ones", async () => {
    const { device } = subject();
    let unfinished = 2;
    const count = (): void => {
      unfinished--;
    };
    const calls = [device.write(0, new Uint8Array(2048)).then(count), device.flush().then(count)];
    await device.close();
    expect(unfinished, "calls under way when close() had resolved").to.equal(0);
    await Promise.all(calls);
    await expectReelError(device.write(0, new Uint8Array(1)), "closed");
    await expectReelError(device.zero(0, 1), "closed");
    await expectReelError(device.flush(), "closed");
  });
}

async function readRange(device: BlockDevice, offset: number, length: number): Promise<Uint8Array> {
  const target = new Uint8Array(length).fill(0x5a);
  await device.read(offset, target);
  return target;
}

/** Compares with a stretch of `contents`; says where the first difference is, not every byte. */
function expectSame(actual: Uint8Array, contents: Uint8Array, offset: number): void {
  const expected = contents.subarray(offset, offset + actual.length);
  if (Buffer.compare(actual, expected) === 0) return;
  const index = actual.findIndex((byte, at) => byte !== expected[at]);
  expect.fail(
    `byte ${offset + index} is ${String(actual[index])}, not ${String(expected[index])} ` +
      `(read of ${actual.length} bytes at ${offset})`,
  );
}
