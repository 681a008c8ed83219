/** Which namespaces a container gets, and the id maps of its user namespace. Pure, like lower.ts. */
import { Failure } from "../base/errors.ts";
import { type Op, OURSELVES, op } from "../plan/plan.ts";
import type { Facts } from "./facts.ts";
import { type IdMap, mapOp, resolveMap } from "./id-map.ts";
import type { Intent, NamespaceKind, NamespaceWish } from "./intent.ts";
import { isJoin, type JoinTarget } from "./join-facts.ts";
import { networkOf } from "./network.ts";

/** What is made, or entered, together with the user and mount namespaces. */
const EARLY = ["pid", "ipc", "uts", "net"] as const;
/**
 * What is made afterwards: a cgroup namespace shows the cgroup that its maker is in, and a time namespace cannot be
 * asked of clone(2), whose flag for it belongs to the exit signal.
 */
const LATE = ["cgroup", "time"] as const;

interface Join {
  readonly kind: NamespaceKind;
  readonly origin: string;
  readonly target: JoinTarget;
}

/** The namespaces of others that differ from ours. */
function joinsOf(intent: Intent, facts: Facts): Join[] {
  return Object.entries(intent.namespaces).flatMap(([kind, wish]) => {
    const target = isJoin(wish.value) ? facts.targets?.[wish.value] : undefined;
    return target?.apart.includes(kind) ? [{ kind: kind as NamespaceKind, origin: wish.origin, target }] : [];
  });
}

export interface Identity {
  readonly map: IdMap;
  /** The intent, with the wish that comes to this map. */
  readonly intent: Intent;
  /** The user namespace is that of somebody else. */
  readonly joined: boolean;
}

/**
 * The map of the container's user namespace. Who is not root owns no namespace but by way of a user namespace: to
 * enter another container's, its user namespace is entered, and with it its map (user_namespaces(7)).
 */
export function identity(intent: Intent, facts: Facts): Identity {
  const [first] = facts.uid === 0 ? [] : joinsOf(intent, facts);
  const { value, origin } = intent.idMap;
  if (first === undefined) return { map: resolveMap(value, facts, origin), intent, joined: false };
  if (origin !== OURSELVES && value !== first.target.wish) {
    throw new Failure("E_CONFLICT", "who enters the namespaces of a container has the ids of that container", {
      where: origin,
      mend: `leave it out, or start the other one with it too (${first.origin})`,
    });
  }
  return { map: first.target.map, intent: { ...intent, idMap: { value: first.target.wish, origin } }, joined: true };
}

/** "PID START LIST" for each process that is joined. Throws E_CONFLICT or E_USERNS for what the caller may not enter. */
function joinFields(joins: readonly Join[], facts: Facts): string[] {
  const lists = new Map<string, string[]>();
  const [first] = joins;
  for (const { kind, origin, target } of joins) {
    const key = `${target.pid} ${target.start}`;
    const user = facts.uid !== 0;
    if (user && !target.apart.includes("user")) {
      throw new Failure("E_USERNS", `the ${kind} namespace of process ${target.pid} was made by root`, {
        where: origin,
        mend: "only root may enter it: leave the flag out, or start the container as root",
      });
    }
    if (user && target.userNamespace !== first?.target.userNamespace) {
      throw new Failure("E_CONFLICT", `${first?.origin} and ${origin} name two containers, each with ids of its own`, {
        where: origin,
        mend: "join one container only, or start the second of them with the namespaces of the first",
      });
    }
    const list = lists.get(key) ?? (user && lists.size === 0 ? ["user"] : []);
    lists.set(key, [...list, kind]);
  }
  return [...lists].map(([key, list]) => `${key} ${list.join(",")}`);
}

const isOwn = (wish: NamespaceWish | undefined): boolean => wish === "private" || wish === "user";

/** A name for a namespace that is not its own would be the name of others too. */
function refuseHostname(intent: Intent): void {
  const wish = intent.namespaces.uts;
  if (intent.hostname === undefined || wish === undefined || isOwn(wish.value)) return;
  throw new Failure("E_CONFLICT", `a host name (${intent.hostname.origin}) needs a uts namespace of its own`, {
    where: wish.origin,
    mend: "leave out one of the two",
  });
}

function refuseTime({ namespaces: { time }, isolate }: Intent, facts: Facts): void {
  if (time === undefined || time.value === "host" || facts.timeNamespaces !== false) return;
  // Not asked for by itself: nothing of the host but its clocks since boot is seen for want of it.
  if (time.origin === isolate?.origin) return;
  throw new Failure("E_CONFLICT", "this kernel has no time namespaces", { where: time.origin, mend: "leave it out" });
}

/** Who entered a container hides from its processes until exec, and so from pasta. */
function refuseConnected(origin: string | undefined, joins: readonly Join[]): void {
  if (origin === undefined) return;
  throw new Failure("E_CONFLICT", `a container that is joined (${joins[0]?.origin}) has to bring the network`, {
    where: origin,
    mend: "start that one with --net=user, and join its network",
  });
}

/** A namespace is entered that takes effect for children only. */
export const joinsPids = (intent: Intent, facts: Facts): boolean =>
  joinsOf(intent, facts).some(({ kind }) => kind === "pid");

export interface LoweredNamespaces {
  /** The first op of the inside, and the id maps. */
  readonly early: readonly Op[];
  /** What comes once the process has its ids and its cgroup. */
  readonly late: readonly Op[];
}

/** The ops that make and enter namespaces. Throws E_CONFLICT for wishes that contradict each other. */
export function namespaces({ intent, map, joined }: Identity, facts: Facts): LoweredNamespaces {
  refuseHostname(intent);
  refuseTime(intent, facts);
  const wishes = { ...intent.namespaces };
  const network = networkOf(intent);
  if (network.kind === "user") wishes.net = { value: "user", origin: network.origin };
  if (intent.hostname && wishes.uts === undefined) wishes.uts = { value: "private", origin: intent.hostname.origin };
  if (facts.timeNamespaces === false) delete wishes.time;
  const made = (kinds: readonly NamespaceKind[]) => kinds.filter((kind) => isOwn(wishes[kind]?.value));
  const joins = joinsOf(intent, facts);
  refuseConnected(network.kind === "user" && joined ? network.origin : undefined, joins);
  const early = made(EARLY);
  const list = [...(map.kind === "none" || joined ? [] : ["user"]), "mount", ...early];
  const origins = (kinds: readonly NamespaceKind[]) =>
    [...new Set(kinds.map((kind) => wishes[kind]?.origin ?? OURSELVES))].join(", ") || OURSELVES;
  const first = origins([...early, ...joins.map(({ kind }) => kind)]);
  const late = made(LATE);
  return {
    early: [
      op("namespaces", first, list.join(","), ...joinFields(joins, facts)),
      ...(map.kind === "none" || joined ? [] : [mapOp(map, facts.uid, intent.idMap.origin)]),
    ],
    late: [
      ...(late.length > 0 ? [op("namespaces", origins(late), late.join(","))] : []),
      ...(isOwn(wishes.net?.value) ? [op("loopback", origins(["net"]))] : []),
    ],
  };
}
