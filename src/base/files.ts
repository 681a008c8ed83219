/** The commit rule: temporary name → fsync → rename → fsync of the directory. */
import { randomBytes } from "node:crypto";
import { mkdirSync, type PathLike } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { fileFailure } from "./errors.ts";

/** A name beside `path` that nobody else uses; `isTemporary` knows it again. */
export const temporaryName = (path: string): string => `${path}.${process.pid}-${randomBytes(4).toString("hex")}.tmp`;

/** Makes a directory and its missing parents, closed to other users. Trees below it may hold set-id files. */
export function makePrivateDirectory(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw fileFailure(error, "making a directory of the store", path);
  }
}

/** Forces a directory's entries to disk. */
export async function syncDirectory(path: PathLike): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Writes a file so that after a crash either the old or the whole new content is there. Mode 0600. */
export async function writeFileSafely(path: string, content: string | Uint8Array): Promise<void> {
  const temporary = temporaryName(path);
  let handle: FileHandle | undefined;
  try {
    handle = await open(temporary, "wx", 0o600);
    await handle.writeFile(content);
    await handle.sync();
    await handle.close();
    handle = undefined;
    await rename(temporary, path);
    await syncDirectory(dirname(path));
  } catch (error) {
    await handle?.close().catch(() => {});
    await rm(temporary, { force: true }).catch(() => {});
    throw fileFailure(error, "writing a record", path);
  }
}
