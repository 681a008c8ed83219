/**
 * Locks as files, for processes that may die at any moment, on any file system with link(2), NFS among them.
 *
 * A lock is the highest *generation* of `<path>.<n>`, a file that names its owner. To take a lock whose owner is
 * dead or has released it, a process links generation n+1: link(2) lets only one do so. The highest generation is
 * never removed, only surpassed, so nobody can take a lock by clearing away a live one: the race of the usual
 * "remove the stale lock, then create it" does not exist. A process that looked before generation n+1 was made and
 * cleared sees, after linking, that a higher one is there, and withdraws.
 */
import { linkSync, readdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { throwIfAborted } from "../base/context.ts";
import { errnoOf, fileFailure } from "../base/errors.ts";
import { temporaryName } from "../base/files.ts";
import { type Owner, ourselves, stateOf } from "../base/owner.ts";
import { stateOfTemporary } from "./leavings.ts";

interface LockRecord {
  /** null once released. */
  owner: Owner | null;
}

const generationsOf = (path: string): number[] => {
  const prefix = `${basename(path)}.`;
  return readdirSync(dirname(path))
    .filter((name) => name.startsWith(prefix) && /^[0-9]+$/.test(name.slice(prefix.length)))
    .map((name) => Number(name.slice(prefix.length)))
    .sort((a, b) => a - b);
};

const ownerOf = (file: string): Owner | null => {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    // Surpassed and cleared while we looked: the next look finds its successor.
    if (errnoOf(error) === "ENOENT") return null;
    throw fileFailure(error, "reading a lock", file);
  }
  try {
    return (JSON.parse(text) as LockRecord | null)?.owner ?? null;
  } catch {
    // Whole when it got its name, it was damaged by a power cut, which its owner did not survive; or it was released
    // on a full disk.
    return null;
  }
};

export interface Lock {
  release(): void;
}

/** Takes the lock for `taker`, or returns the owner who has it. The directory of `path` must exist. */
export function tryLock(path: string, taker: Owner = ourselves()): Lock | Owner {
  const temporary = temporaryName(path);
  try {
    clearUnfinished(dirname(path));
    for (;;) {
      const generations = generationsOf(path);
      const highest = generations.at(-1) ?? 0;
      const owner = highest === 0 ? null : ownerOf(`${path}.${highest}`);
      if (owner !== null && stateOf(owner) !== "dead") return owner;
      writeFileSync(temporary, JSON.stringify({ owner: taker } satisfies LockRecord), { mode: 0o600 });
      const ours = `${path}.${highest + 1}`;
      try {
        linkSync(temporary, ours);
      } catch (error) {
        if (errnoOf(error) === "EEXIST") continue;
        throw error;
      }
      if ((generationsOf(path).at(-1) ?? 0) > highest + 1) {
        rmSync(ours, { force: true });
        continue;
      }
      for (const old of generations) rmSync(`${path}.${old}`, { force: true });
      return { release: () => release(ours) };
    }
  } catch (error) {
    throw fileFailure(error, "taking a lock", path);
  } finally {
    removeQuietly(temporary);
  }
}

/** What somebody who died while taking or releasing a lock here has left. */
function clearUnfinished(directory: string): void {
  for (const name of readdirSync(directory))
    if (stateOfTemporary(name) === "dead") removeQuietly(join(directory, name));
}

/** A file that stays is cleared with the other leavings. */
function removeQuietly(file: string): void {
  try {
    rmSync(file, { force: true });
  } catch {
    // What matters is done.
  }
}

/** Waits for the lock; `onWait` is called once with the owner if it is taken. */
export async function lock(path: string, signal: AbortSignal, onWait: (owner: Owner) => void): Promise<Lock> {
  for (let waited = false; ; waited = true) {
    const result = tryLock(path);
    if ("release" in result) return result;
    if (!waited) onWait(result);
    await process
      .getBuiltinModule("node:timers/promises")
      .setTimeout(50, undefined, { signal })
      .catch(() => throwIfAborted(signal));
  }
}

/** Never throws: what the lock was held for has succeeded or failed already, and its owner's end releases it too. */
function release(file: string): void {
  const temporary = temporaryName(join(dirname(file), "released"));
  try {
    writeFileSync(temporary, JSON.stringify({ owner: null } satisfies LockRecord), { mode: 0o600 });
    renameSync(temporary, file);
  } catch {
    removeQuietly(temporary);
    releaseInPlace(file);
  }
}

/** On a full disk: this takes no space. */
function releaseInPlace(file: string): void {
  try {
    truncateSync(file);
  } catch {
    // Then it is released when this process ends.
  }
}
