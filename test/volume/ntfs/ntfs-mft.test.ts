import { expect } from "chai";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openFileDevice } from "../../../src/device/file-device.ts";
import { MemoryDevice } from "../../../src/device/memory-device.ts";
import { applyFixups } from "../../../src/volume/ntfs/fixup.ts";
import { ntfsFormat } from "../../../src/volume/ntfs/ntfs-format.ts";
import { compareWithMount } from "../../support/ntfs-oracle.ts";
import { hasNtfsTools, makeNtfsVolume, NO_NTFS_TOOLS } from "../../support/ntfs-volume.ts";
import { patternBytes } from "../../support/pattern.ts";
import { skipUnless } from "../../support/skip.ts";
import { withTempFolder } from "../../support/temp.ts";

const RECORD_BYTES = 1024;
const CLUSTER_BYTES = 4096;
const END_MARK = Buffer.from("ffffffff00000000", "hex");
/** A record that nobody uses, in the part of the MFT that record 0 goes on to describe. */
const FURTHER_RECORD = 30;
const FIRST_CLUSTERS = 20;
const TYPE_LIST = 0x20;
const TYPE_DATA = 0x80;

/** Rewrites an MFT so that record 0 describes its start, and another record the rest. */
function splitMft(bytes: Buffer): void {
  const mft = bytes.readUInt32LE(48) * CLUSTER_BYTES;
  const record = Buffer.from(bytes.subarray(mft, mft + RECORD_BYTES));
  expect(applyFixups(record, 0, RECORD_BYTES, "FILE")).to.equal(undefined);
  const header = record.readUInt16LE(20);
  const attributes: Buffer[] = [];
  for (let at = header; record.readUInt32LE(at) !== 0xffffffff; at += record.readUInt32LE(at + 4)) {
    attributes.push(record.subarray(at, at + record.readUInt32LE(at + 4)));
  }
  const data = attributes.find((attribute) => attribute.readUInt32LE(0) === TYPE_DATA);
  const last = data?.readUInt32LE(24) ?? 0;
  expect(last).to.be.above(FIRST_CLUSTERS);
  const sizes = data?.subarray(40, 64) ?? Buffer.alloc(24);
  const cluster = mft / CLUSTER_BYTES;
  const first = dataPart({ first: 0, last: FIRST_CLUSTERS - 1, cluster, sizes });
  const rest = dataPart({ first: FIRST_CLUSTERS, last, cluster: cluster + FIRST_CLUSTERS, sizes });

  const parts = attributes.map((attribute) => (attribute === data ? first : attribute));
  const entries = parts.map((part) => listEntry(part, 0, 0));
  const dataAt = parts.indexOf(first);
  entries.splice(dataAt + 1, 0, listEntry(rest, FIRST_CLUSTERS, FURTHER_RECORD));
  parts.splice(1, 0, attributeList(Buffer.concat(entries)));

  const base = fileRecord(record.subarray(0, header), parts);
  const further = fileRecord(record.subarray(0, header), [rest]);
  further.writeUInt16LE(0, 18);
  further.writeUIntLE(0, 32, 6);
  further.writeUInt16LE(record.readUInt16LE(16), 38);
  further.writeUInt32LE(FURTHER_RECORD, 44);
  protect(base).copy(bytes, mft);
  base.copy(bytes, bytes.readUInt32LE(56) * CLUSTER_BYTES);
  protect(further).copy(bytes, mft + FURTHER_RECORD * RECORD_BYTES);
}

function dataPart(part: { first: number; last: number; cluster: number; sizes: Buffer }): Buffer {
  const attribute = Buffer.alloc(72);
  attribute.writeUInt32LE(TYPE_DATA, 0);
  attribute.writeUInt32LE(attribute.length, 4);
  attribute.writeUInt8(1, 8);
  attribute.writeUInt16LE(64, 10);
  attribute.writeUInt16LE(1, 14);
  attribute.writeUInt32LE(part.first, 16);
  attribute.writeUInt32LE(part.last, 24);
  attribute.writeUInt16LE(64, 32);
  if (part.first === 0) part.sizes.copy(attribute, 40);
  attribute.writeUInt8(0x22, 64);
  attribute.writeUInt16LE(part.last - part.first + 1, 65);
  attribute.writeInt16LE(part.cluster, 67);
  return attribute;
}

