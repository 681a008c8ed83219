/** Containers: a name, a reference to an image, and an upper directory for what is changed. */
import { chmodSync, mkdirSync, readFileSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";
import { errnoOf, Failure, fileFailure } from "../base/errors.ts";
import { makePrivateDirectory, syncDirectory, writeFileSafely } from "../base/files.ts";
import { type Owner, ourselves, ownerName } from "../base/owner.ts";
import { containerPaths, type Layout } from "./layout.ts";
import { clearLeavings, namesIn } from "./leavings.ts";
import { type Lock, tryLock } from "./lock.ts";
import { listRuns, type Run } from "./runs.ts";
import { copyTree, ownLike, removeStored } from "./trees.ts";

const FORMAT = 1;

export interface ContainerRecord {
  format: typeof FORMAT;
  name: string;
  image: {
    /** Digest of the stored image below. */
    digest: string;
    /** The name it was created from, for people. */
    name: string;
  };
  /**
   * shared: what it changes lies in `upper`, above the image's tree. copied: it has the whole tree in `root`, since its
   * file system cannot hold an overlay's upper directory. subhost: its directories are those of its configuration.
   */
  form: "shared" | "copied" | "subhost";
  /** Of a subhost: absolute paths of the host. */
  subhost?: SubhostRecord;
  /** The id map that it was made for; absent for the maps of one id, and for root without a user namespace. */
  map?: {
    /** The words of --map. */
    words: string;
    /** What the owners on disk depend on; empty for root, whose idmapped mounts serve every map. */
    owners: string;
  };
  /** ISO 8601 time. */
  created: string;
}

/** What a subhost was last booted with; the directories are not the store's, and stay when it is removed. */
export interface SubhostRecord {
  conf: string;
  variant: "overlay" | "bind" | "as-is";
  /** A directory, or `image:NAME`. */
  lower: string;
  upper: string;
  work: string;
  /** It has a user namespace: overlayfs's marks in UPPER are those of one. */
  userns?: true;
  /** Where its log lies, if not in the store. */
  log?: string;
}

export interface Container extends ContainerRecord {
  runs: readonly Run[];
}

const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.+-]*$/;
const NAME_MAX = 128;

/** Throws E_NAME unless `name` is one file name of harmless characters. */
export function checkContainerName(name: string): string {
  if (NAME.test(name) && name.length <= NAME_MAX) return name;
  throw new Failure("E_NAME", `a container cannot be named ${JSON.stringify(name)}`, {
    mend: `use up to ${NAME_MAX} of A-Z a-z 0-9 _ . + -, beginning with a letter, a digit or _`,
  });
}

const taken = (name: string): Failure =>
  new Failure("E_EXISTS", `a container named ${name} exists already`, {
    mend: `choose another name with --name, or remove it with \`rootling remove ${name}\``,
  });

/** Throws E_NAME for a name that no container may have, E_EXISTS for one that is taken. */
export function refuseTakenName(layout: Layout, name: string): void {
  if (statSync(containerPaths(layout, checkContainerName(name)).directory, { throwIfNoEntry: false }))
    throw taken(name);
}

/** Makes a container of the image with this tree. Throws E_EXISTS if the name is taken. */
export async function createContainer(
  layout: Layout,
  name: string,
  image: ContainerRecord["image"],
  tree: string,
  form: ContainerRecord["form"],
  map?: ContainerRecord["map"],
): Promise<ContainerRecord> {
  const record: ContainerRecord = {
    format: FORMAT,
    name: checkContainerName(name),
    image: { digest: image.digest, name: image.name },
    form,
    ...(map === undefined ? {} : { map }),
    created: new Date().toISOString(),
  };
  const final = containerPaths(layout, name).directory;
  for (const directory of [layout.containers, layout.temporary]) makePrivateDirectory(directory);
  await clearLeavings(layout);
  const temporary = join(layout.temporary, `${ownerName(ourselves())}.container`);
  refuseTakenName(layout, name);
  try {
    mkdirSync(temporary, { mode: 0o700 });
    for (const part of ["upper", "work", "runs"]) mkdirSync(join(temporary, part), { mode: 0o700 });
    // A merged root shows the mode of its upper directory; chmod, for the umask does not apply to an image's mode.
    chmodSync(join(temporary, "upper"), statSync(tree).mode & 0o7777);
    await ownLike(layout, join(temporary, "upper"), tree);
    if (form === "copied") await copyTree(layout, tree, join(temporary, "root"));
    await writeFileSafely(join(temporary, "container.json"), JSON.stringify(record));
    renameSync(temporary, final);
    await syncDirectory(layout.containers);
    return record;
  } catch (error) {
    await removeStored(layout, temporary).catch(() => {});
    const errno = errnoOf(error);
    throw errno === "ENOTEMPTY" || errno === "EEXIST" ? taken(name) : fileFailure(error, "making the container", final);
  }
}

function readContainer(layout: Layout, name: string): Container | undefined {
  const paths = containerPaths(layout, name);
  let text: string;
  try {
    text = readFileSync(paths.record, "utf8");
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw fileFailure(error, "reading a container's record", paths.record);
  }
  const record = parseRecord(text, paths.record);
  let runs: Run[] | undefined;
  return {
    ...record,
    // Looked for when they are asked for: whom the dead left behind is only found among all processes.
    get runs() {
      return (runs ??= listRuns(paths.runs));
    },
  };
}

