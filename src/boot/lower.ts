/**
 * intent + facts → plan. The one place that knows the order in which a container is made; pure: no file system, no
 * environment, no clock.
 */
import { type Op, OURSELVES, op, type Plan, type Topology } from "../plan/plan.ts";
import type { ExecFacts } from "./exec-facts.ts";
import type { Facts } from "./facts.ts";
import { resolveMap } from "./id-map.ts";
import type { ExecIntent, Intent } from "./intent.ts";
import { lender } from "./lower-lend.ts";
import { isDetached, monitorOps, terminalOps } from "./lower-life.ts";
import { lowerMounts, lowerSystem } from "./lower-mounts.ts";
import { namespaces } from "./lower-namespaces.ts";
import { ignoredUser, insideUser, payload, privileges, refuseUser } from "./lower-payload.ts";
import { lowerRoot } from "./lower-root.ts";

/** Makes the plan of a start. Throws E_CONFLICT for wishes that contradict each other. */
export function lower(intent: Intent, facts: Facts): Plan {
  const map = resolveMap(intent.idMap.value, facts, intent.idMap.origin);
  refuseUser(intent, map);
  const lent = lender(facts.uid === 0 && map.kind === "many");
  const root = lowerRoot(intent, facts, map, lent);
  const mounts = lowerMounts(intent, facts, lent);
  const isolated = intent.namespaces.pid?.value === "private";
  const watched = isolated || root.undo.length > 0;
  const topology: Topology = isDetached(intent) ? "detached" : watched ? "supervised" : "in-place";
  const ops: Op[] = [
    ...monitorOps(intent, facts.places),
    ...root.undo,
    ...namespaces(intent, facts, map),
    ...(topology !== "in-place" ? [op("record", OURSELVES, facts.places.record)] : []),
    ...lent.ops,
    op("propagation", OURSELVES, "/", "slave"),
    ...root.ops,
    ...lowerSystem(intent, facts),
    ...mounts,
    ...workdirExists(intent),
    ...(root.sealed ? [op("attributes", root.sealed, "/", "ro", "")] : []),
    op("pivot", OURSELVES),
    ...(intent.hostname ? [op("hostname", intent.hostname.origin, intent.hostname.value)] : []),
    ...terminalOps(intent, facts.window),
    ...payload(intent, privileges(map, intent), insideUser(intent, map), isolated),
  ];
  return { version: 1, topology, ops, remarks: [...root.remarks, ...ignoredUser(intent, map)] };
}

/** Makes the plan of another process in a running container. */
export function lowerExec(intent: ExecIntent, { joins, map, wish, foreign, window, socket }: ExecFacts): Plan {
  const { pid, start, origin } = intent.target;
  refuseUser(intent, map);
  const joined = { ...intent, idMap: { value: wish, origin } };
  const user = foreign ? { value: `${map.uids[0]?.inside}:${map.gids[0]?.inside}`, origin } : insideUser(joined, map);
  const ops: Op[] = [
    ...monitorOps(intent, { ...(socket === undefined ? {} : { socket }) }),
    op("join", origin, String(pid), start, joins.join(",")),
    ...terminalOps(intent, window),
    ...payload(intent, privileges(map, joined), user, false),
  ];
  // A pid namespace that was joined takes effect for children only, so that somebody has to wait for the child.
  const topology: Topology = intent.terminal ? "detached" : joins.includes("pid") ? "supervised" : "in-place";
  return { version: 1, topology, ops, remarks: [] };
}

/** The working directory is made where the image forgot it, as every container runtime does. */
function workdirExists(intent: Intent): Op[] {
  const { value, origin } = intent.workdir;
  return value === "/" || intent.root.value.kind === "host" ? [] : [op("make-directory", origin, value, "755")];
}
