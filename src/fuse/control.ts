/**
 * Talking to the daemon of a mount: a Unix socket in the private runtime folder, one JSON object per
 * line each way. It is how tags are set on a read-only mount, and how `restore --tagged` learns them.
 *
 *     {"op":"tags","from":0}   →   {"ok":true,"result":{"tags":[{"path":…,"imagePath":…}],"total":1}}
 *     {"op":"tag","paths":["/x"]}  →  {"ok":true,"result":{"done":0,"failed":[{"path":"/x",…}]}}
 */
import { chmod, rm } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { type ErrorCode, fromSystem, isReelError, ReelError } from "../errors.ts";
import type { Mounted, MountStatistics } from "./mount-tree.ts";
import { type MountedImage, type MountRecord, statusAt } from "./registry.ts";
import type { Tag } from "./tags.ts";

const REQUEST_MAX_BYTES = 1024 * 1024;
const RESPONSE_MAX_BYTES = 64 * 1024 * 1024;
const CONNECTIONS_MAX = 16;
/** A client that says nothing for so long is cut off; an answer is waited for longer. */
const IDLE_MS = 30_000;
const ANSWER_MS = 120_000;
/** Tags in one answer: at most 10,000 paths of 4 KiB, twice. */
const TAGS_PER_ANSWER = 5000;
/** Paths in one request, so that it stays below its limit. */
const PATHS_PER_REQUEST = 100;

export type ControlRequest =
  | { readonly op: "tag" | "untag"; readonly paths: readonly string[] }
  | { readonly op: "tags"; readonly from: number }
  | { readonly op: "status" | "statistics" };

export interface TagOutcome {
  readonly done: number;
  readonly failed: readonly { readonly path: string; readonly message: string }[];
}

export interface TagList {
  readonly tags: readonly Tag[];
  readonly total: number;
}

/** What an answer to each operation holds. */
export interface ControlResults {
  readonly tag: TagOutcome;
  readonly untag: TagOutcome;
  readonly tags: TagList;
  readonly status: MountRecord;
  readonly statistics: Record<string, unknown>;
}

export interface ControlServer {
  close(): Promise<void>;
}

/** The caller's end, which may be gone at any time. */
export interface ControlConnection {
  /** Calls back when the connection has ended; at once when it has already. */
  onClose(callback: () => void): void;
}

/** More requests, for mounts that can do more. */
export interface ControlExtension {
  /** Undefined: no such request. */
  perform(
    request: ReadonlyMap<string, unknown>,
    connection: ControlConnection,
  ): Promise<unknown> | undefined;
}

export interface ControlSubject {
  readonly mounted: Mounted;
  readonly record: MountRecord;
  /** More for "statistics": what the image has done. */
  readonly statistics?: (() => Readonly<Record<string, unknown>>) | undefined;
  readonly extension?: ControlExtension | undefined;
}

/** Listens on the socket of the subject's record. */
export async function startControl(subject: ControlSubject): Promise<ControlServer> {
  const path = subject.record.socket;
  await rm(path, { force: true });
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    serveConnection(socket, subject);
  });
  server.maxConnections = CONNECTIONS_MAX;
  await listen(server, path);
  return {
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) =>
        server.close(() => {
          resolve();
        }),
      );
      await rm(path, { force: true });
    },
  };
}

async function listen(server: Server, path: string): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(path, resolve);
    });
    await chmod(path, 0o600);
  } catch (error) {
    throw fromSystem(error, `cannot listen on the control socket ${path}`);
  }
}

function serveConnection(socket: Socket, subject: ControlSubject): void {
  socket.on("error", () => socket.destroy());
  socket.setTimeout(IDLE_MS, () => socket.destroy());
  const connection: ControlConnection = {
    onClose: (callback) => {
      if (socket.destroyed) callback();
      else socket.once("close", callback);
    },
  };
  let queue = Promise.resolve();
  readLines(socket, REQUEST_MAX_BYTES, (line) => {
    queue = queue.then(async () => {
      const response = await respond(line, subject, connection);
      if (!socket.destroyed) socket.write(`${JSON.stringify(response)}\n`);
    });
  });
}

