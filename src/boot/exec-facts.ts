/** What `exec` has to know of the process whose namespaces it enters. */
import { readFileSync, readlinkSync } from "node:fs";
import { errnoOf, Failure } from "../base/errors.ts";
import type { ExecIntent } from "./intent.ts";

export interface ExecFacts {
  readonly uid: number;
  /** Namespaces that differ from ours. */
  readonly joins: readonly string[];
  /** The target's user namespace shows its user as root. */
  readonly rootInside: boolean;
}

/** Names in /proc/PID/ns, and what the executor calls them. */
const NAMESPACES = { user: "user", mnt: "mount", pid: "pid", ipc: "ipc", uts: "uts", net: "net", cgroup: "cgroup" };

/** Throws E_NOT_FOUND if the process is gone, E_USERNS if it belongs to somebody else. */
export function gatherExecFacts(target: ExecIntent["target"]): ExecFacts {
  const directory = `/proc/${target.pid}`;
  try {
    const joins = Object.entries(NAMESPACES)
      .filter(([file]) => readlinkSync(`${directory}/ns/${file}`) !== readlinkSync(`/proc/self/ns/${file}`))
      .map(([, name]) => name);
    const map = readFileSync(`${directory}/uid_map`, "utf8").trim().split(/\s+/);
    const uid = process.geteuid?.() ?? 0;
    return { uid, joins: joins.length > 0 ? joins : ["mount"], rootInside: uid !== 0 && map[0] === "0" };
  } catch (cause) {
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
