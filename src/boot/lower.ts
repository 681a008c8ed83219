/**
 * intent + facts → plan. The one place that knows the order in which a container is made; pure: no file system, no
 * environment, no clock.
 */
import { Failure } from "../base/errors.ts";
import { type Op, OURSELVES, op, type Plan, type Topology } from "../plan/plan.ts";
import type { Facts } from "./facts.ts";
import type { ExecIntent, Intent, Value } from "./intent.ts";
import { lowerMounts, lowerSystem } from "./lower-mounts.ts";
import { lowerRoot } from "./lower-root.ts";

/** Makes the plan of a start. Throws E_CONFLICT for wishes that contradict each other. */
export function lower(intent: Intent, facts: Facts): Plan {
  refuseUser(intent, facts);
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
    ...(intent.hostname ? [op("hostname", intent.hostname.origin, intent.hostname.value)] : []),
    ...payload(intent, privileges(facts.uid, intent.idMap.value), facts.uid, isolated),
  ];
  return { version: 1, topology, ops, remarks: [...root.remarks, ...ignoredUser(intent, facts)] };
}

/** A map of one id holds nobody but the caller: another user cannot be had, and must not be silently left out. */
function refuseUser({ user }: Pick<Intent, "user">, { uid }: Pick<Facts, "uid">): void {
  if (uid === 0 || user?.origin !== "--user") return;
  throw new Failure("E_CONFLICT", "only root can start a container as another user", {
    where: user.origin,
    mend: "leave it out to stay who you are, or use --root to be root inside",
  });
}

const ignoredUser = ({ user }: Intent, { uid }: Facts): string[] =>
  uid === 0 || user === undefined ? [] : [`the image asks for the user ${user.value}; it runs as you`];

/** Makes the plan of another process in a running container. `joins`: the namespaces that differ from ours. */
export function lowerExec(intent: ExecIntent, joins: readonly string[], uid: number, rootInside: boolean): Plan {
  const { pid, start, origin } = intent.target;
  refuseUser(intent, { uid });
  const ops: Op[] = [
    op("join", origin, String(pid), start, joins.join(",")),
    ...payload(intent, privileges(uid, rootInside ? "root" : "caller"), uid, false),
  ];
  // A pid namespace that was joined takes effect for children only, so that somebody has to wait for the child.
  return { version: 1, topology: joins.includes("pid") ? "supervised" : "in-place", ops, remarks: [] };
}

function namespaces(intent: Intent, facts: Facts): Op[] {
  const list = facts.uid === 0 ? ["mount"] : ["user", "mount"];
  const origins = new Set<string>();
  for (const kind of ["pid", "ipc", "uts"] as const) {
    const wish = intent.namespaces[kind];
    if (kind === "uts" && intent.hostname && wish?.value === "host") {
      throw new Failure("E_CONFLICT", `a host name (${intent.hostname.origin}) needs a uts namespace of its own`, {
        where: wish.origin,
        mend: "leave out one of the two",
      });
    }
    const implied = kind === "uts" ? intent.hostname : undefined;
    if (wish?.value !== "private" && implied === undefined) continue;
    list.push(kind);
    origins.add((wish ?? implied)?.origin ?? OURSELVES);
  }
  const ops = [op("namespaces", [...origins].join(", ") || OURSELVES, list.join(","))];
  if (facts.uid !== 0) {
    // One id: the only map that an unprivileged process may write itself (user_namespaces(7)).
    const inside = (id: number) => (intent.idMap.value === "root" ? 0 : id);
    const line = (id: number) => `${inside(id)} ${id} 1`;
    ops.push(op("id-map", intent.idMap.origin, line(facts.uid), line(facts.gid), "deny"));
  }
  return ops;
}

/** The working directory is made where the image forgot it, as every container runtime does. */
function workdirExists(intent: Intent): Op[] {
  const { value, origin } = intent.workdir;
  return value === "/" || intent.root.value.kind === "host" ? [] : [op("make-directory", origin, value, "755")];
}

interface Privileges {
  /** Hexadecimal capability masks. */
  readonly bounding: string;
  readonly own: string;
}

const NO_CAPABILITIES: Privileges = { bounding: "0", own: "0" };
const ALL_CAPABILITIES: Privileges = { bounding: "ffffffffffffffff", own: "ffffffffffffffff" };

/**
 * What podman leaves to root: chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service,
 * sys_chroot, setfcap. Not mknod, for no device cgroup would stop a node of a disk; nor net_raw, for the network is
 * the host's.
 */
const CONTAINER_ROOT: Privileges = { bounding: "800405fb", own: "800405fb" };

function privileges(uid: number, map: "caller" | "root"): Privileges {
  if (uid === 0) return CONTAINER_ROOT;
  // Inside a user namespace, capabilities reach only what belongs to it.
  return map === "root" ? ALL_CAPABILITIES : NO_CAPABILITIES;
}

interface Payload {
  readonly environment: Intent["environment"];
  readonly command: Value<readonly string[]>;
  readonly workdir: Value<string>;
  readonly user?: Value<string>;
}

/** From the finished root to the program that runs in it. */
function payload(intent: Payload, allowed: Privileges, uid: number, reaper: boolean): Op[] {
  return [
    environment(intent),
    uid === 0 ? op("user", intent.user?.origin ?? OURSELVES, intent.user?.value || "0") : op("user", OURSELVES, ""),
    op("capabilities", OURSELVES, allowed.bounding, allowed.own),
    op("no-new-privileges", OURSELVES),
    op("workdir", intent.workdir.origin, intent.workdir.value),
    ...(reaper ? [op("reaper", OURSELVES)] : []),
    op("exec", intent.command.origin, ...intent.command.value),
  ];
}

const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

function environment(intent: Payload): Op {
  const variables = new Map([["PATH", DEFAULT_PATH]]);
  const origins = new Set<string>();
  for (const { name, value, origin } of intent.environment) {
    variables.set(name, value);
    origins.add(origin);
  }
  return op(
    "environment",
    [...origins].join(", ") || OURSELVES,
    ...[...variables].map(([name, value]) => `${name}=${value}`),
  );
}
