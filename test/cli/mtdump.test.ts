/** What each command that writes tapes writes, as `mtdump` lists it. */
import { expect } from "chai";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { COMMANDS } from "../../src/cli/commands/index.ts";
import { run } from "../../src/cli/program.ts";
import { makeFatSample } from "../support/fat-sample.ts";
import { listByMtdump, listByReelfs, requireMtdump } from "../support/mtdump.ts";
import { patternBytes } from "../support/pattern.ts";
import { makeTempFolder } from "../support/temp.ts";
import { FakeStream } from "./fake-stream.ts";

describe("mtdump lists the tapes", function () {
  this.timeout(30_000);
  let folder: string;
  let remove: () => Promise<void>;

  const in_ = (name: string): string => join(folder, name);

  const reelfs = async (line: string, ...more: readonly string[]): Promise<void> => {
    const stderr = new FakeStream();
    const around = { stdout: new FakeStream(), stderr, signal: new AbortController().signal };
    const words = [...line.split(" "), ...more];
    if (!line.startsWith("backup")) words.push("--config", in_("conf"));
    expect(await run(words, around, COMMANDS), `${line}: ${stderr.text}`).to.equal(0);
  };

  const expectListed = async (path: string, objectsMin: number): Promise<void> => {
    const listed = await listByMtdump(path);
    expect(listed).to.deep.equal(await listByReelfs(path));
    expect(listed.length).to.be.at.least(objectsMin);
  };

  before(function () {
    requireMtdump(this);
  });

  beforeEach(async () => {
    ({ folder, remove } = await makeTempFolder());
    await writeFile(in_("volume.img"), makeFatSample({ bits: 16, clusters: 5000 }).bytes);
    await reelfs("loader create vtl --slots 5 --drives 2 --tapes 2 --path", in_("vtl"));
  });

  afterEach(() => remove());

  const tapeOf = (barcode: string): string => in_(`vtl/tapes/${barcode}.tap`);

  it("that backups wrote, to a file and to a loader, with records of 64 KiB", async () => {
    await reelfs("backup --record-size 64K", in_("volume.img"), in_("image.tap"));
    await expectListed(in_("image.tap"), 6);
    await reelfs("backup --record-size 64K", in_("volume.img"), in_("vtl:REEL0001"));
    await reelfs("backup --level 9 --record-size 64K", in_("volume.img"), in_("vtl:REEL0001"));
    await expectListed(tapeOf("REEL0001"), 12);
  });

  it("that were written through a drive, labelled, positioned and written over", async () => {
    await writeFile(in_("data"), patternBytes(300_001));
    await reelfs("tape label vtl REEL0001 --serial A1");
    await reelfs("loader load vtl 1 0");
    await reelfs("mt vtl fsf");
    await reelfs("tape write vtl:0", in_("data"));
    await reelfs("tape write vtl:0 -b 512", in_("data"));
    await reelfs("mt vtl bsf 2");
    await reelfs("mt vtl fsf");
    await reelfs("mt vtl fsr 7");
    await reelfs("tape write vtl:0 -b 7", in_("conf"));
    await reelfs("mt vtl weof 2");
    await expectListed(tapeOf("REEL0001"), 20);
  });

  it("that convert made of tapes of other formats", async () => {
    await writeFile(in_("data"), patternBytes(200_001));
    await reelfs("loader load vtl 1 0");
    await reelfs("tape write vtl:0", in_("data"));
    await reelfs("tape write vtl:0 -b 999", in_("data"));
    for (const name of ["x.e11", "x.aws", "x.het"]) {
      await reelfs("tape convert vtl:REEL0001", in_(name));
      await reelfs("tape convert", in_(name), in_(`${name}.tap`));
      await expectListed(in_(`${name}.tap`), 200);
    }
  });
});
