/** A restore of a real ext4 volume, compared by rsync with what the kernel shows of the volume. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import { expect } from "chai";

import { restoreSelection } from "../../src/tagrestore/restore.ts";
import { selectEntries } from "../../src/tagrestore/select.ts";
import { StagedImage } from "../../src/tagrestore/staged-image.ts";
import { backupVolume } from "../../src/tapeimage/backup.ts";
import { openTapeImage } from "../../src/tapeimage/open-image.ts";
import { openImageTree } from "../../src/tree/image-tree.ts";
import { hasTool, shell } from "../support/mountpoint.ts";
import { skipUnless } from "../support/skip.ts";
import { withTempFolder } from "../support/temp.ts";

const SAMPLE = `
  cd "$M"; mkdir source mounted
  cd source; mkdir d lists sticky
  echo some contents > d/f; ln d/f d/g; ln d/f top; ln -s /etc/passwd link
  mknod tty c 4 64; mknod disk b 259 70000; mkfifo pipe
  cp /bin/true setuid; chmod 4755 setuid; chown 12:34 d d/f; chmod 1777 sticky
  truncate -s 5M sparse; echo end >> sparse
  head -c 300000 /dev/urandom > large
  setfattr -n user.k -v v d/f; setfattr -n trusted.t -v v d
  setfacl -d -m u:7:rwx lists; echo x > lists/x; setfacl -m g:8:r d/f
  cd ..; truncate -s 64M ext4.img
  mke2fs -q -t ext4 -O inline_data -I 256 -d source ext4.img
  mount -o loop,ro ext4.img mounted
`;

describe("restoring an ext4 volume as root", function () {
  this.timeout(120_000);

  it("gives back all that rsync -aHAXS can tell", async function () {
    skipUnless(this, process.geteuid?.() === 0, "needs root to make devices and to mount");
    for (const tool of ["mke2fs", "setfacl", "setfattr", "rsync"]) {
      skipUnless(this, hasTool(tool), `${tool} is not installed`);
    }
    await withTempFolder(async (folder) => {
      const isMade = await shell(SAMPLE, folder).then(
        () => true,
        () => false,
      );
      try {
        skipUnless(this, isMade, "cannot mount ext4 here, or the folder takes no attributes");
        const tapePath = join(folder, "ext4.tap");
        await backupVolume({ sourcePath: join(folder, "ext4.img"), tapePath });
        const out = join(folder, "out");
        await mkdir(out);
        const image = new StagedImage(await openTapeImage(tapePath));
        const opened = await openImageTree(image);
        const { volume } = opened;
        const { table } = await selectEntries(volume, {});
        const source = { image, volume, staging: image };
        const summary = await restoreSelection(source, table, out);
        await opened.close();
        await image.close();
        expect(summary.problems).to.deep.equal([]);
        const compare = "rsync -aHAXSnc --delete --itemize-changes";
        const differences = await shell(`${compare} "$M/mounted/" "$M/out/"`, folder);
        // The folder restored to keeps its own time.
        expect(differences.replace(/^\.d\.\.t\S* \.\/\n/, "")).to.equal("");
        expect(await shell('stat -c %b "$M/out/sparse"', folder)).to.match(/^(8|16)\n$/);
      } finally {
        await shell('umount "$M/mounted" || true', folder);
      }
    });
  });
});
