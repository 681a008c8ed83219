/** Running a program under other ids, in a user namespace that has no more than these. */
import { capture, type Enter, findProgram } from "../../base/process.ts";

export const ourIds = () => ({ uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 });

/**
 * What runs programs as `uid` and `gid`; to the host's files they are the caller, but for root's power over what belongs
 * to others. Undefined where that is not to be had, or `file`, which belongs to the caller, could not be written so.
 */
export async function runningAs(uid: number, gid: number, file: string): Promise<Enter | undefined> {
  const ours = ourIds();
  if (ours.uid === uid && ours.gid === gid) return (words) => [...words];
  const unshare = findProgram("unshare");
  if (unshare === undefined) return undefined;
  const enter: Enter = (words) => [unshare, "--user", `--map-user=${uid}`, `--map-group=${gid}`, "--", ...words];
  const [program = "", ...args] = enter(["test", "-w", file]);
  return capture(program, args).then(
    () => enter,
    () => undefined,
  );
}
