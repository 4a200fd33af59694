/**
 * What a command did to its disk, call by call, as strace(1) saw it: with the bytes that it wrote.
 * A log for each thread, put together by time; libuv gets one thread for files, so that no two
 * calls overlap.
 */
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";

/** Paths are absolute, as the kernel names them. Without `atBytes`, where the descriptor stands. */
export type DiskCall =
  | { readonly kind: "open"; readonly fd: string; readonly path: string; readonly how: OpenHow }
  | {
      readonly kind: "write";
      readonly fd: string;
      readonly path: string;
      readonly atBytes?: number | undefined;
      readonly bytes: Buffer;
    }
  | {
      readonly kind: "copy";
      readonly from: string;
      readonly fromBytes: number;
      readonly fd: string;
      readonly path: string;
      readonly bytes: number;
    }
  | { readonly kind: "size"; readonly path: string; readonly bytes: number }
  | { readonly kind: "sync"; readonly path: string }
  | { readonly kind: "syncAll" }
  | { readonly kind: "rename" | "link"; readonly from: string; readonly path: string }
  | { readonly kind: "symlink"; readonly target: string; readonly path: string }
  | { readonly kind: "remove" | "folder"; readonly path: string };

export interface OpenHow {
  readonly create: boolean;
  readonly truncate: boolean;
  readonly append: boolean;
}

interface TimedCall {
  readonly atSeconds: number;
  readonly call: DiskCall;
}

const TRACED = [
  "open,openat,creat,write,writev,pwrite64,pwritev,pwritev2,sendfile,copy_file_range",
  "ftruncate,truncate,fallocate,fsync,fdatasync,sync,syncfs,sync_file_range",
  "rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,mkdir,mkdirat,symlink,symlinkat",
].join();
/** More than any call of ours writes. */
const STRING_BYTES_MAX = 64 * 1024 * 1024;

/** What comes before the command; the logs are `prefix`.THREAD. */
export function recordingUnder(prefix: string): readonly string[] {
  const how = ["-ff", "-ttt", "-y", "-xx", "-v", "-qqq", "--seccomp-bpf"];
  return ["strace", ...how, "-s", `${STRING_BYTES_MAX}`, "-e", `trace=${TRACED}`, "-o", prefix];
}

/** All calls that succeeded, in their order; the logs are removed. */
export async function readRecording(folder: string): Promise<DiskCall[]> {
  const calls: TimedCall[] = [];
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    for (const line of (await readFile(path, "latin1")).split("\n")) {
      const call = parseLine(line);
      if (call !== undefined) calls.push(call);
    }
    await rm(path);
  }
  return calls.sort((one, other) => one.atSeconds - other.atSeconds).map(({ call }) => call);
}

function parseLine(line: string): TimedCall | undefined {
  const head = /^(\d+\.\d+) (\w+)\(/.exec(line);
  const end = line.lastIndexOf(") = ");
  if (head === null || end < 0) return undefined;
  const result = line.slice(end + 4).trimStart();
  if (result.startsWith("-") || result.startsWith("?")) return undefined;
  const call = callOf(head[2] ?? "", line.slice(head[0].length, end), result);
  return call === undefined ? undefined : { atSeconds: Number(head[1]), call };
}

function callOf(name: string, given: string, result: string): DiskCall | undefined {
  switch (name) {
    case "open":
    case "openat":
    case "creat":
      return opening(name, given, result);
    case "write":
    case "writev":
    case "pwrite64":
    case "pwritev":
    case "pwritev2":
      return writing(name, given, Number.parseInt(result, 10));
    case "sendfile":
    case "copy_file_range":
      return copying(name, given, Number.parseInt(result, 10));
    case "ftruncate":
    case "truncate":
      return { kind: "size", path: pathOf(given), bytes: Number(lastOf(given)) };
    case "fsync":
    case "fdatasync":
      return { kind: "sync", path: pathOf(given) };
    case "sync":
    case "syncfs":
      return { kind: "syncAll" };
    case "fallocate":
    case "sync_file_range":
      throw new Error(`a call that is not modelled: ${name}(${given.slice(0, 200)})`);
    default:
      return naming(name, given);
  }
}

/** "17<\x2f…>": the number and what it is open on. */
const DESCRIPTOR = /^(\d+)<([^>]*)>/;
const lastOf = (given: string): string => given.slice(given.lastIndexOf(",") + 1).trim();
const unhex = (text: string): Buffer => Buffer.from(text.replaceAll("\\x", ""), "hex");
const stringsIn = (given: string): string[] =>
  [...given.matchAll(/"([^"]*)"/g)].map((match) => match[1] ?? "");

function pathOf(given: string): string {
  const open = DESCRIPTOR.exec(given);
  return unhex(open?.[2] ?? stringsIn(given)[0] ?? "").toString();
}

function opening(name: string, given: string, result: string): DiskCall | undefined {
  const [, fd = "", path = ""] = DESCRIPTOR.exec(result) ?? [];
  const flags = name === "creat" ? "O_CREAT|O_TRUNC" : given;
  if (!/O_WRONLY|O_RDWR|O_CREAT/.test(flags)) return undefined;
  const how = {
    create: flags.includes("O_CREAT"),
    truncate: flags.includes("O_TRUNC"),
    append: flags.includes("O_APPEND"),
  };
  return { kind: "open", fd, path: unhex(path).toString(), how };
}

function writing(name: string, given: string, count: number): DiskCall | undefined {
  const [, fd = ""] = DESCRIPTOR.exec(given) ?? [];
  const path = pathOf(given);
  // Pipes, events and terminals.
  if (!path.startsWith("/")) return undefined;
  const bytes = Buffer.concat(stringsIn(given).map(unhex)).subarray(0, count);
  const ints = given.slice(Math.max(given.lastIndexOf('"'), given.lastIndexOf("]")) + 1);
  const numbers = ints.split(",").map(Number);
  // "…", count, offset or […], buffers, offset
  const atBytes = name.startsWith("p") ? numbers[2] : undefined;
  return { kind: "write", fd, path, atBytes, bytes };
}

/** copy_file_range(in, [offset], out, NULL, …) and sendfile(out, in, [offset], …), as libuv does. */
function copying(name: string, given: string, bytes: number): DiskCall {
  const [one, other] = [...given.matchAll(/(\d+)<([^>]*)>/g)];
  const [from, to] = name === "sendfile" ? [other, one] : [one, other];
  const fromBytes = Number(/\[(\d+)\]/.exec(given)?.[1] ?? Number.NaN);
  return {
    kind: "copy",
    from: unhex(from?.[2] ?? "").toString(),
    ...{ fromBytes, fd: to?.[1] ?? "", path: unhex(to?.[2] ?? "").toString(), bytes },
  };
}

function naming(name: string, given: string): DiskCall {
  const [one = "", other = ""] = stringsIn(given).map((text) => unhex(text).toString());
  const isAbsolute = one.startsWith("/") || name.startsWith("symlink");
  if (!isAbsolute) throw new Error(`${name} of ${one}: from which folder is not known`);
  if (name.startsWith("rename")) return { kind: "rename", from: one, path: other };
  if (name.startsWith("link")) return { kind: "link", from: one, path: other };
  if (name.startsWith("symlink")) return { kind: "symlink", target: one, path: other };
  return { kind: name.startsWith("mkdir") ? "folder" : "remove", path: one };
}
