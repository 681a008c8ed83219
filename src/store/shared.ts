/**
 * Read-only stores that many users and machines share: directories of squashfs files, and of nothing else, since a
 * tree that others may enter could hold set-id files. They are only ever read.
 */
import { accessSync, constants } from "node:fs";
import { join } from "node:path";

/** `team/app:1` is the file `team+app+1.sqsh`, as enroot names what it imports. */
export const sharedFileName = (name: string): string => `${name.replace(/[/:@]/g, "+")}.sqsh`;

/** The first file of that name in `directories`; undefined if none has it. */
export function findShared(directories: readonly string[], name: string): string | undefined {
  const file = sharedFileName(name);
  if (file.startsWith(".") || Buffer.byteLength(file) > 255) return undefined;
  return directories
    .map((directory) => join(directory, file))
    .find((path) => {
      try {
        accessSync(path, constants.R_OK);
        return true;
      } catch {
        return false;
      }
    });
}
