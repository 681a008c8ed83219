/** `rootling copy`: files between the host and a container, by a process in the container's own namespaces. */
import { lstatSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { type ByteString, fromText } from "../base/bytes.ts";
import { type Context, throwIfAborted } from "../base/context.ts";
import { Failure } from "../base/errors.ts";
import { requireProgram, run } from "../base/process.ts";
import { mapOf } from "../boot/boot.ts";
import { packing, unpacking } from "../boot/files.ts";
import { cleanPath } from "../image/names.ts";
import { tarStreamInto } from "../image/sinks/tar-stream.ts";
import { TarReader } from "../image/tar-read.ts";
import { END_OF_ARCHIVE, encodeEntry, paddingAfter } from "../image/tar-write.ts";
import type { Entry } from "../image/types.ts";
import { getContainer } from "../store/containers.ts";
import { refuseIdleFlags, showPlan, withDryRun } from "./boot-words.ts";
import { type Cli, newCommand } from "./cli.ts";
import { idMapOf, lockUnlessRunning, planInContainer, startWork } from "./container-files.ts";
import { END_OF_FRAMES, encodeFrame, FrameReader } from "./frames.ts";

interface Options {
  dryRun?: boolean;
  json?: boolean;
}

export const define = (cli: Cli) =>
  withDryRun(
    newCommand("copy", "Copy files out of a container or into it, whether it runs or not.", [
      "rootling copy web:/etc/hosts .",
      "rootling copy ./site web:/srv               # as /srv/site, if /srv is a directory",
      "rootling copy ./site/. web:/srv             # what is in it",
      "rootling copy web:/srv - | tar -t           # a tar stream",
      "tar -c . | rootling copy - web:/srv",
    ]),
  )
    .argument("<from>", "NAME:PATH, a path of the host, or - for a tar from standard input")
    .argument("<to>", "NAME:PATH, a path of the host, or - for a tar to standard output")
    .action(async (source: string, target: string, options: Options) => {
      refuseIdleFlags(options);
      const [out, into] = [inContainer(source), inContainer(target)];
      if ((out === undefined) === (into === undefined)) {
        throw new Failure("E_USAGE", "one of the two must be NAME:PATH, the other of the host", {
          mend: "write a path of the host with a colon in it as ./a:b",
        });
      }
      if (out !== undefined) await copyOut(cli, out, target, options);
      else if (into !== undefined) await copyIn(cli, source, into, options);
    });

interface Place {
  readonly name: string;
  readonly path: string;
}

/** `NAME:PATH`; a relative PATH begins at the root. */
function inContainer(word: string): Place | undefined {
  const [, name, path] = /^([A-Za-z0-9_][A-Za-z0-9_.+-]*):(.*)$/s.exec(word) ?? [];
  if (name === undefined || path === undefined) return undefined;
  // Without `..`, whose meaning would depend on symlinks, and which is no name for a copy.
  return { name, path: `${resolve("/", path)}${meansContent(path) ? "/." : ""}` };
}

/** Whether the path means what is in a directory. */
const meansContent = (path: string): boolean => /(^|\/)\.\/*$/.test(path);

const baseOf = (path: string): string => basename(path.replace(/\/+$/, ""));

const isDirectory = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;

/** Where on the host something goes, and what it is called there; an empty name: its content goes there. */
function hostPlace(target: string, source: string): { directory: string; name: string } {
  const path = resolve(target);
  if (isDirectory(path)) {
    const name = meansContent(source) ? "" : baseOf(source);
    refuseSpecial(join(path, name), target);
    return { directory: path, name };
  }
  refuseSpecial(path, target);
  const directory = dirname(path);
  if (target.endsWith("/") || !isDirectory(directory)) {
    throw new Failure("E_NOT_FOUND", "there is no such directory", { where: target, mend: "make it first" });
  }
  return { directory, name: basename(path) };
}

/** GNU tar puts a file in the place of what is there: as root that would be a device which all programs use. */
function refuseSpecial(path: string, target: string): void {
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (there === undefined || there.isFile() || there.isDirectory() || there.isSymbolicLink()) return;
  throw new Failure("E_CONFLICT", "a device, pipe or socket is no place for a copy", {
    where: target,
    mend: "give a directory, or the name of a new file",
  });
}

async function copyOut(cli: Cli, { name, path }: Place, target: string, options: Options): Promise<void> {
  const container = getContainer(cli.layout, name);
  const plan = await planInContainer(cli, container, packing(`${name}:${path}`, path, false));
  if (options.dryRun) return showPlan(cli, plan, options.json);
  const context = cli.context("none");
  const place = target === "-" ? undefined : hostPlace(target, path);
  if (place === undefined && process.stdout.isTTY) {
    throw new Failure("E_USAGE", "a tar is not for a terminal", { where: "-", mend: "send it to a file or a program" });
  }
  const running = await startWork(cli, context, plan, { stdout: "pipe" });
  const sink = place === undefined ? tarToOutput(meansContent(path) ? "" : baseOf(path)) : tarToHost(context, place);
  const reader = new FrameReader(sink, false);
  try {
    for await (const chunk of running.child.stdout ?? []) {
      throwIfAborted(context.signal);
      reader.write(chunk as Buffer);
      await sink.flush();
    }
    await running.finished;
    reader.end();
    await sink.commit();
  } catch (error) {
    await running.kill();
    await sink.abort();
    throw error;
  }
}

interface Output {
  entry(entry: Entry): void;
  data(slice: Buffer): void;
  end(): void;
  flush(): Promise<void> | undefined;
  commit(): Promise<void>;
  abort(): Promise<void>;
}

/** The path of an entry below the name that the top gets. */
const below = (name: string, path: ByteString): ByteString =>
  (name === "" ? path : path === "" ? fromText(name) : `${fromText(name)}/${path}`) as ByteString;

/** Unpacks on the host by GNU tar, which follows no symlink that it made: with the caller's owners, never set-id. */
function tarToHost(context: Context, { directory, name }: { directory: string; name: string }): Output {
  const words = ["-x", "-f", "-", "-C", directory, "-p", "--no-same-owner", "--delay-directory-restore", "-b", "512"];
  const tar = run(requireProgram("tar", "tar"), words, { stdin: "pipe", signal: context.signal });
  const stream = tarStreamInto(tar);
  let skipped = 0;
  let dropping = false;
  return {
    entry(entry) {
      const path = below(name, entry.path);
      dropping = entry.kind === "character" || entry.kind === "block" || path === "";
      if (dropping) {
        if (path !== "") skipped++;
        return;
      }
      const { xattrs: _, ...plain } = entry;
      const linked = entry.kind === "link" ? { target: below(name, entry.target ?? ("" as ByteString)) } : {};
      stream.entry({ ...plain, ...linked, path, mode: entry.mode & 0o1777, uid: 0, gid: 0 });
    },
    data: (slice) => (dropping ? undefined : stream.data(slice)),
    end: () => (dropping ? undefined : stream.end()),
    flush: () => stream.flush(),
    commit: async () => {
      await stream.commit();
      if (skipped > 0) context.warn(`${skipped} devices were left out`);
    },
    abort: () => tar.kill(),
  };
}

/** A tar with the owners inside, as it is. */
function tarToOutput(name: string): Output {
  let size = 0;
  let full: Promise<void> | undefined;
  const put = (bytes: Buffer) => {
    if (!process.stdout.write(bytes)) full ??= new Promise((ready) => process.stdout.once("drain", ready));
  };
  return {
    entry(entry) {
      const path = below(name, entry.path) || ("." as ByteString);
      size = entry.size;
      const linked = entry.kind === "link" ? { target: below(name, entry.target ?? ("" as ByteString)) } : {};
      put(encodeEntry({ ...entry, ...linked, path }));
    },
    data: put,
    end() {
      const padding = paddingAfter(size);
      if (padding !== undefined) put(padding);
      size = 0;
    },
    flush: () => {
      const wait = full;
      full = undefined;
      return wait;
    },
    commit: async () => put(END_OF_ARCHIVE),
    abort: async () => {},
  };
}

async function copyIn(cli: Cli, source: string, { name, path }: Place, options: Options): Promise<void> {
  const container = getContainer(cli.layout, name);
  const stdin = source === "-";
  const content = stdin || meansContent(source);
  const called = content ? "" : baseOf(resolve(source));
  if (!stdin && statSync(source, { throwIfNoEntry: false }) === undefined) {
    throw new Failure("E_NOT_FOUND", "there is no such file", { where: source, mend: "check the path" });
  }
  const owners = mapOf(idMapOf(container)).kind !== "one";
  const plan = await planInContainer(cli, container, unpacking(`${name}:${path}`, path, called, owners));
  if (options.dryRun) return showPlan(cli, plan, options.json);
  const lock = lockUnlessRunning(cli, container);
  try {
    await feed(cli, plan, source, stdin, content);
  } finally {
    lock.release();
  }
}

/** Reads a tar, from standard input or from GNU tar of the host, into the container. */
async function feed(
  cli: Cli,
  plan: Awaited<ReturnType<typeof planInContainer>>,
  source: string,
  stdin: boolean,
  content: boolean,
): Promise<void> {
  const context = cli.context("none");
  const path = resolve(source);
  const words = ["-c", "-f", "-", "--format=pax", "--numeric-owner", "-b", "512"];
  const where = content ? ["-C", path, "."] : ["-C", dirname(path), `./${basename(path)}`];
  const tar = stdin
    ? undefined
    : run(requireProgram("tar", "tar"), [...words, ...where], { stdout: "pipe", signal: context.signal });
  const running = await startWork(cli, context, plan, { stdin: "pipe" });
  const input = running.child.stdin;
  input?.on("error", () => {}); // Its end tells why.
  const put = (bytes: Buffer) => void input?.write(bytes);
  const strip = content ? 0 : 1;
  const reader = new TarReader(stdin ? "standard input" : source, {
    entry(entry) {
      put(encodeFrame(relative(entry, strip, stdin)));
      return true;
    },
    data: put,
    end: () => {},
  });
  try {
    for await (const chunk of stdin ? process.stdin : (tar?.child.stdout ?? [])) {
      throwIfAborted(context.signal);
      reader.write(chunk as Buffer);
      // One that has failed takes no more.
      if (input?.writableNeedDrain)
        await Promise.race([new Promise((ready) => input.once("drain", ready)), running.finished]);
    }
    reader.end(false);
    await tar?.finished;
    input?.end(END_OF_FRAMES);
    await running.finished;
  } catch (error) {
    await running.kill();
    await tar?.kill();
    throw error;
  }
}

/** The entry below the top of what is copied; files of the host become root's inside. */
function relative(entry: Entry, strip: number, keepOwner: boolean): Entry {
  const cut = (path: ByteString): ByteString =>
    cleanPath(path, "the tar").split("/").slice(strip).join("/") as ByteString;
  const { xattrs: _, ...plain } = entry;
  const owner = keepOwner ? {} : { uid: 0, gid: 0 };
  const linked = entry.kind === "link" ? { target: cut(entry.target ?? ("" as ByteString)) } : {};
  return { ...plain, ...owner, ...linked, path: cut(entry.path) };
}
