/** What passes by a mount, and is gone before anybody can see it, does not keep it from ending. */
import { expect } from "chai";
import { chmod, readdir, writeFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { unmountPath } from "../../src/fuse/unmount.ts";
import { expectReelError } from "../support/expect-error.ts";
import {
  isMounted,
  makePlace,
  type Place,
  requireFuse,
  startServer,
  stopServer,
} from "../support/mountpoint.ts";

const SERVER = fileURLToPath(new URL("scratch-server.ts", import.meta.url));

describe("a mount that is busy although nobody is seen to hold it", function () {
  this.timeout(30_000);
  const path = process.env["PATH"] ?? "";
  let place: Place;

  before(async function () {
    requireFuse(this);
    place = await makePlace();
  });

  afterEach(() => {
    process.env["PATH"] = path;
  });

  after(async () => place.remove());

  /** A fusermount3 that finds the mount busy, the first `times` times. */
  const busyFor = async (times: number): Promise<void> => {
    const script = join(place.folder, "fusermount3");
    const lines = [
      "#!/bin/sh",
      `PATH='${path}'`,
      `if [ "$(ls '${place.folder}' | grep -c asked)" -lt ${times} ]; then`,
      `  touch "${place.folder}/asked$$"`,
      '  echo "fusermount3: failed to unmount: Device or resource busy" >&2',
      "  exit 1",
      "fi",
      'exec fusermount3 "$@"',
    ];
    await writeFile(script, lines.join("\n"));
    await chmod(script, 0o755);
    process.env["PATH"] = `${place.folder}${delimiter}${path}`;
  };

  it("is tried again, and ends", async () => {
    const server = await startServer(SERVER, [place.mountpoint, "{}"], place.env);
    await busyFor(2);
    await unmountPath(place.mountpoint);
    expect(await isMounted(place.mountpoint)).to.be.false;
    expect((await readdir(place.folder)).filter((name) => name.startsWith("asked"))).to.have.length(
      2,
    );
    await stopServer(server);
  });

  it("is said to be busy when it stays so", async () => {
    const server = await startServer(SERVER, [place.mountpoint, "{}"], place.env);
    await busyFor(1_000_000);
    const error = await expectReelError(unmountPath(place.mountpoint), "busy");
    expect(error.message).to.include("a process that you may not look at; try again as root");
    expect(await isMounted(place.mountpoint)).to.be.true;
    process.env["PATH"] = path;
    await stopServer(server);
  });
});
