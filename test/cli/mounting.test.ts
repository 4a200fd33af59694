import { expect } from "chai";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { runMounting } from "../../src/cli/mounting.ts";
import { createTerminal } from "../../src/cli/terminal.ts";
import { withRuntime } from "../support/command-in-place.ts";
import { expectReelError } from "../support/expect-error.ts";
import { makePlace } from "../support/mountpoint.ts";
import { FakeStream } from "./fake-stream.ts";

describe("a mount that is interrupted while it starts", () => {
  it("is taken away again, and nobody is told that it is there", async () => {
    const place = await makePlace();
    const interruption = new AbortController();
    const [stdout, stderr] = [new FakeStream(), new FakeStream()];
    const terminal = createTerminal({
      ...{ stdout, stderr, json: false, quiet: false, signal: interruption.signal },
    });
    const ends: unknown[] = [];
    let end = (): void => undefined;
    const served = {
      finished: new Promise<void>((resolve) => (end = resolve)),
      unmount: async (how: unknown): Promise<void> => {
        ends.push(how);
        end();
      },
    };
    const directory = process.cwd();
    try {
      await withRuntime(place, async () => {
        const mounting = {
          name: "mount",
          mount: async () => {
            interruption.abort(new Error("received SIGINT"));
            return { served, facts: { mountpoint: place.mountpoint } };
          },
          show: () => {
            terminal.print("it is there");
          },
        };
        const running = runMounting(mounting, { foreground: true }, terminal);
        const { message } = await expectReelError(running, "aborted");
        expect(message).to.equal("mounting was interrupted");
      });
      expect(ends).to.deep.equal([{ lazy: true }]);
      expect(stdout.text).to.equal("");
      expect(readdirSync(join(place.env["XDG_RUNTIME_DIR"] ?? "", "reelfs"))).to.deep.equal([]);
    } finally {
      process.chdir(directory);
      await place.remove();
    }
  });
});
