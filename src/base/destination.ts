/** What an output may replace, and what is never replaced, whatever was asked for. */
import { access, constants, lstat, open, readdir, readFile, realpath, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, resolve } from "node:path";
import { unescapeOctal } from "./bytes.ts";
import { errnoOf, Failure, fileFailure } from "./errors.ts";
import { clearTemporaries, existing, temporaryName } from "./files.ts";

/** A tree is a directory that can be filled where it is, an image layout one that is moved into place. */
export type OutputKind = "file" | "directory" | "tree";

/** How an output is made: beside its place and then moved there, or in a directory that cannot be replaced. */
export type OutputWay = "beside" | "in place";

/**
 * Throws E_EXISTS or E_NAME for a place that an output of this kind must not take, E_NOT_FOUND or E_READ_ONLY for one
 * whose directory is missing or cannot be written to. An empty directory is as good as
 * none. With `force` a file replaces a file and a directory a directory, but never one that holds `/`, the current
 * directory, the home directory or a mount: what was meant is another one, and it could not be put back.
 */
export async function checkOutput(path: string, kind: OutputKind, force: boolean): Promise<OutputWay> {
  if (resolve(path) === "/") throw refused("E_NAME", "the output would take the place of /", path);
  if (kind === "tree" && (await isMountPoint(path))) {
    if ((await contentOf(path)).length === 0) return "in place";
    throw refused("E_EXISTS", "the output is a mount point with files in it", path);
  }
  const present = await lstat(path).catch((error: unknown) => {
    if (errnoOf(error) === "ENAMETOOLONG") throw fileFailure(error, "making the output", path);
  });
  if (present !== undefined) {
    if (kind === "file") await checkFile(path, force);
    else if (!present.isDirectory()) throw refused("E_EXISTS", "the output exists, and is no directory", path);
    else await checkDirectory(path, force);
    if (kind === "tree" && (await isAlone(path))) return "in place";
  }
  await checkAbove(path);
  return "beside";
}

/** Told here, so that it is said of the output, in the same words by all sinks and before any work. */
async function checkAbove(path: string): Promise<void> {
  try {
    await access(`${dirname(path)}/`, constants.W_OK);
  } catch (error) {
    throw fileFailure(error, "making the output", path);
  }
}

/**
 * checkOutput for what is made beside its place: the name that it is made under. What commands that were killed left
 * there is removed.
 */
export async function nameBeside(output: string, kind: "file" | "directory", force: boolean): Promise<string> {
  await checkOutput(output, kind, force);
  await clearTemporaries(output);
  return temporaryName(output);
}

/** The same for a file, which is there, and empty: a place that cannot be written to is told before any work. */
export async function fileBeside(output: string, force: boolean): Promise<string> {
  const temporary = await nameBeside(output, "file", force);
  try {
    await (await open(temporary, "wx", 0o644)).close();
  } catch (error) {
    throw fileFailure(error, "making the output", output);
  }
  return temporary;
}

/** Whether the caller may fill this empty directory, but make nothing beside it. */
async function isAlone(path: string): Promise<boolean> {
  const may = (place: string) =>
    access(place, constants.W_OK).then(
      () => true,
      () => false,
    );
  if (await may(dirname(path))) return false;
  return (await may(path)) && (await readdir(path)).length === 0;
}

/** What a new ext4 has in it. */
const LOST_AND_FOUND = "lost+found";

/** What a directory holds that its file system did not make. */
export const contentOf = async (path: string): Promise<string[]> =>
  (await readdir(path)).filter((name) => name !== LOST_AND_FOUND);

async function checkFile(path: string, force: boolean): Promise<void> {
  // A symlink is replaced, not followed; but who names /dev/stdout does not mean the symlink.
  const target = await stat(path).catch(() => undefined);
  if (target?.isDirectory()) throw refused("E_EXISTS", "the output exists, and is a directory", path);
  if (target !== undefined && !target.isFile()) {
    throw refused("E_EXISTS", "the output exists, and is a device, a socket or a FIFO", path);
  }
  if (!force) throw existing(path);
}

async function checkDirectory(path: string, force: boolean): Promise<void> {
  const empty = (await readdir(path).catch(() => [""])).length === 0;
  if (!empty && !force) throw existing(path);
  const real = await realpath(path);
  const kept: Record<string, string> = { "the current directory": process.cwd(), "the home directory": homedir() };
  for (const [what, place] of Object.entries(kept)) {
    if (isWithin(await realpath(place).catch(() => place), real)) {
      throw refused("E_NAME", `the output would take the place of ${what}`, path);
    }
  }
  if ((await mountPoints()).some((point) => isWithin(point, real))) {
    throw refused("E_EXISTS", "something is mounted in the output", path);
  }
}

/** Whether something is mounted on the directory `path`. */
async function isMountPoint(path: string): Promise<boolean> {
  const real = await realpath(path).catch(() => undefined);
  if (real === undefined || !(await lstat(real)).isDirectory()) return false;
  return (await mountPoints()).includes(real);
}

/** proc(5), /proc/pid/mountinfo. */
async function mountPoints(): Promise<string[]> {
  const lines = (await readFile("/proc/self/mountinfo", "utf8")).split("\n");
  return lines.map((line) => unescapeOctal(line.split(" ")[4] ?? ""));
}

const isWithin = (path: string, directory: string): boolean => path === directory || path.startsWith(`${directory}/`);

const refused = (code: "E_EXISTS" | "E_NAME", what: string, where: string): Failure =>
  new Failure(code, what, { where, mend: "choose another name" });
