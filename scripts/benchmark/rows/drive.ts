/** The drive of a virtual loader, with records of 256 KiB, beside a plain file in blocks of that size. */
import { reelfsArguments } from "../programs.ts";
import type { Contender, Row } from "../row.ts";
import type { Bench, RowMaker } from "./bench.ts";

const RECORD = "256K";
const LOADER = "bench";

export const driveRows: readonly RowMaker[] = [
  { id: "drive-write", make: writeRow },
  { id: "drive-read", make: readRow },
];

interface Drive {
  readonly tape: string;
  readonly command: (...args: readonly string[]) => Promise<string>;
  /** Reads from where the tape stands to the next filemark. */
  readonly readToNothing: () => Promise<string>;
  readonly remove: () => Promise<void>;
}

/** A new loader with one tape, which is in the drive. */
async function makeDrive({ workshop }: Bench): Promise<Drive> {
  const [folder, config] = [workshop.at("loader"), workshop.at("loaders.json")];
  const command = async (...args: readonly string[]): Promise<string> =>
    workshop.reelfs(...args, "--config", config);
  const shape = ["--path", folder, "--slots", "1", "--drives", "1", "--tapes", "1"];
  await command("loader", "create", LOADER, ...shape);
  await command("loader", "load", LOADER, "1");
  const found = await workshop.shell('find "$1/tapes" -name "*.tap"', folder);
  return {
    tape: found.trim(),
    command,
    readToNothing: async () => {
      const cat = reelfsArguments("tape", "cat", `${LOADER}:0`, "--config", config);
      return workshop.shell('"$@" >/dev/null', process.execPath, ...cat);
    },
    remove: async () => workshop.remove(folder, config),
  };
}

async function writeRow(bench: Bench): Promise<Row> {
  const { workshop, stage } = bench;
  const { path, sizeBytes } = await stage.payload();
  const copy = workshop.at("copy");
  let drive: Drive | undefined;
  const ours: Contender = {
    name: "reelfs tape write",
    prepare: async () => {
      drive = await makeDrive(bench);
      await workshop.settle(path);
    },
    run: async () => {
      await drive?.command("tape", "write", "--quiet", "--block-size", RECORD, LOADER, path);
      await workshop.run("sync", [drive?.tape ?? ""]);
      return undefined;
    },
    tidy: async () => drive?.remove(),
  };
  const theirs: Contender = {
    name: "dd bs=256K",
    prepare: async () => workshop.settle(path),
    run: async () => {
      await workshop.run("dd", [`if=${path}`, `of=${copy}`, `bs=${RECORD}`]);
      await workshop.run("sync", [copy]);
      return undefined;
    },
    tidy: async () => workshop.remove(copy),
  };
  return {
    id: "drive-write",
    what: "write to a virtual drive",
    unit: "seconds",
    bytes: sizeBytes,
    contenders: [ours, theirs],
    targets: [],
  };
}

async function readRow(bench: Bench): Promise<Row> {
  const { workshop, stage } = bench;
  const { path, sizeBytes } = await stage.payload();
  let drive: Drive | undefined;
  const ours: Contender = {
    name: "reelfs tape cat",
    prepare: async () => {
      drive = await makeDrive(bench);
      await drive.command("tape", "write", "--quiet", "--block-size", RECORD, LOADER, path);
      await drive.command("mt", LOADER, "rewind");
      await workshop.settle(drive.tape);
    },
    run: async () => {
      await drive?.readToNothing();
      return undefined;
    },
    tidy: async () => drive?.remove(),
  };
  const theirs: Contender = {
    name: "dd bs=256K",
    prepare: async () => workshop.settle(path),
    run: async () => {
      await workshop.run("dd", [`if=${path}`, "of=/dev/null", `bs=${RECORD}`]);
      return undefined;
    },
  };
  return {
    id: "drive-read",
    what: "read from a virtual drive",
    unit: "seconds",
    bytes: sizeBytes,
    contenders: [ours, theirs],
    targets: [],
  };
}
