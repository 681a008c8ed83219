/** Directories that only their owner may enter. Apart from files.ts, for it is read before code can come from the cache. */
import { mkdirSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { errnoOf, fileFailure } from "./errors.ts";

/** Makes a directory and its missing parents, closed to other users. Trees below it may hold set-id files. */
export function makePrivateDirectory(path: string): void {
  try {
    makeWithParents(path);
  } catch (error) {
    throw fileFailure(error, "making a directory of the store", path);
  }
}

/** Node's own `recursive` turns errors of a disk into ENOENT. */
function makeWithParents(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (errnoOf(error) === "EEXIST" && statSync(path).isDirectory()) return;
    if (errnoOf(error) !== "ENOENT" || dirname(path) === path) throw error;
    makeWithParents(dirname(path));
    mkdirOnce(path);
  }
}

/** Another process may have made it in the meantime. */
function mkdirOnce(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (errnoOf(error) !== "EEXIST") throw error;
  }
}
