/**
 * The native half of fuse-native, typed and loaded only when something is mounted.
 *
 * What is used is the addon itself, not the JavaScript class around it. The class loses what this
 * filesystem needs: it gives `fgetattr` no handle, tells `getxattr` and `listxattr` nothing of the
 * caller's buffer (and then answers past its end), passes the access time as modification time to
 * `utimens`, has no word for `big_writes`, and allocates for every answer. The addon is small:
 *
 *     handlers[op](call, op, ...arguments)      an operation arrives, on the event loop
 *     fuse_native_signal_<op>(call, result, …)  its answer; exactly one, or the kernel waits for ever
 *
 * `call` is a Buffer over the C structure of the waiting libfuse thread. A throw inside a handler
 * would end the process; session.ts sees to it that none escapes.
 */
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fromSystem, ReelError } from "../errors.ts";

/** The addon's `fuse_thread_locals_t`: one per libfuse thread, lent to each operation it runs. */
export type NativeCall = Buffer;

export type NativeHandler = (call: NativeCall, op: number, ...rest: never[]) => void;

export const OPERATIONS = [
  "init",
  "statfs",
  "getattr",
  "fgetattr",
  "readdir",
  "readlink",
  "open",
  "create",
  "read",
  "write",
  "fsync",
  "release",
  "truncate",
  "ftruncate",
  "utimens",
  "chmod",
  "chown",
  "mknod",
  "mkdir",
  "rmdir",
  "unlink",
  "rename",
  "symlink",
  "link",
  "getxattr",
  "setxattr",
  "listxattr",
  "removexattr",
] as const;

export type OperationName = (typeof OPERATIONS)[number];

/** Numbers of operations in the addon's own table; unused ones get a handler that never runs. */
export const OPERATION_SLOTS = 34;
const IMPLEMENTED_SLOTS = 35;

type Signal<Rest extends unknown[]> = (call: NativeCall, result: number, ...rest: Rest) => void;

/** What the addon exports, as far as it is used. Answers with a result are errno when negative. */
interface FuseAddon {
  readonly sizeof_fuse_thread_t: number;
  fuse_native_mount(
    mountpoint: string,
    options: string,
    thread: Buffer,
    context: object,
    allocate: (sizeBytes: number) => Buffer,
    handlers: readonly NativeHandler[],
    implemented: Uint32Array,
  ): void;
  fuse_native_unmount(mountpoint: string, thread: Buffer): void;
}

/** How each operation is answered. Buffers that came with it are given back, to be detached. */
export interface Signals {
  readonly init: Signal<[]>;
  readonly statfs: Signal<[words: Uint32Array]>;
  readonly getattr: Signal<[words: Uint32Array]>;
  readonly fgetattr: Signal<[words: Uint32Array]>;
  readonly readdir: Signal<[names: readonly string[], stats: readonly Uint32Array[]]>;
  readonly readlink: Signal<[target: string]>;
  readonly open: Signal<[handle: number]>;
  readonly create: Signal<[handle: number]>;
  readonly read: Signal<[bytes: number, memory: ArrayBufferLike]>;
  readonly write: Signal<[bytes: number, memory: ArrayBufferLike]>;
  readonly getxattr: Signal<[memory: ArrayBufferLike]>;
  readonly setxattr: Signal<[memory: ArrayBufferLike]>;
  readonly listxattr: Signal<[memory: ArrayBufferLike]>;
  readonly fsync: Signal<[]>;
  readonly release: Signal<[]>;
  readonly truncate: Signal<[]>;
  readonly ftruncate: Signal<[]>;
  readonly utimens: Signal<[]>;
  readonly chmod: Signal<[]>;
  readonly chown: Signal<[]>;
  readonly mknod: Signal<[]>;
  readonly mkdir: Signal<[]>;
  readonly rmdir: Signal<[]>;
  readonly unlink: Signal<[]>;
  readonly rename: Signal<[]>;
  readonly symlink: Signal<[]>;
  readonly link: Signal<[]>;
  readonly removexattr: Signal<[]>;
}

export interface Binding {
  readonly signals: Signals;
  /** Number of each operation in the handler table. */
  readonly numbers: Readonly<Record<OperationName, number>>;
  /**
   * Mounts, and serves from libfuse's own threads until unmounted.
   *
   * @throws Error "fuse failed" when libfuse or fusermount refused; they say why on stderr.
   */
  mount(mountpoint: string, options: string, handlers: readonly NativeHandler[]): NativeMount;
}

