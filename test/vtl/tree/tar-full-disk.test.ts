/** GNU tar, which writes into a mounted loader on a disk that fills meanwhile. */
import { expect } from "chai";
import type { ChildProcess } from "node:child_process";
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import {
  makePlace,
  requireFuse,
  runTool,
  shell,
  stopServer,
  type Place,
} from "../../support/mountpoint.ts";
import { patternBytes } from "../../support/pattern.ts";
import { skipUnless } from "../../support/skip.ts";
import { createVirtualLoader } from "../../../src/vtl/manage-loaders.ts";
import { recordsOf, writeTape } from "./tree-fixture.ts";

const SERVER = fileURLToPath(new URL("loader-mount-server.ts", import.meta.url));
const DISK_MIB = 6;
const BALLAST_BYTES = 4 << 20;
const TAPE_BYTES = 3 << 20;
const LOOK_MS = 20;
const LOOKS_MAX = 500;

describe("tar into a mounted loader on a full disk", function () {
  this.timeout(60_000);
  let place: Place;
  let disk = "";
  let server: ChildProcess | undefined;

  before(function () {
    requireFuse(this);
    skipUnless(this, process.getuid?.() === 0, "only root can mount a small disk");
  });

  beforeEach(async () => {
    place = await makePlace();
    disk = join(place.folder, "disk");
    await mkdir(disk);
    await shell(`mount -t tmpfs -o size=${DISK_MIB}m reelfs-test "${disk}"`, "");
    const registryPath = join(place.folder, "loaders.json");
    const shape = { slots: 5, drives: 1, tapes: 1, policies: { spaceStopPercent: 0 } };
    await createVirtualLoader({ path: join(disk, "vtl"), registryPath, ...shape });
    server = fork(SERVER, ["--foreground", "--quiet", join(disk, "vtl/"), place.mountpoint], {
      execArgv: ["--import", import.meta.resolve("tsx")],
      env: { ...process.env, ...place.env },
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    await once(server, "message");
  });

  afterEach(async () => {
    if (server !== undefined) await stopServer(server);
    server = undefined;
    await runTool("umount", [disk]);
    await place.remove();
  });

  /** The kernel tells of a closed file after close(2) has returned, and the copy goes then. */
  async function untilGone(isGone: () => Promise<boolean>): Promise<void> {
    for (let look = 0; look < LOOKS_MAX; look++) {
      if (await isGone()) return;
      await delay(LOOK_MS);
    }
    throw new Error("a copy that has ended is still there");
  }

  it("is told so, and no part of a tape stays", async () => {
    const [outside, ballast] = [join(place.folder, "X.tap"), join(disk, "ballast")];
    await writeFile(outside, "");
    await writeTape(outside, recordsOf(patternBytes(TAPE_BYTES), 65_536));
    await shell(`tar -C "${place.folder}" -cf "${outside}.tar" X.tap`, "");
    await writeFile(ballast, Buffer.alloc(BALLAST_BYTES));
    const slot = join(place.mountpoint, "vtl/slots");
    const create = ["-C", place.folder, "-cf", join(slot, "002/A.tap"), "X.tap"];
    const extract = ["-C", join(slot, "003"), "-xf", `${outside}.tar`];
    for (const line of [create, extract]) {
      const { status, stderr } = await runTool("tar", line);
      expect(status, line.join(" ")).to.equal(2);
      // Of a write that was taken in part, tar says how much.
      expect(stderr).to.match(/No space left on device|Wrote only/);
    }
    await untilGone(async () => !(await readdir(join(disk, "vtl"))).includes("incoming"));
    for (const each of ["002", "003"]) {
      await untilGone(async () => (await readdir(join(slot, each))).length === 0);
    }
    expect(await readdir(join(disk, "vtl"))).to.not.include("refused");
    const tapes = await readdir(join(disk, "vtl/tapes"));
    expect(tapes.filter((name) => name.endsWith(".tap"))).to.deep.equal(["REEL0001.tap"]);
    await rm(ballast);
    expect((await runTool("tar", extract)).stderr).to.equal("");
    await shell(`cmp "${outside}" "$M/vtl/slots/003/X.tap"`, place.mountpoint);
  });
});
