/** Roots that need no stored image: a directory, or a squashfs file as it is. */
import { accessSync, constants, realpathSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { Failure, fileFailure } from "../base/errors.ts";
import { findProgram } from "../base/process.ts";
import type { ProgressMode } from "../base/progress-render.ts";
import type { Root } from "../boot/intent.ts";
import type { ImageRunConfig } from "../boot/read-image.ts";
import { findImage } from "../store/images.ts";
import { findShared } from "../store/shared.ts";
import type { Cli } from "./cli.ts";

export interface DirectRoot {
  readonly root: Root;
  readonly run: ImageRunConfig;
}

/** The root that `source` names; undefined where it is an image, to be found in the store or imported. */
export async function directRoot(
  cli: Cli,
  source: string,
  options: { readonly progress?: ProgressMode },
): Promise<DirectRoot | undefined> {
  if (source.startsWith("dir:")) return { root: directory(source.slice("dir:".length)), run: {} };
  if (source.includes(":/") || findImage(cli.layout, source) !== undefined) return undefined;
  const context = cli.context(options.progress);
  const path = findShared(context.settings.IMAGE_PATHS, source) ?? resolve(source);
  if (!statSync(path, { throwIfNoEntry: false })?.isFile() || !mountsHere()) return undefined;
  const { isSquashfs } = await import("../image/sources/files.ts");
  if (!(await isSquashfs(path))) return undefined;
  const { squashfsRun } = await import("../image/sources/squashfs.ts");
  return {
    root: { kind: "squashfs", path: realpathSync(path) },
    run: { ...(await squashfsRun(path, context.signal)) },
  };
}

/** The real path, so that what is checked against the store is what is mounted. */
function directory(path: string): Root {
  try {
    const real = realpathSync(path);
    if (statSync(real).isDirectory()) return { kind: "directory", path: real };
  } catch (error) {
    throw fileFailure(error, "opening the directory", path);
  }
  throw new Failure("E_NOT_FOUND", "not a directory", { where: path, mend: "check the path" });
}

/** Where nothing mounts a squashfs file for this user, it is unpacked into the store, as other sources are. */
function mountsHere(): boolean {
  if (process.geteuid?.() === 0) return true;
  try {
    accessSync("/dev/fuse", constants.R_OK | constants.W_OK);
    return findProgram("squashfuse") !== undefined;
  } catch {
    return false;
  }
}
