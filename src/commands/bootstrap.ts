/** What virt-bootstrap does: the root file system of a URI, in a directory. The library and the name call it. */
import { access, constants, mkdir, readdir, realpath, rmdir, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { Context } from "../base/context.ts";
import { errnoOf, Failure, fileFailure } from "../base/errors.ts";
import { clearTemporaries, removeTree, temporaryName } from "../base/files.ts";
import type { Environment, RegistryOptions } from "../image/sources/environment.ts";
import { parseSource } from "../image/sources/reference.ts";
import type { Digest, Platform } from "../image/types.ts";
import { layoutOf } from "../store/layout.ts";
import { importToFile } from "./import-image.ts";
import { type ProgressStatus, Status } from "./progress-status.ts";

/** Gives the password of `user` at the registry `host`; undefined where there is nobody who knows it. */
export type AskPassword = (user: string, host: string) => Promise<string | undefined> | string | undefined;

/** What `bootstrap` is to do. */
export interface BootstrapOptions {
  /**
   * Where the root file system comes from: `docker://[HOST[:PORT]/]NAME[:TAG][@DIGEST]` (docker.io where no host is
   * named), the path of a tarball, `file:///path/to/one`, or any other SOURCE that `rootling import` takes.
   */
  uri: string;
  /** The directory. It is made where it is missing; one with files in it is refused, unless `force` says otherwise. */
  dest: string;
  /** `dir`, the default: the files themselves. */
  format?: "dir";
  /** User at the registry. */
  username?: string;
  /** The user's password, or what gives it once the registry asks for it. */
  password?: string | AskPassword;
  /** The certificate of the registry is not verified, and without TLS it is plain HTTP. */
  notSecure?: boolean;
  /** What is downloaded is thrown away afterwards. */
  noCache?: boolean;
  /** The image for another platform than this machine's. */
  platform?: Platform;
  /** Files in `dest` give way. */
  force?: boolean;
}

/** What `bootstrap` has made. */
export interface BootstrapResult {
  /** The directory: absolute. */
  readonly dest: string;
  /** Digest of the image's manifest; of a source without one, of what identifies its bytes. */
  readonly digest: Digest;
  /** Bytes of content. */
  readonly size: number;
}

/**
 * Does it. `env` is where proxies, credentials and the like are looked up. Either all is written and verified, or
 * nothing is left. Throws E_USAGE and E_EXISTS for a destination that cannot be, and all that an import throws.
 */
export async function bootstrap(
  context: Context,
  env: Environment,
  options: BootstrapOptions,
  tell: (status: ProgressStatus) => void,
): Promise<BootstrapResult> {
  const { format = "dir", platform } = options;
  const source = sourceOf(options.uri);
  const dest = await destinationOf(options.dest, options.force === true);
  if (process.geteuid?.() !== 0) {
    context.warn("without root's privileges all files belong to the caller");
  }
  const fetched = parseSource(source).kind === "docker";
  const status = new Status(format, tell);
  const cache = await cacheOf(context, options.noCache === true);
  const made = await makeParents(dest.path);
  try {
    const { digest, size } = await importToFile({ ...context, progress: status.progress }, cache.layout, source, {
      output: dest.path,
      format,
      force: dest.force,
      registry: registryOf(context, env, options),
      opened: ({ layers }) => status.opened(layers, fetched),
      ...(platform === undefined ? {} : { platform }),
    });
    status.finished();
    return { dest: dest.path, digest: digest as Digest, size };
  } catch (error) {
    await removeParents(dest.path, made);
    throw error;
  } finally {
    await cache.close();
  }
}

/** A URI as virt-bootstrap reads it, as a SOURCE: `docker:///NAME` and `docker://NAME/` are `docker://NAME`. */
function sourceOf(uri: string): string {
  const [, name] = /^docker:\/\/\/?(.*?)\/?$/s.exec(uri) ?? [];
  return name === undefined ? uri : `docker://${name}`;
}

function registryOf(context: Context, env: Environment, options: BootstrapOptions): RegistryOptions {
  const { username, password, notSecure } = options;
  const ask = typeof password === "function" ? password : () => password;
  return {
    env,
    uid: process.geteuid?.() ?? 0,
    netrc: join(context.settings.CONFIG_PATH, ".credentials"),
    ...(username === undefined ? {} : { username }),
    ...(notSecure ? { notSecure } : {}),
    askPassword: async (user, host) => ask(user, host),
  };
}

/** Where it is written, and whether what is there may be replaced. Throws E_USAGE, E_EXISTS, E_READ_ONLY. */
async function destinationOf(text: string, force: boolean): Promise<{ path: string; force: boolean }> {
  if (text === "" || text.includes("\0")) throw new Failure("E_USAGE", "no destination is given", { where: "dest" });
  const path = resolve(text);
  const found = await stat(path).catch((error: unknown) => {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw fileFailure(error, "looking at the destination", path);
  });
  if (found === undefined) return { path, force };
  const mend = "name a directory that is new or empty";
  if ((await realpath(path)) === "/") {
    throw new Failure("E_USAGE", "the root directory of this machine is no destination", { where: path, mend });
  }
  if (!found.isDirectory()) {
    throw new Failure("E_EXISTS", "the destination is no directory", { where: path, mend });
  }
  await access(path, constants.W_OK).catch((cause: unknown) => {
    throw new Failure("E_READ_ONLY", "the destination may not be written to", {
      where: path,
      mend,
      cause,
    });
  });
  if (force || (await readdir(path)).length === 0) return { path, force: true };
  throw new Failure("E_EXISTS", "there are files in the destination", { where: path, mend: `${mend}, or use --force` });
}

/** Makes the directories above `path`; the topmost that was missing, if one was. */
const makeParents = (path: string): Promise<string | undefined> =>
  mkdir(dirname(path), { recursive: true }).catch((error: unknown) => {
    throw fileFailure(error, "making the directory of the destination", dirname(path));
  });

/** Removes them, as far as nobody has put anything there. */
async function removeParents(path: string, topmost: string | undefined): Promise<void> {
  if (topmost === undefined) return;
  for (let at = dirname(path); at.length >= topmost.length; at = dirname(at)) {
    if (
      !(await rmdir(at).then(
        () => true,
        () => false,
      ))
    )
      return;
  }
}

/** The store, or one with a cache that goes. */
async function cacheOf({ settings }: Context, passing: boolean) {
  if (!passing) return { layout: layoutOf(settings), close: async () => {} };
  const place = join(settings.TEMP_PATH, "rootling-cache");
  await clearTemporaries(place);
  const directory = temporaryName(place);
  await mkdir(directory, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
    throw fileFailure(error, "making a directory for downloads", directory);
  });
  return {
    layout: layoutOf({ ...settings, CACHE_PATH: directory }),
    close: () => removeTree(directory).catch(() => {}),
  };
}
