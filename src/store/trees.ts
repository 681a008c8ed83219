/** Trees whose files may belong to subordinate ids: removed, copied and measured with power over these. */
import { lstatSync, statSync } from "node:fs";
import { Failure } from "../base/errors.ts";
import { removeTree } from "../base/files.ts";
import { capture, requireProgram } from "../base/process.ts";
import { captureOwn, type EnterPlaces, enterAlone, enterOwn } from "../plan/enter.ts";
import { type Layout, runtimePaths } from "./layout.ts";

/** Where the store's own programs find the executor. */
export const enterPlaces = (layout: Layout): EnterPlaces => ({
  executors: layout.executors,
  wires: runtimePaths(layout).wires,
});

/** Removes a tree of the store, also what belongs to subordinate ids. */
export async function removeStored(layout: Layout, path: string): Promise<void> {
  try {
    await removeTree(path);
  } catch (error) {
    if (!(error instanceof Failure) || process.geteuid?.() === 0) throw error;
    const rm = requireProgram("rm", "coreutils");
    await captureOwn([rm, "-rf", "--one-file-system", "--", path], enterPlaces(layout)).catch(() => {
      throw error;
    });
  }
}

const isOwn = (path: string): boolean => statSync(path).uid === process.geteuid?.();

/** A full copy, with all that the file system can keep. */
export async function copyTree(layout: Layout, tree: string, target: string): Promise<void> {
  const places = enterPlaces(layout);
  const words = [
    requireProgram("cp", "coreutils"),
    ...["--archive", "--reflink=auto", "--no-target-directory", "--", tree, target],
  ];
  const enter = (await enterOwn(places)) ?? (await enterAlone(places));
  const [file = "", ...args] = enter === undefined ? words : enter(words);
  await capture(file, args).catch((cause: unknown) => {
    throw new Failure("E_IO", "the tree cannot be copied", {
      where: target,
      mend: "check the space of the file system",
      cause,
    });
  });
}

/** Gives a directory the owner of another one, where that is a subordinate id. */
export async function ownLike(layout: Layout, path: string, like: string): Promise<void> {
  if (process.geteuid?.() === 0 || isOwn(like)) return;
  await captureOwn([requireProgram("chown", "coreutils"), `--reference=${like}`, "--", path], enterPlaces(layout));
}

/** Bytes on disk, as du(1) counts them: hard links once. What cannot be counted is left out. */
export async function bytesOn(layout: Layout, path: string): Promise<number> {
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return 0;
  const words = [requireProgram("du", "coreutils"), "--summarize", "--block-size=1", "--one-file-system", path];
  const [file = "", ...args] = words;
  // du ends with 1 where it could not count all.
  const said = await captureOwn(words, enterPlaces(layout)).catch(() => capture(file, args, { goodStatus: 1 }));
  return Number.parseInt(said, 10) || 0;
}
