/**
 * A squashfs file as an image of one layer. What rootling wrote brings its configuration back from /.rootling. Root
 * unpacks into a new directory that nobody else can enter (CVE-2021-40153, CVE-2021-41072), since only so extended
 * attributes come back; an ordinary user, who could not make owners or devices, reads it as a stream.
 */
import { createHash } from "node:crypto";
import { constants, openSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { Socket } from "node:net";
import { basename, join, resolve } from "node:path";
import { fromBytes } from "../../base/bytes.ts";
import { throwIfAborted } from "../../base/context.ts";
import { Failure, fileFailure } from "../../base/errors.ts";
import { removeTree } from "../../base/files.ts";
import { capture, type Running, requireProgram, run } from "../../base/process.ts";
import type { digestOf } from "../digest.ts";
import { readEnvironment, readScript } from "../enroot-files.ts";
import { limits, tooLarge } from "../limits.ts";
import { RESERVED } from "../names.ts";
import type { RunConfig, SourceImage } from "../types.ts";
import { outputOf, packed } from "./directory.ts";
import { readChunks, refuseLarge, temporaryPath } from "./files.ts";
import { parseRun } from "./manifest.ts";
import { pseudoToTar } from "./pseudo-file.ts";
import { hostPlatform } from "./reference.ts";
import type { OpenContext } from "./source.ts";

/** Opens a squashfs file. Its bytes are the identity of the image, whatever it says of itself. */
export async function openSquashfs(file: string, context: OpenContext): Promise<SourceImage> {
  const program = requireProgram("unsquashfs", "squashfs-tools");
  const path = resolve(file);
  const hash = createHash("sha256");
  let size = 0;
  for await (const chunk of readChunks(path)) {
    throwIfAborted(context.signal);
    hash.update(chunk);
    size += chunk.length;
  }
  await refuseBomb(program, path, size, context);
  const config =
    (await readInside(program, path, `${RESERVED}/config.json`, context)) ??
    (await enrootConfig(program, path, context));
  const about = config === undefined ? undefined : parseRun(config, `${file}: /${RESERVED}/config.json`);
  const label = basename(file);
  const unpacked = new Unpacked(program, path, context);
  return {
    digest: `sha256:${hash.digest("hex")}` as ReturnType<typeof digestOf>,
    name: label.replace(/\.(squashfs|sqsh|sqfs|squash)$/, ""),
    ...(config === undefined ? {} : { config }),
    run: about?.run ?? {},
    platform: about?.platform ?? context.platform,
    layers: [
      {
        label,
        open: async () =>
          process.geteuid?.() === 0
            ? packed(await unpacked.directory(), context, { exclude: [`./${RESERVED}`] })
            : streamed(program, path, context),
      },
    ],
    close: () => unpacked.remove(),
  };
}

/** How to run the image of a squashfs file that rootling or enroot wrote; nothing is known of other files. */
export async function squashfsRun(file: string, signal: AbortSignal): Promise<RunConfig> {
  const program = requireProgram("unsquashfs", "squashfs-tools");
  const config =
    (await readInside(program, file, `${RESERVED}/config.json`, { signal })) ??
    (await enrootConfig(program, file, { signal, platform: hostPlatform() }));
  return config === undefined ? {} : parseRun(config, `${file}: /${RESERVED}/config.json`).run;
}

/** The configuration that enroot wrote into the files of an image; undefined for other files. */
async function enrootConfig(
  program: string,
  file: string,
  context: Pick<OpenContext, "signal" | "platform">,
): Promise<Buffer | undefined> {
  const read = async (path: string) => (await readInside(program, file, path, context))?.toString("utf8");
  // Before its version 3 enroot had the script in the other file.
  const run = readScript((await read("etc/rc")) ?? "") ?? readScript((await read("etc/rc.local")) ?? "");
  if (run === undefined) return undefined;
  const Env = readEnvironment((await read("etc/environment")) ?? "");
  const { os, architecture } = context.platform;
  const config = { os, architecture, config: { Env, ...run }, rootfs: { type: "layers", diff_ids: [] } };
  return Buffer.from(JSON.stringify(config));
}

/** A line of `unsquashfs -llnumeric` about a file: mode, owners, bytes. */
const LISTED_FILE = /^-[-rwxsStT]{9} +[0-9]+\/[0-9]+ +([0-9]+) /;

/** Throws E_LIMIT for a file that unpacks to many times its size, before anything is unpacked. */
async function refuseBomb(program: string, file: string, size: number, context: OpenContext): Promise<void> {
  const running = run(program, ["-no-progress", "-llnumeric", file], { stdout: "pipe", signal: context.signal });
  const most = Math.max(limits.ratioFloorBytes, size * context.settings.MAX_RATIO);
  let total = 0;
  let rest = "";
  try {
    for await (const chunk of outputOf(running, file)) {
      const lines = (rest + fromBytes(chunk)).split("\n");
      rest = (lines.pop() ?? "").slice(0, limits.nameBytes);
      for (const line of lines) total += Number(LISTED_FILE.exec(line)?.[1] ?? 0);
      if (total > most) throw tooLarge(`a squashfs file that unpacks to more than ${most} bytes`, file);
    }
  } catch (error) {
    throw damaged(error, file);
  }
}

/** A small file in the squashfs; undefined if there is none. */
async function readInside(
  program: string,
  file: string,
  path: string,
  context: Pick<OpenContext, "signal">,
): Promise<Buffer | undefined> {
  const running = run(program, ["-no-progress", "-cat", file, path], { stdout: "pipe", signal: context.signal });
  const parts: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of outputOf(running, file)) {
      size += chunk.length;
      refuseLarge(size, limits.configBytes, file);
      parts.push(chunk);
    }
  } catch (error) {
    // Without such a file it fails; whether the squashfs itself is damaged, unpacking it tells.
    if (error instanceof Failure && error.code === "E_PROGRAM") return undefined;
    throw error;
  }
  return parts.length === 0 ? undefined : Buffer.concat(parts);
}

