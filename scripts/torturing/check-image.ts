/**
 * The one check: what is left of a tape serves what was written to it or says that it cannot.
 * Nothing wrong is served as right, by any way there is to read it; `verify` finds whatever is not
 * as it was; a command that ends with 0 has done its work.
 */
import { createHash } from "node:crypto";
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { isReelError } from "../../src/errors.ts";
import { openTapeImage } from "../../src/tapeimage/open-image.ts";
import { Finding, must } from "./kind.ts";
import type { KnownImage } from "./samples.ts";
import { parseTap } from "./tap-objects.ts";
import type { Ran, Workshop } from "./workshop.ts";

const PIECE_BYTES = 64 * 1024;
const BLOCK_BYTES = 512;
const MESSAGE_BYTES_MIN = 10;

export interface Checked {
  /** Images that might be found, whatever they are called now. */
  readonly known: readonly KnownImage[];
  /** Where ancestors may lie. */
  readonly places?: readonly string[];
}

/** What could be had of an image. */
export interface Had {
  readonly uuid: string | undefined;
  /** verify says that all of it is there. */
  readonly sound: boolean;
  /** Every byte was read, and was right. */
  readonly whole: boolean;
}

/** Reads an image in every way. `folder` is for what is restored. */
export async function checkImage(
  workshop: Workshop,
  spec: string,
  folder: string,
  checked: Checked,
): Promise<Had> {
  const served = await checkServed(spec, checked);
  const verified = await workshop.here("verify", "--json", spec, ...placesOf(checked));
  const sound = verified.status === 0;
  if (sound) {
    must(served.image !== undefined, `verify says that ${spec} is sound, and it cannot be opened`);
    must(
      served.lost === 0,
      `verify says that ${spec} is sound, and ${served.lost} pieces are lost`,
    );
  } else must(verified.status !== 2, `verify ${spec}: status 2: ${verified.stderr}`);
  if (served.image === undefined) {
    must(!sound, `${spec} is sound and cannot be read`);
  } else {
    await checkRestoredImage(workshop, spec, folder, served.image, checked);
    await checkRestoredFiles(workshop, spec, folder, served.image, checked);
  }
  await workshop.here("ls", "-R", spec, ...placesOf(checked));
  await workshop.here("info", spec, ...placesOf(checked));
  return {
    uuid: served.image?.uuid,
    sound,
    whole: served.image !== undefined && served.lost === 0,
  };
}

const placesOf = ({ places }: Checked): string[] =>
  places === undefined ? [] : ["--ancestors", ...places];

/** Through the library, as the mount and the restores see it. */
async function checkServed(
  spec: string,
  { known, places }: Checked,
): Promise<{ image: KnownImage | undefined; lost: number }> {
  const opened = await openTapeImage(spec, places === undefined ? {} : { places }).catch(
    (error: unknown) => {
      checkError(error, `opening ${spec}`);
      return undefined;
    },
  );
  if (opened === undefined) return { image: undefined, lost: 0 };
  await using image = opened;
  for (const notice of image.state.notices) checkSentence(notice, `a notice of ${spec}`);
  const { uuid: found } = image.header;
  const same = known.find(({ uuid }) => uuid === found) ?? known.find(({ uuid }) => uuid === "*");
  must(same !== undefined, `${spec} shows an image that was never made, ${found}`);
  must(image.sizeBytes === same.content.length, `${spec} has ${image.sizeBytes} bytes`);
  let lost = 0;
  const target = Buffer.alloc(PIECE_BYTES);
  for (let at = 0; at < image.sizeBytes; at += PIECE_BYTES) {
    const piece = target.subarray(0, Math.min(PIECE_BYTES, image.sizeBytes - at));
    try {
      await image.read(at, piece);
    } catch (error) {
      checkError(error, `reading ${spec} at ${at}`);
      lost++;
      continue;
    }
    const right = same.content.subarray(at, at + piece.length);
    must(
      piece.equals(right),
      `${spec} serves wrong bytes at ${at + firstDifference(piece, right)}`,
    );
  }
  return { image: { ...same, uuid: found }, lost };
}

function firstDifference(one: Buffer, other: Buffer): number {
  for (let i = 0; i < one.length; i++) if (one[i] !== other[i]) return i;
  return one.length;
}

