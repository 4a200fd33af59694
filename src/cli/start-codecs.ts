/**
 * Starts the threads that pack and unpack records. A thread takes as long to start as this program
 * takes to load: a command that is going to read or write records does both at once.
 */
export async function startCodecs(): Promise<void> {
  const { codecPool } = await import("../tapeimage/codec-pool.ts");
  codecPool().start();
}
