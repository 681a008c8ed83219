/**
 * intent + facts → plan. The one place that knows the order in which a container is made; pure: no file system, no
 * environment, no clock.
 */
import { type Op, OURSELVES, op, type Plan, type Topology } from "../plan/plan.ts";
import type { ExecFacts } from "./exec-facts.ts";
import type { Facts } from "./facts.ts";
import type { ExecIntent, Intent } from "./intent.ts";
import { confine, confinedPrivileges, confineExec, NOTHING, refuseIsolation } from "./lower-confine.ts";
import { lowerMounts, lowerSystem } from "./lower-mounts.ts";
import { namespaces } from "./lower-namespaces.ts";
import { ignoredUser, payload, privileges, refuseUser } from "./lower-payload.ts";
import { lowerRoot } from "./lower-root.ts";

/** Makes the plan of a start. Throws E_CONFLICT for wishes that contradict each other. */
export function lower(intent: Intent, facts: Facts): Plan {
  refuseUser(intent, facts);
  refuseIsolation(intent);
  const root = lowerRoot(intent, facts);
  const isolated = intent.namespaces.pid?.value === "private";
  const topology: Topology = isolated || root.undo.length > 0 ? "supervised" : "in-place";
  const ops: Op[] = [
    ...root.undo,
    ...namespaces(intent, facts),
    ...(topology === "supervised" ? [op("record", OURSELVES, facts.places.record)] : []),
    op("propagation", OURSELVES, "/", "slave"),
    ...root.ops,
    ...lowerSystem(intent, facts),
    ...lowerMounts(intent, facts),
    ...workdirExists(intent),
    ...(root.sealed ? [op("attributes", root.sealed, "/", "ro", "")] : []),
    op("pivot", OURSELVES),
    op("expect", OURSELVES, "/proc", "proc"),
    ...(intent.hostname ? [op("hostname", intent.hostname.origin, intent.hostname.value)] : []),
    ...payload(
      intent,
      confinedPrivileges(privileges(facts.uid, intent.idMap.value), intent, facts),
      facts.uid,
      confine(intent, facts),
      isolated,
    ),
  ];
  return { version: 1, topology, ops, remarks: [...root.remarks, ...ignoredUser(intent, facts)] };
}

/** Makes the plan of another process in a running container. */
export function lowerExec(intent: ExecIntent, { joins, uid, rootInside, architecture }: ExecFacts): Plan {
  const { pid, start, origin } = intent.target;
  refuseUser(intent, { uid });
  const allowed = intent.isolate ? NOTHING : privileges(uid, rootInside ? "root" : "caller");
  const ops: Op[] = [
    op("join", origin, String(pid), start, joins.join(",")),
    ...payload(intent, allowed, uid, confineExec(intent, architecture), false),
  ];
  // A pid namespace that was joined takes effect for children only, so that somebody has to wait for the child.
  return { version: 1, topology: joins.includes("pid") ? "supervised" : "in-place", ops, remarks: [] };
}

/** The working directory is made where the image forgot it, as every container runtime does. */
function workdirExists(intent: Intent): Op[] {
  const { value, origin } = intent.workdir;
  return value === "/" || intent.root.value.kind === "host" ? [] : [op("make-directory", origin, value, "755")];
}
