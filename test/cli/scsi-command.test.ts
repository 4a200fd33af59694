import { expect } from "chai";
import { join } from "node:path";
import { COMMANDS } from "../../src/cli/commands/index.ts";
import { run } from "../../src/cli/program.ts";
import { makeTempFolder } from "../support/temp.ts";
import { FakeStream } from "./fake-stream.ts";

describe("reelfs scsi", () => {
  let folder: string;
  let remove: () => Promise<void>;

  beforeEach(async () => {
    ({ folder, remove } = await makeTempFolder());
    await reelfs("loader", "create", "vtl", "--slots", "3", "--path", join(folder, "vtl"));
    await reelfs("tape", "create", "vtl", "TAPE01");
    await reelfs("loader", "load", "vtl", "1");
  });

  afterEach(async () => remove());

  async function reelfs(...words: string[]): Promise<{ status: number; out: string; err: string }> {
    const stdout = new FakeStream();
    const stderr = new FakeStream();
    const around = { stdout, stderr, signal: new AbortController().signal };
    const status = await run([...words, "--config", join(folder, "conf")], around, COMMANDS);
    return { status, out: stdout.text, err: stderr.text };
  }

  it("writes a record, comes back to it, and shows it with its sense data", async () => {
    const wrote = await reelfs("scsi", "vtl:0", "--data", "48656c6c6f", "0a", "00000005", "00");
    expect(wrote).to.include({ status: 0, err: "" });
    expect(wrote.out).to.include("WRITE(6)").and.include("GOOD");
    expect((await reelfs("scsi", "vtl:0", "010000000000")).status).to.equal(0);
    const read = await reelfs("scsi", "vtl:0", "08", "00", "00", "00", "40", "00");
    expect(read.status, "a short record is a CHECK CONDITION").to.equal(1);
    expect(read.out).to.include("ILI").and.include("Hello");
  });

  it("asks the robot, and answers in JSON", async () => {
    const { out } = await reelfs("scsi", "vtl:changer", "120000006000", "--json");
    const answer = JSON.parse(out) as { status: number; sense: null; data: string };
    expect(answer).to.include({ status: 0, sense: null });
    expect(answer.data.slice(0, 2), "peripheral device type: medium changer").to.equal("08");
  });

  it("says what is wrong with a device or bytes that make no sense", async () => {
    for (const [words, says] of [
      [["vtl", "00"], "LOADER:changer"],
      [["vtl:7", "000000000000"], "has no drive 7"],
      [["vtl:0", "0g"], "hexadecimal"],
      [["vtl:0", "00".repeat(40)], "1 to 32 bytes"],
    ] as const) {
      const { status, err } = await reelfs("scsi", ...words);
      expect(status, err).to.equal(2);
      expect(err).to.include(says);
    }
  });
});
