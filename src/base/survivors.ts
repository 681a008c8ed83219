/**
 * Whether anything of a container lives on although the process that was started has ended: a background process of a
 * payload in place, say, which still has the container's changes mounted. Numbers of namespaces are used again, so each
 * container's mounts carry a mark as their source, which /proc/PID/mountinfo (proc(5)) shows for every process that has
 * them, also in mount namespaces that were copied inside.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { Owner } from "./owner.ts";

/** The mark of what this owner started; unique as long as the machine runs. */
export const markOfOwner = ({ pid, start }: Pick<Owner, "pid" | "start">): string => `rootling-${pid}-${start}`;

/** The mark of the owner in a name that ownerName made, possibly with more behind it. */
export function markOfName(name: string): string {
  const [pid = "", start = ""] = name.split(".");
  return markOfOwner({ pid: Number(pid), start });
}

const attempt = <T>(read: () => T): T | undefined => {
  try {
    return read();
  } catch {
    return undefined;
  }
};

/** Undefined for a process that has ended in the meantime: the next one of its namespace is asked. */
function marksOf(pid: string): string[] | undefined {
  const mounts = attempt(() => readFileSync(`/proc/${pid}/mountinfo`, "latin1"));
  if (!mounts) return undefined;
  return [...new Set(mounts.match(/(?<= - (?:overlay|tmpfs) )rootling-[0-9]+-[0-9]+(?= )/g) ?? [])];
}

/** Pids by mark. Processes of others, whose namespaces we may not see, are none of ours. */
function scan(): Map<string, number[]> {
  const own = readlinkSync("/proc/self/ns/mnt");
  const marksIn = new Map<string, string[]>();
  const found = new Map<string, number[]>();
  for (const pid of readdirSync("/proc")) {
    if (!/^[0-9]+$/.test(pid)) continue;
    const namespace = attempt(() => readlinkSync(`/proc/${pid}/ns/mnt`));
    if (namespace === undefined || namespace === own) continue;
    const marks = marksIn.get(namespace) ?? marksOf(pid);
    if (marks !== undefined) marksIn.set(namespace, marks);
    for (const mark of marks ?? []) found.set(mark, [...(found.get(mark) ?? []), Number(pid)]);
  }
  return found;
}

/** Looks, at the first question, for all that live; the answers are those of that moment. */
export function survivors(): (mark: string) => readonly number[] {
  let found: Map<string, number[]> | undefined;
  return (mark) => {
    found ??= scan();
    return found.get(mark) ?? [];
  };
}
