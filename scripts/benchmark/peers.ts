/** The programs that ReelFS is compared with, and the Debian packages that they are in. */
import { hasProgram, run } from "./programs.ts";

export interface Peer {
  readonly program: string;
  readonly packages: readonly string[];
}

const PEERS = {
  partclone: { program: "partclone.restore", packages: ["partclone"] },
  fuse2fs: { program: "fuse2fs", packages: ["fuse2fs"] },
  // Its mount needs a binding to FUSE that the package only recommends.
  borg: { program: "borg", packages: ["borgbackup", "python3-llfuse"] },
  restic: { program: "restic", packages: ["restic"] },
  "fuse-overlayfs": { program: "fuse-overlayfs", packages: ["fuse-overlayfs"] },
  mke2fs: { program: "mke2fs", packages: ["e2fsprogs"] },
  debugfs: { program: "debugfs", packages: ["e2fsprogs"] },
  "mkfs.fat": { program: "mkfs.fat", packages: ["dosfstools"] },
  mcopy: { program: "mcopy", packages: ["mtools"] },
  ratarmount: { program: "ratarmount", packages: [] },
} satisfies Record<string, Peer>;

export type PeerName = keyof typeof PEERS;

/** What is not there, and why. */
export class Peers {
  readonly #missing: ReadonlyMap<string, string>;

  constructor(missing: ReadonlyMap<string, string>) {
    this.#missing = missing;
  }

  has(name: PeerName): boolean {
    return !this.#missing.has(name);
  }

  /** "borg: not installed; apt-get install borgbackup python3-llfuse" */
  reasons(): string[] {
    return [...this.#missing].map(([name, reason]) => `${name}: ${reason}`);
  }
}

/** What a peer that is not there is called by people who could help. */
export function reasonMissing(peer: Peer): string {
  return peer.packages.length === 0
    ? "not installed, and not in Debian; it is measured where its command is found"
    : `not installed; apt-get install ${peer.packages.join(" ")}`;
}

/** Installs what is missing, as root on a Debian-like machine; then says what is still missing. */
export async function findPeers(
  install: boolean,
  say: (line: string) => void,
  isThere: (program: string) => boolean = hasProgram,
): Promise<Peers> {
  const missing = (): [string, Peer][] =>
    Object.entries(PEERS).filter(([, { program }]) => !isThere(program));
  const packages = [...new Set(missing().flatMap(([, peer]) => peer.packages))];
  if (install && packages.length > 0 && process.getuid?.() === 0 && isThere("apt-get")) {
    say(`installing ${packages.join(" ")}`);
    await installPackages(packages, say);
  }
  return new Peers(new Map(missing().map(([name, peer]) => [name, reasonMissing(peer)])));
}

/** One by one, for one that cannot be had must not cost the others. */
async function installPackages(
  packages: readonly string[],
  say: (line: string) => void,
): Promise<void> {
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  const report = (error: unknown): void => {
    say(error instanceof Error ? error.message : String(error));
  };
  await run("apt-get", ["update", "-qq"], { env }).catch(report);
  for (const each of packages) {
    await run("apt-get", ["install", "-y", "-qq", "--no-install-recommends", each], { env }).catch(
      report,
    );
  }
}
