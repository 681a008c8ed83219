/** Subhosts among the containers: a name, a record of where its directories are, and its log. */
import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { errnoOf, Failure, fileFailure } from "../base/errors.ts";
import { makePrivateDirectory, syncDirectory, writeFileSafely } from "../base/files.ts";
import { ourselves, ownerName } from "../base/owner.ts";
import {
  type ContainerRecord,
  checkContainerName,
  findContainer,
  getContainer,
  lockWriter,
  refuseRunning,
  type SubhostRecord,
} from "./containers.ts";
import { containerPaths, type Layout } from "./layout.ts";
import { clearLeavings, namesIn } from "./leavings.ts";
import { removeStored } from "./trees.ts";

/** Who has the name already, in words; undefined where this configuration may have it. */
export function holderOf(layout: Layout, name: string, conf: string): string | undefined {
  const found = findContainer(layout, name);
  if (found === undefined || found.subhost?.conf === conf) return undefined;
  return found.subhost === undefined ? "a container" : `the subhost of ${found.subhost.conf}`;
}

/** Makes the record of a subhost, or renews it. Throws E_EXISTS where something else has the name. */
export async function recordSubhost(
  layout: Layout,
  name: string,
  subhost: SubhostRecord,
  image: ContainerRecord["image"],
): Promise<void> {
  const record: ContainerRecord = {
    format: 1,
    name: checkContainerName(name),
    image,
    form: "subhost",
    subhost,
    created: findContainer(layout, name)?.created ?? new Date().toISOString(),
  };
  const paths = containerPaths(layout, name);
  // A renewed record is forced to disk, which takes longer than the boot.
  if (existsSync(paths.record) && readFileSync(paths.record, "utf8") === JSON.stringify(record)) return;
  for (const directory of [layout.containers, layout.temporary]) makePrivateDirectory(directory);
  await clearLeavings(layout);
  const temporary = join(layout.temporary, `${ownerName(ourselves())}.subhost`);
  try {
    mkdirSync(join(temporary, "runs"), { recursive: true, mode: 0o700 });
    await writeFileSafely(join(temporary, "container.json"), JSON.stringify(record));
    renameSync(temporary, paths.directory);
    await syncDirectory(layout.containers);
    return;
  } catch (error) {
    await removeStored(layout, temporary).catch(() => {});
    if (!["ENOTEMPTY", "EEXIST"].includes(errnoOf(error) ?? ""))
      throw fileFailure(error, "recording the subhost", paths.directory);
  }
  // It is there: by an earlier boot, or one that is just ahead of us.
  const holder = holderOf(layout, name, subhost.conf);
  if (holder !== undefined) throw nameTaken(name, holder);
  await writeFileSafely(paths.record, JSON.stringify(record));
}

/** Empties what a subhost has of its own, whose directories stay. Throws E_BUSY while it runs, E_CONFLICT where it is no overlay. */
export async function resetSubhost(layout: Layout, { name, subhost }: ContainerRecord): Promise<void> {
  if (subhost?.variant !== "overlay")
    throw new Failure("E_CONFLICT", `${name} has nothing below it to go back to: its root is a directory itself`, {
      mend: "take back a snapshot with `rootling restore`, or boot it with another LOWER",
    });
  const lock = lockWriter(layout, name);
  try {
    refuseRunning(getContainer(layout, name));
    for (const directory of [subhost.work, subhost.upper])
      for (const entry of namesIn(directory)) await removeStored(layout, join(directory, entry));
    await syncDirectory(subhost.upper);
  } catch (error) {
    throw fileFailure(error, "resetting the subhost", subhost.upper);
  } finally {
    lock.release();
  }
}

export const nameTaken = (name: string, holder: string, where?: string): Failure =>
  new Failure("E_EXISTS", `the name ${name} is taken by ${holder}`, {
    ...(where === undefined ? {} : { where }),
    mend: `choose another with NAME=, or see \`rootling remove ${name}\``,
  });