/** Calls `onLine` for each line; a line that grows beyond its limit ends the connection. */
function readLines(socket: Socket, maxBytes: number, onLine: (line: string) => void): void {
  let parts: Buffer[] = [];
  let length = 0;
  socket.on("data", (data: Buffer) => {
    let rest = data;
    for (let end = rest.indexOf(0x0a); end >= 0; end = rest.indexOf(0x0a)) {
      onLine(Buffer.concat([...parts, rest.subarray(0, end)]).toString());
      rest = rest.subarray(end + 1);
      parts = [];
      length = 0;
    }
    length += rest.length;
    if (length > maxBytes) socket.destroy();
    else if (rest.length > 0) parts.push(rest);
  });
}

async function respond(
  line: string,
  subject: ControlSubject,
  connection: ControlConnection,
): Promise<object> {
  try {
    const more = subject.extension?.perform(parseObject(line), connection);
    return { ok: true, result: await (more ?? perform(parseRequest(line), subject)) };
  } catch (error) {
    const { code, message } = isReelError(error)
      ? error
      : new ReelError("internal", String(error), { cause: error });
    return { ok: false, code, message };
  }
}

/** @throws ReelError "invalid" */
export function parseRequest(line: string): ControlRequest {
  const json = parseObject(line);
  const op = json.get("op");
  const paths: unknown = json.get("paths");
  const from = json.get("from") ?? 0;
  if ((op === "tag" || op === "untag") && Array.isArray(paths)) {
    const texts = paths.filter((path): path is string => typeof path === "string");
    if (texts.length === paths.length) return { op, paths: texts };
  }
  if (op === "tags" && typeof from === "number" && Number.isSafeInteger(from) && from >= 0) {
    return { op, from };
  }
  if (op === "status" || op === "statistics") return { op };
  throw new ReelError("invalid", "the daemon does not know this request");
}

function parseObject(line: string): Map<string, unknown> {
  try {
    const json: unknown = JSON.parse(line);
    if (typeof json === "object" && json !== null) return new Map(Object.entries(json));
  } catch (error) {
    throw new ReelError("invalid", "not a line of JSON", { cause: error });
  }
  throw new ReelError("invalid", "not a JSON object");
}

async function perform(
  request: ControlRequest,
  subject: ControlSubject,
): Promise<ControlResults[ControlRequest["op"]]> {
  const { tagging } = subject.mounted;
  switch (request.op) {
    case "tag":
      return eachPath(request.paths, async (path) => tagging.tag(path));
    case "untag":
      return eachPath(request.paths, async (path) => {
        if (!(await tagging.untag(path))) throw new ReelError("not-found", `${path} has no tag`);
      });
    case "tags": {
      const tags = tagging.tags.list(request.from, TAGS_PER_ANSWER);
      return { tags, total: tagging.tags.size };
    }
    case "status":
      return subject.record;
    case "statistics": {
      const mount: MountStatistics = subject.mounted.statistics();
      return { mount, ...subject.statistics?.() };
    }
  }
}

async function eachPath(
  paths: readonly string[],
  work: (path: string) => Promise<void>,
): Promise<TagOutcome> {
  const failed: { path: string; message: string }[] = [];
  for (const path of paths) {
    try {
      await work(path);
    } catch (error) {
      failed.push({ path, message: error instanceof Error ? error.message : String(error) });
    }
  }
  return { done: paths.length - failed.length, failed };
}

/**
 * Asks the daemon of the mount at `mountpoint` (absolute, without links).
 *
 * @throws ReelError "not-found" when no ReelFS mount of this user is there, "closed" when its daemon
 *   is gone, "timeout", or what the daemon answered
 */
export async function controlRequest<Op extends ControlRequest["op"]>(
  mountpoint: string,
  request: Extract<ControlRequest, { op: unknown }> & { readonly op: Op },
): Promise<ControlResults[Op]> {
  const client = await openControl(mountpoint);
  try {
    return (await client.request(request)) as ControlResults[Op];
  } finally {
    client.close();
  }
}

/** A connection to the daemon of a mount. Requests are answered one after another. */
export interface ControlClient {
  /** @throws ReelError "timeout", "closed" when the daemon hung up, or what it answered */
  request(request: object): Promise<unknown>;
  /** Settles when the connection has ended, whoever ended it. */
  readonly ended: Promise<void>;
  close(): void;
}