function parseRecord(text: string, path: string): ContainerRecord {
  const broken = (what: string, mend: string) =>
    new Failure("E_RECORD", `a container's record ${what}`, { where: path, mend });
  let record: ContainerRecord;
  try {
    record = JSON.parse(text) as ContainerRecord;
  } catch {
    throw broken("is damaged", "remove the container's directory if it is of no use");
  }
  if (record.format > FORMAT)
    throw broken(`has format ${record.format}, newer than this rootling knows`, "update rootling");
  if (typeof record.image?.digest !== "string")
    throw broken("is damaged", "remove the container's directory if it is of no use");
  return record;
}

/** The paths of a container; what a subhost has of its own lies where its configuration says. */
export function partsOf(layout: Layout, { name, subhost }: ContainerRecord): ReturnType<typeof containerPaths> {
  const paths = containerPaths(layout, name);
  if (subhost === undefined) return paths;
  const { upper, work, log } = subhost;
  return { ...paths, upper, work, ...(log === undefined ? {} : { log, olderLog: `${log}.1` }) };
}

/** The container, or undefined. */
export const findContainer = (layout: Layout, name: string): Container | undefined =>
  NAME.test(name) && name.length <= NAME_MAX ? readContainer(layout, name) : undefined;

/** The container. Throws E_NOT_FOUND. */
export function getContainer(layout: Layout, name: string): Container {
  const container = findContainer(layout, checkContainerName(name));
  if (container !== undefined) return container;
  throw new Failure("E_NOT_FOUND", `there is no container named ${name}`, { mend: "see `rootling list`" });
}

export function listContainers(layout: Layout): Container[] {
  return namesIn(layout.containers)
    .sort()
    .flatMap((name) => findContainer(layout, name) ?? []);
}

/** The right to change a container's upper: one start at a time has it. Throws E_BUSY. */
export function lockWriter(layout: Layout, name: string, owner: Owner = ourselves()): Lock {
  const paths = containerPaths(layout, name);
  const taken = tryLock(paths.lock, owner);
  const busy = (pid: number) =>
    new Failure("E_BUSY", `the container ${name} runs writable already (pid ${pid})`, {
      mend: `enter it with \`rootling exec ${name}\`, end it with \`rootling stop ${name}\`, or start it without --rw`,
    });
  if (!("release" in taken)) throw busy(taken.pid);
  // Its owner has ended, but not all that it started: two overlays of one upper directory would damage it.
  const writer = listRuns(paths.runs).find(({ writable }) => writable);
  if (writer === undefined) return taken;
  taken.release();
  throw busy(writer.pid);
}

/** The right to the container's log and to the record of its end. Throws E_BUSY. */
export function lockDetached(layout: Layout, name: string, owner: Owner): void {
  const taken = tryLock(containerPaths(layout, name).detached, owner);
  if ("release" in taken) return;
  throw new Failure("E_BUSY", `the container ${name} runs detached already (pid ${taken.pid})`, {
    mend: `end it with \`rootling stop ${name}\`, or start it without --detach`,
  });
}

/** The right to change a directory as a root, among the starts of this store. Throws E_BUSY. */
export function lockDirectory(layout: Layout, path: string, owner: Owner = ourselves()): void {
  makePrivateDirectory(layout.locks);
  const taken = tryLock(join(layout.locks, `directory-${lockNameOf(path)}`), owner);
  if ("release" in taken) return;
  throw new Failure("E_BUSY", `the directory runs writable already (pid ${taken.pid})`, {
    where: path,
    mend: "end it first, or start it without --rw",
  });
}

/** Bytes of a file's name, less those that a lock puts behind it. */
const LOCK_NAME_MAX = 150;

/** One name for each path, without a dot; of a long path a digest, whose module takes longer to load than all else here. */
function lockNameOf(path: string): string {
  const name = encodeURIComponent(path).replaceAll(".", "%2E");
  if (name.length <= LOCK_NAME_MAX) return name;
  return process.getBuiltinModule("node:crypto").hash("sha256", path).slice(0, 32);
}

/** Throws E_BUSY while something runs in it. */
export function refuseRunning({ name, runs: [run] }: Container): void {
  if (run === undefined) return;
  throw new Failure("E_BUSY", `the container ${name} is running (pid ${run.pid})`, {
    mend: `end it with \`rootling stop ${name}\``,
  });
}

/** The end of the last detached start, if that has come to one. */
export interface Ended {
  readonly status: number;
  /** ISO 8601 time. */
  readonly ended: string;
  /** Of its monitor. */
  readonly pid: number;
}

export function lastEnd(layout: Layout, name: string): Ended | undefined {
  const file = containerPaths(layout, name).exit;
  try {
    const [status = 0, seconds = 0, pid = 0] = readFileSync(file, "utf8").trim().split(" ").map(Number);
    return { status, ended: new Date(seconds * 1000).toISOString(), pid };
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw fileFailure(error, "reading the record of an end", file);
  }
}

/** Removes a container that does not run. Throws E_BUSY if it does. */
export async function removeContainer(layout: Layout, name: string): Promise<void> {
  refuseRunning(getContainer(layout, name));
  lockWriter(layout, name);
  makePrivateDirectory(layout.temporary);
  await clearLeavings(layout);
  const trash = join(layout.temporary, `${ownerName(ourselves())}.${name}.removed`);
  renameSync(containerPaths(layout, name).directory, trash);
  await syncDirectory(layout.containers);
  await removeStored(layout, trash);
}
