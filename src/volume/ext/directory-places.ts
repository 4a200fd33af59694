/**
 * Each directory has one place. On a damaged or hostile volume two names may lead to one directory,
 * or a directory may be inside itself: a tree of paths would have no end. So the first name that is
 * seen to lead to a directory is its place, and any other leads nowhere. Whoever got to a directory
 * came by names that were seen before, so no loop can be entered.
 */
import { ROOT_INODE } from "./superblock.ts";

export class DirectoryPlaces {
  readonly #parents = new Map<number, number>();

  /** Begins the listing of a directory: hands back what tells which of its directories are in place. */
  list(parent: number): (child: number) => boolean {
    const above = this.#above(parent);
    const inThisListing = new Set<number>();
    return (child) => {
      if (child === ROOT_INODE || above.has(child) || inThisListing.has(child)) return false;
      const place = this.#parents.get(child);
      if (place !== undefined && place !== parent) return false;
      inThisListing.add(child);
      this.#parents.set(child, parent);
      return true;
    };
  }

  /** A directory and all that it is known to be in. */
  #above(directory: number): ReadonlySet<number> {
    const above = new Set<number>();
    for (let at: number | undefined = directory; at !== undefined; at = this.#parents.get(at)) {
      above.add(at);
    }
    return above;
  }
}
