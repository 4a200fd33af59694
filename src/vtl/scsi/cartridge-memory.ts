/**
 * The chip in a cartridge (medium auxiliary memory): where hosts keep names and dates beside the
 * tape. What the device itself knows (capacity, bar code) is computed; what hosts write goes here.
 */

/** One cartridge's. A loader that wants hosts' attributes to last keeps them beside the tape. */
export interface CartridgeMemory {
  /** Bytes of an attribute as a host wrote them. */
  get(id: number): Promise<Uint8Array | undefined>;
  /**
   * Attributes by their ids; `undefined` removes one. All or none; what was acknowledged lasts as
   * long as the tape.
   */
  write(changes: ReadonlyMap<number, Uint8Array | undefined>): Promise<void>;
}

/** The memory of the cartridge with this bar code. */
export type CartridgeMemories = (barcode: string) => CartridgeMemory;

const CARTRIDGES_MAX = 4096;

/** Memories that last as long as the program; of very many cartridges the oldest is forgotten. */
export function temporaryCartridgeMemories(): CartridgeMemories {
  const known = new Map<string, Map<number, Uint8Array>>();
  return (barcode) => {
    const memory = known.get(barcode) ?? new Map<number, Uint8Array>();
    known.set(barcode, memory);
    if (known.size > CARTRIDGES_MAX) {
      for (const oldest of known.keys()) {
        known.delete(oldest);
        break;
      }
    }
    return {
      get: async (id) => memory.get(id),
      write: async (changes) => {
        for (const [id, value] of changes) {
          if (value === undefined) memory.delete(id);
          else memory.set(id, Uint8Array.from(value));
        }
      },
    };
  };
}