export interface NativeMount {
  /** After the kernel let go of the mount: the event loop need not stay for it any more. */
  release(): void;
}

/** The addon copies it into an array of 1024 bytes, terminator included; options likewise. */
export const MOUNTPOINT_MAX_BYTES = 1023;

const require = createRequire(import.meta.url);

/**
 * C memory that libfuse's threads use until the process ends: a thread that was told to stop may
 * still be on its way out when its mount is long gone. libfuse ends threads beyond ten idle ones and
 * starts others at the next burst; each leaves 360 bytes here.
 */
const heldForEver = new Set<unknown>();

let loaded: Binding | undefined;

/** @throws ReelError "unsupported" with the packages to install when FUSE cannot be loaded. */
export function loadBinding(): Binding {
  loaded ??= describeAddon(loadAddon());
  return loaded;
}

/** The addon as an object of unknown members; `resolve` is replaced in tests. */
export function loadAddon(
  resolve: () => string = () => require.resolve("fuse-native/package.json"),
): object {
  try {
    const root = dirname(resolve());
    const load = createRequire(join(root, "index.js"))("node-gyp-build") as (
      root: string,
    ) => unknown;
    const addon = load(root);
    if (typeof addon === "object" && addon !== null) return addon;
  } catch (error) {
    throw explainLoadFailure(error);
  }
  throw new ReelError("unsupported", "cannot load FUSE: fuse-native has no addon; reinstall it");
}

/** Which package is missing, from what the dynamic loader said. */
export function explainLoadFailure(error: unknown): ReelError {
  const reason = fromSystem(error, "cannot load FUSE").message;
  const advice = reason.includes("libfuse.so.2")
    ? "install the Debian packages libfuse2 (libfuse2t64 on newer releases) and fuse3"
    : "reinstall the package fuse-native; it needs the Debian packages libfuse2 and fuse3";
  return new ReelError("unsupported", `${reason}; ${advice}`, { cause: error });
}

function describeAddon(exported: object): Binding {
  const members = new Map<string, unknown>(Object.entries(exported));
  const signals = new Map<string, unknown>();
  const numbers = new Map<string, number>();
  for (const name of OPERATIONS) {
    const signal = members.get(`fuse_native_signal_${name}`);
    const number = members.get(`op_${name}`);
    if (typeof signal !== "function" || typeof number !== "number" || number >= OPERATION_SLOTS) {
      throw new ReelError(
        "unsupported",
        `cannot use FUSE: this version of fuse-native has no operation "${name}"; install fuse-native 2.2.6`,
      );
    }
    signals.set(name, signal);
    numbers.set(name, number);
  }
  // Checked above, member by member; TypeScript cannot follow that through a map.
  const addon = exported as FuseAddon;
  const numberOf = Object.fromEntries(numbers) as Record<OperationName, number>;
  return {
    signals: Object.fromEntries(signals) as unknown as Signals,
    numbers: numberOf,
    mount: (mountpoint, options, handlers) =>
      mountNative(addon, numberOf, mountpoint, options, handlers),
  };
}

function mountNative(
  addon: FuseAddon,
  numbers: Readonly<Record<OperationName, number>>,
  mountpoint: string,
  options: string,
  handlers: readonly NativeHandler[],
): NativeMount {
  const thread = Buffer.alloc(addon.sizeof_fuse_thread_t);
  const implemented = new Uint32Array(IMPLEMENTED_SLOTS);
  for (const name of OPERATIONS) implemented[numbers[name]] = 1;
  const allocate = (sizeBytes: number): Buffer => {
    const memory = Buffer.alloc(sizeBytes);
    heldForEver.add(memory);
    return memory;
  };
  const calls = callsInto(handlers);
  const { table } = calls;
  heldForEver.add(thread).add(table).add(allocate);
  addon.fuse_native_mount(mountpoint, options, thread, table, allocate, table, implemented);
  let released = false;
  return {
    release(): void {
      if (released) return;
      released = true;
      calls.cut();
      addon.fuse_native_unmount(mountpoint, thread);
    },
  };
}

/**
 * The table that the addon keeps for ever, and an end to what it leads to: what a mount has opened
 * and holds in memory goes with the mount.
 */
function callsInto(handlers: readonly NativeHandler[]): {
  readonly table: readonly NativeHandler[];
  cut(): void;
} {
  let served: readonly NativeHandler[] = handlers;
  const table = handlers.map(
    (_, slot): NativeHandler =>
      (...args) =>
        served[slot]?.(...args),
  );
  return {
    table,
    cut(): void {
      served = [];
    },
  };
}
