/** What `exec` has to know of the process whose namespaces it enters. */
import { existsSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { errnoOf, Failure } from "../base/errors.ts";
import { limitedCgroups } from "./cgroup-facts.ts";
import type { Window } from "./facts.ts";
import type { IdMap, IdRange, MapWish } from "./id-map.ts";
import type { ExecIntent } from "./intent.ts";

export interface ExecFacts {
  /** Namespaces that differ from ours. */
  readonly joins: readonly string[];
  /** Cgroups with limits that it is in. */
  readonly cgroups: readonly string[];
  /** That of the target's user namespace; kind none where it is ours. */
  readonly map: IdMap;
  /** What was asked for to get that map. */
  readonly wish: MapWish;
  /** A map of one id, which is not ours: nobody inside is us. */
  readonly foreign: boolean;
  /** The processor as Node names it. */
  readonly architecture: string;
  /** Where clients come to the terminal, if the command gets one, and its size. */
  readonly socket?: string;
  readonly window?: Window;
}

/** Names in /proc/PID/ns, and what the executor calls them; those that this kernel has. */
const NAMESPACES = Object.entries({
  user: "user",
  mnt: "mount",
  pid: "pid",
  ipc: "ipc",
  uts: "uts",
  net: "net",
  cgroup: "cgroup",
  time: "time",
}).filter(([file]) => existsSync(`/proc/self/ns/${file}`));

/** The namespaces of a process, by its directory in /proc, that differ from ours. */
export const namespacesApart = (directory: string): string[] =>
  NAMESPACES.filter(([file]) => readlinkSync(`${directory}/ns/${file}`) !== readlinkSync(`/proc/self/ns/${file}`)).map(
    ([, name]) => name,
  );

const readMap = (file: string): IdRange[] =>
  readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => line.trim().split(/\s+/).map(Number))
    .map(([inside = 0, outside = 0, count = 0]) => ({ inside, outside, count }));

/** The map of a process, and the wish that comes to the same for whoever enters it. */
export function mapOf(directory: string, joined: boolean): Pick<ExecFacts, "map" | "wish" | "foreign"> {
  if (!joined) return { map: { kind: "none", uids: [], gids: [] }, wish: "caller", foreign: false };
  const [uids, gids] = [readMap(`${directory}/uid_map`), readMap(`${directory}/gid_map`)];
  const one = uids.length === 1 && uids[0]?.count === 1;
  const uid = process.geteuid?.() ?? 0;
  const stays = uids.some(({ inside, outside }) => inside === uid && outside === uid);
  const wish = !stays ? "root" : one ? "caller" : "keep";
  return { map: { kind: one ? "one" : "many", uids, gids }, wish, foreign: one && uids[0]?.outside !== uid };
}

/** A container that is still being made has our own root until its first process pivots: a command would run here. */
const hasOurRoot = (directory: string): boolean => {
  const [theirs, ours] = [statSync(`${directory}/root`), statSync("/")];
  return theirs.dev === ours.dev && theirs.ino === ours.ino;
};

/** Throws E_NOT_FOUND if the process is gone or in no container, E_USERNS if it belongs to somebody else. */
export function gatherExecFacts(target: ExecIntent["target"]): ExecFacts {
  const directory = `/proc/${target.pid}`;
  try {
    const joins = namespacesApart(directory);
    if (!joins.includes("mount") || hasOurRoot(directory)) {
      throw new Failure("E_NOT_FOUND", `process ${target.pid} is in no container, or in one that has yet to start`, {
        where: target.origin,
        mend: "see `rootling list` for what runs, and try again",
      });
    }
    return {
      joins,
      cgroups: limitedCgroups(target.pid),
      ...mapOf(directory, joins.includes("user")),
      architecture: process.arch,
    };
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
