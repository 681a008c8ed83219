/**
 * Which stored image a file holds, without reading it again: an image notes the files that it was read from by what
 * changes whenever their bytes do. The notes lie in the image's own directory and go with it.
 */
import { existsSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makePrivateDirectory } from "../base/files.ts";
import { findImage, hexOf, type StoredImage } from "./images.ts";
import { imagePaths, type Layout } from "./layout.ts";
import { namesIn } from "./leavings.ts";

/** A change within the same tick of the file system's clock as the one before leaves no trace: nanoseconds. */
const SETTLED = 2_000_000_000n;

/** What tells a file's content apart: nobody sets a ctime but the kernel. Undefined for what is no regular file. */
export function markOfFile(path: string): string | undefined {
  const status = statSync(path, { bigint: true, throwIfNoEntry: false });
  if (!status?.isFile() || BigInt(Date.now()) * 1_000_000n - status.ctimeNs < SETTLED) return undefined;
  return [status.dev, status.ino, status.size, status.mtimeNs, status.ctimeNs].join("-");
}

/** The image that was read from the file as it is now. */
export function findImageOfFile(layout: Layout, mark: string): StoredImage | undefined {
  const hex = namesIn(layout.images).find((each) => existsSync(join(imagePaths(layout, each).files, mark)));
  return hex === undefined ? undefined : findImage(layout, `sha256:${hex}`);
}

/** Notes that the image was read from a file with this mark. What cannot be noted is read again the next time. */
export function noteFile(layout: Layout, { digest }: StoredImage, mark: string): void {
  const { files } = imagePaths(layout, hexOf(digest) ?? "");
  try {
    makePrivateDirectory(files);
    writeFileSync(join(files, mark), "", { mode: 0o600 });
  } catch {
    // The image is what was asked for.
  }
}
