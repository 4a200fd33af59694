import { expect } from "chai";
import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { compileScript } from "../support/compiled-script.ts";
import { makePlace, requireFuse, runTool } from "../support/mountpoint.ts";
import type { Held } from "./many-mounts-server.ts";

const SERVER = fileURLToPath(new URL("many-mounts-server.ts", import.meta.url));
const ROUNDS = Number(process.env["REELFS_ROUNDS"] ?? 12);
/**
 * Of a mount that has ended. The handlers of a mount are held until the process ends, since threads
 * of libfuse may still be on their way out (src/fuse/binding.ts): about 8 KiB.
 */
const HEAP_BYTES_MAX = 16 * 1024;
const RESIDENT_BYTES_MAX = 64 * 1024;
/** Fewer rounds say nothing of memory, which comes in larger pieces. */
const ROUNDS_FOR_MEMORY = 200;

describe("a process that mounts and unmounts over and over", function () {
  this.timeout(60_000 + ROUNDS * 3000);
  before(function () {
    requireFuse(this);
  });

  it("keeps no descriptor, no thread, no memory and no file of mounts that have ended", async () => {
    const place = await makePlace();
    try {
      const compiled = join(place.folder, "compiled");
      const temporary = join(place.folder, "tmp");
      await mkdir(compiled);
      await mkdir(temporary);
      const script = await compileScript(SERVER, compiled);
      const args = ["--expose-gc", script, place.mountpoint, String(ROUNDS)];
      const env = { ...place.env, TMPDIR: temporary };
      const ran = await runTool(process.execPath, args, { cwd: place.folder, env });
      expect(ran.status, ran.stderr).to.equal(0);
      const [half, end] = JSON.parse(ran.stdout) as [Held, Held];
      expect(end.descriptors, "descriptors").to.be.at.most(half.descriptors);
      expect(end.threads, "threads").to.be.at.most(half.threads);
      expect(await readdir(temporary), "temporary files").to.deep.equal([]);
      const records = join(place.env["XDG_RUNTIME_DIR"] ?? "", "reelfs");
      expect(await readdir(records).catch(() => []), "records of mounts").to.deep.equal([]);
      if (ROUNDS < ROUNDS_FOR_MEMORY) return;
      const mounts = ROUNDS - Math.ceil(ROUNDS / 2);
      const [heap, resident] = [
        end.heapBytes - half.heapBytes,
        end.residentBytes - half.residentBytes,
      ];
      expect(heap / mounts, "heap bytes a mount").to.be.below(HEAP_BYTES_MAX);
      expect(resident / mounts, "resident bytes a mount").to.be.below(RESIDENT_BYTES_MAX);
    } finally {
      await place.remove();
    }
  });
});
