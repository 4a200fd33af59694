/** Runs writer-process.ts and may stop it. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export interface WriterOptions {
  /** Size from which on the system refuses to make the file longer. */
  readonly fileSizeLimitKiB?: number;
  readonly recordsPerFile?: number;
  /** Called with each line; true kills the process at once. */
  readonly killAt?: (line: string) => boolean;
}

export async function runWriter(
  tapePath: string,
  options: WriterOptions,
): Promise<{ pid: number; lines: string[] }> {
  const script = fileURLToPath(new URL("writer-process.ts", import.meta.url));
  const limit =
    options.fileSizeLimitKiB === undefined
      ? ""
      : `trap '' XFSZ; ulimit -f ${options.fileSizeLimitKiB}; `;
  const command = `${limit}exec "$0" --import tsx "$@"`;
  const child = spawn(
    "bash",
    ["-c", command, process.execPath, script, tapePath, String(options.recordsPerFile ?? 0)],
    { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, TSX_DISABLE_CACHE: "1" } },
  );
  const ended = new Promise<void>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", () => {
      resolve();
    });
  });
  const lines: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line);
    if (options.killAt?.(line) === true) child.kill("SIGKILL");
  }
  await ended;
  return { pid: child.pid ?? 0, lines };
}
