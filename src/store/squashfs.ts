/**
 * Squashfs files of images, by digest: made once, and lent to whoever asks. A loan is a mark in `loans`, named after the
 * process that it lives with, a key by which it is given back, and the image: who is killed gives back everything.
 */
import { rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileFailure } from "../base/errors.ts";
import { makePrivateDirectory } from "../base/files.ts";
import { type Owner, ownerName, stateOfName } from "../base/owner.ts";
import { hexOf } from "./images.ts";
import type { Layout } from "./layout.ts";
import { namesIn } from "./leavings.ts";
import { type Lock, lock } from "./lock.ts";

/** Who borrows. */
export interface Borrower {
  /** The process that the loan lives with. */
  readonly owner: Owner;
  /** By which it is given back: letters, digits, `_` and `-`. */
  readonly key: string;
}

const ENDING = ".sqsh";

const loansOf = (layout: Layout): string => join(layout.squashfs, "loans");

/** Where the file of the image `digest` is, or will be. */
export const squashfsPath = (layout: Layout, digest: string): string =>
  join(layout.squashfs, `${hexOf(digest) ?? ""}${ENDING}`);

/** One process at a time makes, lends or removes the file of an image. */
export function lockSquashfs(
  layout: Layout,
  digest: string,
  signal: AbortSignal,
  onWait: (owner: Owner) => void,
): Promise<Lock> {
  for (const directory of [layout.locks, layout.squashfs]) makePrivateDirectory(directory);
  return lock(join(layout.locks, `squashfs-${hexOf(digest) ?? ""}`), signal, onWait);
}

/** Marks the file as lent, and as used just now. The caller holds its lock. */
export function lendSquashfs(layout: Layout, digest: string, { owner, key }: Borrower): void {
  const mark = join(loansOf(layout), `${ownerName(owner)}.${key}.${hexOf(digest) ?? ""}`);
  try {
    makePrivateDirectory(loansOf(layout));
    writeFileSync(mark, "", { mode: 0o600 });
    const now = new Date();
    utimesSync(squashfsPath(layout, digest), now, now);
  } catch (error) {
    throw fileFailure(error, "marking the squashfs file as lent", mark);
  }
}

/** The key and the image of a loan. */
const LOAN = /\.([A-Za-z0-9_-]+)\.([0-9a-f]{64})$/;

/** Ends all loans of this key of this machine, and those of the dead. Whatever was ended before is no failure. */
export function returnSquashfs(layout: Layout, key: string): void {
  for (const name of namesIn(loansOf(layout))) {
    const state = stateOfName(name);
    const ours = state === "alive" && LOAN.exec(name)?.[1] === key;
    if (ours || state === "dead") rmSync(join(loansOf(layout), name), { force: true });
  }
}

/** Hexadecimal digests of what is lent now, here or on another machine that shares the store. */
function lent(layout: Layout): Set<string> {
  const names = namesIn(loansOf(layout)).filter((name) => stateOfName(name) !== "dead");
  return new Set(names.flatMap((name) => LOAN.exec(name)?.[2] ?? []));
}

export interface SquashfsFile {
  readonly hex: string;
  readonly bytes: number;
  /** When it was made or lent last: milliseconds since 1970. */
  readonly used: number;
}

/** The files that are not lent. */
export function idleSquashfs(layout: Layout): SquashfsFile[] {
  const kept = lent(layout);
  return namesIn(layout.squashfs).flatMap((name) => {
    const hex = name.slice(0, -ENDING.length);
    if (!name.endsWith(ENDING) || !/^[0-9a-f]{64}$/.test(hex) || kept.has(hex)) return [];
    const status = statSync(join(layout.squashfs, name), { throwIfNoEntry: false });
    return status === undefined ? [] : [{ hex, bytes: status.size, used: status.mtimeMs }];
  });
}

/** Removes a file unless it was lent in the meantime; says whether it did. */
export async function removeSquashfs(layout: Layout, hex: string, signal: AbortSignal): Promise<boolean> {
  const held = await lockSquashfs(layout, `sha256:${hex}`, signal, () => {});
  try {
    if (lent(layout).has(hex)) return false;
    rmSync(squashfsPath(layout, `sha256:${hex}`), { force: true });
    return true;
  } finally {
    held.release();
  }
}
