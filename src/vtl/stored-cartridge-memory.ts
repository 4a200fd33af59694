/**
 * The memory of a cartridge in a virtual loader: a small file `BARCODE.tap.mam` beside the tape,
 * which goes where the tape goes. What a host wrote is durable before the command ends. Only the
 * process whose drive holds the tape writes it: the lock of the tape is the lock of its memory.
 */
import { rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { syncDirectory } from "../device/sync-directory.ts";
import { ReelError, fromSystem } from "../errors.ts";
import { memoryPathOf } from "./pending-change.ts";
import type { CartridgeMemories, CartridgeMemory } from "./scsi/cartridge-memory.ts";
import { requireTape } from "./slot-map.ts";
import { readSmallFile, writeDraft } from "./two-copies.ts";
import type { VirtualLoader } from "./virtual-loader.ts";

const FORMAT = "reelfs-cartridge-memory";
const VERSION = 1;
const ID_MAX = 0xffff;
/** The standard's limit of one attribute; all that hosts may write together is a few kilobytes. */
const VALUE_BYTES_MAX = 0xffff;

type Attributes = Map<number, Uint8Array>;

/** The memories of the tapes in a loader, kept beside them. */
export function storedCartridgeMemories(loader: VirtualLoader): CartridgeMemories {
  return (barcode): CartridgeMemory => {
    const path = (): string => {
      const { tape } = requireTape(loader.folder.map, barcode, "cannot use a cartridge's memory");
      return memoryPathOf(loader.folder.tapePath(tape));
    };
    return {
      get: async (id) => (await readMemory(path())).get(id),
      write: async (changes) => {
        const attributes = await readMemory(path());
        for (const [id, value] of changes) {
          if (value === undefined) attributes.delete(id);
          else attributes.set(id, value);
        }
        await writeMemory(path(), attributes);
      },
    };
  };
}

/** @throws "damaged" with the path; a memory that is not there is empty. */
async function readMemory(path: string): Promise<Attributes> {
  const doing = `cannot read the cartridge's memory ${path}`;
  let text: string;
  try {
    text = Buffer.from(await readSmallFile(path)).toString("utf8");
  } catch (error) {
    const failure: ReelError = fromSystem(error, doing);
    if (failure.code === "not-found") return new Map();
    throw failure;
  }
  try {
    return parseMemory(JSON.parse(text) as unknown);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new ReelError("damaged", `${doing}: ${why}; remove the file to start with an empty one`);
  }
}

function parseMemory(json: unknown): Attributes {
  if (typeof json !== "object" || json === null) throw new Error("it is no JSON object");
  const { format, version, attributes } = json as Record<string, unknown>;
  if (format !== FORMAT) throw new Error(`its format is not ${FORMAT}`);
  if (version !== VERSION) throw new Error(`its version is not ${VERSION}`);
  if (typeof attributes !== "object" || attributes === null) throw new Error("no attributes");
  const found: Attributes = new Map();
  for (const [key, value] of Object.entries(attributes)) {
    const id = Number.parseInt(key, 16);
    const isId = /^[0-9a-f]{4}$/.test(key) && id <= ID_MAX;
    if (!isId || typeof value !== "string") throw new Error(`attribute ${JSON.stringify(key)}`);
    const bytes = Buffer.from(value, "base64");
    if (bytes.length > VALUE_BYTES_MAX) throw new Error(`attribute ${key} is too long`);
    found.set(id, bytes);
  }
  return found;
}

async function writeMemory(path: string, attributes: Attributes): Promise<void> {
  const draft = `${path}.new`;
  try {
    if (attributes.size === 0) {
      await rm(path, { force: true });
    } else {
      await writeDraft(draft, formatMemory(attributes), "durable");
      await rename(draft, path);
    }
    await syncDirectory(dirname(path));
  } catch (error) {
    throw fromSystem(error, `cannot write the cartridge's memory ${path}`);
  }
}

function formatMemory(attributes: Attributes): string {
  const byId: Record<string, string> = {};
  for (const [id, value] of [...attributes].sort(([a], [b]) => a - b)) {
    byId[id.toString(16).padStart(4, "0")] = Buffer.from(value).toString("base64");
  }
  return `${JSON.stringify({ format: FORMAT, version: VERSION, attributes: byId }, undefined, 2)}\n`;
}
