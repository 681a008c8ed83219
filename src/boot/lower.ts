/**
 * intent + facts → plan. The one place that knows the order in which a container is made; pure: no file system, no
 * environment, no clock.
 */
import { type Op, OURSELVES, op, type Plan, type Topology } from "../plan/plan.ts";
import type { ExecFacts } from "./exec-facts.ts";
import type { Facts } from "./facts.ts";
import type { ExecIntent, Intent } from "./intent.ts";
import { lowerLimits } from "./limits.ts";
import { lowerCables } from "./lower-cables.ts";
import { confine, confinedPrivileges, confineExec, NOTHING, refuseIsolation, refusePretence } from "./lower-confine.ts";
import { groupRemarks, lowerNodes, lowerRuntimeHooks } from "./lower-devices.ts";
import { lender } from "./lower-lend.ts";
import { isDetached, monitorOps, withTerminal } from "./lower-life.ts";
import { lowerMounts, lowerSystem, shownNetwork } from "./lower-mounts.ts";
import { identity, joinsPids, namespaces } from "./lower-namespaces.ts";
import { ignoredUser, insideUser, payload, privileges, refuseUser } from "./lower-payload.ts";
import { lowerRoot } from "./lower-root.ts";
import { lowerStartup } from "./lower-startup.ts";
import { lowerDiskFiles, lowerPostmount, lowerPremount, lowerReport } from "./lower-subhost.ts";
import { lowerNetwork, networkOf, networkRemarks } from "./network.ts";
import { lowerSettings } from "./process-settings.ts";

/** Makes the plan of a start. Throws E_CONFLICT for wishes that contradict each other. */
export function lower(asked: Intent, facts: Facts): Plan {
  const who = identity(asked, facts);
  const { intent, map } = who;
  refuseUser(intent, map);
  refuseIsolation(intent);
  refusePretence(intent, map);
  const lent = lender(facts.uid === 0 && map.kind === "many");
  const root = lowerRoot(intent, facts, map, lent);
  const mounts = lowerMounts(intent, facts, lent);
  const isolated = intent.namespaces.pid?.value === "private";
  const limits = lowerLimits(
    intent.limits,
    facts.cgroups,
    facts.places.cgroup?.name ?? "",
    facts.places.cgroup?.mark ?? "",
  );
  const settings = lowerSettings(intent.settings, (kind) =>
    kind === "net" && networkOf(intent).kind === "user" ? "user" : intent.namespaces[kind]?.value,
  );
  const cabling = lowerCables(intent, facts);
  const { early, late } = namespaces(who, facts);
  // A start under enroot's rules is the payload itself: whoever waits for it joins its namespaces (pyxis).
  const served = root.ops.some(({ verb }) => verb === "serve") && intent.startup === undefined;
  const watched = isolated || joinsPids(intent, facts) || served;
  const undone =
    intent.temporary !== undefined ||
    root.undo.length > 0 ||
    limits.make.length > 0 ||
    facts.network !== undefined ||
    cabling.ops.length > 0;
  const topology: Topology = isDetached(intent) ? "detached" : watched || undone ? "supervised" : "in-place";
  const ops: Op[] = [
    ...(intent.timeline ? [op("timeline", intent.timeline.origin, intent.timeline.value)] : []),
    ...(intent.temporary ? [op("temporary", intent.temporary.origin, intent.temporary.value)] : []),
    ...lowerDiskFiles(facts.places),
    ...monitorOps(intent, facts.places),
    ...lowerReport(intent, facts.places),
    ...settings.first,
    ...root.undo,
    ...limits.make,
    ...early,
    ...(topology !== "in-place" ? [op("record", OURSELVES, facts.places.record)] : []),
    ...limits.join,
    ...late,
    ...settings.namespaces,
    ...connection(intent, facts),
    ...cabling.ops,
    ...lent.ops,
    op("propagation", OURSELVES, "/", "slave"),
    ...lowerPremount(intent),
    ...root.ops,
    ...lowerSystem(intent, facts, lent),
    ...lowerStartup(intent, facts, lent),
    ...lowerNodes(intent, facts),
    ...mounts,
    ...lowerRuntimeHooks(intent, facts, lent),
    ...workdirExists(intent),
    ...(root.sealed ? [op("attributes", root.sealed, "/", "ro", "")] : []),
    ...lowerPostmount(intent),
    op("pivot", OURSELVES),
    op("expect", OURSELVES, "/proc", "proc"),
    ...lastNamespace(intent),
    ...hostname(intent),
    ...withTerminal(
      intent,
      facts.window,
      payload(
        { ...intent, own: settings.payload },
        confinedPrivileges(privileges(map, intent), intent, map, facts),
        insideUser(intent, map),
        confine(intent, facts),
        isolated,
      ),
    ),
  ];
  return {
    version: 1,
    topology,
    ops,
    remarks: [
      ...root.remarks,
      ...ignoredUser(intent, map),
      ...groupRemarks(intent, facts),
      ...shownNetwork(intent, facts),
      ...(facts.network ? networkRemarks(intent, facts.network) : []),
      ...cabling.remarks,
    ],
  };
}

/** What enroot makes when it enters the root, and pyxis joins together with the user and mount namespaces. */
const lastNamespace = ({ startup, namespaces: { cgroup } }: Intent): Op[] =>
  startup?.cgroups === undefined || cgroup !== undefined ? [] : [op("namespaces", startup.cgroups.origin, "cgroup")];

/** The network namespace is connected once it is there. */
const connection = (intent: Intent, facts: Facts): Op[] =>
  facts.network === undefined ? [] : lowerNetwork(intent, facts.network, facts.places.network ?? "");

/** Makes the plan of another process in a running container. */
export function lowerExec(intent: ExecIntent, facts: ExecFacts): Plan {
  const { joins, map, wish, foreign, cgroups, architecture, window, socket } = facts;
  const { pid, start, origin } = intent.target;
  refuseUser(intent, map);
  const joined = { ...intent, idMap: { value: wish, origin } };
  const user = foreign ? { value: `${map.uids[0]?.inside}:${map.gids[0]?.inside}`, origin } : insideUser(joined, map);
  const allowed = intent.isolate ? NOTHING : privileges(map, joined);
  const ops: Op[] = [
    ...monitorOps(intent, { ...(socket === undefined ? {} : { socket }) }),
    op("join", origin, String(pid), start, joins.join(",")),
    ...cgroups.map((directory) => op("cgroup-join", origin, directory)),
    ...withTerminal(intent, window, payload(intent, allowed, user, confineExec(intent, architecture), false)),
  ];
  // A pid namespace that was joined takes effect for children only, so that somebody has to wait for the child.
  const topology: Topology = intent.terminal ? "detached" : joins.includes("pid") ? "supervised" : "in-place";
  return { version: 1, topology, ops, remarks: [] };
}

/** The host's own name is nothing that an isolated sandbox gets to see. */
function hostname({ hostname, isolate }: Intent): Op[] {
  const { value, origin } = hostname ?? (isolate ? { value: "rootling", origin: isolate.origin } : {});
  return value === undefined || origin === undefined ? [] : [op("hostname", origin, value)];
}

/** The working directory is made where the image forgot it, as every container runtime does. */
function workdirExists(intent: Intent): Op[] {
  const { value, origin } = intent.workdir;
  return value === "/" || intent.root.value.kind === "host" ? [] : [op("make-directory", origin, value, "755")];
}
