/** `reelfs loader mount`, with mv, cp, rm, tar and cmp on a real mount. */
import { expect } from "chai";
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdir, open, readFile, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openSimhTape } from "../../../src/tape/simh-tape.ts";
import { openVirtualLoader } from "../../../src/vtl/manage-loaders.ts";
import { FakeStream } from "../../cli/fake-stream.ts";
import { mountLoadersCommand } from "../../../src/cli/loader/mount-loaders.ts";
import { run } from "../../../src/cli/program.ts";
import {
  makePlace,
  requireFuse,
  runTool,
  shell,
  stopServer,
  type Place,
} from "../../support/mountpoint.ts";
import { patternBytes } from "../../support/pattern.ts";
import { skipUnless } from "../../support/skip.ts";
import { drive, makeLoader, placesOf, slot, type LoaderInFolder } from "../loader-fixture.ts";
import { FILEMARK, recordsOf, tarOf, writeObjects, writeTape } from "./tree-fixture.ts";

/** One record of three bytes and a filemark. */
const AWS_TAPE = "03000000a000616263000003004000";
const SERVER = fileURLToPath(new URL("loader-mount-server.ts", import.meta.url));

interface Report {
  readonly ready: boolean;
  readonly message?: string;
  readonly facts?: { readonly loaders: readonly string[]; readonly readOnly: boolean };
}