/**
 * Connects to the daemon of the mount at `mountpoint` (absolute, without links).
 *
 * @throws ReelError "not-found", "closed" and "no-permission" as `controlRequest`
 */
export async function openControl(mountpoint: string): Promise<ControlClient> {
  const status = await statusAt(mountpoint);
  if (status === undefined) {
    throw new ReelError("not-found", `no ReelFS mount on ${mountpoint}; see reelfs mounts`);
  }
  if (status.state === "stale") {
    throw new ReelError(
      "closed",
      `the daemon of the mount on ${mountpoint} is gone; clear it with reelfs umount ${mountpoint}`,
    );
  }
  if (status.record === undefined) {
    throw new ReelError("no-permission", `the mount on ${mountpoint} is another user's`);
  }
  return connectTo(status.record.socket, mountpoint);
}

function connectTo(socketPath: string, mountpoint: string): ControlClient {
  const doing = `cannot ask the daemon of the mount on ${mountpoint}`;
  const waiting: { resolve: (result: unknown) => void; reject: (error: ReelError) => void }[] = [];
  let failure: ReelError | undefined;
  const socket = connect(socketPath);
  const fail = (error: ReelError): void => {
    failure ??= error;
    socket.destroy();
    for (const { reject } of waiting.splice(0)) reject(failure);
  };
  // Only an answer that is due can be late.
  socket.setTimeout(ANSWER_MS, () => {
    if (waiting.length > 0) fail(new ReelError("timeout", `${doing}: it does not answer`));
  });
  socket.on("error", (error) => {
    fail(fromSystem(error, doing));
  });
  const ended = new Promise<void>((resolve) => {
    socket.on("close", () => {
      fail(new ReelError("closed", `${doing}: it hung up`));
      resolve();
    });
  });
  readLines(socket, RESPONSE_MAX_BYTES, (line) => {
    const next = waiting.shift();
    try {
      next?.resolve(resultIn(line, mountpoint));
    } catch (error) {
      next?.reject(fromSystem(error, doing));
    }
  });
  return {
    ended,
    request: async (request) =>
      new Promise((resolve, reject) => {
        if (failure !== undefined) {
          reject(failure);
          return;
        }
        waiting.push({ resolve, reject });
        socket.write(`${JSON.stringify(request)}\n`);
      }),
    close: () => {
      socket.destroySoon();
    },
  };
}

function resultIn(line: string, mountpoint: string): unknown {
  const response = parseObject(line);
  if (response.get("ok") === true) return response.get("result");
  const message = response.get("message");
  throw new ReelError(
    (response.get("code") ?? "internal") as ErrorCode,
    typeof message === "string" ? message : `the daemon of ${mountpoint} gave no reason`,
  );
}

/** Sets or removes tags of any number of paths inside one mount. */
export async function changeTags(
  mountpoint: string,
  op: "tag" | "untag",
  paths: readonly string[],
): Promise<TagOutcome> {
  let done = 0;
  const failed: TagOutcome["failed"][number][] = [];
  for (let from = 0; from < paths.length; from += PATHS_PER_REQUEST) {
    const some = paths.slice(from, from + PATHS_PER_REQUEST);
    const outcome = await controlRequest(mountpoint, { op, paths: some });
    done += outcome.done;
    failed.push(...outcome.failed);
  }
  return { done, failed };
}

/** All tags in a mount. */
export async function listTags(mountpoint: string): Promise<Tag[]> {
  const tags: Tag[] = [];
  for (;;) {
    const answer = await controlRequest(mountpoint, { op: "tags", from: tags.length });
    tags.push(...answer.tags);
    if (answer.tags.length === 0 || tags.length >= answer.total) return tags;
  }
}

/**
 * What is tagged in a mount, for a restore from its image.
 *
 * @returns paths in the image: "/a/b", "/" for everything
 * @throws ReelError as `controlRequest`
 */
export async function taggedPaths(
  mountpoint: string,
): Promise<{ image: MountedImage; paths: string[] }> {
  const { image } = await controlRequest(mountpoint, { op: "status" });
  const tags = await listTags(mountpoint);
  return { image, paths: tags.map(({ imagePath }) => imagePath) };
}