function attributeList(entries: Buffer): Buffer {
  const header = Buffer.alloc(24);
  header.writeUInt32LE(TYPE_LIST, 0);
  header.writeUInt32LE(24 + entries.length, 4);
  header.writeUInt16LE(24, 10);
  header.writeUInt16LE(9, 14);
  header.writeUInt32LE(entries.length, 16);
  header.writeUInt16LE(24, 20);
  return Buffer.concat([header, entries]);
}

function listEntry(attribute: Buffer, firstCluster: number, record: number): Buffer {
  const entry = Buffer.alloc(32);
  entry.writeUInt32LE(attribute.readUInt32LE(0), 0);
  entry.writeUInt16LE(entry.length, 4);
  entry.writeUInt8(26, 7);
  entry.writeUInt32LE(firstCluster, 8);
  entry.writeUInt32LE(record, 16);
  entry.writeUInt16LE(1, 22);
  entry.writeUInt16LE(attribute.readUInt16LE(14), 24);
  return entry;
}

function fileRecord(header: Buffer, attributes: readonly Buffer[]): Buffer {
  const contents = Buffer.concat([header, ...attributes, END_MARK]);
  const record = Buffer.alloc(RECORD_BYTES);
  contents.copy(record);
  record.writeUInt16LE(1, 16);
  record.writeUInt16LE(1, 22);
  record.writeUInt32LE(contents.length, 24);
  return record;
}

/** Puts the marks of an update sequence in place. */
function protect(record: Buffer): Buffer {
  const array = record.readUInt16LE(4);
  record.writeUInt16LE(5, array);
  for (const [i, end] of [510, 1022].entries()) {
    record.writeUInt16LE(record.readUInt16LE(end), array + 2 * (i + 1));
    record.writeUInt16LE(5, end);
  }
  return record;
}

describe("an MFT that an attribute list describes", function () {
  this.timeout(30_000);
  let bytes: Buffer;

  before(async function () {
    skipUnless(this, hasNtfsTools(), NO_NTFS_TOOLS);
    const shape = { sizeBytes: 4 * 1024 * 1024, clusterBytes: CLUSTER_BYTES };
    const made = await makeNtfsVolume(shape, async (filler) => {
      for (let i = 0; i < 60; i++) await filler.file(`/file ${i}`, patternBytes(i * 20, i));
    });
    bytes = Buffer.from(made.bytes);
    splitMft(bytes);
  });

  it("is read to its end, as ntfs-3g reads it", async () => {
    await withTempFolder(async (folder) => {
      const image = join(folder, "volume.img");
      await writeFile(image, bytes);
      await using device = await openFileDevice(image);
      const volume = await ntfsFormat.open(device);
      expect(volume.info.notices).to.deep.equal([]);
      const counted = await compareWithMount(image, volume, device);
      expect(counted.files).to.equal(60);
      const survey = await volume.survey();
      expect(survey).to.include(counted);
      expect(survey.problems).to.deep.equal([]);
    });
  });

  it("is read as far as it is known when its other part is torn", async () => {
    const torn = Buffer.from(bytes);
    const mft = torn.readUInt32LE(48) * CLUSTER_BYTES;
    torn.writeUInt16LE(0x4242, mft + FURTHER_RECORD * RECORD_BYTES + 510);
    const volume = await ntfsFormat.open(new MemoryDevice(torn));
    expect(volume.info.notices?.join()).to.include("part of the MFT is lost").and.include("torn");
    const found = await volume.readDirectory(volume.rootId);
    expect(found.length).to.be.above(10).and.below(60);
  });
});
