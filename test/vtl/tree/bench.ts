import { recordsOf } from "./tree-fixture.ts";
import { makeLoader } from "../loader-fixture.ts";
import { makePlace, runTool, stopServer } from "../../support/mountpoint.ts";
import { openSimhTape } from "../../../src/tape/simh-tape.ts";
import { fork } from "node:child_process"; import { once } from "node:events"; import { join } from "node:path";
function header(name: string, size: number): Buffer {
  const b = Buffer.alloc(512); b.write(name, 0); b.write("0000644\0",100); b.write("0000000\0",108); b.write("0000000\0",116);
  b.write(size.toString(8).padStart(11,"0")+"\0",124); b.write("00000000000\0",136); b.write("        ",148); b.write("0",156); b.write("ustar\0"+"00",257);
  let s=0; for (const x of b) s+=x; b.write(s.toString(8).padStart(6,"0")+"\0 ",148); return b;
}
const made = await makeLoader({ slots: 1000, tapes: 900 }); const place = await makePlace();
const parts: Buffer[] = [];
for (let i=0;i<100000;i++){ parts.push(header(`dir${i%100}/file${i}.txt`, 5)); const d=Buffer.alloc(512); d.write("hello"); parts.push(d);} parts.push(Buffer.alloc(1024));
const w = await openSimhTape(join(made.path,"tapes/REEL0001.tap"), {mode:"write"});
for (const r of recordsOf(Buffer.concat(parts))) { if (typeof r === "string") await w.writeFilemarks(1); else await w.write([r]); }
await w.close();
const server = fork("test/vtl/tree/loader-mount-server.ts", ["--foreground","--quiet", made.path, place.mountpoint], { execArgv: ["--import", import.meta.resolve("tsx")], env: {...process.env, ...place.env}, stdio: ["ignore","inherit","inherit","ipc"] });
await once(server, "message");
const t = async (cmd: string) => { const s=performance.now(); const r = await runTool("sh", ["-c", cmd], {env: {L: join(place.mountpoint,"vtl")}}); console.log(cmd, (performance.now()-s).toFixed(0),"ms", r.stdout.trim().slice(-80), r.stderr.slice(0,200)); };
await t('ls "$L"'); await t('ls -l "$L/slots" | wc -l'); await t('find "$L/slots" -type f | wc -l'); await t('ls -lR "$L/slots" | wc -l');  await t('ls -l "$L/tapes" | wc -l');
await t('find "$L/tapes/REEL0001/tar" | wc -l');
await t('ls -lR "$L/tapes/REEL0001/tar/dir7" | wc -l');
await t('find "$L/tapes/REEL0001/tar" -size +1 | wc -l');
await t('cat "$L"/tapes/REEL0001/tar/dir1/* | wc -c');
await t('cat "$L"/tapes/REEL0001/files/00.bin | wc -c');
await t('cat "$L"/slots/0001/REEL0001.tap | wc -c');
await t('grep VmHWM /proc/'+server.pid+'/status');
await stopServer(server); await place.remove(); await made.remove();
