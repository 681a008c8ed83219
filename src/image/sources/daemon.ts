/**
 * Images that the docker or podman of this machine has: asked for over the Unix socket of its HTTP API, as an archive of
 * `docker save` (Docker Engine API, ImageGet; libpod API, ImageExportLibpod). Podman needs no service: where none
 * listens, its program writes the archive.
 */
import { existsSync } from "node:fs";
import { type FileHandle, mkdir, open } from "node:fs/promises";
import { type IncomingMessage, request } from "node:http";
import { join } from "node:path";
import { interruption, throwIfAborted } from "../../base/context.ts";
import { errnoOf, Failure, fileFailure } from "../../base/errors.ts";
import { removeTree } from "../../base/files.ts";
import { findProgram, run } from "../../base/process.ts";
import { escapeText } from "../../base/text.ts";
import type { SourceImage } from "../types.ts";
import { archiveIn } from "./archive.ts";
import { openSaved } from "./docker-archive.ts";
import type { Environment } from "./environment.ts";
import { spool, temporaryPath } from "./files.ts";
import type { DaemonReference } from "./reference.ts";
import type { OpenContext } from "./source.ts";

interface Daemon {
  /** What people call it. */
  readonly title: string;
  /** The variable that names its socket. */
  readonly variable: string;
  /** The request for an image's archive. */
  path(name: string): string;
  /** Where its socket is if nobody says: the first that is there. */
  sockets(env: Environment, uid: number): string[];
  /** How to start what listens. */
  readonly start: string;
}

const runtimeDirectory = (env: Environment, uid: number): string =>
  env.XDG_RUNTIME_DIR?.startsWith("/") ? env.XDG_RUNTIME_DIR : `/run/user/${uid}`;

/** A name as steps of a URL's path; what separates its parts separates steps. */
const asSteps = (name: string): string => name.split("/").map(encodeURIComponent).join("/");

const daemons: Readonly<Record<DaemonReference["kind"], Daemon>> = {
  dockerd: {
    title: "docker",
    variable: "DOCKER_HOST",
    path: (name) => `/images/${asSteps(name)}/get`,
    sockets: (env, uid) => [
      "/var/run/docker.sock",
      ...(uid === 0 ? [] : [join(runtimeDirectory(env, uid), "docker.sock")]),
    ],
    start: "start docker, or name the socket in DOCKER_HOST=unix:///PATH",
  },
  podman: {
    title: "podman",
    variable: "CONTAINER_HOST",
    path: (name) => `/v4.0.0/libpod/images/${asSteps(name)}/get?format=docker-archive`,
    sockets: (env, uid) => [
      uid === 0 ? "/run/podman/podman.sock" : join(runtimeDirectory(env, uid), "podman/podman.sock"),
    ],
    start:
      "install podman, start its service (systemctl --user start podman.socket), or name the socket in CONTAINER_HOST=unix:///PATH",
  },
};

/** What is said of an image while it is fetched. */
interface Wanted {
  readonly daemon: Daemon;
  readonly name: string;
  /** The SOURCE text. */
  readonly where: string;
}

/**
 * Opens an image of this machine's docker or podman. Its digest is that of its configuration, which both call its id.
 * Throws E_NOT_FOUND where the image, or who would have it, is missing; E_DENIED where the socket is closed to the user.
 */
export async function openDaemon({ kind, name }: DaemonReference, context: OpenContext): Promise<SourceImage> {
  const wanted = { daemon: daemons[kind], name, where: `${kind}://${name}` };
  const { handle, size } = await fetchArchive(wanted, context);
  const image = await openSaved(await archiveIn(handle, size, wanted.where, context), undefined, context);
  return { ...image, name: nameHere(name), source: wanted.where };
}

/** As a registry's image is named: with its tag. An id, or a digest, has none. */
const nameHere = (name: string): string =>
  /:[^/]*$|@/.test(name) || /^[0-9a-f]{12,64}$/.test(name) ? name.replace(/^sha256:/, "") : `${name}:latest`;

async function fetchArchive(wanted: Wanted, context: OpenContext): Promise<{ handle: FileHandle; size: number }> {
  const { daemon, name, where } = wanted;
  const { env, uid } = context.registry;
  const given = env[daemon.variable];
  const socket = given ? socketOf(given, daemon.variable) : daemon.sockets(env, uid).find((path) => existsSync(path));
  const task = context.progress.task("fetch", `fetch ${where}`);
  try {
    if (socket !== undefined) return await spool(bytesOf(await ask(wanted, socket, context), wanted, context), context);
    const program = daemon === daemons.podman ? findProgram("podman") : undefined;
    if (program !== undefined) return await saveBy(program, name, where, context);
    throw new Failure("E_NOT_FOUND", `there is no socket of ${daemon.title}`, {
      where: daemon.sockets(env, uid)[0] ?? where,
      mend: daemon.start,
    });
  } finally {
    task.done();
  }
}