/** The tree of a squashfs file on disk, made when it is wanted. */
class Unpacked {
  readonly #program: string;
  readonly #file: string;
  readonly #context: OpenContext;
  #base: string | undefined;

  constructor(program: string, file: string, context: OpenContext) {
    this.#program = program;
    this.#file = file;
    this.#context = context;
  }

  async directory(): Promise<string> {
    if (this.#base !== undefined) return join(this.#base, "tree");
    const base = await makeTemporary(this.#context);
    this.#base = base;
    const tree = join(base, "tree");
    const words = ["-no-progress", "-quiet", "-strict-errors", "-dest", tree, this.#file];
    await run(this.#program, words, { signal: this.#context.signal }).finished.catch((error: unknown) => {
      throw damaged(error, this.#file);
    });
    return tree;
  }

  async remove(): Promise<void> {
    if (this.#base !== undefined) await removeTree(this.#base).catch(() => {});
  }
}

/** The tar of a squashfs file, whose content never touches a disk. */
async function* streamed(program: string, file: string, context: OpenContext): AsyncGenerator<Buffer> {
  context.warn("only root can read extended attributes of a squashfs file: they are left out");
  const base = await makeTemporary(context);
  // unsquashfs opens what it writes by name: that cannot be a pipe of Node's, which is a socket.
  const fifo = join(base, "fifo");
  let input: Socket | undefined;
  let running: Running | undefined;
  try {
    await capture(requireProgram("mkfifo", "coreutils"), ["-m", "600", fifo]);
    const reader = new Socket({ fd: openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK), readable: true });
    input = reader;
    const words = ["-no-progress", "-quiet", "-pseudo-file", fifo, file];
    running = run(program, words, { signal: context.signal });
    running.finished.catch((error: unknown) => reader.destroy(error as Error));
    yield* pseudoToTar(reader, basename(file));
    await running.finished;
  } catch (error) {
    throw damaged(error, file);
  } finally {
    input?.destroy();
    await running?.kill();
    await removeTree(base).catch(() => {});
  }
}

async function makeTemporary(context: OpenContext): Promise<string> {
  const base = await temporaryPath(context);
  await mkdir(base, { mode: 0o700 }).catch((error: unknown) => {
    throw fileFailure(error, "making a temporary directory", base);
  });
  return base;
}

const damaged = (error: unknown, file: string): unknown =>
  error instanceof Failure && error.code === "E_PROGRAM"
    ? new Failure("E_LAYER", `the squashfs file cannot be unpacked: ${error.what}`, {
        where: file,
        mend: "the file is damaged, or compressed in a way that this unsquashfs does not know",
        cause: error,
      })
    : error;
