/** The exception log in an image: how much of it is kept, and what a hostile one can do. */
import { join } from "node:path";
import { expect } from "chai";
import { ReelError } from "../../src/errors.ts";
import { backupVolume } from "../../src/tapeimage/backup.ts";
import {
  decodeExceptions,
  EXCEPTIONS_BYTES_MAX,
  EXCEPTIONS_MAX,
  type ImageExceptions,
  limitExceptions,
} from "../../src/tapeimage/exceptions.ts";
import { listImages, openTapeImage } from "../../src/tapeimage/open-image.ts";
import { decodeTrailer } from "../../src/tapeimage/trailer.ts";
import { openImageTree } from "../../src/tree/image-tree.ts";
import { expectReelError } from "../support/expect-error.ts";
import { hasFatTools, NO_FAT_TOOLS, runTool } from "../support/fat-tools.ts";
import { skipUnless } from "../support/skip.ts";
import { withTempFolder } from "../support/temp.ts";
import { truncate, writeFile } from "node:fs/promises";

const TRAILER = {
  ...{ format: "reelfs-trailer", uuid: "u", state: "complete", finished: "" },
  ...{ records: 6, headerRecordsBack: 5, rawBytes: 0, storedBytes: 0, imageHash: "" },
};

function decode(more: Readonly<Record<string, unknown>>): ImageExceptions {
  const bytes = Buffer.from(JSON.stringify({ ...TRAILER, ...more }));
  const { exceptions, moreExceptions } = decodeTrailer(bytes, "trailer");
  return { paths: exceptions, more: moreExceptions === true };
}

describe("the exception log", () => {
  it("is empty where a trailer has none", () => {
    expect(decode({})).to.deep.equal({ paths: [], more: false });
    expect(decode({ exceptions: [] })).to.deep.equal({ paths: [], more: false });
  });

  it("leaves out what makes no sense, and keeps the rest", () => {
    const exceptions = [
      "/a",
      7,
      null,
      { toString: 1 },
      "no root",
      "",
      `/${"x".repeat(5000)}`,
      "/b",
    ];
    expect(decode({ exceptions, moreExceptions: "yes" })).to.deep.equal({
      ...{ paths: ["/a", "/b"], more: false },
    });
    for (const strange of [7, "x", {}, null, [[["/a"]]]]) {
      expect(decode({ exceptions: strange }).paths).to.deep.equal([]);
    }
  });

  it("holds so many paths, and so many bytes of them, and says that there were more", () => {
    const many = Array.from({ length: EXCEPTIONS_MAX + 1 }, (_, index) => `/${index}`);
    expect(limitExceptions({ paths: many, more: false })).to.deep.equal({
      ...{ paths: many.slice(0, -1), more: true },
    });
    const long = Array.from({ length: 1000 }, (_, index) => `/${index}/${"\u0001".repeat(1000)}`);
    const { paths, more } = limitExceptions({ paths: long, more: false });
    expect(more).to.equal(true);
    expect(JSON.stringify(paths, undefined, 1).length).to.be.within(
      EXCEPTIONS_BYTES_MAX / 2,
      EXCEPTIONS_BYTES_MAX,
    );
    expect(decodeExceptions({ exceptions: many }).moreExceptions).to.equal(true);
  });
});

describe("an image of a volume in use", function () {
  this.timeout(30_000);

  before(function () {
    skipUnless(this, hasFatTools(), NO_FAT_TOOLS);
  });

  async function withCard(
    body: (paths: { sourcePath: string; tapePath: string }) => Promise<void>,
  ): Promise<void> {
    await withTempFolder(async (folder) => {
      const [sourcePath, tapePath] = [join(folder, "a.img"), join(folder, "a.tap")];
      await writeFile(sourcePath, "");
      await truncate(sourcePath, 2 << 20);
      await writeFile(join(folder, "a.txt"), "hello\n");
      runTool("mkfs.fat", [sourcePath]);
      runTool("mmd", ["-i", sourcePath, "::/mail"]);
      for (const name of ["::/mail/inbox", "::/other"]) {
        runTool("mcopy", ["-i", sourcePath, join(folder, "a.txt"), name]);
      }
      await body({ sourcePath, tapePath });
    });
  }

  const open = (...paths: string[]): (() => Promise<ImageExceptions>) => {
    return async () => Promise.resolve({ paths, more: false });
  };

  it("keeps as many as fit, and can be opened", async () => {
    await withCard(async ({ sourcePath, tapePath }) => {
      const many = Array.from({ length: 20_000 }, (_, index) => `/${index}/${"é".repeat(60)}`);
      const live = { sourcePath: "/dev/card", finish: open(...many) };
      const result = await backupVolume({ sourcePath, tapePath, live });
      expect(result.moreExceptions).to.equal(true);
      const [image] = await listImages(tapePath);
      expect(image?.state).to.equal("complete");
      expect(image?.trailer?.exceptions).to.deep.equal(result.exceptions);
      expect(image?.header?.source.path).to.equal("/dev/card");
    });
  });

  it("marks the files in the log, by whatever case their path was given", async () => {
    await withCard(async ({ sourcePath, tapePath }) => {
      const finish = open("/MAIL/INBOX", "/gone/file", "/mail/inbox/below", "/mail", "/");
      const first = await backupVolume({
        ...{ sourcePath, tapePath },
        live: { sourcePath, finish },
      });
      // An incremental image has a log of its own.
      await backupVolume({
        ...{ sourcePath, tapePath, parent: first.image },
        live: { sourcePath, finish: open("/other") },
      });
      expect(await marked(`${tapePath}#1`)).to.deep.equal(["/mail/inbox"]);
      expect(await marked(`${tapePath}#2`)).to.deep.equal(["/other"]);
    });
  });

  async function marked(spec: string): Promise<string[]> {
    const image = await openTapeImage(spec);
    const { tree } = await openImageTree(image, { closeImage: true });
    const found: string[] = [];
    try {
      for (const path of ["/mail", "/mail/inbox", "/other"]) {
        let id = tree.rootId;
        for (const name of path.split("/").slice(1)) {
          id = (await tree.lookup(id, name))?.stat.id ?? -1;
        }
        const value = await tree.getXattr(id, "user.reelfs.exception");
        const isListed = (await tree.listXattrs(id)).includes("user.reelfs.exception");
        expect(isListed, path).to.equal(value !== undefined);
        if (value === undefined) continue;
        expect(Buffer.from(value).toString()).to.equal("open-for-writing");
        found.push(path);
      }
    } finally {
      await tree.close();
    }
    return found;
  }

  it("is not called whole when what was read cannot be relied on", async () => {
    await withCard(async ({ sourcePath, tapePath }) => {
      const finish = async (): Promise<ImageExceptions> =>
        Promise.reject(new ReelError("io", "it was thawed"));
      const options = { sourcePath, tapePath, live: { sourcePath, finish } };
      expect((await expectReelError(backupVolume(options), "io")).message).to.equal(
        "it was thawed",
      );
      expect((await listImages(tapePath)).map(({ state }) => state)).to.deep.equal(["interrupted"]);
      const whole = await backupVolume({ sourcePath, tapePath });
      await expectReelError(backupVolume({ ...options, parent: whole.image }), "io");
      const states = (await listImages(tapePath)).map(({ state }) => state);
      expect(states).to.deep.equal(["interrupted", "complete", "interrupted"]);
    });
  });
});