/** The path of `unix:///PATH`. */
function socketOf(text: string, variable: string): string {
  const path = /^unix:\/\/(\/.*)$/s.exec(text)?.[1];
  if (path !== undefined && !path.includes("\0")) return path;
  throw new Failure("E_SETTING", "only Unix sockets of this machine are asked for images", {
    where: variable,
    mend: `write it like ${variable}=unix:///run/user/1000/podman/podman.sock, or unset it`,
  });
}

/** Sends the request; resolves to an answer whose body is the archive. There is no time limit: podman packs first. */
function ask({ daemon, name, where }: Wanted, socketPath: string, context: OpenContext): Promise<IncomingMessage> {
  const { signal } = context;
  throwIfAborted(signal);
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, path: daemon.path(name), headers: { host: "localhost" }, agent: false, signal });
    sent.on("error", (error) => {
      reject(signal.aborted ? interruption(signal) : socketFailure(error, daemon, socketPath));
    });
    sent.on("response", (answer) => {
      if (answer.statusCode === 200) return resolve(answer);
      refusal(answer, daemon, name, where).then(reject, reject);
    });
    sent.end();
  });
}

function socketFailure(error: unknown, { title, start }: Daemon, socket: string): Failure {
  const details = { where: socket, cause: error };
  switch (errnoOf(error)) {
    case "ENOENT":
      return new Failure("E_NOT_FOUND", `there is no socket of ${title}`, { ...details, mend: start });
    case "EACCES":
    case "EPERM":
      return new Failure("E_DENIED", `the socket of ${title} is closed to this user`, {
        ...details,
        mend: `run it as a user who may use ${title}: root, or a member of the socket's group`,
      });
    case "ECONNREFUSED":
      return new Failure("E_NETWORK", `nothing listens at the socket of ${title}`, { ...details, mend: start });
    default:
      return new Failure("E_NETWORK", `${title} does not answer: ${escapeText(String((error as Error).message))}`, {
        ...details,
        mend: `see whether ${title} works, and try again`,
      });
  }
}

/** What is read of an answer that is no archive. */
const COMPLAINT_BYTES = 8 << 10;

/** Why there is no archive: both answer with an object that has a `message`. */
async function refusal(answer: IncomingMessage, { title }: Daemon, name: string, where: string): Promise<Failure> {
  let text = "";
  for await (const chunk of answer) {
    text = (text + String(chunk)).slice(0, COMPLAINT_BYTES);
    if (text.length === COMPLAINT_BYTES) break;
  }
  answer.destroy();
  let said: unknown;
  try {
    said = (JSON.parse(text) as { message?: unknown } | null)?.message;
  } catch {
    // No object: the status has to do.
  }
  const why = typeof said === "string" ? `: ${escapeText(said.slice(0, 300))}` : "";
  // Podman answers 500 for some names that it does not know.
  if (answer.statusCode === 404 || /image not known|no such image/i.test(why)) return missing(title, name, where);
  return new Failure("E_NETWORK", `${title} does not give the image (status ${answer.statusCode})${why}`, {
    where,
    mend: `see whether \`${title} image save ${name}\` works`,
  });
}

const missing = (title: string, name: string, where: string): Failure =>
  new Failure("E_NOT_FOUND", `${title} has no such image`, {
    where,
    mend: `see \`${title} images\`, get it by \`${title} pull ${name}\`, or use docker://${name} without ${title}`,
  });

async function* bytesOf(answer: IncomingMessage, { daemon }: Wanted, context: OpenContext): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of answer) yield chunk as Buffer;
  } catch (error) {
    throwIfAborted(context.signal);
    throw new Failure("E_NETWORK", `${daemon.title} stopped sending the image`, {
      mend: "try again",
      cause: error,
    });
  }
}

/** Variables that say where podman's images are. */
const PODMANS = /^(?:HOME|USER|TMPDIR|XDG_.*|CONTAINERS_.*|STORAGE_.*|REGISTRIES_.*)$/;

/** The archive by podman's program, into a file that has no name once it is open. */
async function saveBy(
  program: string,
  name: string,
  where: string,
  context: OpenContext,
): Promise<{ handle: FileHandle; size: number }> {
  const directory = await temporaryPath(context);
  const file = join(directory, "image.tar");
  const env: Record<string, string> = {};
  for (const [key, value] of Object.entries(context.registry.env)) {
    if (value !== undefined && PODMANS.test(key)) env[key] = value;
  }
  let handle: FileHandle | undefined;
  try {
    await mkdir(directory, { mode: 0o700 });
    const words = ["image", "save", "--quiet", "--format", "docker-archive", "--output", file, name];
    await run(program, words, { env, signal: context.signal }).finished;
    handle = await open(file, "r");
    return { handle, size: (await handle.stat()).size };
  } catch (error) {
    await handle?.close();
    throwIfAborted(context.signal);
    if (error instanceof Failure && /image not known/.test(error.what)) throw missing("podman", name, where);
    throw fileFailure(error, "keeping the image in a temporary file", file);
  } finally {
    await removeTree(directory).catch(() => {});
  }
}
