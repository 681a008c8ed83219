/**
 * Disk files that are mounted on the host for a subhost. Each has a mark in the runtime directory, written before it is
 * mounted: the owner of the mark unmounts it, and what the dead have left the next command does.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { unescapeOctal } from "../base/bytes.ts";
import { fileFailure } from "../base/errors.ts";
import { type Owner, ownerName, suffix } from "../base/owner.ts";
import { makePrivateDirectory } from "../base/private-directory.ts";
import { capture, requireProgram } from "../base/process.ts";
import { type Layout, runtimePaths } from "./layout.ts";
import { namesIn } from "./leavings.ts";

export interface DiskFile {
  readonly mark: string;
  /** The mount point and the file, without symlinks. */
  readonly mount: string;
  readonly file: string;
}

/** The environment variable by which a command of a configuration learns whose mounts it makes. */
export const OWNER_VARIABLE = "ROOTLING_DISKFILE_OWNER";

const read = (path: string): string => {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
};

/** Writes down what is about to be mounted for the owner of this name. */
export function markDiskFile(layout: Layout, owner: string, mount: string, file: string): DiskFile {
  const { diskFiles } = runtimePaths(layout);
  const mark = join(diskFiles, `${owner}.${suffix()}`);
  try {
    makePrivateDirectory(diskFiles);
    writeFileSync(mark, `${mount}\0${file}`, { mode: 0o600 });
  } catch (error) {
    throw fileFailure(error, "marking a disk file", mark);
  }
  return { mark, mount, file };
}

/** What is marked as this owner's. */
export function diskFilesOf(layout: Layout, owner: Owner): DiskFile[] {
  const { diskFiles } = runtimePaths(layout);
  return namesIn(diskFiles)
    .filter((name) => name.startsWith(`${ownerName(owner)}.`))
    .map((name) => readMark(join(diskFiles, name)));
}

const readMark = (mark: string): DiskFile => {
  const [mount = "", file = ""] = read(mark).split("\0");
  return { mark, mount, file };
};

const markOf = (layout: Layout, owner: Owner, { mark }: DiskFile): string =>
  join(runtimePaths(layout).diskFiles, `${ownerName(owner)}.${mark.slice(mark.lastIndexOf(".") + 1)}`);

/** The same with the marks that they have once they are handed over. */
export const ownedBy = (layout: Layout, owner: Owner, files: readonly DiskFile[]): DiskFile[] =>
  files.map((file) => ({ ...file, mark: markOf(layout, owner, file) }));

/** From here on `owner`, whom the plan undoes them for, has them. */
export function handOver(layout: Layout, owner: Owner, files: readonly DiskFile[]): void {
  for (const file of files) renameSync(file.mark, markOf(layout, owner, file));
}

/** The file behind what is mounted at this path last; undefined for anything but a loop device. */
export function mountedFile(path: string): string | undefined {
  const line = readFileSync("/proc/self/mountinfo", "utf8")
    .trimEnd()
    .split("\n")
    .findLast((one) => unescapeOctal(one.split(" ")[4] ?? "") === path);
  const loop = / - \S+ \/dev\/(loop[0-9]+) /.exec(line ?? "")?.[1];
  return loop && read(`/sys/block/${loop}/loop/backing_file`).replace(/\n$/, "");
}

/** Unmounts it, unless something else is mounted there by now, and takes the mark away. The loop device frees itself. */
export async function releaseDiskFile({ mark, mount, file }: DiskFile): Promise<void> {
  if (file !== "" && mountedFile(mount) === file) await capture(requireProgram("umount", "mount"), ["--lazy", mount]);
  rmSync(mark, { force: true });
}

/** Releases what the dead have left. Never rejects: what resists is tried again by the next command. */
export async function clearDiskFiles(layout: Layout, dead: (directory: string) => string[]): Promise<void> {
  const { diskFiles } = runtimePaths(layout);
  for (const name of dead(diskFiles)) await releaseDiskFile(readMark(join(diskFiles, name))).catch(() => {});
}
