/** The command as people run it, on a folder of its own: what tests of whole formats start with. */
import { expect } from "chai";
import { chmod, copyFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { COMMANDS } from "../../src/cli/commands/index.ts";
import { run } from "../../src/cli/program.ts";
import { FakeStream } from "../cli/fake-stream.ts";
import { compileScript } from "./compiled-script.ts";
import { isMounted, makePlace, runTool } from "./mountpoint.ts";
import type { Place, Ran } from "./mountpoint.ts";

const SCRIPT = fileURLToPath(new URL("../e2e/expose-cli.ts", import.meta.url));
const PACKAGE = new URL("../../package.json", import.meta.url);
/** "nobody", by number: somebody who owns nothing. */
export const NOBODY = 65534;

export class FormatBench {
  readonly #place: Place;
  readonly #script: string;

  private constructor(place: Place, script: string) {
    this.#place = place;
    this.#script = script;
  }

  static async make(): Promise<FormatBench> {
    const place = await makePlace();
    const compiled = join(place.folder, "compiled");
    await mkdir(compiled);
    const script = await compileScript(SCRIPT, compiled);
    await copyFile(PACKAGE, join(compiled, "package.json"));
    // Somebody else must be able to run it, and to restore here.
    await chmod(place.folder, 0o755);
    return new FormatBench(place, script);
  }

  get mountpoint(): string {
    return this.#place.mountpoint;
  }

  /** A path in the folder of this bench. */
  at(...names: string[]): string {
    return join(this.#place.folder, ...names);
  }

  /** A command in this process, which serves no mount itself: much faster than one of its own. */
  async run(...args: string[]): Promise<Ran> {
    const [stdout, stderr] = [new FakeStream(), new FakeStream()];
    const before = process.env["XDG_RUNTIME_DIR"];
    Object.assign(process.env, this.#place.env);
    try {
      const { signal } = new AbortController();
      const status = await run(args, { stdout, stderr, signal }, COMMANDS);
      return { status, stdout: stdout.text, stderr: stderr.text };
    } finally {
      if (before === undefined) delete process.env["XDG_RUNTIME_DIR"];
      else process.env["XDG_RUNTIME_DIR"] = before;
    }
  }

  /** A command that has nothing to complain of; what it prints. */
  async succeed(...args: string[]): Promise<string> {
    const { status, stdout, stderr } = await this.run(...args);
    expect(stderr, args.join(" ")).to.equal("");
    expect(status, args.join(" ")).to.equal(0);
    return stdout;
  }

  async json<T>(...args: string[]): Promise<T> {
    return JSON.parse(await this.succeed(...args, "--json")) as T;
  }

  /** A command in a process of an ordinary user. */
  async runAsNobody(...args: string[]): Promise<Ran> {
    const id = String(NOBODY);
    const become = ["--reuid", id, "--regid", id, "--clear-groups", process.execPath, this.#script];
    return runTool("setpriv", [...become, ...args], { cwd: "/" });
  }

  /** Mounts an image for as long as `use` runs; `notice` is what the command says of it. */
  async withMount<T>(
    args: readonly string[],
    use: (root: string) => Promise<T>,
    notice = /^$/,
  ): Promise<T> {
    const command = [this.#script, "mount", "--json", ...args, this.mountpoint];
    const ran = await runTool(process.execPath, command, { cwd: "/", env: this.#place.env });
    expect(ran.stderr, args.join(" ")).to.match(notice);
    expect(ran.status, args.join(" ")).to.equal(0);
    try {
      return await use(this.mountpoint);
    } finally {
      await this.run("umount", this.mountpoint);
      if (await isMounted(this.mountpoint)) await runTool("umount", ["-l", this.mountpoint]);
    }
  }

  async remove(): Promise<void> {
    await this.#place.remove();
  }
}
