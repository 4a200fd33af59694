/** The command as people run it, on a folder of its own: what tests of whole formats start with. */
import { expect } from "chai";
import { chmod } from "node:fs/promises";
import { join } from "node:path";
import { compileCommand, runHere } from "./command-in-place.ts";
import { isMounted, makePlace, requireFuse, runTool } from "./mountpoint.ts";
import type { Place, Ran } from "./mountpoint.ts";
import { skipUnless } from "./skip.ts";

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
    const script = await compileCommand(place);
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
    return runHere(this.#place, args);
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

/** In a describe block: a bench made before its tests and removed behind them. Needs root. */
export function useFormatBench(): () => FormatBench {
  let bench: FormatBench | undefined;
  before(async function () {
    requireFuse(this);
    skipUnless(this, process.getuid?.() === 0, "only root can make such volumes");
    bench = await FormatBench.make();
  });
  after(async () => bench?.remove());
  return () => {
    if (bench === undefined) throw new Error("there is no bench before the tests begin");
    return bench;
  };
}
