/**
 * Copies out of a container and into it while it swaps a directory for a symlink to a directory of the host, as fast
 * as it can (CVE-2018-15664). The same path exists in the container, so that a copy may go through the symlink, but
 * only as far as the container reaches.
 */
import {
  chownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { Box } from "../support/boxes.ts";
import { rootlingWords } from "../support/cli.ts";
import { type Background, background, type Outcome } from "../support/command.ts";
import { writeTar } from "../support/images.ts";

export interface CopyRaceResult {
  readonly copies: number;
  readonly swaps: number;
  /** Copies that ended with a failure, as one does that finds a symlink where a directory was. */
  readonly refused: number;
  /** What must not be: content of the host that was read or changed, names that were made there, and the like. */
  readonly wrong: readonly string[];
}

export interface CopyRace {
  /** Where the container swaps: in its own root, or in a directory of the host that is mounted in it. */
  readonly where: "root" | "volume";
  /** How the symlink leads to the host's directory. */
  readonly trap: "absolute" | "climbing";
  /** Of the container's start. */
  readonly flags: readonly string[];
}

/** Each value meets each of the others. */
export const copyRaces: readonly CopyRace[] = [
  { where: "root", trap: "absolute", flags: [] },
  { where: "root", trap: "climbing", flags: ["--pid"] },
  { where: "volume", trap: "climbing", flags: [] },
  { where: "volume", trap: "absolute", flags: ["--pid"] },
];

const [OF_HOST, OF_CONTAINER, OF_DECOY, COPIED] = ["of the host\n", "inside\n", "decoy\n", "copied\n"];

interface Bed {
  readonly box: Box;
  /** The directory in the container in which `d` and `trap` change places. */
  readonly base: string;
  /** The directory of the host that `trap` leads to, from anywhere. */
  readonly outside: string;
  /** Where copies of the host lie. */
  readonly work: string;
  readonly tar: Buffer;
}

/**
 * Starts a container that swaps and copies until there were at least `swaps` swaps and `rounds` rounds. The
 * box needs a container `box`, which is left as its image is.
 */
export async function raceCopies(
  box: Box,
  swapper: string,
  { where, trap, flags }: CopyRace,
  rounds: number,
  swaps: number,
): Promise<CopyRaceResult> {
  const place = join(box.scratch, ["copies", where, ...flags].join(""));
  const [outside, work, volume] = [join(place, "outside"), join(place, "work"), join(place, "volume")];
  const own = (path: string) => chownSync(path, box.user.uid, box.user.gid);
  for (const path of [place, outside, work, volume, join(work, "put"), join(work, "put/d")]) {
    mkdirSync(path, { mode: 0o755 });
    own(path);
  }
  writeFileSync(join(outside, "f"), OF_HOST);
  own(join(outside, "f"));
  // Older than its last change: reading it, even without a copy of it, sets its time of access.
  utimesSync(join(outside, "f"), 0, new Date());
  for (const path of ["file", "put/d/nested"]) writeFileSync(join(work, path), COPIED);
  const tar = writeTar(join(place, "in.tar"), [
    { name: "d", type: "directory" },
    { name: "d/streamed", content: COPIED },
    { name: "d/hard", type: "hardlink", target: "d/f" },
  ]);
  await box.must(["copy", swapper, "box:/swapper"]);
  const base = where === "volume" ? "/volume" : "/s";
  const mount = where === "volume" ? ["--mount", `${volume}:/volume:rw,x-create=dir`] : [];
  const target = `${trap === "climbing" ? "../../../../../../../../../../../.." : ""}${outside}`;
  const script = `mkdir -p ${base}/d ${outside}; printf '${OF_CONTAINER}' >${base}/d/f; printf '${OF_DECOY}' >${outside}/f
    ln -s ${target} ${base}/trap; exec /swapper ${base}/d ${base}/trap`;
  const words = ["start", "--rw", "--root", ...flags, ...mount, "box", "/bin/sh", "-c", script];
  const running = await swapping(box, words);
  const bed: Bed = { box, base, outside, work, tar: readFileSync(tar) };
  const before = stateOf(outside);
  const wrong: string[] = [];
  const done = { copies: 0, refused: 0 };
  const end = Date.now() + swaps / 10;
  for (let round = 0; wrong.length === 0 && (round < rounds || Date.now() < end); round++) {
    const succeeded = await copyAll(bed, round, before, wrong, done);
    if (!running.alive()) break;
    if (round === rounds - 1 && succeeded === 0) wrong.push("no copy succeeded");
  }
  wrong.push(...(await throughSymlinks(bed)));
  const { stdout, stderr } = await running.end("SIGTERM");
  const swapped = Number(stdout.trim().split("\n")[1]);
  if (!(swapped > 0)) throw new Error(`nothing was swapped: ${stdout}${stderr}`);
  if (readFileSync(join(outside, "f"), "utf8") !== OF_HOST) wrong.push("the host's file is another");
  await box.must(["reset", "box"]);
  return { ...done, swaps: swapped, wrong };
}

/** Starts the container and waits until it swaps. */
async function swapping(box: Box, words: readonly string[]): Promise<Background> {
  let begun: Promise<unknown> = Promise.resolve();
  const running = background(box.user.words(rootlingWords(...words)), {
    env: { ...box.user.env },
    cwd: box.user.home,
    timeout: 3_600_000,
    onStart: ({ stdout }) => (begun = new Promise((ready) => stdout?.once("data", ready))),
  });
  await Promise.race([begun, running.ended]);
  return running;
}

/** Everything about a directory of the host and the file in it but the directory's time of access. */
function stateOf(outside: string): string {
  const { mode, uid, gid, nlink, mtimeMs, ctimeMs } = statSync(outside);
  const file = statSync(join(outside, "f"));
  const times = [file.atimeMs, file.mtimeMs, file.ctimeMs];
  const of = [file.ino, file.mode, file.uid, file.gid, file.nlink, file.size, ...times];
  return JSON.stringify([readdirSync(outside).sort(), mode, uid, gid, nlink, mtimeMs, ctimeMs, ...of]);
}

/** The copies of a round: words, the input, and the content that files below what it made may have. */
function copiesOf({ base, work, tar }: Bed, round: number): [words: string[], allowed: string[], input?: Buffer][] {
  const got = (name: string) => join(work, `got${round}`, name);
  const either = [OF_CONTAINER, OF_DECOY, COPIED];
  // Below what was named nothing is followed.
  const below = [OF_CONTAINER, COPIED];
  return [
    [[`box:${base}/d/f`, got("file")], either],
    [[`box:${base}/d`, got("directory")], either],
    [[`box:${base}/d/.`, got("content")], either],
    [[`box:${base}`, got("tree")], below],
    // What an earlier copy made is there: symlinks that do lead to the host's directory.
    [[`box:${base}/.`, join(work, "again")], below],
    [[`box:${base}`, "-"], below],
    [[join(work, "file"), `box:${base}/d/planted`], []],
    [[join(work, "file"), `box:${base}/d`], []],
    [[join(work, "put"), `box:${base}/d/deep`], []],
    [[join(work, "put/."), `box:${base}`], []],
    [["-", `box:${base}`], [], tar],
  ];
}

/** Makes the copies of a round; gives how many succeeded. */
async function copyAll(
  bed: Bed,
  round: number,
  before: string,
  wrong: string[],
  done: { copies: number; refused: number },
): Promise<number> {
  const { box, work, outside } = bed;
  await box.user.run(["mkdir", "-p", join(work, `got${round}/content`), join(work, "again")]);
  let succeeded = 0;
  for (const [words, allowed, input] of copiesOf(bed, round)) {
    const outcome = await box.run(["copy", ...words], input === undefined ? {} : { input });
    const [from = "", to = ""] = words;
    const problems = [...problemsOf(outcome), ...problemsOfTar(outcome), ...problemsOfFiles(to, allowed)];
    if (stateOf(outside) !== before) problems.push(`the host's directory: ${before}, now ${stateOf(outside)}`);
    done.copies++;
    if (outcome.status === 0) succeeded++;
    else done.refused++;
    wrong.push(...problems.map((problem) => `copy ${from} ${to}, round ${round}: ${problem}`));
    // What is wrong once stays so.
    if (problems.length > 0) break;
  }
  await box.user.run(["rm", "-rf", join(work, `got${round}`)]);
  return succeeded;
}

/** A copy may fail, in words; it may not crash. */
function problemsOf({ status, stderr }: Outcome): string[] {
  const clear = status === 0 || (/\bE_[A-Z]+/.test(stderr) && !/E_INTERNAL/.test(stderr));
  return clear ? [] : [`status ${status}: ${stderr}`];
}

const problemsOfTar = ({ bytes }: Outcome): string[] =>
  [OF_HOST, OF_DECOY].filter((text) => bytes.includes(text)).map((text) => `gave what is ${text.trim()}`);

/** Content of files at a path of the host that is not among what is allowed; none for what is no such path. */
const problemsOfFiles = (path: string, allowed: readonly string[]): string[] =>
  filesBelow(path).flatMap((file) => {
    const content = readFileSync(file, "utf8");
    return content === "" || allowed.includes(content) ? [] : [`${file} is ${JSON.stringify(content)}`];
  });

/** Regular files at a path and below; never through a symlink, not even one at the path itself. */
function filesBelow(path: string): string[] {
  const status = lstatSync(path, { throwIfNoEntry: false });
  if (status?.isDirectory()) return readdirSync(path).flatMap((name) => filesBelow(join(path, name)));
  return status?.isFile() ? [path] : [];
}

/** What came into the container through its symlink although only what lay below the named directory was to be made. */
async function throughSymlinks({ box, outside }: Bed): Promise<string[]> {
  const { bytes } = await box.run(["copy", `box:${outside}`, "-"]);
  return ["outside/nested", "outside/streamed", "outside/hard"]
    .filter((name) => bytes.includes(`${name}\0`))
    .map((name) => `a copy into the container made ${name} through a symlink`);
}
