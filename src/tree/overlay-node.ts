/** What the overlay knows of one node: a new one, or one of the base that was changed. */
import type { NodeId, NodeKind, NodeStat } from "../volume/volume.ts";
import type { OverlayFile } from "./overlay-file.ts";

/** Changes to the names in a directory. */
export interface DirectoryChanges {
  /** Names that the overlay put here, by folded name. */
  readonly added: Map<string, AddedName>;
  /** Names of the base, as the base spells them, that are gone: whiteouts. */
  readonly removed: Set<string>;
}

export interface AddedName {
  readonly name: string;
  readonly id: NodeId;
}

export interface NewNodeValues {
  readonly id: NodeId;
  readonly kind: NodeKind;
  readonly nowMs: number;
  readonly mode?: number | undefined;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  readonly linkTarget?: string | undefined;
  /** Of a directory: one of the base whose names fold as names in it do. Default: itself. */
  readonly foldsLike?: NodeId | undefined;
}

const ALLOCATION_UNIT_BYTES = 512;

export class OverlayNode {
  readonly id: NodeId;
  readonly kind: NodeKind;
  /** What the base says of the node; undefined for a new one. */
  readonly base: NodeStat | undefined;
  /** Of a directory: names in it fold as in this one, which the base knows. */
  readonly foldsLike: NodeId;
  /** Of a new symbolic link. */
  readonly linkTarget: string | undefined;
  mode: number | undefined;
  uid: number | undefined;
  gid: number | undefined;
  modifiedMs: number;
  accessedMs: number;
  changedMs: number;
  readonly createdMs: number | undefined;
  /** Names that lead here; at 0 the node lives only as long as somebody retains it. */
  names: number;
  /** Contents of a file, from the first write or truncate on. */
  file: OverlayFile | undefined;
  directory: DirectoryChanges | undefined;
  /** Extended attributes that were set (bytes) or removed (undefined). */
  xattrs: Map<string, Uint8Array | undefined> | undefined;
  /** Bytes of metadata charged for the node and what hangs on it, contents aside. */
  costBytes: number;

  private constructor(values: NewNodeValues, base: NodeStat | undefined, costBytes: number) {
    this.id = values.id;
    this.kind = values.kind;
    this.base = base;
    this.foldsLike = values.foldsLike ?? values.id;
    this.linkTarget = values.linkTarget;
    this.mode = base === undefined ? values.mode : base.mode;
    this.uid = base === undefined ? values.uid : base.uid;
    this.gid = base === undefined ? values.gid : base.gid;
    this.modifiedMs = base?.modifiedMs ?? values.nowMs;
    this.accessedMs = base?.accessedMs ?? values.nowMs;
    this.changedMs = base?.changedMs ?? values.nowMs;
    this.createdMs = base === undefined ? values.nowMs : base.createdMs;
    // Link counts of directories count subdirectories, or nothing: a directory has one name.
    const isFileOfBase = base !== undefined && base.kind !== "directory";
    this.names = isFileOfBase ? Math.max(1, base.linkCount) : 1;
    this.costBytes = costBytes;
  }

  static create(values: NewNodeValues, costBytes: number): OverlayNode {
    return new OverlayNode(values, undefined, costBytes);
  }

  static ofBase(base: NodeStat, costBytes: number): OverlayNode {
    return new OverlayNode({ id: base.id, kind: base.kind, nowMs: 0 }, base, costBytes);
  }

  get sizeBytes(): number {
    if (this.file !== undefined) return this.file.sizeBytes;
    if (this.linkTarget !== undefined) return Buffer.byteLength(this.linkTarget);
    return this.base?.sizeBytes ?? 0;
  }

  stat(): NodeStat {
    return {
      id: this.id,
      kind: this.kind,
      sizeBytes: this.sizeBytes,
      mode: this.mode,
      // Once chmod gave it a mode, that says who may write.
      readOnly: this.mode === this.base?.mode ? this.base?.readOnly : undefined,
      uid: this.uid,
      gid: this.gid,
      linkCount: this.names,
      modifiedMs: this.modifiedMs,
      accessedMs: this.accessedMs,
      changedMs: this.changedMs,
      createdMs: this.createdMs,
      allocatedBytes: this.#allocatedBytes,
      deviceNumber: this.base?.deviceNumber,
      attributes: this.base?.attributes,
    };
  }

  /** The time of a change to contents or names. */
  touchContents(nowMs: number): void {
    this.modifiedMs = nowMs;
    this.changedMs = nowMs;
  }

  /** What the base still shows and what the overlay holds, without counting a byte twice. */
  get #allocatedBytes(): number {
    const inBase = this.base?.allocatedBytes ?? 0;
    if (this.file === undefined) return inBase;
    const visible = Math.min(inBase, roundUp(this.file.baseLimitBytes));
    return Math.min(visible + this.file.storedBytes, Math.max(visible, roundUp(this.sizeBytes)));
  }
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / ALLOCATION_UNIT_BYTES) * ALLOCATION_UNIT_BYTES;
}
