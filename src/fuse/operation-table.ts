/**
 * Each operation between the addon's words and ours: unpacks arguments, has the operation served,
 * packs the answer. The addon's own argument lists are in fuse-native.c, one FUSE_METHOD each.
 */
import type { NodeStat } from "../tree/file-tree.ts";
import {
  newStatfsWords,
  newStatWords,
  type Ownership,
  packListing,
  packStat,
  packStatfs,
} from "./attributes.ts";
import {
  type Binding,
  type NativeCall,
  type NativeHandler,
  OPERATION_SLOTS,
  type Signals,
} from "./binding.ts";
import { EILSEQ, ERANGE, type Errno } from "./errno.ts";
import type { Done, FuseHandlers } from "./fuse-handlers.ts";
import { InodeNumbers } from "./inode-numbers.ts";
import type { Session } from "./session.ts";

/** chown(2)'s "leave it", as an unsigned word. */
const UNCHANGED_ID = 2 ** 32 - 1;
const WORD = 2 ** 32;
/** What the addon's text conversion leaves of bytes that are not UTF-8. */
const REPLACEMENT_CHARACTER = "\ufffd";

/**
 * Where `utimens` keeps its two times in `fuse_thread_locals_t` (milliseconds, 64 bits each, on a
 * 64-bit machine). The addon passes the first one twice; the second is read here.
 */
const CALL_ACCESSED_MS = 104;
const CALL_MODIFIED_MS = 112;

interface Parts {
  readonly signals: Signals;
  readonly to: FuseHandlers;
  readonly session: Session;
}

/** The addon's table of handlers, by operation number. `onReady`: the kernel accepts the mount. */
export function operationTable(
  binding: Binding,
  to: FuseHandlers,
  session: Session,
  options: { readonly owner: Ownership; readonly onReady: () => void },
): readonly NativeHandler[] {
  const { signals, numbers } = binding;
  const parts: Parts = { signals, to, session };
  const handlers = {
    init: (call: NativeCall) => {
      signals.init(call, 0);
      options.onReady();
    },
    ...metadataOperations(parts, options.owner),
    ...openingOperations(parts),
    ...transferOperations(parts),
    ...changingOperations(parts),
    ...namingOperations(parts),
    ...attributeOperations(parts),
  };
  const unused: NativeHandler = () => undefined;
  const table = new Array<NativeHandler>(OPERATION_SLOTS).fill(unused);
  for (const [name, handler] of Object.entries(handlers)) {
    table[numbers[name as keyof typeof handlers]] = handler;
  }
  return table;
}

/** Operations that read names and attributes. */
function metadataOperations({ signals, to, session }: Parts, owner: Ownership) {
  const { statfs, getattr, fgetattr, readdir, readlink } = signals;
  // The addon copies from these before a signal returns: one of each is enough.
  const words = newStatWords();
  const noStatfs = newStatfsWords();
  const inodes = new InodeNumbers();
  const stat = (result: NodeStat | Errno): Uint32Array => {
    if (typeof result !== "number") packStat(words, result, owner, inodes.of(result.id));
    return words;
  };
  return {
    statfs: (call: NativeCall) => {
      session.serve(
        "statfs",
        () => to.statfs(),
        (result) => {
          const packed = typeof result === "number" ? noStatfs : packStatfs(result);
          statfs(call, errnoIn(result), packed);
        },
      );
    },
    getattr: (call: NativeCall, _: number, path: string) => {
      session.serve(
        "getattr",
        () => to.getattr(path),
        (result) => {
          getattr(call, errnoIn(result), stat(result));
        },
      );
    },
    fgetattr: (call: NativeCall, _: number, path: string, handle: number) => {
      session.serve(
        "fgetattr",
        () => to.fgetattr(path, handle),
        (result) => {
          fgetattr(call, errnoIn(result), stat(result));
        },
      );
    },
    readdir: (call: NativeCall, _: number, path: string) => {
      session.serve(
        "readdir",
        () => to.readdir(path),
        (result) => {
          if (typeof result === "number") {
            readdir(call, result, [], []);
            return;
          }
          const { names, kinds, ids } = result;
          readdir(
            call,
            0,
            names,
            packListing(kinds, (index) => inodes.of(ids[index] ?? 0)),
          );
        },
      );
    },
    readlink: (call: NativeCall, _: number, path: string) => {
      session.serve(
        "readlink",
        () => to.readlink(path),
        (result) => {
          readlink(call, errnoIn(result), typeof result === "number" ? "" : result);
        },
      );
    },
  };
}

