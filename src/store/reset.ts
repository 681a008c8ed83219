/**
 * A container back to its image: what it changed makes room for new, empty parts. The old ones and the new ones lie in
 * the container's own directory, for a directory of another owner may be renamed only within its parent.
 */
import { chmodSync, existsSync, mkdirSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";
import { errnoOf, fileFailure } from "../base/errors.ts";
import { syncDirectory } from "../base/files.ts";
import { ourselves, ownerName, stateOfName } from "../base/owner.ts";
import { type Container, getContainer, lockWriter, refuseRunning } from "./containers.ts";
import { containerPaths, type Layout } from "./layout.ts";
import { namesIn } from "./leavings.ts";
import { copyTree, ownLike, removeStored } from "./trees.ts";

const partsOf = ({ form }: Container): string[] => (form === "copied" ? ["root"] : ["work", "upper"]);

/** Whether all parts are there; a reset that was cut short may have left one out. */
export const isWhole = (layout: Layout, container: Container): boolean =>
  partsOf(container).every((part) => existsSync(join(containerPaths(layout, container.name).directory, part)));

/** Replaces the parts that hold changes. `tree`: the image's. Throws E_BUSY while the container runs. */
export async function resetContainer(layout: Layout, container: Container, tree: string): Promise<void> {
  const { directory } = containerPaths(layout, container.name);
  const lock = lockWriter(layout, container.name);
  try {
    refuseRunning(getContainer(layout, container.name));
    await replaceParts(layout, directory, partsOf(container), tree);
  } catch (error) {
    throw fileFailure(error, "resetting the container", directory);
  } finally {
    lock.release();
  }
}

async function replaceParts(layout: Layout, directory: string, parts: readonly string[], tree: string): Promise<void> {
  for (const name of namesIn(directory)) {
    if (stateOfName(name) === "dead") await removeStored(layout, join(directory, name));
  }
  const mine = (part: string, what: string) => join(directory, `${ownerName(ourselves())}.${part}.${what}`);
  try {
    for (const part of parts) await makePart(layout, mine(part, "new"), part, tree);
    for (const part of parts) {
      moveIfThere(join(directory, part), mine(part, "old"));
      renameSync(mine(part, "new"), join(directory, part));
    }
    await syncDirectory(directory);
  } finally {
    for (const part of parts) {
      for (const what of ["new", "old"]) await removeStored(layout, mine(part, what));
    }
  }
}

async function makePart(layout: Layout, path: string, part: string, tree: string): Promise<void> {
  if (part === "root") return copyTree(layout, tree, path);
  mkdirSync(path, { mode: 0o700 });
  if (part !== "upper") return;
  // A merged root shows mode and owner of its upper directory.
  chmodSync(path, statSync(tree).mode & 0o7777);
  await ownLike(layout, path, tree);
}

function moveIfThere(path: string, to: string): void {
  try {
    renameSync(path, to);
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw error;
  }
}
