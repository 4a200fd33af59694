/** What the branches of a loader's tree share, and what one on a tape knows of that tape. */
import type { Branch } from "./branch.ts";
import type { ContentCache } from "./content-cache.ts";
import type { TapeFile } from "./tape-content.ts";

/** What the branches of a tree share. */
export interface TreeContext {
  readonly cache: ContentCache;
  /** The nodes of a branch are gone. */
  readonly forget: (branch: Branch) => void;
  /** Fires when the tree is closed. */
  readonly signal: AbortSignal;
}

/** The tape that a tar or an image is on. */
export interface OwningTape {
  readonly file: TapeFile;
  /** Throws "not-found" when the tape is not the one any more that the branch was made for. */
  check(branch: Branch): Promise<void>;
}