/** Operations on open files. */
function openingOperations({ signals, to, session }: Parts) {
  const { open, create, release } = signals;
  const opened = (result: number): number => Math.max(0, result);
  return {
    open: (call: NativeCall, _: number, path: string, flags: number) => {
      session.serve(
        "open",
        () => to.open(path, flags),
        (result) => {
          open(call, Math.min(0, result), opened(result));
        },
      );
    },
    create: (call: NativeCall, _: number, path: string, mode: number) => {
      session.serve(
        "create",
        () => named(path) ?? to.create(path, mode),
        (result) => {
          create(call, Math.min(0, result), opened(result));
        },
      );
    },
    fsync: (call: NativeCall, _: number, __: string, ___: number, handle: number) => {
      answerVoid(signals, session, "fsync", call, () => to.fsync(handle));
    },
    release: (call: NativeCall, _: number, __: string, handle: number) => {
      session.serve<number>(
        "release",
        () => to.release(handle),
        (result) => {
          release(call, result);
        },
      );
    },
  };
}

/**
 * Reading and writing. Memory that came with a call is given back with its answer: afterwards it is
 * no longer ours.
 */
function transferOperations({ signals, to, session }: Parts) {
  const { read, write } = signals;
  return {
    read: (
      call: NativeCall,
      _: number,
      path: string,
      handle: number,
      memory: Buffer,
      length: number,
      low: number,
      high: number,
    ) => {
      const target = session.borrowed(memory, length);
      session.serve(
        "read",
        () => to.read(path, handle, low + high * WORD, target),
        (result) => {
          session.countBytes("read", result);
          if (target !== memory && result > 0) memory.set(target.subarray(0, result));
          read(call, result, 0, memory.buffer);
        },
      );
    },
    write: (
      call: NativeCall,
      _: number,
      __: string,
      handle: number,
      memory: Buffer,
      length: number,
      low: number,
      high: number,
    ) => {
      const source = session.borrowed(memory, length);
      if (source !== memory) source.set(memory);
      session.serve(
        "write",
        () => to.write(handle, low + high * WORD, source),
        (result) => {
          session.countBytes("written", result);
          write(call, result, 0, memory.buffer);
        },
      );
    },
  };
}

/** Operations that change a node. */
function changingOperations({ signals, to, session }: Parts) {
  return {
    truncate: (call: NativeCall, _: number, path: string, low: number, high: number) => {
      answerVoid(signals, session, "truncate", call, () => to.truncate(path, low + high * WORD));
    },
    ftruncate: (
      call: NativeCall,
      _: number,
      __: string,
      handle: number,
      low: number,
      high: number,
    ) => {
      answerVoid(signals, session, "ftruncate", call, () =>
        to.ftruncate(handle, low + high * WORD),
      );
    },
    utimens: (call: NativeCall, _: number, path: string, low: number, high: number) => {
      const { accessedMs, modifiedMs } = timesOf(call, low, high);
      answerVoid(signals, session, "utimens", call, () => to.utimens(path, accessedMs, modifiedMs));
    },
    chmod: (call: NativeCall, _: number, path: string, mode: number) => {
      answerVoid(signals, session, "chmod", call, () => to.chmod(path, mode));
    },
    chown: (call: NativeCall, _: number, path: string, uid: number, gid: number) => {
      answerVoid(signals, session, "chown", call, () =>
        to.chown(path, changedId(uid), changedId(gid)),
      );
    },
  };
}

