/** Learns a volume's control set, and is killed while the kernel waits for one of its blocks. */
import type { BlockDevice } from "../../src/device/block-device.ts";
import { openFileDevice } from "../../src/device/file-device.ts";
import { learnControlSet } from "../../src/expose/learn.ts";

const [, , volume = "", readsMax = ""] = process.argv;
const device = await openFileDevice(volume);
let reads = 0;
const mortal: BlockDevice = {
  name: device.name,
  sizeBytes: device.sizeBytes,
  sectorSizeBytes: device.sectorSizeBytes,
  read: async (offsetBytes, target) => {
    if (++reads === Number(readsMax)) process.kill(process.pid, "SIGKILL");
    await device.read(offsetBytes, target);
  },
  close: async () => device.close(),
  [Symbol.asyncDispose]: async () => device.close(),
};
await learnControlSet(mortal);
process.send?.(`it took only ${reads} reads`);
