/**
 * Locks as files, for processes that may die at any moment, on any file system with link(2), NFS among them.
 *
 * A lock is the highest *generation* of `<path>.<n>`, a file that names its owner. To take a lock whose owner is
 * dead or has released it, a process links generation n+1: link(2) lets only one do so. The highest generation is
 * never removed, only surpassed, so nobody can take a lock by clearing away a live one: the race of the usual
 * "remove the stale lock, then create it" does not exist. A process that looked before generation n+1 was made and
 * cleared sees, after linking, that a higher one is there, and withdraws.
 */
import { linkSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { throwIfAborted } from "../base/context.ts";
import { errnoOf, Failure, fileFailure } from "../base/errors.ts";
import { temporaryName } from "../base/files.ts";
import { type Owner, ourselves, stateOf } from "../base/owner.ts";

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
  try {
    return (JSON.parse(readFileSync(file, "utf8")) as LockRecord).owner;
  } catch (error) {
    // Surpassed and cleared while we looked: the next look finds its successor.
    if (errnoOf(error) === "ENOENT") return null;
    throw new Failure("E_RECORD", "a lock file cannot be read", {
      where: file,
      mend: "remove it if no rootling runs",
      cause: error,
    });
  }
};

export interface Lock {
  release(): void;
}

/** Takes the lock, or returns the owner who has it. The directory of `path` must exist. */
export function tryLock(path: string): Lock | Owner {
  const temporary = temporaryName(path);
  try {
    for (;;) {
      const generations = generationsOf(path);
      const highest = generations.at(-1) ?? 0;
      const owner = highest === 0 ? null : ownerOf(`${path}.${highest}`);
      if (owner !== null && stateOf(owner) !== "dead") return owner;
      writeFileSync(temporary, JSON.stringify({ owner: ourselves() } satisfies LockRecord), { mode: 0o600 });
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
    rmSync(temporary, { force: true });
  }
}

/** Waits for the lock; `onWait` is called once with the owner if it is taken. */
export async function lock(path: string, signal: AbortSignal, onWait: (owner: Owner) => void): Promise<Lock> {
  for (let waited = false; ; waited = true) {
    const result = tryLock(path);
    if ("release" in result) return result;
    if (!waited) onWait(result);
    await sleep(50, undefined, { signal }).catch(() => throwIfAborted(signal));
  }
}

function release(file: string): void {
  const temporary = temporaryName(join(dirname(file), "released"));
  writeFileSync(temporary, JSON.stringify({ owner: null } satisfies LockRecord), { mode: 0o600 });
  renameSync(temporary, file);
}
