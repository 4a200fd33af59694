/**
 * The code that V8 has made of the parts of the joined command (scripts/bundle.ts), in one file
 * beside them: to take it from there takes a fraction of the time of compiling. V8 refuses code of
 * another version, of other options, or of a source of another length; then it compiles, as it does
 * where there is no such file.
 *
 *     length of the index (uint32, little-endian), index, code of the first part, of the second, ...
 *     index: JSON, {"part.js": [offset in the file, length]}
 */
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { Script } from "node:vm";

export const CODE_FILE = "parts.code";

const LENGTH_BYTES = 4;
/** Room for some thousand parts. */
const INDEX_MAX_BYTES = 256 * 1024;
/** V8 reads words where they lie on their borders. */
const ALIGNMENT_BYTES = 8;

type Place = readonly [offsetBytes: number, lengthBytes: number];
type Loaded = Record<string, unknown>;
export type Require = (id: string) => unknown;

/** A part, with what Node gives a module in CommonJS. */
type Part = (exports: Loaded, require: Require, module: { exports: Loaded }, file: string) => void;

/** What V8 compiles for a part. One line before it would move the places that errors name. */
export function scriptOf(source: string, filename: string, cachedData?: Buffer): Script {
  const wrapped = `(function (exports, require, module, __filename) { ${source}\n})`;
  return new Script(wrapped, { filename, ...(cachedData === undefined ? {} : { cachedData }) });
}

/** The file's contents. */
export function packCode(parts: ReadonlyMap<string, Uint8Array>): Buffer {
  let indexBytes = 0;
  for (;;) {
    const index: Record<string, Place> = {};
    let end = LENGTH_BYTES + indexBytes;
    for (const [name, { length }] of parts) {
      const offset = Math.ceil(end / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
      index[name] = [offset, length];
      end = offset + length;
    }
    const json = JSON.stringify(index);
    if (json.length > indexBytes) {
      // Offsets grow with the index: some blanks behind it, and once more.
      indexBytes = json.length + ALIGNMENT_BYTES * parts.size;
      continue;
    }
    const packed = Buffer.alloc(end);
    packed.writeUInt32LE(indexBytes);
    packed.write(json.padEnd(indexBytes), LENGTH_BYTES, "latin1");
    for (const [name, code] of parts) packed.set(code, index[name]?.[0]);
    return packed;
  }
}

export class CodeFile {
  readonly #descriptor: number;
  readonly #index: Readonly<Record<string, Place>>;

  private constructor(descriptor: number, index: Readonly<Record<string, Place>>) {
    this.#descriptor = descriptor;
    this.#index = index;
  }

  /** Undefined where it is not there, or is no such file. */
  static open(path: string): CodeFile | undefined {
    let descriptor: number | undefined;
    try {
      descriptor = openSync(path, "r");
      const lengthBytes = readAt(descriptor, 0, LENGTH_BYTES)?.readUInt32LE() ?? Infinity;
      if (lengthBytes > INDEX_MAX_BYTES) throw new Error("the index is too long");
      const index = readAt(descriptor, LENGTH_BYTES, lengthBytes)?.toString("latin1") ?? "";
      return new CodeFile(descriptor, JSON.parse(index) as Readonly<Record<string, Place>>);
    } catch {
      if (descriptor !== undefined) closeSync(descriptor);
      return undefined;
    }
  }

  /** The code of a part; undefined where there is none, or not all of it. */
  codeOf(name: string): Buffer | undefined {
    const [offset, length] = this.#index[name] ?? [0, 0];
    return length === 0 ? undefined : readAt(this.#descriptor, offset, length);
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}

function readAt(descriptor: number, offset: number, length: number): Buffer | undefined {
  const bytes = Buffer.allocUnsafeSlow(length);
  return readSync(descriptor, bytes, 0, length, offset) === length ? bytes : undefined;
}

/**
 * `require` for the parts in a folder: those named "./part.js" are loaded once, with their code from
 * the file; `outside` gives everything else. Once V8 has refused code, the rest is not read.
 */
export function requireOfParts(folder: string, outside: Require): Require {
  let codeFile = CodeFile.open(`${folder}/${CODE_FILE}`);
  const loaded = new Map<string, { exports: Loaded }>();
  const load = (name: string): unknown => {
    const known = loaded.get(name);
    if (known !== undefined) return known.exports;
    const module = { exports: {} };
    loaded.set(name, module);
    const path = `${folder}/${name}`;
    // The parts are ASCII.
    const source = readFileSync(path, "latin1");
    const script = scriptOf(source, path, codeFile?.codeOf(name));
    if (script.cachedDataRejected === true) {
      codeFile?.close();
      codeFile = undefined;
    }
    (script.runInThisContext() as Part)(module.exports, require, module, path);
    return module.exports;
  };
  const require: Require = (id) => (id.startsWith("./") ? load(id.slice(2)) : outside(id));
  return require;
}
