/** What a start has to know of the processes whose namespaces it enters. */
import { readlinkSync } from "node:fs";
import { errnoOf, Failure } from "../base/errors.ts";
import { startTime } from "../base/owner.ts";
import { type ExecFacts, mapOf, namespacesApart } from "./exec-facts.ts";
import type { Intent, JoinWish, NamespaceWish } from "./intent.ts";

/** A process, named so that another one with its pid is not taken for it. */
export interface RunningProcess {
  readonly pid: number;
  /** Start time, field 22 of /proc/PID/stat. */
  readonly start: string;
}

export interface JoinTarget extends RunningProcess, Omit<ExecFacts, "joins" | "cgroups" | "architecture"> {
  /** Its namespaces that differ from ours. */
  readonly apart: readonly string[];
  /** Which user namespace it lives in, such as `user:[4026531837]`. */
  readonly userNamespace: string;
}

/** Processes by the wish that names them. */
export type JoinTargets = Readonly<Partial<Record<JoinWish, JoinTarget>>>;

export const isJoin = (wish: NamespaceWish | undefined): wish is JoinWish =>
  wish !== undefined && /^(container|pid):/.test(wish);

/** Whether a wish comes to the namespace that we are in: joining a process that shares it with us does so too. */
export const staysOurs = (wish: NamespaceWish | undefined, kind: "net" | "pid", targets: JoinTargets = {}): boolean =>
  wish === undefined || wish === "host" || (isJoin(wish) && targets[wish]?.apart.includes(kind) === false);

/** The wishes of an intent that join, each once, with their origins. */
export const joinWishes = (intent: Pick<Intent, "namespaces">): ReadonlyMap<JoinWish, string> =>
  new Map(Object.values(intent.namespaces).flatMap((wish) => (isJoin(wish?.value) ? [[wish.value, wish.origin]] : [])));

/**
 * Looks at what is to be joined. `containers`: the processes of those that are named by container.
 * Throws E_NOT_FOUND for a process that does not run, E_USERNS for one that may not be looked at.
 */
export function gatherTargets(
  intent: Intent,
  containers: Readonly<Partial<Record<JoinWish, RunningProcess>>>,
): JoinTargets {
  const targets: Partial<Record<JoinWish, JoinTarget>> = {};
  for (const [wish, origin] of joinWishes(intent)) {
    const pid = Number(wish.replace(/^pid:/, ""));
    targets[wish] = examine(containers[wish] ?? { pid, start: startTime(pid) ?? "" }, origin);
  }
  return targets;
}

function examine({ pid, start }: RunningProcess, origin: string): JoinTarget {
  const directory = `/proc/${pid}`;
  try {
    const apart = namespacesApart(directory);
    const userNamespace = readlinkSync(`${directory}/ns/user`);
    return { pid, start, apart, userNamespace, ...mapOf(directory, apart.includes("user")) };
  } catch (cause) {
    const gone = errnoOf(cause) === "ENOENT" || errnoOf(cause) === "ESRCH";
    throw new Failure(
      gone ? "E_NOT_FOUND" : "E_USERNS",
      `process ${pid} ${gone ? "does not run" : "is not yours: its namespaces cannot be entered"}`,
      {
        where: origin,
        mend: gone ? "see `rootling list` for what runs" : "only its owner and root may enter them",
        cause,
      },
    );
  }
}
