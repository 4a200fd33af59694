/**
 * Going on on the next tape: what is written at the end of the full one and at the start of the next.
 *
 *     full tape   …  filemark  [end: the next tape is …]  filemark
 *     next tape   VOL1  filemark  [continuation: the tapes before are …]  filemark  …
 *
 * Where the end does not fit behind the last objects, those are taken back, and are the first on the
 * next tape.
 */
import { randomUUID } from "node:crypto";
import { isReelError, ReelError } from "../../errors.ts";
import { readLabel, writeLabel } from "../labels.ts";
import type { TapeDrive } from "../tape-drive.ts";
import type { SetChain } from "./set-chain.ts";
import { SetPart } from "./set-part.ts";
import { CONTINUATION_OBJECTS } from "./set-place.ts";
import { encodeSetRecord, SET_TAPES_MAX, type SetTapeFacts, type TapeEnd } from "./set-records.ts";

/** Objects that are taken back to make room for the end of a tape. */
const TAKEN_BACK_MAX = 256;

/** A tape to go on on. */
export interface NextTape {
  readonly name: string;
  /** For its label: 1 to 6 characters. */
  readonly serial: string;
  /** Called when the tape before is finished and closed. What is on the tape is overwritten. */
  open(): Promise<TapeDrive>;
}

/**
 * Chooses tape number `sequence`; undefined: there is none, and the set ends where its last tape
 * does. May throw instead.
 */
export type ChooseNextTape = (
  sequence: number,
  previous: { readonly name: string; readonly serial: string },
) => Promise<NextTape | undefined>;

/** A record, or a filemark. */
type Taken = Uint8Array | "filemark";

/**
 * Ends the last part at `object` and begins `next`. Returns the object where the set stands then.
 * @throws "end-of-medium" when nothing is left on the full tape; as writing.
 */
export async function changeTape(
  chain: SetChain,
  part: SetPart,
  object: number,
  next: NextTape,
): Promise<number> {
  if (part.sequence >= SET_TAPES_MAX) {
    throw new ReelError("end-of-medium", `a set has no more than ${SET_TAPES_MAX} tapes`);
  }
  const full = openDrive(part);
  part.forgetPosition();
  chain.set ??= randomUUID();
  const first = await labelled(part);
  const ended = await endTape(chain.set, first, object, next);
  if (first !== part) chain.parts[part.sequence - 1] = first;
  const facts: SetTapeFacts = {
    ...{ name: next.name, serial: next.serial, joint: ended.ends.next.joint },
    ...{ firstObject: ended.ends.object, firstFile: ended.ends.file },
    startBytes: await first.offsetBytes(ended.ends.object),
  };
  first.end = { object: ended.ends.object, file: ended.ends.file };
  first.ends = ended.ends;
  await first.release();
  const drive = await next.open();
  const following = new SetPart(part.sequence + 1, facts);
  following.attach(drive, { skip: CONTINUATION_OBJECTS, dataEnd: undefined, ends: undefined });
  chain.parts.push(following);
  await beginTape(chain, full.capabilities.recordBytesMax, drive);
  let at = facts.firstObject;
  for (const each of ended.taken) {
    await following.locate(at);
    await (each === "filemark" ? drive.writeFilemarks(1) : drive.write([each]));
    at += 1;
    following.forgetPosition();
  }
  return at;
}

function openDrive(part: SetPart): TapeDrive {
  if (part.drive === undefined) throw part.missing();
  return part.drive;
}

/** The first tape may have got its label since it was opened. */
async function labelled(part: SetPart): Promise<SetPart> {
  if (part.sequence > 1) return part;
  const drive = openDrive(part);
  const serial = (await readLabel(drive))?.serial ?? "";
  const same = new SetPart(1, { ...part.facts, serial });
  same.attach(drive, { skip: 0, dataEnd: undefined, ends: undefined });
  return same;
}

async function endTape(
  set: string,
  part: SetPart,
  object: number,
  next: NextTape,
): Promise<{ ends: TapeEnd; taken: readonly Taken[] }> {
  const drive = openDrive(part);
  const joint = randomUUID();
  const taken: Taken[] = [];
  for (let at = object; at > part.firstObject && taken.length <= TAKEN_BACK_MAX; at--) {
    const ends: TapeEnd = {
      ...{ kind: "ends", set, sequence: part.sequence },
      ...{ object: at, file: await part.fileAt(at) },
      next: { name: next.name, serial: next.serial, joint },
    };
    await part.locate(at);
    part.forgetPosition();
    if (await fits(drive, encodeSetRecord(ends))) return { ends, taken };
    taken.unshift(await takeBack(part, at));
  }
  throw new ReelError("end-of-medium", `${drive.name} is too small to be a tape of a set`);
}

async function fits(drive: TapeDrive, end: Uint8Array): Promise<boolean> {
  try {
    await drive.writeFilemarks(1);
    await drive.write([end]);
    await drive.writeFilemarks(1);
    return true;
  } catch (error) {
    if (isReelError(error, "end-of-medium")) return false;
    throw error;
  }
}

/** The object before `object`. */
async function takeBack(part: SetPart, object: number): Promise<Taken> {
  const probe = await part.read(object, new Uint8Array(0), true);
  if (probe.kind !== "record") return "filemark";
  const record = new Uint8Array(probe.lengthBytes);
  await part.read(object - 1, record, false);
  return record;
}

async function beginTape(chain: SetChain, recordBytesMax: number, drive: TapeDrive): Promise<void> {
  const { facts, sequence } = chain.last;
  const continuation = encodeSetRecord({
    kind: "continues",
    set: chain.set ?? "",
    sequence,
    created: new Date().toISOString(),
    tapes: chain.parts.map((part) => part.facts),
  });
  if (continuation.length > recordBytesMax) {
    throw new ReelError("end-of-medium", `${drive.name}: the set has too many tapes`);
  }
  await writeLabel(drive, facts.serial);
  await drive.write([continuation]);
  await drive.writeFilemarks(1);
}