describe("reelfs loader mount", function () {
  this.timeout(60_000);
  let place: Place;
  let made: LoaderInFolder;
  let server: ChildProcess | undefined;
  const M = (path: string): string => join(place.mountpoint, "vtl", path);
  const tapePath = (barcode: string): string => join(made.path, "tapes", `${barcode}.tap`);

  async function mount(...args: string[]): Promise<Report> {
    server = fork(SERVER, ["--foreground", "--quiet", ...args, place.mountpoint], {
      execArgv: ["--import", import.meta.resolve("tsx")],
      env: { ...process.env, ...place.env },
      stdio: ["ignore", "inherit", "pipe", "ipc"],
    });
    const [report] = (await once(server, "message")) as [Report];
    return report;
  }

  /** Runs a shell command with the loader's folder in the mount as $L. */
  async function sh(script: string): Promise<string> {
    return shell(`L="$M/vtl"; ${script}`, place.mountpoint);
  }

  /** What a failing command says. */
  async function fails(...command: string[]): Promise<string> {
    const [program = "", ...args] = command;
    const { status, stderr } = await runTool(program, args);
    expect(status, command.join(" ")).not.to.equal(0);
    return stderr;
  }

  before(function () {
    requireFuse(this);
  });

  beforeEach(async () => {
    place = await makePlace();
    made = await makeLoader({ slots: 5, drives: 2, importExport: 1, tapes: 3 });
  });

  afterEach(async () => {
    if (server !== undefined) await stopServer(server);
    server = undefined;
    await place.remove();
    await made.remove();
  });

  it("moves tapes with mv, and refuses with the errno that fits", async () => {
    expect((await mount(made.path)).facts?.loaders).to.deep.equal(["vtl"]);
    expect(await sh('ls "$L" "$L/slots" "$L/slots/001"')).to.contain("REEL0001.tap");
    await sh('mv "$L/slots/001/REEL0001.tap" "$L/drives/0/"');
    await using loader = await openVirtualLoader(made.path);
    expect(await placesOf(loader)).to.include("REEL0001 drive:0");
    const full = await fails("mv", M("slots/002/REEL0002.tap"), M("drives/0/"));
    expect(full).to.contain("File exists");
    expect(await fails("rm", "-f", M("drives/0/REEL0001.tap"))).to.contain("busy");
    const renamed = await fails("mv", M("slots/002/REEL0002.tap"), M("slots/004/OTHER.tap"));
    expect(renamed).to.contain("Permission denied");
    expect(await fails("mkdir", M("slots/006"))).to.contain("Permission denied");
    expect(await fails("touch", M("tapes/REEL0001/x"))).to.contain("Read-only file system");
    expect(await sh('cat "$L/status.txt"')).to.contain("drive 0 holds REEL0001; unload it first");
    await sh('mv "$L/drives/0/REEL0001.tap" "$L/import-export/1/"; rm "$L/slots/003/REEL0003.tap"');
    expect(await placesOf(loader)).to.deep.equal([
      "REEL0002 storage:2",
      "REEL0001 import-export:1",
    ]);
    // Another process moves one back, and the kernel remembers nothing.
    await loader.move({ kind: "import-export", number: 1 }, slot(1));
    expect(await sh('ls "$L/slots/001" "$L/import-export/1"')).to.contain("REEL0001.tap");
    await loader.move(slot(1), drive(1));
    expect(await sh('find "$L/slots" "$L/drives" -name "*.tap" | sort')).to.match(
      /drives\/1\/REEL0001\.tap\n.*slots\/002\/REEL0002\.tap\n$/,
    );
  });

  it("takes tapes in and gives them out with cp, mv and touch, byte for byte", async () => {
    await mount(made.path);
    const outside = join(place.folder, "x.tap");
    await writeFile(outside, "");
    await writeTape(outside, recordsOf(patternBytes(3_000_000), 65_536));
    await sh(`cp -p "${outside}" "$L/slots/004/"; mv "$L/slots/004/X.tap" "$L/drives/0/"`);
    await sh(`cmp "${outside}" "$L/drives/0/X.tap"; cmp "${outside}" "${tapePath("X")}"`);
    await sh('touch "$L/slots/005/NEW0001.tap"; ls "$L/tapes/NEW0001/"');
    await sh('mv "$L/drives/0/X.tap" "$L/import-export/1/"');
    await sh(`mv "$L/import-export/1/X.tap" "${place.folder}/back.tap"`);
    await sh(`cmp "${outside}" "${place.folder}/back.tap"`);
    expect(await readdir(join(made.path, "tapes"))).not.to.include("X.tap");
    expect(await fails("cp", outside, M("slots/001/"))).to.contain("File exists");
    expect(await fails("cp", outside, M("slots/004/x.txt"))).to.contain("Invalid argument");
    // Blank ones are filled, others never replaced.
    await sh(`cp "${outside}" "$L/slots/001/REEL0001.tap"`);
    await sh(
      `cmp "${outside}" "$L/slots/001/REEL0001.tap"; cmp "${outside}" "${tapePath("REEL0001")}"`,
    );
    const again = await fails("cp", outside, M("slots/001/REEL0001.tap"));
    expect(again).to.contain("File exists");
  });

  it("takes tapes in from rsync, which renames them when they are whole", async function () {
    const there = await runTool("rsync", ["--version"]).catch(() => undefined);
    skipUnless(this, there?.status === 0, "rsync is not installed");
    await mount(made.path);
    const outside = join(place.folder, "Y.tap");
    await writeFile(outside, "");
    await writeTape(outside, recordsOf(patternBytes(700_000), 65_536));
    await writeFile(join(place.folder, "OLD.aws"), Buffer.from(AWS_TAPE, "hex"));
    await sh(
      `rsync -t "${outside}" "$L/slots/004/"; rsync -a "${place.folder}/OLD.aws" "$L/slots/005/"`,
    );
    expect(await sh('ls -A "$L/slots/004" "$L/slots/005"')).to.match(
      /:\nY\.tap\n[^]*:\nOLD\.aws\n$/,
    );
    await sh(`cmp "${outside}" "${tapePath("Y")}"; mv "$L/slots/004/Y.tap" "$L/drives/0/"`);
    await sh('rm "$L/slots/005/OLD.aws"');
    await writeFile(join(place.folder, "BAD.tap"), "no tape at all, but words and words");
    expect(await fails("rsync", join(place.folder, "BAD.tap"), M("slots/005/"))).to.contain(
      "rename",
    );
    expect(await sh('ls -A "$L/slots/005"; cat "$L/status.txt"')).to.contain("it is no tape");
  });

  it("serves ten loaders under one folder, each worked on at once", async () => {
    const others: LoaderInFolder[] = [];
    try {
      for (let number = 1; number < 10; number++) {
        others.push(await makeLoader({ slots: 3, tapes: 1, name: `vtl${number}` }));
      }
      const paths = [made, ...others].map(({ path }) => path);
      await mount(...paths);
      const names = (await readdir(place.mountpoint)).sort();
      expect(names).to.deep.equal(["vtl", ...others.map((_, index) => `vtl${index + 1}`)]);
      await Promise.all(
        names.map(async (name) => {
          const at = join(place.mountpoint, name);
          const tape = join(place.folder, `${name.toUpperCase()}.tap`);
          await writeFile(tape, "");
          await writeTape(tape, recordsOf(patternBytes(200_000, names.indexOf(name)), 65_536));
          await shell(
            `mv ${at}/slots/001/REEL0001.tap ${at}/drives/0/ && touch ${at}/slots/001/B.tap &&
             rm ${at}/slots/001/B.tap && cp ${tape} ${at}/slots/001/ && cmp ${tape} ${at}/slots/001/*.tap`,
            place.mountpoint,
          );
        }),
      );
    } finally {
      for (const other of others) await other.remove();
    }
  });

  it("shows what is on tapes to ls, tar, cmp and find, and what is written meanwhile", async () => {
    const files = { a: "content of a", deep: { b: patternBytes(100_000) } };
    const tar = await tarOf(place.folder, files);
    await writeTape(tapePath("REEL0001"), [...recordsOf(tar)]);
    await mount(made.path);
    const source = join(place.folder, "source");
    await mkdir(source);
    await sh(`tar -x -f "$L/tapes/REEL0001/files/00.bin" -C "${source}"`);
    await sh(`diff -r "${source}" "$L/tapes/REEL0001/tar"`);
    expect(await sh('find "$L/tapes" -type f | wc -l')).to.match(/^ *\d+\n$/);
    const writer = await openSimhTape(tapePath("REEL0002"), { mode: "write" });
    const growing = await open(M("tapes/REEL0002/label.txt"), "r");
    await growing.close();
    try {
      await writeObjects(writer, ["first "]);
      expect(await sh('cat "$L/tapes/REEL0002/files/00.bin"')).to.equal("first ");
      const handle = await open(M("tapes/REEL0002/files/00.bin"), "r");
      expect((await handle.read(Buffer.alloc(20), 0)).bytesRead).to.equal(6);
      await writeObjects(writer, ["second ", FILEMARK]);
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(20), 0, 20, 6);
      expect(buffer.toString("latin1", 0, bytesRead)).to.equal("second ");
      await handle.close();
      expect(await sh('cat "$L/tapes/REEL0002/files/00.bin"')).to.equal("first second ");
      expect((await stat(M("slots/002/REEL0002.tap"))).size).to.equal(
        (await stat(tapePath("REEL0002"))).size,
      );
    } finally {
      await writer.close();
    }
  });

  it("shows files with holes as tar extracts them, byte for byte", async () => {
    const source = join(place.folder, "source");
    await mkdir(source);
    const make = async (name: string, sizeBytes: number, places: number[]): Promise<void> => {
      await using handle = await open(join(source, name), "w");
      for (const at of places) await handle.write(`data at ${at}`, at);
      await handle.truncate(sizeBytes);
    };
    await make("hole", 5_242_880, []);
    await make("spots", 5_000_000, [4096, 163_840, 1_363_968, 4_915_200]);
    const many = Array.from({ length: 200 }, (_, each) => each * 12_288);
    await make("many", 2_457_603, many);
    await make("tail", 3_000_001, [0]);
    await writeFile(join(source, "plain"), "plain");
    const kinds = ["gnu", "posix 0.0", "posix 0.1", "posix 1.0"];
    for (const kind of kinds) {
      const [format = "", version] = kind.split(" ");
      const how = version === undefined ? [] : [`--sparse-version=${version}`];
      const tar = join(place.folder, "a.tar");
      const tarred = await runTool("tar", ["-S", `--format=${format}`, ...how, "-cf", tar, "-C", source, "."]); // prettier-ignore
      expect(tarred.status, tarred.stderr).to.equal(0);
      await writeTape(tapePath("REEL0001"), recordsOf(await readFile(tar)));
    }
    await mount(made.path);
    for (const [number, kind] of kinds.entries()) {
      const tree = `"$L/tapes/REEL0001/files/0${number}"`;
      await sh(`mkdir "${place.folder}/x"; tar -x -f ${tree}.bin -C "${place.folder}/x"`);
      await sh(`diff -r "${place.folder}/x" ${tree}; diff -r "${source}" ${tree}`);
      await sh(`cp --sparse=always ${tree}/many "${place.folder}/x/many"`);
      await sh(`cmp "${place.folder}/x/many" "${source}/many"; rm -r "${place.folder}/x"`);
      const sizes = await sh(`stat -c %s ${tree}/hole ${tree}/many ${tree}/tail`);
      expect(sizes, kind).to.equal("5242880\n2457603\n3000001\n");
      expect(Number(await sh(`du -k ${tree}/hole | cut -f 1`)), kind).to.be.below(10);
    }
  });

  it("shows devices and fifos with their numbers", async function () {
    const source = join(place.folder, "source");
    await mkdir(source);
    const nodes = await runTool("sh", [
      ...["-c", 'cd "$0" && mknod c c 259 66049 && mknod b b 8 17 && mknod p p', source],
    ]);
    skipUnless(this, nodes.status === 0, "device files may not be made here");
    const tar = join(place.folder, "a.tar");
    await runTool("tar", ["-cf", tar, "-C", source, "."]);
    await writeTape(tapePath("REEL0001"), recordsOf(await readFile(tar)));
    await mount(made.path);
    const kinds = await sh('cd "$L/tapes/REEL0001/tar"; stat -c "%n %F %Hr:%Lr" *');
    expect(kinds).to.equal(
      "b block special file 8:17\nc character special file 259:66049\np fifo 0:0\n",
    );
  });

  it("shows what tar, cpio and dd made, and takes such tapes in and gives them out", async function () {
    skipUnless(this, (await runTool("which", ["cpio"])).status === 0, "cpio is not installed");
    const source = join(place.folder, "source");
    await mkdir(join(source, "deep"), { recursive: true });
    await writeFile(join(source, "deep", "data"), patternBytes(200_001));
    await shell(
      `cd "${source}"; ln -s deep/data link; tar -cf ../0 .; find . | cpio -o -H newc --quiet > ../1
       dd if=deep/data of=../2 bs=3000 status=none`,
      place.mountpoint,
    );
    const outside = join(place.folder, "ALL.tap");
    await writeFile(outside, "");
    for (const file of ["0", "1", "2"]) {
      await writeTape(outside, recordsOf(await readFile(join(place.folder, file))));
    }
    await mount(made.path);
    await sh(`cp "${outside}" "$L/slots/004/"; cmp "${outside}" "$L/slots/004/ALL.tap"`);
    await sh(`cd "$L/tapes/ALL/files"; for n in 0 1 2; do cmp 0$n.bin "${place.folder}/$n"; done`);
    await sh(`cd "${place.folder}"; mkdir x y; tar -xf "$L/tapes/ALL/files/00.bin" -C x
      (cd y; cpio -id --quiet < "$L/tapes/ALL/files/01.bin"); dd if="$L/tapes/ALL/files/02.bin" of=z bs=512 status=none
      diff -r --no-dereference source x; diff -r --no-dereference source y; cmp z source/deep/data`);
  });

  it("keeps what it could not take in, and takes in what was copied when it ends", async () => {
    await mount(made.path);
    await sh('printf "no tape at all, but words and words" > "$L/slots/004/WORDS.tap"');
    expect(await sh('ls "$L/slots/004"; cat "$L/status.txt"')).to.contain("it is no tape");
    const [refused = ""] = await readdir(join(made.path, "refused"));
    const words = await readFile(join(made.path, "refused", refused, "WORDS.tap"), "utf8");
    expect(words).to.contain("no tape at all");
    const outside = join(place.folder, "LAST.tap");
    await writeFile(outside, "");
    await writeTape(outside, recordsOf(patternBytes(500_000)));
    await sh(`cp "${outside}" "$L/slots/005/"`);
    await runTool("fusermount3", ["-u", place.mountpoint]);
    const [status] = (await once(server ?? process, "exit")) as [number];
    expect(status).to.equal(0);
    expect((await readFile(tapePath("LAST"))).equals(await readFile(outside))).to.equal(true);
  });

  it("shows contents alone with --simple, several loaders, and says what it cannot open", async () => {
    const { readOnly } = (await mount("--simple", made.path)).facts ?? {};
    expect(readOnly).to.equal(true);
    expect(await sh('ls "$L"')).to.equal("REEL0001\nREEL0002\nREEL0003\n");
    expect(await fails("touch", M("x"))).to.contain("Read-only file system");
    if (server !== undefined) await stopServer(server);
    const report = await mount(made.path, join(place.folder, "none"));
    expect(report.ready).to.equal(false);
    expect(report.message).to.contain("cannot open the loader");
    const stderr = new FakeStream();
    const around = { stdout: new FakeStream(), stderr, signal: new AbortController().signal };
    expect(await run(["mount", place.mountpoint], around, [mountLoadersCommand])).to.equal(2);
    expect(stderr.text).to.contain("name one loader or more");
  });
});
