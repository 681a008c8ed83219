/** What virt-bootstrap does: the root file system of a URI, in a directory. The library and the name call it. */
import { mkdir, realpath, rmdir, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { Context } from "../base/context.ts";
import { errnoOf, Failure, fileFailure } from "../base/errors.ts";
import { clearTemporaries, removeTree, temporaryName } from "../base/files.ts";
import type { Alterations } from "../image/alter.ts";
import { checkedRanges, type IdRange } from "../image/alter-ids.ts";
import { hashPassword } from "../image/alter-password.ts";
import type { Environment } from "../image/sources/environment.ts";
import type { Digest, Platform } from "../image/types.ts";
import { type Layout, layoutOf } from "../store/layout.ts";
import { firstLineOf } from "./alter-words.ts";
import { checkPlace, type DiskWishes, importToFile } from "./import-image.ts";
import { type ProgressStatus, Status } from "./progress-status.ts";
import { type Login, registryAccess } from "./registry-access.ts";

/** The ids `start`, `start + 1`, … become `target`, `target + 1`, …: `count` of them. */
export type IdMapping = readonly [start: number, target: number, count: number];

/** What `bootstrap` makes in its directory. */
export type BootstrapFormat = "dir" | "qcow2";

/** What is to be different from the image. */
export interface AlterOptions {
  /** The password that root gets, in /etc/shadow of the root file system; `file`: its first line. */
  rootPassword?: string | { readonly file: string };
  /**
   * Users that files get in place of the image's: any for root, the own and subordinate ones for others. Each id is
   * translated once.
   */
  uidMap?: readonly IdMapping[];
  /** The same for groups. */
  gidMap?: readonly IdMapping[];
}

/** What `bootstrap` is to do. */
export interface BootstrapOptions extends AlterOptions, Login {
  /**
   * Where the root file system comes from: `docker://[HOST[:PORT]/]NAME[:TAG][@DIGEST]` (docker.io where no host is
   * named), the path of a tarball, `file:///path/to/one`, or any other SOURCE that `rootling import` takes.
   */
  uri: string;
  /** The directory. It is made where it is missing; one with files in it is refused, unless `force` says otherwise. */
  dest: string;
  /** `dir`, the default: the files themselves. `qcow2`: a disk a layer, `layer-0.qcow2` and so on; start the last. */
  format?: BootstrapFormat;
  /** The certificate of the registry is not verified, and without TLS it is plain HTTP. */
  notSecure?: boolean;
  /** What is downloaded is thrown away afterwards. */
  noCache?: boolean;
  /** The image for another platform than this machine's. */
  platform?: Platform;
  /** What the disks of `qcow2` are to be like. */
  disk?: Omit<DiskWishes, "flatten">;
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
 * nothing is left. Throws E_USAGE, E_NAME and E_EXISTS for a destination that cannot be, and all that an import throws.
 */
export async function bootstrap(
  context: Context,
  env: Environment,
  options: BootstrapOptions,
  tell: (status: ProgressStatus) => void,
): Promise<BootstrapResult> {
  const { format = "dir", platform } = options;
  if (format !== "dir" && format !== "qcow2") {
    throw new Failure("E_USAGE", `there is no format ${JSON.stringify(format)}`, {
      where: "format",
      mend: "use dir or qcow2",
    });
  }
  const source = sourceOf(options.uri);
  const dest = await destinationOf(options.dest);
  const alterations = await alterationsOf(context, options);
  const status = new Status(source, format, tell);
  const made = await makeParents(dest);
  let cache: Cache | undefined;
  try {
    await checkPlace(dest, format, options.force);
    cache = await cacheOf(context, options.noCache === true);
    const { digest, size } = await importToFile({ ...context, progress: status.progress }, cache.layout, source, {
      output: dest,
      format,
      alterations,
      ...(options.disk === undefined ? {} : { disk: options.disk }),
      ...(options.force ? { force: true } : {}),
      registry: registryAccess(options, { notSecure: options.notSecure }, context.settings, env),
      opened: ({ layers }) => status.opened(layers),
      ...(platform === undefined ? {} : { platform }),
    });
    status.finished();
    return { dest, digest: digest as Digest, size };
  } catch (error) {
    await removeParents(made);
    throw error;
  } finally {
    await cache?.close();
  }
}

/** Programs without types call this, too. */
const isText = (value: unknown): boolean => typeof value === "string" && value !== "";

/** A URI as virt-bootstrap reads it, as a SOURCE: `docker:///NAME` and `docker://NAME/` are `docker://NAME`. Throws E_USAGE. */
function sourceOf(uri: string): string {
  if (!isText(uri)) throw new Failure("E_USAGE", "no source is given", { where: "uri" });
  const [, scheme, name] = /^(docker|virt-builder):\/{1,3}(.*?)\/?$/s.exec(uri) ?? [];
  return name === undefined ? uri : `${scheme}://${name}`;
}

/** The directory that is meant: absolute, and through symlinks. Throws E_USAGE. */
async function destinationOf(text: string): Promise<string> {
  if (!isText(text) || text.includes("\0")) throw new Failure("E_USAGE", "no destination is given", { where: "dest" });
  const path = resolve(text);
  return realpath(path).catch(() => path);
}

/** Owners and root's password as they are to be. Throws E_USAGE and what reading a password file does. */
export async function alterationsOf(context: Context, options: AlterOptions): Promise<Alterations> {
  const { uidMap = [], gidMap = [], rootPassword } = options;
  const ids = { uids: rangesOf(uidMap, "uidMap"), gids: rangesOf(gidMap, "gidMap") };
  const mapped = uidMap.length + gidMap.length > 0;
  if (rootPassword === undefined) return mapped ? { ids } : {};
  const password =
    typeof rootPassword === "string" ? rootPassword : await firstLineOf(rootPassword.file, context.signal);
  const hash = await hashPassword(password, "rootPassword", context.signal);
  return { ...(mapped ? { ids } : {}), rootPassword: hash };
}

function rangesOf(map: readonly IdMapping[], where: string): readonly IdRange[] {
  if (!Array.isArray(map) || !map.every(Array.isArray)) {
    throw new Failure("E_USAGE", "not a list of ranges", { where, mend: "give [[start, target, count], …]" });
  }
  return checkedRanges(
    map.map(([start, target, count]) => ({ start, target, count })),
    where,
  );
}

/**
 * Makes the directories above `path` that are missing. Returns them, the lowest first. One by one: with `recursive`, Node
 * calls a read-only file system ENOENT, and a file that is in the way EEXIST.
 */
async function makeParents(path: string): Promise<string[]> {
  const missing: string[] = [];
  for (let at = dirname(path); !(await isThere(at)); at = dirname(at)) missing.unshift(at);
  const made: string[] = [];
  try {
    for (const directory of missing) {
      if (await makeDirectory(directory)) made.unshift(directory);
    }
    return made;
  } catch (error) {
    await removeParents(made);
    throw fileFailure(error, "making the directory of the destination", dirname(path));
  }
}

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

/** False where somebody else made it meanwhile. */
async function makeDirectory(path: string): Promise<boolean> {
  try {
    await mkdir(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === "EEXIST") return false;
    throw error;
  }
}

/** Removes them, as far as nobody has put anything there. */
async function removeParents(made: readonly string[]): Promise<void> {
  for (const directory of made) await rmdir(directory).catch(() => {});
}

interface Cache {
  readonly layout: Layout;
  close(): Promise<void>;
}

/** The store, or one with a cache that goes. */
async function cacheOf({ settings }: Context, passing: boolean): Promise<Cache> {
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
