/** The file of a tape, read as it is. */
import { open } from "node:fs/promises";
import { fromSystem } from "../../errors.ts";
import type { Content, ContentSource } from "./content-cache.ts";
import { fileStamp } from "./tape-content.ts";

const COST_BYTES = 4096;

interface RawContent extends Content {
  readonly inode: bigint;
  read(offsetBytes: number, target: Uint8Array): Promise<number>;
}

export class RawTape implements ContentSource<RawContent> {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  async open(): Promise<RawContent> {
    try {
      const handle = await open(this.#path, "r");
      const { ino: inode } = await handle.stat({ bigint: true });
      const read = async (offsetBytes: number, target: Uint8Array): Promise<number> => {
        let done = 0;
        while (done < target.length) {
          const left = target.length - done;
          const { bytesRead } = await handle.read(target, done, left, offsetBytes + done);
          if (bytesRead === 0) break;
          done += bytesRead;
        }
        return done;
      };
      return { inode, costBytes: COST_BYTES, read, close: async () => handle.close() };
    } catch (error) {
      throw fromSystem(error, `cannot read ${this.#path}`);
    }
  }

  /** A tape that was deleted and made again is another file. */
  isCurrent({ inode }: RawContent): boolean {
    return fileStamp(this.#path)?.inode === inode;
  }
}
