/** Volumes with journals that need replaying, or are broken, made by the authors of ext4 and others. */
import { expect } from "chai";
import { readFile, writeFile } from "node:fs/promises";
import { decompress } from "zstd-napi";
import { unpackBzip2 } from "../../../../src/tape/containers/bzip2.ts";
import { corpusFiles, hasCorpus, NO_CORPUS, withCorpusFile } from "../../../support/corpus.ts";
import { skipUnless } from "../../../support/skip.ts";
import { expectSameAsE2fsck, hasExtTools, NO_EXT_TOOLS, replayedByDebugfs } from "./ext-tools.ts";

const IMAGE_BYTES_MAX = 256 * 1024 * 1024;
/** Its journal is on another device. */
const EXTERNAL = "f_ext_journal";
/** e2fsck goes on to clear orphaned inodes; debugfs replays and no more. */
const WITH_ORPHANS = "f_clear_orphan_file";

/** What must be said, by test; nothing for those that are not named. */
const NOTICES: Readonly<Record<string, RegExp>> = {
  j_corrupt_descr_csum: /transaction 3 has a descriptor block whose checksum does not match/,
  j_corrupt_journal_block: /transaction 4 has 1 damaged copy \(first: journal block 6\)/,
  j_corrupt_revoke_rcount: /transaction 1 has a revoke block that claims 65535 bytes/,
};

describe("Journals of the corpus", function () {
  this.timeout(60_000);
  before(function () {
    skipUnless(this, hasCorpus(), NO_CORPUS);
    skipUnless(this, hasExtTools(), NO_EXT_TOOLS);
  });

  const dirty = corpusFiles().filter(
    ({ path, what }) => what.includes("needs_recovery") && !path.includes(EXTERNAL),
  );
  for (const { path } of dirty) {
    it(`replays ${path} as e2fsck does`, async () => {
      await withCorpusFile(path, async (file) => {
        await unpack(file);
        const oracle = path.includes(WITH_ORPHANS) ? replayedByDebugfs : undefined;
        const { replay } = await expectSameAsE2fsck(file, oracle);
        const [, pattern] = Object.entries(NOTICES).find(([test]) => path.includes(test)) ?? [];
        expect(replay.notices).to.have.length(pattern === undefined ? 0 : 1);
        if (pattern !== undefined) expect(replay.notices[0]).to.match(pattern);
      });
    });
  }
});

/** What withCorpusFile leaves packed. */
async function unpack(file: string): Promise<void> {
  if (file.endsWith(".bz2")) {
    await writeFile(file, await unpackBzip2(await readFile(file), IMAGE_BYTES_MAX));
  } else if (file.endsWith(".zst")) {
    await writeFile(file, decompress(await readFile(file)));
  }
}
