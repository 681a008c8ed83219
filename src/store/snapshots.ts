/**
 * Snapshots: copies of what a container has of its own, as cheap as its file system makes them (reflinks). They lie
 * beside it, since only there files can be shared.
 */
import { mkdirSync, renameSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { errnoOf, Failure, fileFailure } from "../base/errors.ts";
import { makePrivateDirectory, syncDirectory } from "../base/files.ts";
import { ourselves, ownerName, stateOfName } from "../base/owner.ts";
import { type Container, getContainer, lockWriter, partsOf, refuseRunning } from "./containers.ts";
import type { Layout } from "./layout.ts";
import { namesIn } from "./leavings.ts";
import { copyTree, removeStored } from "./trees.ts";

export interface Snapshot {
  readonly name: string;
  /** ISO 8601 time. */
  readonly made: string;
}

const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}$/;

/** Throws E_NAME unless it is one file name of harmless characters. */
export function checkSnapshotName(name: string): string {
  if (NAME.test(name) && stateOfName(name) === undefined) return name;
  throw new Failure("E_NAME", `a snapshot cannot be named ${JSON.stringify(name)}`, {
    mend: "use up to 64 of A-Z a-z 0-9 _ . + -, beginning with a letter, a digit or _",
  });
}

/** What is kept of it, and where its snapshots lie. */
function placesOf(layout: Layout, container: Container): { own: string; snapshots: string } {
  const { upper, root } = partsOf(layout, container);
  const own = container.form === "copied" ? root : upper;
  return { own, snapshots: `${own}.snapshots` };
}

export function listSnapshots(layout: Layout, container: Container): Snapshot[] {
  const { snapshots } = placesOf(layout, container);
  return namesIn(snapshots)
    .filter((name) => NAME.test(name) && stateOfName(name) === undefined)
    .map((name) => ({ name, made: statSync(join(snapshots, name)).ctime.toISOString() }))
    .sort((a, b) => (a.made < b.made ? -1 : 1));
}

/** Nobody changes the container meanwhile, and what the dead have left is gone. */
async function alone<T>(layout: Layout, name: string, work: (container: Container) => Promise<T>): Promise<T> {
  const lock = lockWriter(layout, name);
  try {
    const container = getContainer(layout, name);
    refuseRunning(container);
    const { own, snapshots } = placesOf(layout, container);
    for (const left of namesIn(snapshots))
      if (stateOfName(left) === "dead") await removeStored(layout, join(snapshots, left));
    // A restore that was killed between its two steps.
    if (statSync(own, { throwIfNoEntry: false }) === undefined) await putBack(own);
    for (const left of besides(own))
      if (stateOfName(left.slice(basename(own).length + 1)) === "dead")
        await removeStored(layout, join(dirname(own), left));
    return await work(container);
  } catch (error) {
    throw fileFailure(error, "working on snapshots", name);
  } finally {
    lock.release();
  }
}

const besides = (own: string): string[] => namesIn(dirname(own)).filter((name) => name.startsWith(`${basename(own)}.`));

async function putBack(own: string): Promise<void> {
  const old = besides(own).find((name) => name.endsWith(".old"));
  if (old !== undefined) renameSync(join(dirname(own), old), own);
}

/** Throws E_EXISTS where the name is taken, E_BUSY while the container runs. */
export const makeSnapshot = (layout: Layout, name: string, snapshot: string): Promise<void> =>
  alone(layout, name, async (container) => {
    const { own, snapshots } = placesOf(layout, container);
    makePrivateDirectory(snapshots);
    const final = join(snapshots, checkSnapshotName(snapshot));
    if (statSync(final, { throwIfNoEntry: false }) !== undefined)
      throw new Failure("E_EXISTS", `there is a snapshot ${snapshot} of ${name} already`, {
        mend: "choose another name",
      });
    const holder = join(snapshots, ownerName(ourselves()));
    mkdirSync(holder, { mode: 0o700 });
    try {
      await copyTree(layout, own, join(holder, "tree"));
      renameSync(holder, final);
      await syncDirectory(snapshots);
    } catch (error) {
      await removeStored(layout, holder).catch(() => {});
      throw error;
    }
  });

function directoryOf(layout: Layout, container: Container, snapshot: string): string {
  const path = join(placesOf(layout, container).snapshots, checkSnapshotName(snapshot));
  if (statSync(path, { throwIfNoEntry: false }) !== undefined) return path;
  throw new Failure("E_NOT_FOUND", `there is no snapshot ${snapshot} of ${container.name}`, {
    mend: `see \`rootling snapshot --list ${container.name}\``,
  });
}

/** What the container has of its own becomes what it was; the snapshot stays. Throws E_NOT_FOUND, E_BUSY. */
export const restoreSnapshot = (layout: Layout, name: string, snapshot: string): Promise<void> =>
  alone(layout, name, async (container) => {
    const { own } = placesOf(layout, container);
    const tree = join(directoryOf(layout, container, snapshot), "tree");
    const mine = (what: string) => `${own}.${ownerName(ourselves())}.${what}`;
    try {
      await copyTree(layout, tree, mine("new"));
      renameSync(own, mine("old"));
      renameSync(mine("new"), own);
      await syncDirectory(dirname(own));
      await removeStored(layout, mine("old"));
    } catch (error) {
      await removeStored(layout, mine("new")).catch(() => {});
      if (errnoOf(error) !== "EBUSY") throw error;
      throw new Failure("E_BUSY", "a mount point cannot be taken back to a snapshot", {
        where: own,
        mend: "mount its file system one directory higher, and name the directory in it",
      });
    }
  });

/** Throws E_NOT_FOUND. */
export const removeSnapshot = (layout: Layout, name: string, snapshot: string): Promise<void> =>
  alone(layout, name, async (container) => removeStored(layout, directoryOf(layout, container, snapshot)));
