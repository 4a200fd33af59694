/** `reelfs scsi`: one SCSI command to a drive or the robot of a virtual loader, answered in words. */
import { ReelError } from "../../errors.ts";
import type { ScsiTarget } from "../../vtl/scsi/target.ts";
import { type CommandDefinition, EXIT, type OptionValues, type Terminal } from "../command.ts";
import { addConfigOption, withLoader } from "../loader/open-loader.ts";
import { argumentAt, textOf } from "../option-values.ts";

/** Longer commands are not defined. */
const CDB_BYTES_MAX = 32;
/** Unit attentions that a new host meets before its first command is carried out. */
const ATTENTIONS_MAX = 16;
const NEXUS = "reelfs scsi";
const TEST_UNIT_READY = new Uint8Array(6);

export const scsiCommand: CommandDefinition = {
  name: "scsi",
  summary: "send one SCSI command to a drive or the robot of a loader",
  description: [
    "For developers: sends one command descriptor block, given as bytes in hexadecimal, to the changer or to a drive of a virtual loader, and prints command and answer in words, with sense data and the data that came back.",
    "Each call is a host of its own that has just logged in; the unit attention that greets it is cleared first. What a host sets (block length, reservations) is gone with the call; what it does to tapes and robot stays.",
  ],
  examples: [
    { command: "reelfs scsi vtl1:0 12 00 00 00 60 00", does: "INQUIRY to drive 0." },
    {
      command: "reelfs scsi vtl1:changer b8 10 00 00 ff ff 00 00 ff ff 00 00",
      does: "READ ELEMENT STATUS with volume tags.",
    },
    { command: "reelfs scsi vtl1:0 --data 48656c6c6f 0a 00 00 00 05 00", does: "WRITE a record." },
  ],
  seeAlso: ["loader", "mt", "changer"],
  configure(command) {
    command
      .argument("<device>", "LOADER:changer, or LOADER:N for drive N")
      .argument("<hex...>", "the command descriptor block")
      .option("--data <hex>", "data that go with the command");
    addConfigOption(command);
  },
  async run(args, options, terminal) {
    const { loader, drive } = parseDevice(argumentAt(args, 0));
    const rest = args[1];
    const cdb = parseHex(typeof rest === "string" ? rest : (rest ?? []).join(""), "the command");
    if (cdb.length === 0 || cdb.length > CDB_BYTES_MAX) {
      throw new ReelError(
        "invalid",
        `a command has 1 to ${CDB_BYTES_MAX} bytes, not ${cdb.length}`,
      );
    }
    const data = parseHex(textOf(options, "data") ?? "", "--data");
    return send({ loader, drive, cdb, data }, options, terminal);
  },
};

interface Sent {
  readonly loader: string;
  /** Undefined: the changer. */
  readonly drive: number | undefined;
  readonly cdb: Uint8Array;
  readonly data: Uint8Array;
}

async function send(sent: Sent, options: OptionValues, terminal: Terminal): Promise<number> {
  const scsi = await import("../../vtl/scsi/target.ts");
  const { describeAnswer, describeCdb } = await import("../../vtl/scsi/decode.ts");
  const { STATUS } = await import("../../vtl/scsi/answer.ts");
  const { storedCartridgeMemories } = await import("../../vtl/stored-cartridge-memory.ts");
  return withLoader(sent.loader, options, terminal, async (loader) => {
    const target = new scsi.ScsiTarget(loader, { memories: storedCartridgeMemories(loader) });
    const lun = sent.drive === undefined ? scsi.CHANGER_LUN : scsi.lunOfDrive(sent.drive);
    if (target.device(lun) === undefined) {
      throw new ReelError("invalid", `${sent.loader} has no drive ${sent.drive ?? "?"}`);
    }
    await clearAttentions(target, lun);
    const answer = await target.execute(lun, sent.cdb, sent.data, NEXUS);
    const kind = sent.drive === undefined ? "changer" : "tape";
    terminal.print(describeCdb(sent.cdb, kind));
    terminal.print(describeAnswer(sent.cdb, answer, kind));
    const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
    if (terminal.json) {
      terminal.printJson({
        status: answer.status,
        sense: answer.sense === undefined ? null : hex(answer.sense),
        data: hex(answer.dataIn),
        residualBytes: answer.residualBytes ?? 0,
      });
    }
    return answer.status === STATUS.good ? EXIT.done : EXIT.failed;
  });
}

/** A new host is greeted by unit attentions, one a command; they are not what was asked for. */
async function clearAttentions(target: ScsiTarget, lun: number): Promise<void> {
  const unitAttention = 6;
  for (let i = 0; i < ATTENTIONS_MAX; i++) {
    const { sense } = await target.execute(lun, TEST_UNIT_READY, new Uint8Array(0), NEXUS);
    if (((sense?.[2] ?? 0) & 0x0f) !== unitAttention) return;
  }
}

function parseDevice(text: string): { loader: string; drive: number | undefined } {
  const match = /^(.+):(changer|\d{1,4})$/s.exec(text);
  if (match?.[1] === undefined) {
    throw new ReelError("invalid", `${text} is no device: name LOADER:changer or LOADER:DRIVE`);
  }
  return { loader: match[1], drive: match[2] === "changer" ? undefined : Number(match[2]) };
}

function parseHex(text: string, what: string): Uint8Array {
  const digits = text.replaceAll(/[\s,]|0x/g, "");
  if (digits.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(digits)) {
    throw new ReelError("invalid", `${what} must be bytes in hexadecimal, as in 12 00 00 00 60 00`);
  }
  return Buffer.from(digits, "hex");
}