/** Operations that change names. */
function namingOperations({ signals, to, session }: Parts) {
  return {
    mknod: (call: NativeCall, _: number, path: string, mode: number) => {
      answerVoid(signals, session, "mknod", call, () => named(path) ?? to.mknod(path, mode));
    },
    mkdir: (call: NativeCall, _: number, path: string, mode: number) => {
      answerVoid(signals, session, "mkdir", call, () => named(path) ?? to.mkdir(path, mode));
    },
    rmdir: (call: NativeCall, _: number, path: string) => {
      answerVoid(signals, session, "rmdir", call, () => to.rmdir(path));
    },
    unlink: (call: NativeCall, _: number, path: string) => {
      answerVoid(signals, session, "unlink", call, () => to.unlink(path));
    },
    rename: (call: NativeCall, _: number, path: string, newPath: string) => {
      answerVoid(
        signals,
        session,
        "rename",
        call,
        () => named(newPath) ?? to.rename(path, newPath),
      );
    },
    symlink: (call: NativeCall, _: number, target: string, path: string) => {
      answerVoid(signals, session, "symlink", call, () => named(path) ?? to.symlink(target, path));
    },
    link: (call: NativeCall, _: number, path: string, newPath: string) => {
      answerVoid(signals, session, "link", call, () => to.link(path, newPath));
    },
  };
}

/** Extended attributes. A length of 0 asks for the size; a buffer that is too small is ERANGE. */
function attributeOperations({ signals, to, session }: Parts) {
  const { getxattr, setxattr, listxattr } = signals;
  return {
    getxattr: (call: NativeCall, _: number, path: string, name: string, memory: Buffer) => {
      session.serve(
        "getxattr",
        () => to.getxattr(path, name),
        (result) => {
          getxattr(call, typeof result === "number" ? result : give(result, memory), memory.buffer);
        },
      );
    },
    setxattr: (
      call: NativeCall,
      _: number,
      path: string,
      name: string,
      memory: Buffer,
      __: number,
      flags: number,
    ) => {
      const value = Uint8Array.from(memory);
      session.serve<number>(
        "setxattr",
        () => to.setxattr(path, name, value, flags),
        (result) => {
          setxattr(call, result, memory.buffer);
        },
      );
    },
    listxattr: (call: NativeCall, _: number, path: string, memory: Buffer) => {
      session.serve(
        "listxattr",
        () => to.listxattr(path),
        (result) => {
          const list = typeof result === "number" ? result : give(nameList(result), memory);
          listxattr(call, list, memory.buffer);
        },
      );
    },
    removexattr: (call: NativeCall, _: number, path: string, name: string) => {
      answerVoid(signals, session, "removexattr", call, () => to.removexattr(path, name));
    },
  };
}

type VoidOperation =
  | "fsync"
  | "truncate"
  | "ftruncate"
  | "utimens"
  | "chmod"
  | "chown"
  | "mknod"
  | "mkdir"
  | "rmdir"
  | "unlink"
  | "rename"
  | "symlink"
  | "link"
  | "removexattr";

function answerVoid(
  signals: Signals,
  session: Session,
  name: VoidOperation,
  call: NativeCall,
  work: () => Done,
): void {
  session.serve<number>(name, work, (result) => {
    signals[name](call, result);
  });
}

function errnoIn(result: unknown): Errno {
  return typeof result === "number" ? result : 0;
}

/** EILSEQ for a new name that is not UTF-8: it would be stored as another name. */
function named(path: string): Errno | undefined {
  return path.includes(REPLACEMENT_CHARACTER, path.lastIndexOf("/")) ? EILSEQ : undefined;
}

function changedId(id: number): number | undefined {
  return id === UNCHANGED_ID ? undefined : id;
}

/** Copies into memory that is large enough and gives the length; only the length when it is empty. */
function give(value: Uint8Array, memory: Buffer): number {
  if (memory.length === 0) return value.length;
  if (value.length > memory.length) return ERANGE;
  memory.set(value);
  return value.length;
}

function nameList(names: readonly string[]): Uint8Array {
  return Buffer.from(names.map((name) => `${name}\0`).join(""));
}

/**
 * The two times of a utimens call. The first also came as an argument: only where both agree is the
 * structure laid out as this file believes, and the second one taken from it.
 */
function timesOf(
  call: NativeCall,
  low: number,
  high: number,
): { accessedMs: number; modifiedMs: number } {
  const accessed = BigInt.asIntN(64, (BigInt(high) << 32n) | BigInt(low));
  const known =
    call.length >= CALL_MODIFIED_MS + 8 && call.readBigInt64LE(CALL_ACCESSED_MS) === accessed;
  const modified = known ? call.readBigInt64LE(CALL_MODIFIED_MS) : accessed;
  return { accessedMs: Number(accessed), modifiedMs: Number(modified) };
}
