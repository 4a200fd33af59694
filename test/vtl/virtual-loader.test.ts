import { join } from "node:path";
import { createVirtualLoader, openVirtualLoader } from "../../src/vtl/manage-loaders.ts";
import { createVirtualTapes } from "../../src/vtl/virtual-tapes.ts";
import { tapeLoaderSuite } from "../support/tape-loader-suite.ts";
import { makeTempFolder } from "../support/temp.ts";

tapeLoaderSuite("a virtual loader", async () => {
  const { folder, remove } = await makeTempFolder();
  const path = join(folder, "vtl");
  const registryPath = join(folder, "loaders.json");
  await createVirtualLoader({ path, slots: 6, drives: 2, importExport: 2, registryPath });
  const loader = await openVirtualLoader(path);
  await createVirtualTapes(loader, { barcodes: ["TAPE01", "TAPE02", "TAPE03"] });
  await loader.close();
  return { open: async () => openVirtualLoader("vtl", { registryPath }), remove };
});
