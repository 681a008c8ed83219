/**
 * Unpacks the hostile archives FROM to TO of a run in DIRECTORY and says how each went, a line of JSON each, after a
 * line that says which one begins: whoever started this ends it when one takes too long.
 */
import { lstatSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import type { Context } from "../../src/base/context.ts";
import { Failure } from "../../src/base/errors.ts";
import { removeTree } from "../../src/base/files.ts";
import { capture } from "../../src/base/process.ts";
import { alteredSink } from "../../src/image/alter.ts";
import type { PasswordHash } from "../../src/image/alter-password.ts";
import { buildImage } from "../../src/image/build.ts";
import { digestOf } from "../../src/image/digest.ts";
import { buildLayered } from "../../src/image/layered.ts";
import { directorySink } from "../../src/image/sinks/directory.ts";
import { type DiskOptions, diskChainSink, diskSink } from "../../src/image/sinks/disk.ts";
import type { OpenSink } from "../../src/image/sinks/sink.ts";
import { squashfsSink } from "../../src/image/sinks/squashfs.ts";
import type { SourceImage } from "../../src/image/types.ts";
import { testContext } from "../support/image-support.ts";
import { hostileImage } from "./archives.ts";

const [directory = "", seed = "1", from = "0", to = "0"] = process.argv.slice(2);
setFlagsFromString("--max-old-space-size=768");

/** Failures that an archive may have; anything else is a defect. */
const ALLOWED = ["E_LAYER", "E_LIMIT", "E_DIGEST", "E_SHADOW"];
// An ordinary user cannot look into a directory that the image closes to its owner.
if (process.getuid?.() !== 0) ALLOWED.push("E_READ_ONLY");
/** So small that bombs go off early. */
const LIMITS = { ROOTLING_MAX_ENTRIES: "2000" };

const outside = join(directory, "outside");
const work = join(directory, "work");
const canary = join(outside, "canary");

/** All that must never change, as text. */
function outsideNow(): string {
  const lines: string[] = [];
  const visit = (path: string) => {
    const stat = lstatSync(path, { bigint: true });
    const detail = stat.isFile() ? readFileSync(path, "latin1") : stat.isSymbolicLink() ? readlinkSync(path) : "";
    lines.push(
      [path, stat.ino, stat.mode, stat.uid, stat.gid, stat.nlink, stat.mtimeNs, stat.ctimeNs, detail].join(" "),
    );
    if (stat.isDirectory()) for (const name of readdirSync(path).sort()) visit(join(path, name));
  };
  visit(outside);
  for (const name of readdirSync(directory)) lines.push(name);
  for (const path of ["/rootling-canary", "/etc/rootling-canary"]) {
    if (lstatSync(path, { throwIfNoEntry: false })) lines.push(`${path} exists`);
  }
  return lines.join("\n");
}

/** What must not be in a tree: devices that overlayfs takes for whiteouts. */
function whiteoutsIn(path: Buffer): string[] {
  return readdirSync(path, { encoding: "buffer" }).flatMap((name) => {
    const child = Buffer.concat([path, Buffer.from("/"), name]);
    const stat = lstatSync(child);
    if (stat.isCharacterDevice() && stat.rdev === 0) return [`a 0/0 device: ${child}`];
    return stat.isDirectory() ? whiteoutsIn(child) : [];
  });
}

/** Root and another user change places. */
const SWAP = [
  { start: 0, target: 1000, count: 1 },
  { start: 1000, target: 0, count: 1 },
];
const IDS = { uids: SWAP, gids: SWAP };
const HASH = `$6$saltsalt$${"h".repeat(86)}` as PasswordHash;

/** What is made of the archive whose index has this remainder, where it is no directory. */
const FORMS: Readonly<Record<number, "squashfs" | "chain" | "disk">> = {
  0: "squashfs",
  8: "squashfs",
  3: "chain",
  11: "disk",
};

/** Small, so that it is soon looked through, and that some archives do not fit. */
const diskAt = (output: string): DiskOptions => ({ output, format: "qcow2", size: 32 << 20, force: false });

function sinkOf(form: string, output: string, context: Context): OpenSink {
  if (form === "squashfs") return squashfsSink({ output, comp: "lz4", force: false }, context);
  if (form === "disk") return diskSink({ ...diskAt(output), format: "raw", fileSystem: "ext3" }, context);
  return directorySink(output, false, context);
}

/** What is wrong with a disk, or the last one of a chain. */
async function checkedDisk(output: string): Promise<string[]> {
  try {
    const last = lstatSync(output).isDirectory() ? readdirSync(output).sort().at(-1) : undefined;
    const raw = last === undefined ? output : join(output, "raw");
    if (last !== undefined) await capture("qemu-img", ["convert", "-O", "raw", join(output, last), raw]);
    await capture("e2fsck", ["-fn", raw]);
    return [];
  } catch (error) {
    return [error instanceof Failure ? error.what : String(error)];
  }
}

/** Seeds of neighbouring cases have nothing in common. */
export const seedOf = (run: number, index: number): number =>
  (Math.imul(run, 0x9e3779b1) + Math.imul(index, 0x85ebca6b)) >>> 0;

async function attempt(index: number): Promise<Record<string, unknown>> {
  const { kind, layers } = hostileImage(seedOf(Number(seed), index), canary);
  const begin = performance.now();
  const { context, stop } = testContext(join(directory, "store"), LIMITS);
  const timer = setTimeout(() => stop.abort(), 15_000);
  const image: SourceImage = {
    digest: digestOf("test"),
    name: "test",
    run: {},
    platform: { os: "linux", architecture: "amd64" },
    layers: layers.map((layer, i) => ({
      label: `layer ${i + 1}`,
      size: layer.length,
      open: async () =>
        (async function* () {
          const step = index % 3 === 0 ? 700 : 1 << 20;
          for (let at = 0; at < layer.length; at += step) yield Buffer.from(layer.subarray(at, at + step));
        })(),
    })),
    close: async () => {},
  };
  const output = join(work, `out-${index}`);
  const form = FORMS[index % 16] ?? "directory";
  const alterations = {
    ids: index % 5 === 0 ? IDS : undefined,
    rootPassword: index % 41 === 0 ? HASH : undefined,
  };
  const problems: string[] = [];
  let code = "ok";
  try {
    if (form === "chain") await buildLayered(image, diskChainSink(diskAt(output), context), context, alterations);
    else await buildImage(image, alteredSink(sinkOf(form, output, context), alterations), context);
    if (form === "chain" || form === "disk") problems.push(...(await checkedDisk(output)));
    // Only root makes devices, and only root may look everywhere.
    if (form === "directory" && process.getuid?.() === 0) problems.push(...whiteoutsIn(Buffer.from(output)));
  } catch (error) {
    code = error instanceof Failure ? error.code : "none";
    if (!(error instanceof Failure)) problems.push(`not a Failure: ${(error as Error)?.stack ?? error}`);
    else {
      const full = code === "E_SPACE" && (form === "chain" || form === "disk");
      if (!ALLOWED.includes(code) && !full) problems.push(`${code}: ${error.what}`);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: none of them may be there
      if (/[\u0000-\u001f\u007f-\u009f\u202e]/.test(`${error.what}${error.where}`))
        problems.push(`unescaped words: ${JSON.stringify([error.what, error.where])}`);
      if (error.mend === undefined) problems.push(`${code} without mend: ${error.what}`);
    }
    if (lstatSync(output, { throwIfNoEntry: false })) problems.push("an output is left");
  }
  clearTimeout(timer);
  if (form === "squashfs" || form === "disk") rmSync(output, { force: true });
  else await removeTree(output);
  for (const name of readdirSync(work)) problems.push(`left beside the output: ${name}`);
  const rss = Math.round(process.memoryUsage().rss / 1e6);
  return { index, kind, code, problems, milliseconds: Math.round(performance.now() - begin), rss };
}

const before = outsideNow();
for (let index = Number(from); index < Number(to); index++) {
  process.stdout.write(`${JSON.stringify({ begins: index })}\n`);
  const result = await attempt(index);
  const now = outsideNow();
  if (now !== before) (result.problems as string[]).push(`something outside changed:\n${before}\n${now}`);
  process.stdout.write(`${JSON.stringify(result)}\n`);
  if (now !== before) break;
}
