/**
 * An ordinary user's further trees of a stored image: one for each way in which id maps give its files owners on disk.
 * A tree that is there is whole: it gets its name in one step, once it is on disk.
 */
import { existsSync, mkdirSync, promises } from "node:fs";
import { join } from "node:path";
import { fileFailure } from "../base/errors.ts";
import { makePrivateDirectory, syncDirectory } from "../base/files.ts";
import { ourselves, ownerName, suffix } from "../base/owner.ts";
import { hexOf } from "./images.ts";
import { imagePaths, type Layout } from "./layout.ts";
import { clearLeavings } from "./leavings.ts";
import { removeStored } from "./trees.ts";

const directoryOf = (layout: Layout, digest: string, owners: string): string =>
  join(
    imagePaths(layout, hexOf(digest) ?? "").mapped,
    process.getBuiltinModule("node:crypto").hash("sha256", owners).slice(0, 16),
  );

/** Where the tree with these owners on disk is, or will be. */
export const mappedTree = (layout: Layout, digest: string, owners: string): string =>
  join(directoryOf(layout, digest, owners), "tree");

export const hasMappedTree = (layout: Layout, digest: string, owners: string): boolean =>
  existsSync(directoryOf(layout, digest, owners));

export interface StagedTree {
  /** The directory for the tree: there, empty, private. */
  readonly tree: string;
  /** Makes it part of the image. */
  commit(): Promise<void>;
  /** Removes it. Never rejects. */
  discard(): Promise<void>;
}

/** Begins a tree. The caller holds the image's lock. */
export async function stageMappedTree(layout: Layout, digest: string, owners: string): Promise<StagedTree> {
  makePrivateDirectory(layout.temporary);
  await clearLeavings(layout);
  const base = join(layout.temporary, `${ownerName(ourselves())}.${suffix()}`);
  const tree = join(base, "tree");
  const final = directoryOf(layout, digest, owners);
  const { mapped } = imagePaths(layout, hexOf(digest) ?? "");
  try {
    mkdirSync(base, { mode: 0o700 });
    mkdirSync(tree, { mode: 0o700 });
  } catch (error) {
    throw fileFailure(error, "making a directory of the store", base);
  }
  return {
    tree,
    discard: () => removeStored(layout, base).catch(() => {}),
    commit: async () => {
      try {
        await syncDirectory(base);
        makePrivateDirectory(mapped);
        await promises.rename(base, final);
        await syncDirectory(mapped);
        await syncDirectory(imagePaths(layout, hexOf(digest) ?? "").directory);
      } catch (error) {
        throw fileFailure(error, "storing the image", final);
      }
    },
  };
}
