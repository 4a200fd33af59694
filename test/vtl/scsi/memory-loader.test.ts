import { MemoryLoader } from "../../support/memory-loader.ts";
import { tapeLoaderSuite } from "../../support/tape-loader-suite.ts";

tapeLoaderSuite("a loader in memory", async () => {
  const tapes = ["TAPE01", "TAPE02", "TAPE03"].map((barcode) => ({ barcode }));
  let loader = new MemoryLoader({ slots: 6, drives: 2, importExport: 2, tapes });
  let isFirst = true;
  return {
    open: async () => {
      if (!isFirst) loader = loader.reopen();
      isFirst = false;
      return loader;
    },
    remove: async () => {
      await loader.close();
    },
  };
});
