/**
 * Marks of running containers on the images below them, one file a start in `images/<hex>/users`, named after its
 * owner: an image is in use as long as one of its marks is alive, or belongs to another machine that shares the store.
 */
import { existsSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Failure, fileFailure } from "../base/errors.ts";
import { makePrivateDirectory } from "../base/files.ts";
import { type Owner, ourselves, ownerName, stateOfName } from "../base/owner.ts";
import { markOfName, survivors } from "../base/survivors.ts";
import { imagePaths, type Layout } from "./layout.ts";
import { KEPT_OF_THE_DEAD, namesIn } from "./leavings.ts";

/**
 * Marks the image as used by this owner. Throws E_NOT_FOUND if it was removed in the meantime: the remover takes the
 * record away first and then looks for marks, we make the mark first and then look for the record, so one of us sees
 * the other.
 */
export function markUse(layout: Layout, hex: string, owner: Owner = ourselves()): void {
  const { users, record } = imagePaths(layout, hex);
  try {
    makePrivateDirectory(users);
    if (namesIn(users).length >= KEPT_OF_THE_DEAD) clearDead(users);
    writeFileSync(join(users, ownerName(owner)), "", { mode: 0o600 });
  } catch (error) {
    throw fileFailure(error, "marking the image as used", users);
  }
  if (!existsSync(record)) {
    throw new Failure("E_NOT_FOUND", "the image was removed just now", { where: record, mend: "import it again" });
  }
}

/** Takes back a mark of ours. Never throws: one that cannot be removed counts for nothing when this process has ended. */
export function unmarkUse(layout: Layout, hex: string): void {
  try {
    rmSync(join(imagePaths(layout, hex).users, ownerName(ourselves())), { force: true });
  } catch {}
}

function clearDead(users: string): void {
  const stateOf = statesOfMarks();
  for (const name of namesIn(users)) if (stateOf(name) === "dead") rmSync(join(users, name), { force: true });
}

/** Of marks: an image is used as well by what lives on inside when its owner has ended. */
function statesOfMarks(): (name: string) => ReturnType<typeof stateOfName> {
  const alive = survivors();
  return (name) => {
    const state = stateOfName(name);
    return state === "dead" && alive(markOfName(name)).length > 0 ? "alive" : state;
  };
}

/** How many starts have their marks in this directory: of this machine, and of others that share the store. */
export function usersIn(directory: string): { alive: number; foreign: number } {
  const states = namesIn(directory).map(statesOfMarks());
  return {
    alive: states.filter((state) => state === "alive").length,
    foreign: states.filter((state) => state === "foreign").length,
  };
}

/** When a start used it last: milliseconds since 1970, 0 if none did. */
export function lastUse(layout: Layout, hex: string): number {
  return statSync(imagePaths(layout, hex).users, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}
