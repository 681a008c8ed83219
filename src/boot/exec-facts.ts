/** What `exec` has to know of the process whose namespaces it enters. */
import { readFileSync, readlinkSync, statSync } from "node:fs";
import { errnoOf, Failure } from "../base/errors.ts";
import type { ExecIntent } from "./intent.ts";

export interface ExecFacts {
  readonly uid: number;
  /** Namespaces that differ from ours. */
  readonly joins: readonly string[];
  /** The target's user namespace shows its user as root. */
  readonly rootInside: boolean;
  /** The processor as Node names it. */
  readonly architecture: string;
}

/** Names in /proc/PID/ns, and what the executor calls them. */
const NAMESPACES = { user: "user", mnt: "mount", pid: "pid", ipc: "ipc", uts: "uts", net: "net", cgroup: "cgroup" };

/** A container that is still being made has our own root until its first process pivots: a command would run here. */
const hasOurRoot = (directory: string): boolean => {
  const [theirs, ours] = [statSync(`${directory}/root`), statSync("/")];
  return theirs.dev === ours.dev && theirs.ino === ours.ino;
};

/** Throws E_NOT_FOUND if the process is gone or in no container, E_USERNS if it belongs to somebody else. */
export function gatherExecFacts(target: ExecIntent["target"]): ExecFacts {
  const directory = `/proc/${target.pid}`;
  try {
    const joins = Object.entries(NAMESPACES)
      .filter(([file]) => readlinkSync(`${directory}/ns/${file}`) !== readlinkSync(`/proc/self/ns/${file}`))
      .map(([, name]) => name);
    if (!joins.includes("mount") || hasOurRoot(directory)) {
      throw new Failure("E_NOT_FOUND", `process ${target.pid} is in no container, or in one that has yet to start`, {
        where: target.origin,
        mend: "see `rootling list` for what runs, and try again",
      });
    }
    const map = readFileSync(`${directory}/uid_map`, "utf8").trim().split(/\s+/);
    const uid = process.geteuid?.() ?? 0;
    return { uid, joins, rootInside: uid !== 0 && map[0] === "0", architecture: process.arch };
  } catch (cause) {
    if (cause instanceof Failure) throw cause;
    const gone = errnoOf(cause) === "ENOENT" || errnoOf(cause) === "ESRCH";
    throw new Failure(
      gone ? "E_NOT_FOUND" : "E_USERNS",
      `process ${target.pid} ${gone ? "does not run" : "cannot be entered"}`,
      {
        where: target.origin,
        mend: gone ? "see `rootling list` for what runs" : "only its owner and root may enter a container",
        cause,
      },
    );
  }
}
