/** Making what Node cannot: named pipes and devices, by mkfifo(1) and mknod(1). */
import { ReelError } from "../errors.ts";
import { runTool } from "./run-tool.ts";

/** As in makedev(3), for the 32 bits that filesystems keep. */
export function majorOf(device: number): number {
  return (device >>> 8) & 0xfff;
}

export function minorOf(device: number): number {
  return (device & 0xff) | ((device >>> 12) & 0xfff00);
}

/** Makes named pipes of these names in `folder`, readable by nobody else. */
export async function makeFifos(folder: string, names: readonly string[]): Promise<void> {
  await run("mkfifo", ["-m", "600", "--", ...names], folder);
}

/** Makes a device. Throws "no-permission" where only root could. */
export async function makeDevice(
  folder: string,
  name: string,
  kind: "block" | "character",
  device: number,
): Promise<void> {
  const type = kind === "block" ? "b" : "c";
  const numbers = [String(majorOf(device)), String(minorOf(device))];
  await run("mknod", ["-m", "600", "--", name, type, ...numbers], folder);
}

async function run(tool: string, args: readonly string[], cwd: string): Promise<void> {
  const { status, errors } = await runTool(tool, args, { cwd });
  if (status === 0) return;
  const isForbidden = /Operation not permitted|Permission denied/.test(errors);
  const reason = errors.trim().split("\n", 1)[0] ?? "";
  throw new ReelError(
    isForbidden ? "no-permission" : "io",
    `cannot make it with ${tool}: ${reason === "" ? "it was ended" : reason}`,
  );
}
