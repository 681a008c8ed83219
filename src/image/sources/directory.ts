/** A directory as an image of one layer, and the root of this machine: GNU tar packs it, xattrs and owners with it. */
import { lstat } from "node:fs/promises";
import { basename, relative, resolve } from "node:path";
import { fromText } from "../../base/bytes.ts";
import { Failure, fileFailure } from "../../base/errors.ts";
import { type Running, requireProgram, run } from "../../base/process.ts";
import type { Entry, SourceImage } from "../types.ts";
import type { OpenContext } from "./source.ts";
import { openStream } from "./stream.ts";

/** Opens a directory. It may change between two readings: then there is a failure rather than a mixture. */
export async function openDirectory(directory: string, context: OpenContext): Promise<SourceImage> {
  const root = await rootEntry(directory);
  return openStream(
    {
      name: basename(resolve(directory)) || "root",
      label: directory,
      root,
      open: () => packed(directory, context),
      again: "same",
    },
    context,
  );
}

/** Opens the root of this machine: one file system, without rootling's own store. It changes all the time. */
export async function openHost(context: OpenContext): Promise<SourceImage> {
  const root = await rootEntry("/");
  return openStream(
    { name: "host", label: "the host's root", root, open: () => packed("/", context, { living: true }), again: "anew" },
    context,
  );
}

async function rootEntry(directory: string): Promise<Entry> {
  const found = await lstat(`${directory}/.`).catch((error: unknown) => {
    throw fileFailure(error, "reading the directory", directory);
  });
  return {
    path: fromText(""),
    kind: "directory",
    mode: found.mode & 0o7777,
    uid: found.uid,
    gid: found.gid,
    size: 0,
    mtime: Math.floor(found.mtimeMs / 1000),
  };
}

export interface PackOptions {
  /** Files may change while they are read: as on a running machine. */
  living?: boolean;
  /** Left out, besides the store: patterns of GNU tar, from the directory. */
  exclude?: readonly string[];
}

/** The tar of a directory: always the same bytes for the same files. */
export async function* packed(
  directory: string,
  context: OpenContext,
  { living = false, exclude = [] }: PackOptions = {},
): AsyncGenerator<Buffer> {
  const running = run(
    requireProgram("tar", "tar"),
    [
      ...["-c", "-f", "-", "-C", directory, "-b", "512", "--format=posix", "--sort=name", "--numeric-owner"],
      // The process's id in the names of headers, and times of reading, would make every archive another one.
      "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
      ...["--one-file-system", "--xattrs", "--xattrs-include=*", "--warning=no-file-ignored", "--warning=no-xdev"],
      ...(living ? ["--warning=no-file-changed", "--warning=no-file-removed"] : []),
      ...["--anchored", "--wildcards", "--wildcards-match-slash", "--no-ignore-case"],
      ...[...excluded(directory, context), ...exclude].map((pattern) => `--exclude=${pattern}`),
      ".",
    ],
    { stdout: "pipe", signal: context.signal, ...(living ? { goodStatus: 1 } : {}) },
  );
  yield* outputOf(running, directory);
}

/** Standard output of a program to its good end. */
export async function* outputOf(running: Running, where: string): AsyncGenerator<Buffer> {
  const { stdout } = running.child;
  if (stdout === null) throw new Failure("E_INTERNAL", "a program without standard output");
  try {
    for await (const chunk of stdout) yield chunk as Buffer;
    await running.finished;
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== "E_PROGRAM") throw error;
    throw new Failure("E_PROGRAM", `reading the files: ${error.what}`, {
      where,
      mend: /Permission denied/.test(error.what)
        ? "run it as root, or as somebody who may read all files"
        : "try again once nobody writes to the files",
      cause: error,
    });
  } finally {
    await running.kill();
  }
}

/** The store, and what is being written, are no part of what is read. As patterns of GNU tar. */
function excluded(directory: string, context: OpenContext): string[] {
  const { DATA_PATH, CACHE_PATH, RUNTIME_PATH } = context.settings;
  const paths = [DATA_PATH, CACHE_PATH, RUNTIME_PATH, ...(context.output === undefined ? [] : [context.output])];
  return paths.flatMap((path) => {
    const inside = relative(resolve(directory), resolve(path));
    if (inside === "" || inside.startsWith("..")) return [];
    const pattern = `./${inside.replace(/[\\*?[\]]/g, "\\$&")}`;
    return path === context.output ? [pattern, `${pattern}.*.tmp`] : [pattern];
  });
}
