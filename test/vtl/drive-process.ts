/** A process that uses drive 0 of the loader it is told, says so, and stays. */
import { openVirtualLoader } from "../../src/vtl/manage-loaders.ts";

const loader = await openVirtualLoader(process.argv[2] ?? "");
await loader.drive(0).write([new Uint8Array(10)]);
await loader.drive(0).writeFilemarks(0);
process.stdout.write("using it\n");
setInterval(() => undefined, 1000);
