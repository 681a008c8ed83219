/** What the process becomes: its user, privileges, environment and directory, and the command. Pure, like lower.ts. */
import { Failure } from "../base/errors.ts";
import { type Op, OURSELVES, op } from "../plan/plan.ts";
import type { Facts } from "./facts.ts";
import type { Intent, Value } from "./intent.ts";
import type { Privileges } from "./lower-confine.ts";

/** A map of one id holds nobody but the caller: another user cannot be had, and must not be silently left out. */
export function refuseUser({ user }: Pick<Intent, "user">, { uid }: Pick<Facts, "uid">): void {
  if (uid === 0 || user?.origin !== "--user") return;
  throw new Failure("E_CONFLICT", "only root can start a container as another user", {
    where: user.origin,
    mend: "leave it out to stay who you are, or use --root to be root inside",
  });
}

/** What is said aloud where the image asks for a user that cannot be had. */
export const ignoredUser = ({ user }: Intent, { uid }: Facts): string[] =>
  uid === 0 || user === undefined ? [] : [`the image asks for the user ${user.value}; it runs as you`];

const NO_CAPABILITIES: Privileges = { bounding: "0", own: "0" };
const ALL_CAPABILITIES: Privileges = { bounding: "ffffffffffffffff", own: "ffffffffffffffff" };

/**
 * What podman leaves to root: chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service,
 * sys_chroot, setfcap. Not mknod, for no device cgroup would stop a node of a disk; nor net_raw, for the network is
 * the host's.
 */
const CONTAINER_ROOT: Privileges = { bounding: "800405fb", own: "800405fb" };

/** What the payload may do. */
export function privileges(uid: number, map: "caller" | "root"): Privileges {
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
export function payload(intent: Payload, allowed: Privileges, uid: number, confined: Op[], reaper: boolean): Op[] {
  return [
    environment(intent),
    uid === 0 ? op("user", intent.user?.origin ?? OURSELVES, intent.user?.value || "0") : op("user", OURSELVES, ""),
    op("capabilities", OURSELVES, allowed.bounding, allowed.own),
    op("no-new-privileges", OURSELVES),
    op("workdir", intent.workdir.origin, intent.workdir.value),
    ...confined,
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
