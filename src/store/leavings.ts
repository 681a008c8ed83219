/** What processes that died have left: recognised by the owner in its name, and cleared by whoever comes next. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { errnoOf, fileFailure } from "../base/errors.ts";
import { stateOfName } from "../base/owner.ts";
import { type Layout, runtimePaths } from "./layout.ts";
import { clearRunLeavings } from "./run-leavings.ts";
import { removeStored } from "./trees.ts";

/**
 * So many marks and records may be there before a start clears those of the dead: who is dead, and whom nothing inside
 * survives, takes a look at all processes, and a start is to be quick.
 */
export const KEPT_OF_THE_DEAD = 32;

/** Names in a directory; none if it does not exist. */
export function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return [];
    throw fileFailure(error, "reading a directory of the store", directory);
  }
}

/** Whose an unfinished record or lock is: see temporaryName. Undefined for other names. */
export const stateOfTemporary = (name: string) =>
  stateOfName(/([0-9]+\.[0-9]+\.[0-9a-z]+\.[0-9a-z]+)\.[0-9a-f]+\.tmp$/.exec(name)?.[1] ?? "");

/** Clears unfinished writes, ephemeral upper directories and plans on their way whose owners are dead. */
export async function clearLeavings(layout: Layout): Promise<void> {
  for (const directory of [layout.refs, layout.locks, layout.squashfs]) {
    for (const name of namesIn(directory)) {
      if (stateOfTemporary(name) === "dead") await removeStored(layout, join(directory, name));
    }
  }
  await clearRunLeavings(layout, (directory) => namesIn(directory).filter((name) => stateOfName(name) === "dead"));
  for (const directory of [
    layout.temporary,
    layout.ephemeral,
    runtimePaths(layout).wires,
    runtimePaths(layout).terminals,
  ]) {
    for (const name of namesIn(directory)) {
      // What resists is no reason to fail: it is tried again by the next command.
      if (stateOfName(name) === "dead") await removeStored(layout, join(directory, name)).catch(() => {});
    }
  }
}