function checkError(error: unknown, doing: string): void {
  if (!isReelError(error) || error.code === "internal") {
    throw new Finding(`${doing} throws what is no answer: ${String(error)}`, { cause: error });
  }
  checkSentence(error.message, doing);
}

function checkSentence(text: string, doing: string): void {
  const isPoor = text.length < MESSAGE_BYTES_MIN || /undefined|NaN|\[object/.test(text);
  must(!isPoor, `${doing} says "${text}"`);
}

async function checkRestoredImage(
  workshop: Workshop,
  spec: string,
  folder: string,
  { content }: KnownImage,
  checked: Checked,
): Promise<void> {
  const target = join(folder, "restored.img");
  const ran = await workshop.here("restore-image", "--json", spec, target, ...placesOf(checked));
  const restored = await readFile(target).catch(() => undefined);
  if (ran.status === 0) {
    const isSame = restored?.equals(content) === true;
    must(isSame, `restore-image of ${spec} says that it is done, and it is not the volume`);
  } else if (restored !== undefined) {
    checkBlocks(restored, content, `restore-image of ${spec}`);
  }
  await rm(target, { force: true });
}

/** A file that was new: every block is right, or was left empty. */
export function checkBlocks(restored: Buffer, content: Buffer, what: string): void {
  const zeros = Buffer.alloc(BLOCK_BYTES);
  for (let at = 0; at < restored.length; at += BLOCK_BYTES) {
    const block = restored.subarray(at, at + BLOCK_BYTES);
    if (block.equals(content.subarray(at, at + BLOCK_BYTES))) continue;
    must(block.equals(zeros.subarray(0, block.length)), `${what}: wrong bytes at ${at}`);
  }
}

async function checkRestoredFiles(
  workshop: Workshop,
  spec: string,
  folder: string,
  { files }: KnownImage,
  checked: Checked,
): Promise<void> {
  const out = join(folder, "files");
  const ran = await workshop.here("restore", "--json", spec, "--to", out, ...placesOf(checked));
  await checkFiles(out, files, ran, `restore of ${spec}`);
  await rm(out, { recursive: true, force: true });
}

interface Problem {
  readonly path: string;
}

/** Files that are there are whole and right; those that are not, are named, or nothing was done. */
export async function checkFiles(
  out: string,
  files: ReadonlyMap<string, Uint8Array>,
  ran: Ran,
  what: string,
): Promise<void> {
  const named = problemsOf(ran);
  const isNamed = (path: string): boolean =>
    named === undefined || named.some((each) => path === each || path.startsWith(inFolder(each)));
  for (const [path, wanted] of files) {
    const found = await readFile(join(out, path)).catch(() => undefined);
    if (found === undefined) {
      must(ran.status !== 0, `${what} says that it is done, and ${path} is not there`);
      must(isNamed(path), `${what} does not name ${path}, which is not there: ${ran.stderr}`);
    } else must(found.equals(wanted), `${what}: ${path} is not as it was`);
  }
  if (ran.status !== 0) return;
  const left = await readdir(out).catch((): string[] => []);
  const notes = left.filter((name) => name.startsWith(".reelfs-restore"));
  must(notes.length === 0, `${what} has left ${notes.join()}`);
}

const inFolder = (path: string): string => (path.endsWith("/") ? path : `${path}/`);

/** Paths that a restore names as not restored; undefined where it did not come to that. */
function problemsOf({ stdout }: Ran): string[] | undefined {
  if (stdout.trim() === "") return undefined;
  const facts = JSON.parse(stdout) as { problems?: readonly Problem[] };
  return (facts.problems ?? []).map(({ path }) => path);
}

/** Every record of an image that was there is there still: what `verify` must not miss. */
export function missingRecords(
  before: readonly Buffer[],
  after: readonly Buffer[],
  { uuidBytes }: KnownImage,
): number {
  const left = new Set(after.flatMap(recordHashes));
  const wanted = before.flatMap((tap) =>
    parseTap(tap)
      .filter(({ data }) => data?.subarray(16, 32).equals(uuidBytes) === true)
      .map(({ data }) => hashOf(data ?? Buffer.alloc(0))),
  );
  return wanted.filter((hash) => !left.has(hash)).length;
}

const recordHashes = (tap: Buffer): string[] =>
  parseTap(tap).flatMap(({ data }) => (data === undefined ? [] : [hashOf(data)]));

const hashOf = (data: Buffer): string => createHash("sha256").update(data).digest("base64");
