/**
 * The image header: one JSON object in record 0, so that `strings` on a tape tells a person what it
 * is. Field names and meanings are specified in docs/formats/image.md.
 */

export const FORMAT_MAJOR = 1;
export const FORMAT_MINOR = 0;

export type Codec = "none" | "zstd";

export interface ImageHeader {
  readonly format: "reelfs-image";
  /** [major, minor]. A newer minor is readable, a newer major is not. */
  readonly version: readonly [number, number];
  readonly uuid: string;
  /** UUIDs of the images this one needs, itself first; one entry for a full image. */
  readonly chain: readonly string[];
  readonly created: string;
  readonly host: string;
  readonly tool: string;
  readonly source: { readonly path: string; readonly sizeBytes: number };
  readonly volume: {
    readonly kind: string;
    readonly label: string;
    readonly serial: string;
    readonly clusterSizeBytes: number;
    readonly clustersUsed: number;
    readonly files: number;
    readonly directories: number;
    /** Structures that were found damaged and backed up as they are. */
    readonly problems: readonly string[];
  };
  /** Size of the image seen as a device. */
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  /** Raw bytes in a full record of control or data blocks. */
  readonly recordSizeBytes: number;
  readonly codec: Codec;
  readonly codecLevel: number;
  /** Logical blocks covered by one checksum of the trailer. */
  readonly checksumChunkBlocks: number;
  /** Records of each section; they follow one another in this order after the header. */
  readonly sections: {
    readonly map: SectionCounts;
    readonly control: SectionCounts;
    readonly data: SectionCounts;
  };
  readonly options: {
    readonly includeDeleted: boolean;
    readonly codePage?: number | undefined;
    readonly timeZoneMinutes?: number | undefined;
  };
}

export interface SectionCounts {
  readonly firstRecord: number;
  readonly records: number;
  /** Blocks in control and data; entries in the map. */
  readonly items: number;
}
