/** What of the store nobody needs: found first, so that it can be shown, then removed. */
import { readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { Failure } from "../base/errors.ts";
import { listContainers } from "./containers.ts";
import {
  findImage,
  hexOf,
  listImages,
  lockImage,
  removeImage,
  removeImageDirectory,
  type StoredImage,
} from "./images.ts";
import { imagePaths, type Layout } from "./layout.ts";
import { clearLeavings, namesIn } from "./leavings.ts";
import { idleSquashfs, removeSquashfs, type SquashfsFile } from "./squashfs.ts";
import { lastUse, usersIn } from "./use.ts";

export interface PruneOptions {
  /** Also images that have a name, if no container refers to them. */
  unused: boolean;
  /** Milliseconds: only what was not used for longer. */
  olderThan: number;
  /** Bytes that downloaded layers may keep; undefined: only those go that belong to no stored image. */
  cacheBytes: number | undefined;
}

export interface PrunePlan {
  images: StoredImage[];
  /** Downloaded blobs: hexadecimal digest and bytes. */
  blobs: { hex: string; bytes: number }[];
  /** Squashfs files that nobody has borrowed. */
  squashfs: SquashfsFile[];
  /** Directories of images that were never finished or half removed: hexadecimal digests. */
  broken: string[];
}

/**
 * What could go. Never an image that a container refers to, whatever machine made it, nor one that something runs on,
 * here or on another machine that shares the store.
 */
export function planPrune(layout: Layout, options: PruneOptions): PrunePlan {
  const now = Date.now();
  const referred = new Set(listContainers(layout).map(({ image }) => image.digest));
  const all = listImages(layout);
  const images = all.filter((image) => {
    const hex = hexOf(image.digest) ?? "";
    const age = ageOf(Math.max(Date.parse(image.created), lastUse(layout, hex)), now);
    const wanted = referred.has(image.digest) || isUsed(layout, hex) || (image.refs.length > 0 && !options.unused);
    return !wanted && age >= options.olderThan;
  });
  const whole = new Set(all.map(({ digest }) => hexOf(digest)));
  const kept = all.filter((image) => !images.includes(image));
  return {
    images,
    blobs: planBlobs(layout, kept, options, now),
    squashfs: idleSquashfs(layout).filter(({ used }) => ageOf(used, now) >= options.olderThan),
    broken: namesIn(layout.images).filter(
      (hex) => !whole.has(hex) && /^[0-9a-f]{64}$/.test(hex) && !isUsed(layout, hex),
    ),
  };
}

function isUsed(layout: Layout, hex: string): boolean {
  const { alive, foreign } = usersIn(imagePaths(layout, hex).users);
  return alive + foreign > 0;
}

/** Times of files have fractions of the millisecond that the clock has not: what is new has no negative age. */
const ageOf = (time: number, now: number): number => Math.max(0, now - time);

interface Blob {
  hex: string;
  bytes: number;
  used: number;
}

/** Downloads that belong to no kept image, and of the others the longest unused that exceed the limit. */
function planBlobs(
  layout: Layout,
  kept: readonly StoredImage[],
  options: PruneOptions,
  now: number,
): PrunePlan["blobs"] {
  const needed = new Set(
    kept.flatMap(({ digest, layers, config }) =>
      [digest, digestOfFile(config), ...layers.map((layer) => layer.digest)].map((one) => hexOf(one ?? "")),
    ),
  );
  const blobs = namesIn(layout.blobs).flatMap((hex): Blob[] => {
    const status = /^[0-9a-f]{64}$/.test(hex)
      ? statSync(join(layout.blobs, hex), { throwIfNoEntry: false })
      : undefined;
    return status === undefined ? [] : [{ hex, bytes: status.size, used: Math.max(status.atimeMs, status.mtimeMs) }];
  });
  blobs.sort((a, b) => b.used - a.used);
  let room = options.cacheBytes ?? Number.POSITIVE_INFINITY;
  return blobs
    .filter(({ hex, bytes, used }) => {
      if (ageOf(used, now) < options.olderThan) return false;
      if (!needed.has(hex) && options.cacheBytes === undefined) return true;
      room -= bytes;
      return room < 0;
    })
    .map(({ hex, bytes }) => ({ hex, bytes }));
}

/** The digest of a configuration, by which a manifest names it. */
function digestOfFile(path: string | undefined): string | undefined {
  if (path === undefined) return undefined;
  return `sha256:${process.getBuiltinModule("node:crypto").hash("sha256", readFileSync(path))}`;
}

/** Removes what was planned; what has come into use since stays. Returns what was removed. */
export async function prune(layout: Layout, plan: PrunePlan, signal: AbortSignal): Promise<PrunePlan> {
  await clearLeavings(layout);
  const images: StoredImage[] = [];
  for (const image of plan.images) {
    try {
      await removeImage(layout, image, signal);
      images.push(image);
    } catch (error) {
      if (!(error instanceof Failure && error.code === "E_BUSY")) throw error;
    }
  }
  for (const { hex } of plan.blobs) rmSync(join(layout.blobs, hex), { force: true });
  const squashfs: SquashfsFile[] = [];
  for (const file of plan.squashfs) if (await removeSquashfs(layout, file.hex, signal)) squashfs.push(file);
  for (const hex of plan.broken) await removeBroken(layout, hex, signal);
  return { images, blobs: plan.blobs, squashfs, broken: plan.broken };
}

/** Under the image's lock: nobody is just making it. One whose removal was begun may have come into use before that. */
async function removeBroken(layout: Layout, hex: string, signal: AbortSignal): Promise<void> {
  const held = await lockImage(layout, `sha256:${hex}`, signal, () => {});
  try {
    if (findImage(layout, `sha256:${hex}`) === undefined && !isUsed(layout, hex)) {
      await removeImageDirectory(layout, hex);
    }
  } finally {
    held.release();
  }
}
