/**
 * A squashfs file as the lowest layer, as it is. Real root has the kernel mount it, outside; for everybody else
 * squashfuse(1) reads it: the kernel must not parse a file that its caller can write. Pure, like lower.ts.
 */
import { Failure } from "../base/errors.ts";
import { type Op, OURSELVES, op } from "../plan/plan.ts";
import type { Root } from "./intent.ts";
import type { Work } from "./lower-root.ts";

type Squashfs = Extract<Root, { kind: "squashfs" }>;

/** The directory that shows the file's tree, below `place`, and the ops that mount it there. */
export function lowerSquashfs(
  { path }: Squashfs,
  origin: string,
  work: Work,
  place: string,
): { directory: string; ops: Op[] } {
  const { facts, lent } = work;
  const directory = `${place}/packed`;
  const make = op("make-directory", OURSELVES, directory, "755");
  if (facts.initialRoot) {
    const bind = op("bind", origin, lent.squashfs(origin, path), directory, "", "", "", "none", "0");
    return { directory, ops: [make, bind] };
  }
  if (facts.squashfuse === undefined) {
    throw new Failure("E_PROGRAM", "the program squashfuse is not installed", {
      where: origin,
      mend: "install it (Debian, Ubuntu: apt-get install squashfuse), or import the file into the store",
    });
  }
  const serve = op("serve", origin, "1", facts.squashfuse, path, ownerOptions(work));
  return { directory, ops: [make, op("fuse", origin, "1", directory), serve] };
}

/** In a map of one id all files are the caller's, as in a stored tree; other maps show the owners of the image. */
function ownerOptions({ map }: Work): string {
  const [uid, gid] = [map.uids[0]?.inside, map.gids[0]?.inside];
  return map.kind === "one" && uid !== undefined && gid !== undefined ? `ro,uid=${uid},gid=${gid}` : "ro";
}
