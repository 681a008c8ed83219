/** The commit rule: temporary name → fsync → rename → fsync of the directory. */
import { type PathLike, promises } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { errnoOf, Failure, fileFailure } from "./errors.ts";
import { ourselves, ownerName, stateOfName, suffix } from "./owner.ts";
import { capture, run, saidFailure } from "./process.ts";

export { makePrivateDirectory } from "./private-directory.ts";

/** The beginning of all temporary names beside `path`: short enough that the owner fits behind it in NAME_MAX. */
const temporaryPrefix = (path: string): string => {
  const name = Buffer.from(basename(path));
  // Cut within a character, a name would not come back from the file system as it was given.
  if (name.length <= 160) return `${basename(path)}.`;
  return `.${process.getBuiltinModule("node:crypto").hash("sha256", name).slice(0, 16)}.`;
};

/** A name beside `path` that nobody else uses. It says whose it is: see clearTemporaries. */
export const temporaryName = (path: string): string =>
  join(dirname(path), `${temporaryPrefix(path)}${ownerName(ourselves())}.${suffix()}${TEMPORARY_END}`);

const TEMPORARY_END = ".tmp";

/** Whose files can be removed, and how. */
export interface Power {
  owns(uid: number): boolean;
  remove(path: string): Promise<void>;
}

/** Over the caller's own files, and for root over all. */
export const ownPower: Power = {
  owns: (uid) => uid === process.geteuid?.(),
  remove: (path) => removeTree(path),
};

/**
 * Removes the temporary files and directories beside `path` whose makers are dead (kill -9). Never rejects. Only our
 * own: in a directory that others may write to, what somebody planted could change into links while it is removed.
 */
export async function clearTemporaries(path: string, power: Power = ownPower): Promise<void> {
  const prefix = temporaryPrefix(path);
  for (const name of await promises.readdir(dirname(path)).catch(() => [])) {
    if (!name.startsWith(prefix) || !name.endsWith(TEMPORARY_END)) continue;
    if (stateOfName(name.slice(prefix.length)) !== "dead") continue;
    const left = join(dirname(path), name);
    const owner = await promises.lstat(left).then(
      ({ uid }) => uid,
      () => undefined,
    );
    if (owner !== undefined && power.owns(owner)) await power.remove(left).catch(() => {});
  }
}

/** Forces a directory's entries to disk. */
export async function syncDirectory(path: PathLike): Promise<void> {
  const handle = await promises.open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Forces a file's content to disk. */
export async function syncFile(path: string): Promise<void> {
  const handle = await promises.open(path, "r+");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Writes a file so that after a crash either the old or the whole new content is there. Mode 0600. */
export async function writeFileSafely(path: string, content: string | Uint8Array): Promise<void> {
  const temporary = temporaryName(path);
  let handle: FileHandle | undefined;
  try {
    handle = await promises.open(temporary, "wx", 0o600);
    await handle.writeFile(content);
    await handle.sync();
    await handle.close();
    handle = undefined;
    await promises.rename(temporary, path);
    await syncDirectory(dirname(path));
  } catch (error) {
    await handle?.close().catch(() => {});
    await promises.rm(temporary, { force: true }).catch(() => {});
    throw fileFailure(error, "writing a record", path);
  }
}

/**
 * Gives a finished temporary file or directory its final name. Without `force` what exists is left alone, unless it is
 * an empty directory, and E_EXISTS thrown; with it the old one is removed once the new one is in place.
 */
export async function moveIntoPlace(
  temporary: string,
  path: string,
  force: boolean,
  { remove }: Pick<Power, "remove"> = ownPower,
): Promise<void> {
  try {
    const isDirectory = (await promises.lstat(temporary)).isDirectory();
    if (isDirectory) await moveDirectory(temporary, path, force, remove);
    else if (force) await promises.rename(temporary, path);
    else await moveNewFile(temporary, path);
    await syncDirectory(dirname(path));
  } catch (error) {
    throw fileFailure(error, "writing the output", path);
  }
}

/** The failure of a name that is taken. */
export const existing = (path: string): Failure =>
  new Failure("E_EXISTS", "the output exists already", {
    where: path,
    mend: "choose another name, remove it, or use --force",
  });

async function moveNewFile(temporary: string, path: string): Promise<void> {
  try {
    // Unlike rename, link never replaces what another process put there in the meantime.
    await promises.link(temporary, path);
  } catch (error) {
    if (errnoOf(error) === "EEXIST") throw existing(path);
    if (await promises.lstat(path).catch(() => undefined)) throw existing(path);
    await promises.rename(temporary, path);
    return;
  }
  // The output is there: a temporary name that cannot be removed takes nothing away from that.
  await promises.rm(temporary).catch(() => {});
}

async function moveDirectory(temporary: string, path: string, force: boolean, remove: Power["remove"]): Promise<void> {
  if (!force) {
    // Of what is there, rename(2) replaces nothing but an empty directory.
    await promises.rename(temporary, path).catch((error: unknown) => {
      throw ["ENOTEMPTY", "EEXIST", "ENOTDIR"].includes(errnoOf(error) ?? "") ? existing(path) : error;
    });
    return;
  }
  const old = temporaryName(path);
  const replaced = await promises.rename(path, old).then(
    () => true,
    () => false,
  );
  await promises.rename(temporary, path);
  if (replaced) await remove(old);
}

/**
 * Removes a tree, even one whose directories are closed to their owner or deeper than a path can be long: by GNU's rm
 * and find, which go by descriptors and never follow a symlink. Files keep their modes: other trees may have them too.
 */
export async function removeTree(path: string): Promise<void> {
  try {
    await promises.rm(path, { recursive: true, force: true });
  } catch {
    const closed = await openDirectories(path);
    await capture("rm", ["-rf", "--one-file-system", "--", path]).catch((error: unknown) => {
      // Where directories cannot be opened, the reason of that is the reason.
      throw closed ?? saidFailure(error, "removing", path) ?? fileFailure(error, "removing", path);
    });
  }
}

/** Gives the owner access to all directories of a tree. The failure of that, where there was one. Never rejects. */
async function openDirectories(path: string): Promise<Failure | undefined> {
  let said = "";
  const chmod = ["-type", "d", "!", "-perm", "-700", "-execdir", "chmod", "u+rwx", "--", "{}", ";"];
  // find refuses to work with a PATH that depends on the directory.
  const absolute = (process.env.PATH ?? "").split(":").filter((directory) => directory.startsWith("/"));
  const { finished } = run("find", [path, "-xdev", ...chmod], {
    env: { PATH: absolute.join(":") },
    onStderr: (text) => (said = (said + text).slice(-4096)),
  });
  await finished.catch(() => {});
  return said === "" ? undefined : saidFailure(new Failure("E_PROGRAM", said), "removing", path);
}
