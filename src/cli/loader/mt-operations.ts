/** What `mt` does to a tape, by name; each gives what is printed. */
import { ReelError } from "../../errors.ts";
import type { TapePosition, TapeSpace } from "../../tape/tape-drive.ts";
import type { VirtualDrive } from "../../vtl/virtual-drive.ts";

export interface MtOperation {
  readonly names: readonly string[];
  readonly does: string;
  /** Does COUNT mean anything? Its default where it does. */
  readonly count?: number | undefined;
  run(drive: VirtualDrive, count: number): Promise<string | undefined>;
}

export const MT_OPERATIONS: readonly MtOperation[] = [
  { names: ["status"], does: "print the state of the drive", run: statusText },
  { names: ["rewind"], does: "go to the beginning", run: silently((drive) => drive.rewind()) },
  spacing("fsf", "filemarks", 1, "forward over COUNT filemarks"),
  spacing("bsf", "filemarks", -1, "backward over COUNT filemarks"),
  spacing("fsr", "records", 1, "forward over COUNT records"),
  spacing("bsr", "records", -1, "backward over COUNT records"),
  {
    names: ["asf"],
    does: "to the beginning of tape file COUNT",
    count: 0,
    run: silently(async (drive, count) => {
      await drive.rewind();
      await spaceOver(drive, "filemarks", count);
    }),
  },
  {
    names: ["eod", "eom", "seod"],
    does: "to the end of the data",
    run: silently((drive) => drive.spaceToEndOfData()),
  },
  {
    names: ["seek"],
    does: "to block COUNT",
    count: 0,
    run: silently((drive, count) => drive.locate(count)),
  },
  {
    names: ["tell"],
    does: "print the block it stands at",
    run: tellText,
  },
  {
    names: ["weof", "eof"],
    does: "write COUNT filemarks",
    count: 1,
    run: silently((drive, count) => drive.writeFilemarks(count)),
  },
  {
    names: ["erase"],
    does: "erase from here on",
    run: silently((drive) => drive.erase()),
  },
  {
    names: ["offline", "rewoffl", "unload", "eject"],
    does: "rewind and unload; the tape stays in the drive",
    run: silently((drive) => drive.unload()),
  },
  { names: ["load"], does: "load the tape in the drive again", run: silently((d) => d.load()) },
  {
    names: ["setblk"],
    does: "set the block size to COUNT bytes; 0: blocks of any size",
    count: 0,
    run: silently((drive, count) => drive.setBlockBytes(count)),
  },
];

async function tellText(drive: VirtualDrive): Promise<string> {
  return `At block ${(await drive.position()).object}.`;
}

/** Throws "invalid", with the names there are. */
export function findMtOperation(name: string): MtOperation {
  const found = MT_OPERATIONS.find((each) => each.names.includes(name));
  if (found !== undefined) return found;
  const names = MT_OPERATIONS.map((each) => each.names[0]).join(", ");
  throw new ReelError("invalid", `"${name}" is not an operation; use one of ${names}`);
}

function silently(
  run: (drive: VirtualDrive, count: number) => Promise<unknown>,
): MtOperation["run"] {
  return async (drive, count) => {
    await run(drive, count);
    return undefined;
  };
}

function spacing(
  name: string,
  unit: "records" | "filemarks",
  sign: 1 | -1,
  does: string,
): MtOperation {
  const run = silently((drive, count) => spaceOver(drive, unit, sign * count));
  return { names: [name], does, count: 1, run };
}

const STOPPED_BY: Readonly<Record<NonNullable<TapeSpace["stoppedBy"]>, string>> = {
  filemark: "a filemark",
  "end-of-data": "the end of the data",
  beginning: "the beginning of the tape",
};

async function spaceOver(
  drive: VirtualDrive,
  unit: "records" | "filemarks",
  count: number,
): Promise<void> {
  const { passed, stoppedBy } = await drive.space(unit, count);
  if (stoppedBy === undefined) return;
  throw new ReelError(
    "out-of-range",
    `${STOPPED_BY[stoppedBy]} came after ${passed} of ${Math.abs(count)} ${unit}`,
  );
}

/** Of struct mtget in linux/mtio.h, in the order that mt prints them. */
const STATUS_BITS = {
  EOF: 0x8000_0000,
  BOT: 0x4000_0000,
  EOT: 0x2000_0000,
  EOD: 0x0800_0000,
  WR_PROT: 0x0400_0000,
  ONLINE: 0x0100_0000,
  DR_OPEN: 0x0004_0000,
  IM_REP_EN: 0x0001_0000,
} as const;
type StatusBit = keyof typeof STATUS_BITS;

export interface MtStatus {
  readonly file: number;
  readonly block: number;
  readonly object: number | undefined;
  readonly blockBytes: number;
  readonly bits: readonly StatusBit[];
  readonly barcode: string | undefined;
}

export async function mtStatus(drive: VirtualDrive): Promise<MtStatus> {
  const medium = drive.medium();
  const blockBytes = await drive.blockBytes();
  const barcode = medium?.barcode;
  if (medium === undefined || !drive.ready) {
    const bits = ["DR_OPEN", "IM_REP_EN"] as const;
    return { file: -1, block: -1, object: undefined, blockBytes, bits, barcode };
  }
  const position = await drive.position();
  const { object, file } = position;
  const block = await blockInFile(drive, position);
  const has: Record<StatusBit, boolean> = {
    EOF: block === 0 && file > 0,
    BOT: position.beginning,
    EOT: position.earlyWarning,
    EOD: await isAtEndOfData(drive, object),
    WR_PROT: medium.writeProtected,
    ONLINE: true,
    DR_OPEN: false,
    IM_REP_EN: true,
  };
  const bits = (Object.keys(STATUS_BITS) as StatusBit[]).filter((bit) => has[bit]);
  return { file, block, object, blockBytes, bits, barcode };
}

/** How many records lie between the filemark before and here. The tape ends up where it was. */
async function blockInFile(drive: VirtualDrive, { object, file }: TapePosition): Promise<number> {
  if (file === 0) return object;
  await drive.space("filemarks", -1);
  const filemark = (await drive.position()).object;
  await drive.locate(object);
  return object - filemark - 1;
}

async function isAtEndOfData(drive: VirtualDrive, object: number): Promise<boolean> {
  const { kind } = await drive.read(new Uint8Array(0));
  if (kind === "end-of-data") return true;
  await drive.locate(object);
  return false;
}

/** What `mt status` prints for a SCSI tape drive. */
async function statusText(drive: VirtualDrive): Promise<string> {
  const { file, block, blockBytes, bits } = await mtStatus(drive);
  const word = bits.reduce((all, bit) => all + STATUS_BITS[bit], 0);
  return [
    "SCSI 2 tape drive:",
    `File number=${file}, block number=${block}, partition=0.`,
    `Tape block size ${blockBytes} bytes. Density code 0x0 (default).`,
    "Soft error count since last status=0",
    `General status bits on (${word.toString(16)}):`,
    ` ${bits.join(" ")}`,
  ].join("\n");
}
