/**
 * Where a converted tape goes: a container file that is written from its beginning to its end, beside
 * the name it shall have. `finish` makes it durable and gives it the name; until then the name is
 * untouched, and `abandon` leaves nothing behind.
 */
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { access, open, rename, rm, type FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import { syncDirectory } from "../../device/sync-directory.ts";
import { ReelError, fromSystem } from "../../errors.ts";
import { writeAll } from "../file-io.ts";
import { ChunkEncoder, plainEncoder, wordEncoder, type ContainerEncoder } from "./encoders.ts";

/** Containers that ReelFS writes. */
export type SinkFormat = "simh" | "e11" | "aws" | "het" | "plain";

export interface TapeSink {
  /** For messages: the file it will be. */
  readonly name: string;
  readonly recordBytesMax: number;
  /** It can say that a record was read with errors. */
  readonly marksFlawed: boolean;
  readonly keepsFilemarks: boolean;
  /** One at a time; `data` is the caller's again when the promise is done. */
  writeRecord(data: Uint8Array, flawed: boolean): Promise<void>;
  writeFilemark(): Promise<void>;
  /** Everything is on stable storage and has its name. */
  finish(): Promise<void>;
  /** Leaves nothing behind; after `finish`, does nothing. */
  abandon(): Promise<void>;
}

export interface TapeSinkOptions {
  /** Replaces a file of that name; without it, a file that is there is an error ("exists"). */
  readonly overwrite?: boolean;
}

/** Short parts are gathered up to this before they are written. */
const BATCH_BYTES = 1024 * 1024;
/** Longer parts are not copied. */
const COPIED_BYTES_MAX = 64 * 1024;

/**
 * Begins a container file.
 * @throws "exists", and what the file system refuses.
 */
export async function createTapeSink(
  path: string,
  format: SinkFormat,
  options: TapeSinkOptions = {},
): Promise<TapeSink> {
  const overwrite = options.overwrite ?? false;
  if (!overwrite) await refuseExisting(path);
  const draft = `${path}.${process.pid}.${randomBytes(4).toString("hex")}.part`;
  try {
    const handle = await open(draft, "wx");
    return new FileSink({ path, draft, overwrite }, handle, encoderFor(format));
  } catch (error) {
    throw fromSystem(error, `cannot create ${path}`);
  }
}

function encoderFor(format: SinkFormat): ContainerEncoder {
  switch (format) {
    case "simh":
    case "e11":
      return wordEncoder(format);
    case "aws":
      return new ChunkEncoder("none");
    case "het":
      return new ChunkEncoder("zlib");
    case "plain":
      return plainEncoder();
  }
}

async function refuseExisting(path: string): Promise<void> {
  const isThere = await access(path, constants.F_OK).then(
    () => true,
    () => false,
  );
  if (!isThere) return;
  throw new ReelError("exists", `cannot create ${path}: it is there already; remove it first`);
}

interface SinkNames {
  readonly path: string;
  readonly draft: string;
  readonly overwrite: boolean;
}

class FileSink implements TapeSink {
  readonly #names: SinkNames;
  readonly #handle: FileHandle;
  readonly #encoder: ContainerEncoder;
  readonly #batch = Buffer.allocUnsafe(BATCH_BYTES);
  #batchBytes = 0;
  #atBytes = 0;
  #ended = false;

  constructor(names: SinkNames, handle: FileHandle, encoder: ContainerEncoder) {
    this.#names = names;
    this.#handle = handle;
    this.#encoder = encoder;
  }

  get name(): string {
    return this.#names.path;
  }

  get recordBytesMax(): number {
    return this.#encoder.recordBytesMax;
  }

  get marksFlawed(): boolean {
    return this.#encoder.marksFlawed;
  }

  get keepsFilemarks(): boolean {
    return this.#encoder.keepsFilemarks;
  }

  async writeRecord(data: Uint8Array, flawed: boolean): Promise<void> {
    if (data.length > this.recordBytesMax) {
      throw new ReelError(
        "invalid",
        `cannot write a record of ${data.length} bytes to ${this.name}: ` +
          `a record has at most ${this.recordBytesMax} bytes`,
      );
    }
    await this.#put(await this.#encoder.record(data, flawed));
  }

  async writeFilemark(): Promise<void> {
    await this.#put(this.#encoder.filemark());
  }

  async finish(): Promise<void> {
    const { path, draft, overwrite } = this.#names;
    await this.#flush();
    try {
      await this.#handle.sync();
      if (!overwrite) await refuseExisting(path);
      await rename(draft, path);
      this.#ended = true;
      await this.#handle.close();
      await syncDirectory(dirname(path));
    } catch (error) {
      throw fromSystem(error, `cannot finish ${path}`);
    }
  }

  async abandon(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    await this.#handle.close();
    await rm(this.#names.draft, { force: true });
  }

  async #put(parts: readonly Uint8Array[]): Promise<void> {
    for (const part of parts) {
      if (this.#batchBytes + part.length > BATCH_BYTES) await this.#flush();
      if (part.length > COPIED_BYTES_MAX) {
        await this.#flush();
        await this.#write(part);
      } else {
        this.#batch.set(part, this.#batchBytes);
        this.#batchBytes += part.length;
      }
    }
  }

  async #flush(): Promise<void> {
    const batch = this.#batch.subarray(0, this.#batchBytes);
    this.#batchBytes = 0;
    if (batch.length > 0) await this.#write(batch);
  }

  async #write(bytes: Uint8Array): Promise<void> {
    try {
      await writeAll(this.#handle, [bytes], this.#atBytes);
      this.#atBytes += bytes.length;
    } catch (error) {
      throw fromSystem(error, `cannot write ${this.name}`);
    }
  }
}
